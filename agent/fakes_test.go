package agent

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"maps"
	"os"
	"slices"
	"sync"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/piper-build/piper/runtime"
	"github.com/piper-build/piper/runtime/build"
	"github.com/piper-build/piper/runtime/plan"
	"github.com/piper-build/piper/runtime/store"
)

// Sources and the plans of a world.
type sources struct{ w *world }

func (s sources) Resolve(_ context.Context, _ store.Project, ref string) (string, error) {
	s.w.mu.Lock()
	defer s.w.mu.Unlock()
	if s.w.accidents > 0 {
		s.w.accidents--
		return "", errors.New("the network is away")
	}
	if ref == "nowhere" {
		return "", fmt.Errorf("no ref %s: %w", ref, ErrRejected)
	}
	return s.w.head, nil
}
func (s sources) Branches(context.Context, store.Project) ([]string, error) {
	return []string{"main", "release/1", "release/2"}, nil
}
func (s sources) Catalog(_ context.Context, p store.Project, _ string) (c plan.Catalog, err error) {
	s.w.mu.Lock()
	defer s.w.mu.Unlock()
	c.Project.Name = p.Name
	on := s.w.on
	if p.Name != "shop" {
		on = s.w.elsewhere
	}
	for _, name := range slices.Sorted(maps.Keys(on)) {
		c.Pipelines = append(c.Pipelines, plan.Pipeline{Name: name, On: on[name]})
	}
	return c, nil
}

// children are the builds that a build led to, by project and pipeline.
func (w *world) children(id build.ID) map[string]store.Build {
	w.t.Helper()
	page, _, err := w.List(context.Background(), store.Filter{Parent: id}, "", 100)
	require.NoError(w.t, err)
	found := map[string]store.Build{}
	for _, b := range page {
		found[b.Request.Project+" "+b.Request.Pipeline] = b
	}
	require.Len(w.t, found, len(page), "there are two of one")
	return found
}
func (s sources) Checkout(_ context.Context, _ store.Project, _ store.Request, commit, dir string) (Tree, error) {
	return Tree{Dir: dir, Commit: commit}, os.Mkdir(dir, 0o700)
}

func (w *world) plan(_ context.Context, _ Tree, b store.Build) (*plan.Plan, Expander, error) {
	p, ok := w.plans[b.Request.Pipeline]
	if !ok {
		return nil, nil, plan.Diagnostics{{Severity: "error", Message: "there is no pipeline " + b.Request.Pipeline}}
	}
	return p, nil, nil
}

// A runner runs the plan with the real engine, in this process, and steps that do
// nothing but take time.
type runner struct{ host *host }

var errCut = errors.New("the runner died")

func (r runner) Run(ctx context.Context, j Job, h Handler) error {
	h = oneByOne{h, make(turn, 1)}
	ctx, end := context.WithCancelCause(ctx)
	defer end(nil)
	cut := r.host.cutting()
	cancels := make(chan runtime.Cancel, 4)
	over := make(chan struct{})
	var listening sync.WaitGroup
	defer listening.Wait()
	defer close(over)
	listening.Go(func() {
		for {
			select {
			case c := <-j.Cancels:
				cancels <- c
				continue
			case <-ctx.Done():
			case <-cut:
			case <-over:
				return
			}
			cancels <- runtime.Cancel{Force: true}
			return
		}
	})
	gone := func() error {
		select {
		case <-cut:
			return errCut
		default:
			return context.Cause(ctx)
		}
	}
	var secrets sync.Map
	hold := func(given map[string]string) {
		for name, value := range given {
			secrets.Store(name, value)
		}
	}
	hold(j.Secrets)
	e := runtime.Engine{
		Executor: executor{r.host, j},
		Recorder: recorder(func(ev build.Event) error {
			err := cmp.Or(gone(), h.Event(ev))
			if err != nil {
				end(err) // and not as nobody asks any more
			}
			return err
		}),
		Workspace: j.Tree.Dir, Temp: j.Tree.Dir, Parallel: 2, ID: j.Build.ID, Cancels: cancels,
		Output: func(n *plan.Node, attempt int) (runtime.Output, error) { return output2{h, n.Name, attempt}, nil },
		Trigger: func(ctx context.Context, n *plan.Node, params map[string]string, made func(build.ID)) (build.State, error) {
			asked, withdraw := context.WithCancelCause(context.WithoutCancel(ctx))
			defer withdraw(nil)
			defer context.AfterFunc(ctx, func() { withdraw(cmp.Or(gone(), runtime.ErrWithdrawn)) })()
			return h.Trigger(asked, n.Name, params, made)
		},
		Secret: func(name string) (string, error) {
			if value, ok := secrets.Load(name); ok {
				return value.(string), nil
			}
			return "", fmt.Errorf("secret %s was not given", name)
		},
		Intend:  func(ctx context.Context, n *plan.Node) error { return h.Intend(ctx, n.Name) },
		Approve: func(ctx context.Context, n *plan.Node) (runtime.Approval, error) { return h.Approve(ctx, n.Name) },
		Expand: func(ctx context.Context, n *plan.Node, outputs map[string]string) (plan.Expansion, error) {
			found, given, err := h.Expand(ctx, n.Name, outputs)
			hold(given)
			return found, err
		},
	}
	return e.Run(context.Background(), build.New(j.Plan))
}

// oneByOne is a Handler that is told one thing at a time.
type oneByOne struct {
	Handler
	turn turn
}

func (o oneByOne) Event(ev build.Event) error {
	o.turn.Lock()
	defer o.turn.Unlock()
	return o.Handler.Event(ev)
}

func (o oneByOne) Output(node string, attempt int, at time.Time, p []byte) error {
	o.turn.Lock()
	defer o.turn.Unlock()
	return o.Handler.Output(node, attempt, at, p)
}

type recorder func(build.Event) error

func (r recorder) Record(events []build.Event) error {
	for _, ev := range events {
		if err := r(ev); err != nil {
			return err
		}
	}
	return nil
}

type output2 struct {
	h       Handler
	node    string
	attempt int
}

func (o output2) Write(at time.Time, p []byte) error { return o.h.Output(o.node, o.attempt, at, p) }
func (o output2) Close() error                       { return nil }

type executor struct {
	host *host
	job  Job
}

func (e executor) Execute(ctx context.Context, t runtime.Task) runtime.Result {
	w := e.host.w
	p := &process{agent: e.host.name, build: e.job.Build.ID, fence: e.job.Build.Fence, node: t.Node.Name, started: time.Now()}
	w.mu.Lock()
	w.processes = append(w.processes, p)
	w.mu.Unlock()
	defer func() {
		w.mu.Lock()
		p.ended = time.Now()
		w.mu.Unlock()
	}()
	r := runtime.Result{State: build.Success, Started: time.Now()}
	timer := time.NewTimer(w.takes(p.build, p.node))
	defer timer.Stop()
	if err := t.Output.Write(now(), []byte(p.node+" runs\n")); err != nil {
		return runtime.Result{State: build.Failed, Infra: true, Reason: err.Error()}
	}
	select {
	case <-timer.C:
		if w.ends != nil {
			r.State = w.ends(p.build, p.node)
		}
	case <-ctx.Done():
		r.State = build.Cancelled
	case <-t.Kill:
		r.State = build.Cancelled
	}
	r.Ended = time.Now()
	return r
}
