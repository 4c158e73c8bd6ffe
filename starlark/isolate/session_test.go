package isolate_test

import (
	"context"
	"errors"
	"io"
	"os"
	"path/filepath"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/piper-build/piper/runtime/plan"
	"github.com/piper-build/piper/starlark"
	"github.com/piper-build/piper/starlark/isolate"
)

// That a session is the same in a child as here is held by package repl.

const shop = `
def _more(ctx, result):
    return [step("more", run = "echo " + result.outputs["v"])]

first = step("first", run = "true")
pipeline(name = "p", steps = [first, expand(first, impl = _more)])
`

// session opens a session on shop. pids has those of its children.
func session(t *testing.T, r starlark.Request) (s *isolate.Session, pids *[]int) {
	t.Helper()
	pids = new([]int)
	e := isolate.Evaluator{Start: func(env, argv []string) (isolate.Process, error) {
		p, err := start(env, argv)
		if err == nil {
			*pids = append(*pids, p.Pid())
		}
		return p, err
	}}
	r.Root = t.TempDir()
	require.NoError(t, os.WriteFile(filepath.Join(r.Root, "PIPER.star"), []byte(shop), 0o666))
	s, err := e.Open(r)
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, s.Close()) })
	require.NoError(t, s.Reload(t.Context()))
	return s, pids
}

// gone asserts that an input has ended the child of s, which is as new then.
func gone(t *testing.T, s *isolate.Session, err error) {
	t.Helper()
	var lost *isolate.Lost
	require.ErrorAs(t, err, &lost)
	_, err = s.Run(t.Context(), "kept", 1)
	require.ErrorContains(t, err, "kept is not defined")
	require.NotErrorAs(t, err, &lost)
	require.NoError(t, s.Reload(t.Context()))
	require.Equal(t, "p", s.Catalog().Pipelines[0].Name)
}

// TestSessionIsBounded: an input that takes more than it may ends the child,
// and the session goes on with a new one.
func TestSessionIsBounded(t *testing.T) {
	if raceEnabled {
		t.Skip("the race detector takes memory of its own")
	}
	s, pids := session(t, starlark.Request{Limits: starlark.Limits{Time: time.Second}})
	for input, want := range map[string]string{
		"[[0] * ((1 << 30) - 1) for _ in range(9)]": "evaluation runs into the memory limit of 256 MiB",
		unstoppable: "evaluation takes longer than 1s",
		"load('//PIPER.star', 'first')\n'a' * (1 << 29 - 1)": "evaluation runs into the memory limit of 256 MiB",
	} {
		_, err := s.Run(t.Context(), "kept = 1", 1)
		require.NoError(t, err)
		_, err = s.Run(t.Context(), input, 2)
		require.ErrorContains(t, err, "<stdin>:2:1: error: "+want)
		gone(t, s, err)
	}
	require.Len(t, *pids, 4)
}

// TestSessionExpands: what was planned can be expanded until something else is
// asked for.
func TestSessionExpands(t *testing.T) {
	s, _ := session(t, starlark.Request{})
	ctx, cancel := context.WithCancel(t.Context())
	result, err := s.Plan(ctx, starlark.Question{})
	require.NoError(t, err)
	found, err := result.Expand(t.Context(), "first/expand", map[string]string{"v": "1"})
	require.NoError(t, err)
	require.Equal(t, "echo 1", found.Nodes[0].Step.Script)
	cancel()
	_, err = result.Expand(t.Context(), "first/expand", nil)
	require.ErrorIs(t, err, context.Canceled)

	result, err = s.PlanFlow(t.Context(), "[first, expand(first, impl = _more)]", 1)
	require.NoError(t, err)
	s.Names()
	_, err = result.Expand(t.Context(), "first/expand", nil)
	require.ErrorContains(t, err, "there is nothing to expand")
}

