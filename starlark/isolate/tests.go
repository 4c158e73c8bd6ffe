package isolate

import (
	"context"
	"errors"
	"fmt"

	"github.com/piper-build/piper/builtins"
	"github.com/piper-build/piper/runtime/plan"
	"github.com/piper-build/piper/starlark"
	"github.com/piper-build/piper/starlark/test"
)

// Tests is starlark.Tests in a child.
func (e *Evaluator) Tests(ctx context.Context, r starlark.Request) ([]starlark.Test, error) {
	out, err := e.once(ctx, ofTests, listTests, newRequest(&r), &r, nil)
	if err != nil {
		return nil, err
	}
	return out.Tests, out.err
}

// RunTest runs a test in a child of its own, with all that it evaluates: the
// Evaluate of the job is not used. The limits of its request are those of the
// child. The error is as that of test.Job's Run; a child that ends without an
// answer has failed its test, and no other.
func (e *Evaluator) RunTest(ctx context.Context, j test.Job) error {
	t := &trial{Name: j.Name, Limits: j.Limits, Meets: j.Meets != nil}
	if c := j.Request.Coverage; c != nil {
		t.Covers, t.Covered = true, c.Sums()
	}
	asked := newRequest(&j.Request)
	asked.Test = t
	out, err := e.once(ctx, ofTest, runTest, asked, &j.Request, &j)
	if err != nil {
		return err
	}
	for _, r := range out.Ran {
		if err := j.Request.Coverage.Mark(r.File, r.Marks); err != nil {
			return broken(&j.Request, err)
		}
	}
	return out.err
}

// once has a child do one thing of a test, and ends it.
func (e *Evaluator) once(ctx context.Context, w words, kind byte, asked request, r *starlark.Request, j *test.Job) (*result, error) {
	c, done, err := e.begin(ctx, r)
	if err != nil {
		return nil, err
	}
	defer done()
	c.words = w
	l := newLibrary(r)
	l.job = j
	asked.File, asked.Limits = r.File, r.Limits // as they are now
	out, err := c.call(ctx, kind, asked, l)
	c.reap()
	var found plan.Diagnostics
	if err != nil && ctx.Err() == nil && !errors.As(err, &found) {
		err = broken(r, err)
	}
	return out, err
}

// broken is that what evaluates r has done what it cannot do by itself.
func broken(r *starlark.Request, err error) error {
	return plan.Diagnostics{{File: r.File, Severity: "error", Code: "no-answer", Message: fmt.Sprintf("the test ended without an answer: %s", builtins.Visible(err.Error()))}}
}
