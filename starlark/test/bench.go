package test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"

	"github.com/piper-build/piper/builtins"
	"github.com/piper-build/piper/runtime/plan"
	"github.com/piper-build/piper/runtime/simulate"
	"github.com/piper-build/piper/starlark"
)

// A bench is what one test works with. It is used by the test's goroutine.
type bench struct {
	job  Job
	tree *overlay

	// The same question has the same answer, as long as no file changes.
	answers map[string]answer
}

type answer struct {
	result starlark.Result
	err    error
}

// Plan implements builtins.Bench.
func (b *bench) Plan(ctx context.Context, a builtins.Asked) (*plan.Plan, error) {
	result, err := b.evaluate(ctx, a)
	return result.Plan, err
}

// evaluate answers a question.
func (b *bench) evaluate(ctx context.Context, a builtins.Asked) (starlark.Result, error) {
	key, err := json.Marshal(a)
	if err != nil {
		panic(err) // strings and times only
	}
	if known, ok := b.answers[string(key)]; ok {
		return known.result, known.err
	}
	r := b.job.Request
	r.Tree, r.File, r.Pipeline = b.tree, a.File, a.Pipeline
	r.Params, r.Environment, r.Event = a.Params, a.Environment, a.Event
	r.Limits = b.job.Limits
	r.Git = repository{a}
	r.Environ = func(name string) (string, bool) {
		value, ok := a.Environ[name]
		return value, ok
	}
	result, err := b.job.Evaluate(ctx, r)
	var found plan.Diagnostics
	if errors.As(err, &found) && len(found) > 0 {
		err = &builtins.Rejection{Found: found}
	}
	b.answers[string(key)] = answer{result, err}
	return result, err
}

// Simulate implements builtins.Bench.
func (b *bench) Simulate(ctx context.Context, a builtins.Asked, w builtins.World) (*simulate.Result, error) {
	result, err := b.evaluate(ctx, a)
	if err != nil {
		return nil, err
	}
	if w.Facts != nil && b.job.Meets != nil {
		w.Meets = func(ctx context.Context, requirements []plan.Requirement) error {
			return b.job.Meets(ctx, w.Facts, requirements)
		}
	}
	w.Expand, w.MaxNodes = result.Expand, b.job.Limits.Nodes
	return simulate.Run(ctx, result.Plan, w.Options)
}

// Files implements builtins.Bench.
func (b *bench) Files(files map[string]*string) {
	for name, text := range files {
		b.tree.files[name] = text
	}
	clear(b.answers)
}

// Golden implements builtins.Bench.
func (b *bench) Golden(name, got string) (string, error) { return b.job.Golden(name, got) }

// A repository is what git says in a test: what follows from the event, in a
// clean checkout of its commit.
type repository struct{ builtins.Asked }

func (r repository) Commit() (string, error) { return r.Event.Commit, nil }
func (r repository) Branch() (string, error) { return r.Event.Branch, nil }
func (r repository) Tag() (string, error)    { return r.Event.Tag, nil }
func (r repository) Dirty() (bool, error)    { return false, nil }

// Changed answers for whatever base: the event has one.
func (r repository) Changed(string) ([]string, error) { return r.Asked.Changed, nil }

// Describe is the event's tag, or one commit after v0.0.0.
func (r repository) Describe(flags ...string) (string, error) {
	tag, commits := r.Event.Tag, 0
	if tag == "" {
		tag, commits = "v0.0.0", 1
	}
	digits := 7
	long := commits > 0
	for _, flag := range flags {
		long = long || flag == "--long"
		fmt.Sscanf(flag, "--abbrev=%d", &digits)
	}
	if !long || digits == 0 {
		return tag, nil
	}
	commit := r.Event.Commit[:min(digits, len(r.Event.Commit))]
	return strings.Join([]string{tag, fmt.Sprint(commits), "g" + commit}, "-"), nil
}