// TestSessionInterrupted: an input that can be interrupted leaves all that was
// typed before.
func TestSessionInterrupted(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	s, pids := session(t, starlark.Request{Limits: starlark.Limits{Time: time.Hour, Steps: 1 << 60}, Print: func(plan.Pos, string) { cancel() }})
	_, err := s.Run(ctx, "kept = 1", 1)
	require.NoError(t, err)
	_, err = s.Run(ctx, "print('go')\nfor i in range(1 << 40): pass\n", 2)
	require.ErrorIs(t, err, context.Canceled)
	var lost *isolate.Lost
	if errors.As(err, &lost) { // the machine is too busy
		gone(t, s, err)
	} else {
		v, err := s.Run(t.Context(), "kept", 4)
		require.NoError(t, err)
		require.Equal(t, "1", v.Text)
		require.Len(t, *pids, 1)
	}
	_, err = s.Run(ctx, "kept", 5)
	require.ErrorIs(t, err, context.Canceled)
	require.NotErrorAs(t, err, &lost)
}

// TestSessionKilled: a child that an interrupt does not help with is killed.
func TestSessionKilled(t *testing.T) {
	e := isolate.Evaluator{Start: func(env, argv []string) (isolate.Process, error) {
		says, child := io.Pipe()
		go io.Copy(child, frames(`o{}`, `p{}`))
		return &deaf{taken{Reader: says}, says}, nil
	}}
	ctx, cancel := context.WithCancel(t.Context())
	s, err := e.Open(starlark.Request{Root: t.TempDir(), Limits: starlark.Limits{Time: time.Hour}, Print: func(plan.Pos, string) { cancel() }})
	require.NoError(t, err)
	_, err = s.Run(ctx, "1", 1)
	require.ErrorIs(t, err, context.Canceled)
	var lost *isolate.Lost
	require.ErrorAs(t, err, &lost)
	require.NoError(t, s.Close())
}

// A deaf is a child that says no more, until it is killed.
type deaf struct {
	taken
	says *io.PipeReader
}

func (d *deaf) Kill() { d.says.CloseWithError(os.ErrDeadlineExceeded) }

// TestSessionDies: that the child has ended without a reason is told whoever
// asks for something next.
func TestSessionDies(t *testing.T) {
	s, pids := session(t, starlark.Request{})
	require.Contains(t, s.Names(), "first")
	kill := func() { require.NoError(t, syscall.Kill((*pids)[len(*pids)-1], syscall.SIGKILL)) }

	kill()
	_, err := s.Run(t.Context(), "1", 1)
	require.ErrorContains(t, err, "ended without an answer (killed)")
	gone(t, s, err)

	kill()
	require.Empty(t, s.Names())
	require.Empty(t, s.Doc("first"))
	_, err = s.Run(t.Context(), "1", 1)
	require.ErrorContains(t, err, "ended without an answer (killed)", "the first error is not lost, though Names has no room for it")
	gone(t, s, err)
}

// TestNoSession: what cannot be started is the machine's fault, at first and
// later.
func TestNoSession(t *testing.T) {
	full := errors.New("no more processes")
	var fail error
	e := isolate.Evaluator{Start: func(env, argv []string) (isolate.Process, error) {
		if fail != nil {
			return nil, fail
		}
		return &taken{Reader: frames(`o{}`, `r{"value":{"text":"Gw==","type":"\u001b"}}`, `r{"names":["\u001b"]}`, `o{}`)}, nil
	}}
	s, err := e.Open(starlark.Request{Root: t.TempDir()})
	require.NoError(t, err)
	v, err := s.Run(t.Context(), "1", 1)
	require.NoError(t, err)
	require.Equal(t, starlark.Value{Text: `\x1b`, Type: `\x1b`}, v, "what a child says is safe to show")
	fail = full
	_, err = s.Run(t.Context(), "1", 1)
	var lost *isolate.Lost
	require.ErrorAs(t, err, &lost)
	_, err = s.Run(t.Context(), "1", 1)
	require.ErrorIs(t, err, full)
	require.NoError(t, s.Close())
	_, err = e.Open(starlark.Request{Root: t.TempDir()})
	require.ErrorIs(t, err, full)

	fail = nil
	e.Start = func(env, argv []string) (isolate.Process, error) {
		return &taken{Reader: frames(`o{"failure":"not today"}`)}, nil
	}
	_, err = e.Open(starlark.Request{Root: t.TempDir()})
	require.ErrorContains(t, err, "not today")
}
