package isolate

import (
	"context"
	"fmt"
	"os"
	"os/signal"
	"sync"

	"github.com/piper-build/piper/runtime/plan"
	"github.com/piper-build/piper/starlark"
	"github.com/piper-build/piper/starlark/test"
)

// What a child does: the calls of its parent.

// do does what a frame asks for, and sends what came of it.
func (c *child) do(f frame) error {
	ctx, end := c.interruptible()
	defer end()
	c.facts = nil
	var r request
	var err error
	switch f.kind {
	case expand:
		var x growth
		if err := f.decode(expand, &x); err != nil {
			return err
		}
		if c.expand == nil {
			return fmt.Errorf("%w: there is nothing to expand", errFrame)
		}
		found, err := c.expand(ctx, x.Node, asTexts(x.Outputs))
		return c.send(account{Expansion: found}, err)
	case say:
		var in input
		if err := f.decode(say, &in); err != nil {
			return err
		}
		if c.session == nil {
			return fmt.Errorf("%w: there is no session", errFrame)
		}
		a, err := c.say(ctx, &in)
		return c.send(a, err)
	case evaluate, listTests, runTest, openSession:
		if err := f.decode(f.kind, &r); err != nil {
			return err
		}
	default:
		return fmt.Errorf("%w: a frame %q", errFrame, f.kind)
	}
	c.file = r.File
	var a account
	switch f.kind {
	case evaluate:
		a.Result, err = starlark.Evaluate(ctx, c.request(&r))
		c.expand = a.Expand
	case listTests:
		a.Tests, err = starlark.Tests(c.request(&r))
	case runTest:
		a.Ran, err = c.runTest(ctx, &r)
	case openSession:
		c.interrupts = make(chan os.Signal, 1)
		signal.Notify(c.interrupts, os.Interrupt)
		c.session, err = starlark.Open(c.request(&r))
	}
	return c.send(a, err)
}

// runTest runs the test that is asked for, and returns what it ran.
func (c *child) runTest(ctx context.Context, r *request) ([]ran, error) {
	if r.Test == nil {
		return nil, fmt.Errorf("%w: there is no test", errFrame)
	}
	job := test.Job{Request: c.request(r), Name: r.Test.Name, Limits: r.Test.Limits, Golden: c.golden}
	job.Request.Tree = &listedTree{Tree: job.Request.Tree, list: sync.OnceValues(job.Request.Tree.Files)}
	if r.Test.Meets {
		job.Meets = c.meets
	}
	if r.Test.Covers {
		job.Request.Coverage = starlark.NewCoverage(r.Test.Covered)
	}
	err := job.Run(ctx)
	var all []ran
	for file, marks := range job.Request.Coverage.Marks() {
		all = append(all, ran{file, marks})
	}
	return all, err
}

// A listedTree is a tree whose files stay the same: those of a test.
type listedTree struct {
	starlark.Tree
	list func() ([]string, error)
}

func (t *listedTree) Files() ([]string, error) { return t.list() }

func (c *child) golden(name, got string) (want string, err error) {
	return c.text(query{Ask: askGolden, Name: name, Text: []byte(got)})
}

func (c *child) meets(_ context.Context, facts map[string]string, requirements []plan.Requirement) error {
	return c.ask(query{Ask: askMeets, Facts: facts, Requires: requirements}, nil).Error.err()
}

// say hands an input to the session.
func (c *child) say(ctx context.Context, in *input) (a account, err error) {
	s, text := c.session, string(in.Text)
	switch in.Do {
	case doReload:
		err = s.Reload(ctx)
	case doLoad:
		err = s.Load(ctx, text)
	case doRun:
		a.Value, err = s.Run(ctx, text, in.Line)
	case doType:
		a.Value.Text, err = s.Type(ctx, text, in.Line)
	case doPlan:
		a.Result, err = s.Plan(ctx, starlark.Question{Pipeline: in.Pipeline, Params: asTexts(in.Params), Environment: in.Environment})
	case doPlanFlow:
		a.Result, err = s.PlanFlow(ctx, text, in.Line)
	case doCatalog:
		a.Catalog = s.Catalog()
	case doNames:
		a.Names = s.Names()
	case doAttrs:
		a.Names = s.Attrs(text)
	case doParams:
		a.Names = s.Params(text)
	case doFiles:
		a.Names = s.Files(text)
	case doDoc:
		a.Value.Text = s.Doc(text)
	case doWord:
		a.Value.Text = s.Word(text)
	default:
		err = fmt.Errorf("%w: an input %q", errFrame, in.Do)
	}
	c.expand = a.Expand
	a.Warnings = s.Warnings()
	return a, err
}

// interruptible returns a context that is done when the parent interrupts, as
// long as end was not called. What it is given to may use it for longer.
func (c *child) interruptible() (ctx context.Context, end func()) {
	ctx, cancel := context.WithCancel(context.Background())
	interrupts := c.interrupts // a call may be that which opens it
	select {
	case <-interrupts: // it was too late for the call before
	default:
	}
	over := make(chan struct{})
	go func() {
		select {
		case <-interrupts:
			cancel()
		case <-over:
		}
	}()
	return ctx, func() { close(over) }
}
