package runtime

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/piper-build/piper/runtime/build"
	"github.com/piper-build/piper/runtime/plan"
)

// A service is a step that runs until it is told to stop. What makes it
// different is here: it takes no slot, it is watched until it is ready, and it
// fails when it ends by itself.

const (
	firstLook = 20 * time.Millisecond // between two looks at whether a service is ready; doubled from then on
	lastLook  = time.Second           // but no longer than this
	checkTime = 30 * time.Second      // for one run of a command that looks

	maxServiceLine = 64 << 10 // bytes of a line that are looked at
)

// launchService runs a in a goroutine of its own.
func (r *run) launchService(a *attempt) {
	s, err := r.service(a)
	go func() {
		ev := hopeless("")
		if err == nil {
			ev = ending(r.execute(a, s.serve), nil)
		} else {
			ev.Reason = err.Error()
		}
		r.report(result{attempt: a, event: ev})
	}()
}

// A service watches the one attempt of a service.
type service struct {
	*run
	attempt *attempt
	check   func(ctx context.Context) (lacks string) // what it still lacks to be ready; "" when it is
	log     *lineWatch                               // set when a line of its output says that it is ready
	limit   time.Duration
	checks  string // what $PIPER_OUTPUT names for a command that checks
}

// service resolves the task of a, and how to tell that it is ready.
func (r *run) service(a *attempt) (*service, error) {
	dir, err := os.MkdirTemp(r.Temp, "service-")
	if err != nil {
		return nil, fmt.Errorf("make output directory: %w", err)
	}
	output := filepath.Join(dir, "output")
	s := &service{run: r, attempt: a, checks: filepath.Join(dir, "checks"), limit: time.Duration(a.task.Node.Step.Service.ReadyTimeout)}
	for _, dir := range []string{output, s.checks} {
		if err := os.Mkdir(dir, 0o700); err != nil {
			return nil, fmt.Errorf("make output directory: %w", err)
		}
	}
	if err := r.resolve(&a.task, output); err != nil {
		return nil, err
	}
	if s.limit == 0 {
		s.limit = time.Duration(plan.DefaultReadyTimeout)
	}
	switch ready := a.task.Node.Step.Service.Ready; {
	case ready.Port != 0:
		s.check = func(context.Context) string {
			if r.answers(ready.Port) {
				return ""
			}
			return fmt.Sprintf("port %d takes no connection", ready.Port)
		}
	case ready.Log != "":
		pattern, err := regexp.Compile(ready.Log)
		if err != nil {
			return nil, fmt.Errorf("ready: %w", err)
		}
		s.log = &lineWatch{pattern: pattern, found: make(chan struct{})}
		s.check = func(ctx context.Context) string {
			select {
			case <-s.log.found:
				return ""
			case <-ctx.Done():
				return fmt.Sprintf("no line of its output matches %q", ready.Log)
			}
		}
	case ready.Script != "" || len(ready.Argv) > 0:
		argv, err := r.argv(&plan.Step{Script: ready.Script, Argv: ready.Argv})
		if err != nil {
			return nil, fmt.Errorf("ready: %w", err)
		}
		s.check = func(ctx context.Context) string { return s.ask(ctx, argv) }
	default:
		s.check = func(context.Context) string { return "" }
	}
	return s, nil
}

func (r *run) answers(port int) bool { return r.Answers != nil && r.Answers(port) }

// serve runs the service until it ends, is stopped, or has not become ready in
// time.
func (s *service) serve(ctx context.Context, t Task) Result {
	if port := t.Node.Step.Service.Ready.Port; port != 0 && s.answers(port) {
		return Result{State: build.Failed, Reason: fmt.Sprintf("port %d is taken: something else answered there before the service was started", port)}
	}
	if s.log != nil {
		s.log.Output = t.Output
		t.Output = s.log
	}
	ctx, stop := context.WithCancelCause(ctx)
	defer stop(nil)
	started := make(chan struct{})
	t.Started = sync.OnceFunc(func() { close(started) })

	var watch sync.WaitGroup
	var ready bool
	var late error
	watching, unwatch := context.WithCancel(ctx)
	watch.Go(func() {
		select {
		case <-started:
		case <-watching.Done():
			return
		}
		lacks := s.await(watching)
		switch {
		case lacks == "":
			ready = true
			s.report(result{attempt: s.attempt, event: build.Event{Kind: build.NodeReady}})
		case watching.Err() == nil:
			late = fmt.Errorf("was not ready within %s: %s", plan.Duration(s.limit), lacks)
			stop(late)
		}
	})
	res := s.Executor.Execute(ctx, t)
	asked := ctx.Err() != nil
	unwatch()
	watch.Wait()

	switch {
	case late != nil:
		// How it ended says nothing: it was made to.
		res.State, res.Exit, res.Signal, res.Reason = build.Failed, nil, "", also(late.Error(), res.Reason)
	case res.Infra:
	case closed(t.Kill):
		res.State = build.Cancelled
	case asked:
		res.State = build.Success // it has done its duty, whatever it says
	case !closed(started):
	case ready:
		res.State, res.Reason = build.Failed, also("ended by itself", res.Reason)
	default:
		res.State, res.Reason = build.Failed, also("ended before it was ready", res.Reason)
	}
	return res
}

