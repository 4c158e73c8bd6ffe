package main

import (
	"os"
	"slices"
	"strings"

	"github.com/piper-build/piper/runtime/plan"
)

// rerun is the command line that runs one node of p again, which is the plan of
// j as far as it has grown, and before it the steps whose outputs it uses. It
// holds no secret: a value is left to be filled in.
func (e *execution) rerun(j *job, p *plan.Plan, node *plan.Node) string {
	if j.typed != "" {
		return j.typed
	}
	words := append([]string{"piper", "exec", j.plan.Pipeline}, j.args[min(1, len(j.args)):]...)
	if here, err := os.Getwd(); err == nil && here != e.dir {
		words = append(words, "-C", e.dir)
	}
	if e.configFile != "" {
		words = append(words, "--config", e.configFile)
	}
	if e.isolate && e.settings.made("isolate") != "true" {
		words = append(words, "--isolate")
	}
	words = append(words, j.question.flags()...)
	words = append(words, repeated("--pass-env", e.passEnv...)...)
	words = append(words, repeated("--secret-file", e.secretFiles...)...)
	for _, s := range e.secrets {
		name, _, _ := strings.Cut(s, "=")
		words = append(words, "--secret", name+"=…")
	}
	if e.triggers != "show" {
		words = append(words, "--triggers", e.triggers)
	}
	if e.yes {
		words = append(words, "--yes")
	}
	words = append(words, "--only", strings.Join(withSources(p, node), ","))
	for i, word := range words {
		words[i] = quoted(word)
	}
	return strings.Join(words, " ")
}

// withSources returns the name of node, and before it those of the steps whose
// outputs it cannot run without. What an expand has found is named by the
// expand, which has to find it again, and a service by the first step that lists
// it.
func withSources(p *plan.Plan, node *plan.Node) []string {
	var names []string
	var add func(*plan.Node)
	need := func(name string) {
		if i := slices.IndexFunc(p.Nodes, func(n plan.Node) bool { return n.Name == name }); i >= 0 {
			add(&p.Nodes[i])
		}
	}
	add = func(node *plan.Node) {
		if node.IsService() {
			if i := slices.IndexFunc(p.Nodes, func(n plan.Node) bool { return slices.Contains(n.Services(), node.Name) }); i >= 0 {
				node = &p.Nodes[i]
			}
		}
		if expand := foundBy(p, node); expand != nil {
			node = expand
		}
		if slices.Contains(names, node.Name) {
			return
		}
		if node.Expand() != nil {
			need(node.Expand().After)
		}
		for _, output := range node.Uses() {
			need(output.Step)
		}
		names = append(names, node.Name)
	}
	add(node)
	return names
}

// foundBy returns the expand of the plan as it was written that has found node,
// or another that did; nil when it was there from the start.
func foundBy(p *plan.Plan, node *plan.Node) *plan.Node {
	var finder *plan.Node
	for group := node.Group; group != ""; {
		for i := range p.Nodes {
			if n := &p.Nodes[i]; n.Expand() != nil && plan.FoundBy(n.Name) == group {
				finder = n
			}
		}
		i := slices.IndexFunc(p.Groups, func(g plan.Group) bool { return g.Name == group })
		if i < 0 {
			break
		}
		group = p.Groups[i].Group
	}
	return finder
}
