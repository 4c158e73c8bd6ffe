package main

import (
	"bufio"
	"cmp"
	"fmt"
	"iter"
	"slices"
	"strings"

	"github.com/piper-build/piper/runtime/plan"
)

// A dryStep is what a node would do.
type dryStep struct {
	Name        string   `json:"name"`
	Argv        []string `json:"argv,omitempty"`
	Trigger     string   `json:"trigger,omitempty"`
	Approve     string   `json:"approve,omitempty"`
	Expand      string   `json:"expand,omitempty"`
	Service     string   `json:"service,omitempty"`
	Services    []string `json:"services,omitempty"`
	Dir         string   `json:"dir,omitempty"`
	Env         []string `json:"env,omitempty"` // names only
	PassEnv     []string `json:"pass_env,omitempty"`
	Environment string   `json:"environment,omitempty"`
	RunOn       string   `json:"run_on,omitempty"`
}

// drySteps is what running p would do, in an order in which it could: a service
// comes right before the first that lists it.
func (e *execution) drySteps(p *plan.Plan) iter.Seq[dryStep] {
	return func(yield func(dryStep) bool) {
		graph := plan.NewGraph(p)
		started := map[string]bool{}
		for _, v := range graph.Order() {
			if !graph.IsNode(v) || p.Nodes[v].IsService() {
				continue
			}
			for _, name := range p.Nodes[v].Services() {
				if started[name] {
					continue
				}
				started[name] = true
				if s, ok := graph.Lookup(name); ok && !yield(e.dryStep(p, &p.Nodes[s])) {
					return
				}
			}
			if !yield(e.dryStep(p, &p.Nodes[v])) {
				return
			}
		}
	}
}

// dryStep is what n would do.
func (e *execution) dryStep(p *plan.Plan, n *plan.Node) dryStep {
	s := dryStep{Name: n.Name, RunOn: string(n.RunOn()), Services: n.Services()}
	switch {
	case n.Expand() != nil:
		s.Expand = nodeText(n) + "; what it finds is known only then"

	case n.Trigger() != nil:
		s.Trigger = triggerText(n.Trigger())
	case n.Approve() != nil:
		s.Approve = nodeText(n)
	default:
		s.Argv = argvOf(n.Step)
		s.Dir = n.Step.Dir
		s.Environment = cmp.Or(n.Step.Environment, p.Environment)
		s.Env = envNames(p, s.Environment, n.Step)
		s.PassEnv = slices.Concat(p.PassEnv, n.Step.PassEnv, e.passEnv)
		if n.IsService() {
			s.Service = strings.TrimPrefix(serviceText(n.Step.Service), "service, ")
		}
	}
	return s
}

// argvOf is what a step starts, with what is not known yet in angle brackets.
func argvOf(s *plan.Step) []string {
	if s.Script != "" {
		return []string{cmp.Or(s.Shell, "sh"), "-e", "-c", s.Script}
	}
	argv := make([]string, len(s.Argv))
	for i, arg := range s.Argv {
		argv[i] = arg.Words()
	}
	return argv
}

// envNames returns the names that a step's environment gets from the plan.
func envNames(p *plan.Plan, environment string, s *plan.Step) []string {
	var names []string
	seen := map[string]bool{}
	add := func(env plan.Env) {
		for _, v := range env {
			if !seen[v.Name] {
				seen[v.Name] = true
				names = append(names, v.Name)
			}
		}
	}
	add(p.Env)
	for _, e := range p.Environments {
		if e.Name == environment {
			add(e.Env)
		}
	}
	add(s.Env)
	return names
}

// showDryRun prints what would run, and runs nothing.
func (e *execution) showDryRun(p *plan.Plan) error {
	if e.asJSON {
		return e.printJSON(append([]dryStep{}, slices.Collect(e.drySteps(p))...))
	}
	w := bufio.NewWriterSize(e.stdout, 64<<10)
	fmt.Fprintf(w, "pipeline %s would run %s, in this order:\n", p.Pipeline, counted(len(p.Nodes), "step"))
	for s := range e.drySteps(p) {
		s.write(w)
	}
	return w.Flush()
}

// write prints s as a paragraph.
func (s dryStep) write(w *bufio.Writer) {
	const margin = "               "
	w.WriteByte('\n')
	w.WriteString(s.Name)
	if s.RunOn == "failure" || s.RunOn == "always" {
		w.WriteString(" (run_on " + s.RunOn + ")")
	}
	w.WriteByte('\n')
	line := func(label string, words ...string) {
		if len(words) == 0 || words[0] == "" {
			return
		}
		w.WriteString("  ")
		w.WriteString(label)
		w.WriteString(margin[2+len(label) : len(margin)-1])
		for _, word := range words {
			w.WriteByte(' ')
			w.WriteString(strings.ReplaceAll(word, "\n", "\n"+margin))
		}
		w.WriteByte('\n')
	}
	words := make([]string, 0, 8) // on the stack, as most are
	for _, arg := range s.Argv {
		words = append(words, quoted(arg))
	}
	line("argv", words...)
	line("trigger", s.Trigger)
	line("approve", s.Approve)
	line("expand", s.Expand)
	line("service", s.Service)
	line("services", s.Services...)
	line("dir", s.Dir)
	line("env", s.Env...)
	line("pass_env", s.PassEnv...)
	line("environment", s.Environment)
}
