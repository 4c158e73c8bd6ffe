package main

import (
	"fmt"
	"strings"

	"github.com/piper-build/piper/runtime/plan"
)

// A dryStep is what a node would do.
type dryStep struct {
	Name        string   `json:"name"`
	Argv        []string `json:"argv,omitempty"`
	Trigger     string   `json:"trigger,omitempty"`
	Approve     string   `json:"approve,omitempty"`
	Dir         string   `json:"dir,omitempty"`
	Env         []string `json:"env,omitempty"` // names only
	PassEnv     []string `json:"pass_env,omitempty"`
	Environment string   `json:"environment,omitempty"`
	RunOn       string   `json:"run_on,omitempty"`
}

// dryRun is what running p would do, in an order in which it could.
func (e *execution) drySteps(p *plan.Plan) []dryStep {
	graph := plan.NewGraph(p)
	steps := []dryStep{}
	for _, v := range graph.Order() {
		if !graph.IsNode(v) {
			continue
		}
		n := &p.Nodes[v]
		s := dryStep{Name: n.Name, RunOn: string(n.RunOn)}
		switch {
		case n.Trigger != nil:
			s.Trigger = triggerText(n.Trigger)
		case n.Approve != nil:
			s.Approve = nodeText(n)
		default:
			s.Argv = argvOf(n.Step)
			s.Dir = n.Step.Dir
			s.Environment = n.Step.Environment
			if s.Environment == "" {
				s.Environment = p.Environment
			}
			s.Env = envNames(p, s.Environment, n.Step)
			s.PassEnv = append(append(append([]string(nil), p.PassEnv...), n.Step.PassEnv...), e.passEnv...)
		}
		steps = append(steps, s)
	}
	return steps
}

// argvOf is what a step starts, with what is not known yet in angle brackets.
func argvOf(s *plan.Step) []string {
	if s.Script != "" {
		shell := s.Shell
		if shell == "" {
			shell = "sh"
		}
		return []string{shell, "-e", "-c", s.Script}
	}
	argv := make([]string, len(s.Argv))
	for i, arg := range s.Argv {
		argv[i] = textOf(arg)
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
	steps := e.drySteps(p)
	if e.asJSON {
		return e.printJSON(steps)
	}
	fmt.Fprintf(e.stdout, "pipeline %s would run %s, in this order:\n", p.Pipeline, counted(len(steps), "step"))
	for _, s := range steps {
		fmt.Fprintf(e.stdout, "\n%s", s.Name)
		if s.RunOn == "failure" || s.RunOn == "always" {
			fmt.Fprintf(e.stdout, " (run_on %s)", s.RunOn)
		}
		fmt.Fprintln(e.stdout)
		line := func(label, text string) {
			if text != "" {
				fmt.Fprintf(e.stdout, "  %-12s %s\n", label, strings.ReplaceAll(text, "\n", "\n               "))
			}
		}
		words := make([]string, len(s.Argv))
		for i, arg := range s.Argv {
			words[i] = quoted(arg)
		}
		line("argv", strings.Join(words, " "))
		line("trigger", s.Trigger)
		line("approve", s.Approve)
		line("dir", s.Dir)
		line("env", strings.Join(s.Env, " "))
		line("pass_env", strings.Join(s.PassEnv, " "))
		line("environment", s.Environment)
	}
	return nil
}