// await waits until the service is ready and returns "", or else what it lacks
// when its time is over or ctx is done.
func (s *service) await(ctx context.Context) (lacks string) {
	ctx, cancel := context.WithTimeout(ctx, s.limit)
	defer cancel()
	for pause := firstLook; ; pause = min(2*pause, lastLook) {
		// A look that was cut short says less than the one before.
		if said := s.check(ctx); lacks == "" || said == "" || ctx.Err() == nil {
			lacks = said
		}
		if lacks == "" {
			return ""
		}
		select {
		case <-time.After(pause):
		case <-ctx.Done():
			return lacks
		}
	}
}

// ask runs a command that exits with 0 when the service is ready. It runs
// where the service does, and what it writes is no part of the service's log.
func (s *service) ask(ctx context.Context, argv []string) (lacks string) {
	var said lastWords
	t := s.attempt.task
	t.Argv, t.TTY, t.Output, t.Started = argv, false, &said, nil
	t.Check, t.Timeout, t.Grace = true, checkTime, 0
	t.OutputDir = s.checks // its own, so that nobody takes its processes for the service's
	t.Env = set(slices.Clone(t.Env), "PIPER_OUTPUT", t.OutputDir)
	res := s.Executor.Execute(ctx, t)
	if res.State == build.Success {
		return ""
	}
	lacks = "its check "
	switch {
	case ctx.Err() != nil: // how it ended says nothing: it was made to
		lacks += "did not end"
	case res.State == build.TimedOut:
		lacks += res.Reason
	case res.Exit != nil:
		lacks = also(fmt.Sprintf("%sexited with %d", lacks, *res.Exit), res.Reason)
	case res.Signal != "":
		lacks = also(lacks+"ended by a signal: "+res.Signal, res.Reason)
	default:
		lacks += "could not run: " + res.Reason
	}
	if words := said.line(s.Mask); words != "" {
		lacks += ": " + words
	}
	return lacks
}

// also puts two reasons into one.
func also(a, b string) string {
	if a == "" || b == "" {
		return a + b
	}
	return a + "; " + b
}

// A lineWatch is an Output that looks for a line that matches. It hands on
// what it gets as it is.
type lineWatch struct {
	Output
	pattern *regexp.Regexp
	found   chan struct{} // closed when there was such a line
	done    bool          // it is
	line    []byte        // what there is of a line that has not ended, as far as it is looked at
}

func (w *lineWatch) Write(at time.Time, p []byte) error {
	if err := w.Output.Write(at, p); err != nil {
		return err
	}
	for !w.done && len(p) > 0 {
		part, rest, ended := bytes.Cut(p, []byte("\n"))
		p = rest
		w.line = append(w.line, part[:min(len(part), maxServiceLine-len(w.line))]...)
		if ended {
			w.look()
		}
	}
	return nil
}

// look holds a whole line against the pattern.
func (w *lineWatch) look() {
	if w.pattern.Match(bytes.TrimSuffix(w.line, []byte("\r"))) {
		w.done = true
		w.line = nil
		close(w.found)
	}
	w.line = w.line[:0]
}

// lastWords is an Output that keeps the end of what it gets.
type lastWords struct{ text []byte }

func (w *lastWords) Write(_ time.Time, p []byte) error {
	const most = 1 << 10
	w.text = append(w.text, p[max(0, len(p)-most):]...)
	if n := len(w.text) - most; n > 0 {
		w.text = w.text[:copy(w.text, w.text[n:])]
	}
	return nil
}

func (w *lastWords) Close() error { return nil }

// line is the last line that is not empty, or the end of it. It is masked as a
// whole: half a secret is nothing that mask would know.
func (w *lastWords) line(mask func(string) string) string {
	const most = 200
	text := strings.ToValidUTF8(string(w.text), "?")
	if mask != nil {
		text = mask(text)
	}
	text = strings.TrimSpace(text)
	text = strings.TrimSpace(text[strings.LastIndexByte(text, '\n')+1:])
	if n := len(text) - most; n > 0 {
		text = "…" + strings.ToValidUTF8(text[n:], "")
	}
	return text
}
