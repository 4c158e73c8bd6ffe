package test

import (
	"context"
	"fmt"

	"github.com/piper-build/piper/runtime/plan"
	"github.com/piper-build/piper/starlark"
)

// A Job is a test to run, and what it needs of the world.
type Job struct {
	Request starlark.Request // of the test itself; with a Tree and Print
	Name    string

	Limits   starlark.Limits    // of each evaluation that the test asks for
	Evaluate starlark.Evaluator // does that; nil is starlark.Evaluate

	// Meets is as in Options. nil meets all requirements.
	Meets func(ctx context.Context, facts map[string]string, requirements []plan.Requirement) error

	// Golden returns what is kept for the test under a name, or got itself when
	// that is to be kept from now on.
	Golden func(name, got string) (want string, err error)
}

// Run runs the test in this process. The error is as that of starlark.RunTest.
//
// What is printed by the test and all that it evaluates, together, is bounded
// by Limits.Output of the Request.
func (j Job) Run(ctx context.Context) error {
	if j.Evaluate == nil {
		j.Evaluate = starlark.Evaluate
	}
	j.Request.Print = bounded(j.Request.Print, j.Request.Limits.WithDefaults().Output)
	return starlark.RunTest(ctx, j.Request, j.Name, &bench{
		job:     j,
		tree:    &overlay{Tree: j.Request.Tree, files: map[string]*string{}},
		answers: map[string]answer{},
	})
}

// bounded returns print up to a limit in bytes, and says where it ends.
func bounded(print func(plan.Pos, string), limit int) func(plan.Pos, string) {
	printed := 0
	return func(pos plan.Pos, message string) {
		before := printed
		printed += len(message) + 1
		switch {
		case printed <= limit:
			print(pos, message)
		case before <= limit:
			print(pos, fmt.Sprintf("more than %d bytes are printed; the rest is dropped (truncated)", limit))
		}
	}
}
