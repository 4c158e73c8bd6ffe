package agent

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"runtime/debug"
	"sync"
	"time"

	"github.com/piper-build/piper/runtime"
	"github.com/piper-build/piper/runtime/build"
	"github.com/piper-build/piper/runtime/logs"
	"github.com/piper-build/piper/runtime/plan"
	"github.com/piper-build/piper/runtime/store"
)

// A handler is what the runner of a build talks to.
type handler struct {
	*run
	expand Expander
	record Record
	told   build.Progress // to the store; the reporting goroutine's alone

	writers map[output]logs.Writer // nil once the attempt has ended; Event's and Output's, who come one at a time
	failure error                  // that kept something from being recorded; theirs, too

	state sync.Mutex // guards what follows
	fold  *build.Build
	waits int // nodes that do nothing but wait
}

// An output is what one attempt of a node writes.
type output struct {
	node    string
	attempt int
}

func newHandler(r *run, p *plan.Plan, expand Expander, record Record) *handler {
	return &handler{run: r, expand: expand, record: record, fold: build.New(p), writers: map[output]logs.Writer{}}
}

// guard ends a call of the runner: a panic becomes its error.
func (h *handler) guard(err *error) {
	if p := recover(); p != nil {
		h.log.Error("agent is broken", "panic", p, "stack", string(debug.Stack()))
		*err = fmt.Errorf("the agent is broken: %v", p)
	}
}

// noted remembers what kept something from being recorded.
func (h *handler) noted(err error) error {
	if err == nil {
		return nil
	}
	if errors.Is(err, store.ErrFenced) {
		h.kill(errLost)
	}
	h.failure = errors.Join(h.failure, err)
	return err
}

// Event implements Handler.
func (h *handler) Event(ev build.Event) (err error) {
	defer h.guard(&err)
	if err := h.apply(ev); err != nil {
		return h.noted(fmt.Errorf("event %d of its runner: %w", ev.Seq, err))
	}
	if ev.Kind == build.AttemptEnded {
		key := output{ev.Node, ev.Attempt}
		if w := h.writers[key]; w != nil {
			err = h.noted(w.Close())
		}
		h.writers[key] = nil
	}
	return errors.Join(err, h.noted(h.record.Record([]build.Event{ev})))
}

// apply folds ev into what is known of the build.
func (h *handler) apply(ev build.Event) error {
	h.state.Lock()
	defer h.state.Unlock()
	if err := h.fold.Apply(ev); err != nil {
		return err
	}
	if ev.Kind != build.AttemptStarted {
		return nil
	}
	i, _ := h.fold.Lookup(ev.Node)
	if n := &h.fold.Plan().Nodes[i]; n.Approve() == nil && n.Trigger() == nil {
		h.seizeSlot() // it had none if only nodes that wait were left, and this one waited for its retry
	}
	return nil
}

// Output implements Handler.
func (h *handler) Output(node string, attempt int, at time.Time, p []byte) (err error) {
	defer h.guard(&err)
	key := output{node, attempt}
	w, known := h.writers[key]
	if !known {
		if w, err = h.record.Open(node, attempt); err != nil {
			return h.noted(fmt.Errorf("open the log of %s: %w", node, err))
		}
		w = h.Live.Writer(store.ChunkKey{Build: h.of, Fence: h.fence(), Node: node, Attempt: attempt}, w)
		h.writers[key] = w
	}
	if w == nil {
		return h.noted(fmt.Errorf("%s wrote something after attempt %d had ended", node, attempt))
	}
	return h.noted(w.Write(at, p))
}

// close ends what the runner left open.
func (h *handler) close() {
	for key, w := range h.writers {
		if w != nil {
			h.noted(w.Close())
			h.writers[key] = nil
		}
	}
}

// outcome is how the build stands.
func (h *handler) outcome() (build.State, string, build.Progress) {
	h.state.Lock()
	defer h.state.Unlock()
	return h.fold.State(), h.fold.Reason(), h.fold.Progress()
}

// report tells the store how far the build got, and gives the slot back while the
// build only waits.
func (h *handler) report(ctx context.Context) {
	h.state.Lock()
	progress, waits := h.fold.Progress(), h.waits
	if waits > 0 && progress.Running == waits {
		h.giveSlot()
	}
	h.state.Unlock()
	if progress == h.told {
		return
	}
	switch _, err := h.Store.Change(ctx, h.of, store.Report{Agent: h.id, Fence: h.fence(), Progress: progress}); {
	case err == nil:
		h.told = progress
	case errors.Is(err, store.ErrFenced):
		h.kill(errLost)
	}
}

// wait has a node wait for something that is none of this agent's work. The build
// has a slot again when it returns nil.
func (h *handler) wait(ctx context.Context, id build.ID, enough func(store.Build) bool) (store.Build, error) {
	count := func(n int) {
		h.state.Lock()
		defer h.state.Unlock()
		h.waits += n
	}
	count(1)
	defer count(-1)
	if id != h.of {
		watching, stop := context.WithCancel(ctx)
		defer stop()
		go h.attend(watching, id)
	}
	b, err := h.until(ctx, id, h.Timings.Report/4, enough)
	if err == nil {
		err = h.takeSlot(ctx)
	}
	return b, err
}

