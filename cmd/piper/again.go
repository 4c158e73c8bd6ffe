package main

import (
	"os"
	"slices"
	"strings"

	"github.com/piper-build/piper/runtime/plan"
)

// rerun is the command line that runs one node of j again, and before it the
// steps whose outputs it uses. It holds no secret: a value is left to be filled
// in.
func (e *execution) rerun(j *job, node *plan.Node) string {
	words := append([]string{"piper", "exec", j.plan.Pipeline}, j.args[min(1, len(j.args)):]...)
	if here, err := os.Getwd(); err == nil && here != e.dir {
		words = append(words, "-C", e.dir)
	}
	if e.configFile != "" {
		words = append(words, "--config", e.configFile)
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
	words = append(words, "--only", strings.Join(withSources(j.plan, node), ","))
	for i, word := range words {
		words[i] = quoted(word)
	}
	return strings.Join(words, " ")
}

// withSources returns the name of node, and before it those of the steps whose
// outputs it cannot run without.
func withSources(p *plan.Plan, node *plan.Node) []string {
	var names []string
	var add func(*plan.Node)
	add = func(node *plan.Node) {
		for _, output := range node.Uses() {
			if slices.Contains(names, output.Step) {
				continue
			}
			if i := slices.IndexFunc(p.Nodes, func(n plan.Node) bool { return n.Name == output.Step }); i >= 0 {
				add(&p.Nodes[i])
			}
		}
		names = append(names, node.Name)
	}
	add(node)
	return names
}
