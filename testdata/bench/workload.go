package main

import (
	_ "embed"
	"fmt"
	"io"
)

// A workload writes the steps of a trial in one program's language. It writes
// straight into the file: 100,000 steps need not be in memory here.
type workload func(w io.Writer)

// Steps that all run the same command, called s1, s2, …

// starWide is n explicit step calls, a line each, with no order of their own.
func starWide(n int, run string) workload { return star(n, run, "[parallel([", "])]") }

// starChain is n step calls that run one after another.
func starChain(n int, run string) workload { return star(n, run, "[", "]") }

func star(n int, run, opens, closes string) workload {
	return func(w io.Writer) {
		fmt.Fprintf(w, "project(name = \"bench\")\n\npipeline(name = \"build\", steps = %s\n", opens)
		for i := range n {
			fmt.Fprintf(w, "    step(\"s%d\", run = %s),\n", i+1, run)
		}
		fmt.Fprintf(w, "%s)\n", closes)
	}
}

// starComprehension is n wide steps the way a person writes that many.
func starComprehension(n int, run string) workload {
	return func(w io.Writer) {
		fmt.Fprintf(w, "project(name = \"bench\")\n\npipeline(\n    name = \"build\",\n")
		fmt.Fprintf(w, "    steps = [parallel([step(\"s%%d\" %% i, run = %s) for i in range(1, %d)])],\n)\n", run, n+1)
	}
}

// starSimulations is tests that simulate n builds of 50 steps each, every one of
// them another.
func starSimulations(tests, n int) workload {
	return func(w io.Writer) {
		fmt.Fprintf(w, "def _simulate(t):\n    for i in range(%d):\n", n)
		fmt.Fprintf(w, "        run = t.simulate(\"build\", slots = 1 + i // 50, outcomes = {\"s%%d\" %% (1 + i %% 50): [t.fails(), t.ok()]})\n")
		fmt.Fprintf(w, "        assert.eq(run.state(), \"success\")\n")
		for i := range tests {
			fmt.Fprintf(w, "\ndef test_%d(t):\n    _simulate(t)\n", i+1)
		}
	}
}

// ninjaWide is n edges whose outputs are never there, so that each always runs.
func ninjaWide(n int, run string) workload {
	return func(w io.Writer) {
		fmt.Fprintf(w, "rule run\n  command = %s\n", run)
		for i := range n {
			fmt.Fprintf(w, "build s%d: run\n", i+1)
		}
	}
}

// ninjaChain is n edges, each with the one before as its input.
func ninjaChain(n int, run string) workload {
	return func(w io.Writer) {
		fmt.Fprintf(w, "rule run\n  command = %s\nbuild s1: run\n", run)
		for i := 2; i <= n; i++ {
			fmt.Fprintf(w, "build s%d: run s%d\n", i, i-1)
		}
	}
}

// taskfile has n dependencies of one task. go-task has a shell of its own, so
// the real one is named.
func taskfile(n int, run string) workload {
	return func(w io.Writer) {
		fmt.Fprint(w, "version: '3'\ntasks:\n  default:\n    deps:\n")
		for i := range n {
			fmt.Fprintf(w, "      - s%d\n", i+1)
		}
		for i := range n {
			fmt.Fprintf(w, "  s%d:\n    cmds:\n      - \"sh -c '%s'\"\n", i+1, run)
		}
	}
}

// daguFile has n steps that depend on nothing.
func daguFile(n int, run string) workload {
	return func(w io.Writer) {
		fmt.Fprintf(w, "maxActiveRuns: %d\nsteps:\n", slots)
		for i := range n {
			fmt.Fprintf(w, "  - name: s%d\n    shell: sh\n    command: \"%s\"\n", i+1, run)
		}
	}
}

// woodpecker has n steps that depend on nothing, for its backend that runs
// them on this machine. It has no limit on how many run at once.
func woodpecker(n int, run string) workload {
	return func(w io.Writer) {
		fmt.Fprint(w, "skip_clone: true\nsteps:\n")
		for i := range n {
			fmt.Fprintf(w, "  - name: s%d\n    image: sh\n    depends_on: []\n    commands:\n      - \"%s\"\n", i+1, run)
		}
	}
}

//go:embed fifty.star
var fifty string

// text is a file whose text is known.
func text(s string) workload {
	return func(w io.Writer) { io.WriteString(w, s) }
}