// Approve implements Handler. Only a person ends it, or that ctx is done.
func (h *handler) Approve(ctx context.Context, node string) (answer runtime.Approval, err error) {
	defer h.guard(&err)
	h.log.Info("build waits for approval", "node", node)
	b, err := h.wait(ctx, h.of, func(b store.Build) bool { _, ok := b.Approvals[node]; return ok })
	if err != nil {
		return answer, err
	}
	said := b.Approvals[node]
	return runtime.Approval{Approved: said.Approved, By: said.By, Reason: said.Reason}, nil
}

// Intend implements Handler. It is T5.
func (h *handler) Intend(ctx context.Context, node string) (err error) {
	defer h.guard(&err)
	_, err = h.change(ctx, store.Intend{Agent: h.id, Fence: h.fence(), Node: node})
	return err
}

// Expand implements Handler.
func (h *handler) Expand(ctx context.Context, node string, outputs map[string]string) (found plan.Expansion, secrets map[string]string, err error) {
	defer h.guard(&err)
	if h.expand == nil {
		return found, nil, fmt.Errorf("its plan has nothing that expands %s", node)
	}
	if found, err = h.expand(ctx, node, outputs); err != nil {
		return found, nil, err
	}
	secrets, err = h.secrets(ctx, found.Secrets())
	return found, secrets, err
}

// Trigger implements Handler. It is T4b and T12: what is to be made is part of the
// build before it is made.
func (h *handler) Trigger(ctx context.Context, node string, params map[string]string, made func(build.ID)) (end build.State, err error) {
	defer h.guard(&err)
	h.state.Lock()
	i, known := h.fold.Lookup(node)
	p := h.fold.Plan()
	h.state.Unlock()
	if !known || p.Nodes[i].Trigger() == nil {
		return "", fmt.Errorf("its plan has no trigger %q", node)
	}
	b := h.now()
	r := triggered(&b, node, p.Nodes[i].Trigger(), params)
	var loop string
	err = persist(ctx, func() (err error) { loop, err = h.endless(ctx, b, p.Pipeline, r); return err })
	if loop != "" {
		err = errors.New(loop)
	}
	if err != nil {
		return "", err
	}
	b, err = h.change(ctx, store.Fire{Agent: h.id, Fence: h.fence(), Node: node,
		Outgoing: store.Outgoing{Child: store.Derive("trigger", string(h.of), node), Request: r, Wait: p.Nodes[i].Trigger().Wait}})
	if err != nil {
		return "", fmt.Errorf("trigger %s: %w", r.Pipeline, err)
	}
	out := b.Outbox[node] // of an attempt before, perhaps: that is what counts
	chore := store.Chore{Verb: store.EnqueueChild, Target: node}
	err = persist(ctx, func() error { return h.do(ctx, b, chore) })
	if err != nil {
		return "", fmt.Errorf("trigger %s: %w", r.Pipeline, err)
	}
	made(out.Child)
	if !out.Wait {
		return build.Success, nil
	}
	child, err := h.wait(ctx, out.Child, func(b store.Build) bool { return b.Terminal() })
	if err != nil {
		if errors.Is(context.Cause(ctx), runtime.ErrWithdrawn) {
			h.cancelChild(h.ctx, out.Child, h.of)
		}
		return "", err
	}
	return child.State, nil
}

// triggered is what a trigger node of b asks for.
func triggered(b *store.Build, node string, t *plan.Trigger, params map[string]string) store.Request {
	r := store.Request{Project: t.Project, Pipeline: t.Pipeline, Params: maps.Clone(params), Ref: t.Ref, Priority: b.Request.Priority,
		Event: plan.Event{Kind: "manual", Time: b.Started},
		Cause: store.Cause{Kind: "trigger", Build: b.ID, Number: b.Number, Node: node, By: b.Request.Cause.By, Trust: b.Request.Cause.Trust}}
	if r.Project == "" {
		r.Project = b.Request.Project
	}
	if r.Project == b.Request.Project && r.Ref == "" {
		here := b.Request.Event
		r.Ref, r.Commit, r.Patch = b.Request.Ref, b.Commit, b.Request.Patch
		r.Event.Branch, r.Event.Tag, r.Event.Commit, r.Event.Author = here.Branch, here.Tag, b.Commit, here.Author
	}
	return r
}

// endless says that pipelines start each other without end: r, which b asks for,
// would run one again that led to it. "" says that it would not. pipeline is that
// of b.
func (l *life) endless(ctx context.Context, b store.Build, pipeline string, r store.Request) (string, error) {
	chain, err := l.causes(ctx, b)
	if err != nil {
		return "", err
	}
	path := r.Pipeline
	for i, up := range append([]store.Build{b}, chain...) {
		name := up.Request.Pipeline
		if i == 0 {
			name = pipeline
		}
		path = name + " → " + path
		if up.Request.Project == r.Project && name == r.Pipeline || i == furthest {
			return "pipelines start each other without end: " + path, nil
		}
	}
	return "", nil
}
