package agent

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"hash/fnv"
	"maps"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/piper-build/piper/runtime"
	"github.com/piper-build/piper/runtime/build"
	"github.com/piper-build/piper/runtime/logs"
	"github.com/piper-build/piper/runtime/plan"
	"github.com/piper-build/piper/runtime/store"
)

// A world is what the agents of a test live in: a store that is watched, fakes of
// all that is not the agent, and a record of which processes ran when.
type world struct {
	t *testing.T
	*witness
	plans     map[string]*plan.Plan // by pipeline
	on        map[string][]plan.On  // by pipeline
	elsewhere map[string][]plan.On  // what the other projects register
	takes     func(b build.ID, node string) time.Duration
	ends      func(b build.ID, node string) build.State // nil is success

	hosts []*host

	mu        sync.Mutex
	processes []*process
	head      string // the newest commit
	accidents int    // that happen to the next ones who resolve a ref
}

// A process is one that a step started.
type process struct {
	agent          string
	build          build.ID
	fence          int64
	node           string
	started, ended time.Time // zero while it runs
}

func newWorld(t *testing.T, plans ...*plan.Plan) *world {
	w := &world{t: t, head: "c0ffee", witness: newWitness(), plans: map[string]*plan.Plan{}, on: map[string][]plan.On{}}
	w.takes = func(build.ID, string) time.Duration { return 3 * time.Second }
	for _, p := range plans {
		p.Format, p.Project.Name = plan.Format, "shop"
		require.Empty(t, plan.Validate(p, 0))
		w.plans[p.Pipeline] = p
	}
	_, err := w.PutProject(t.Context(), store.Project{Name: "shop", Repo: "https://example.com/shop.git"})
	require.NoError(t, err)
	return w
}

// step and its like make nodes.
func step(name string, change ...func(*plan.Node)) plan.Node {
	n := plan.Node{Name: name, Step: &plan.Step{Argv: []plan.Text{plan.Lit("true")}}}
	for _, c := range change {
		c(&n)
	}
	return n
}

func needs(names ...string) func(*plan.Node) { return func(n *plan.Node) { n.Needs = names } }
func once(n *plan.Node)                      { n.Step.Once = true }
func requireLabel(key string) func(*plan.Node) {
	return func(n *plan.Node) {
		n.Step.Requires = []plan.Requirement{{Op: "eq", Key: "labels." + key, Values: []string{"yes"}, Reason: "it is big"}}
	}
}

func trigger(pipeline string, wait bool, change ...func(*plan.Node)) plan.Node {
	n := plan.Node{Name: "run-" + pipeline, More: &plan.More{Trigger: &plan.Trigger{Pipeline: pipeline, Wait: wait}}}
	for _, c := range change {
		c(&n)
	}
	return n
}

func approve(name string, change ...func(*plan.Node)) plan.Node {
	n := plan.Node{Name: name, More: &plan.More{Approve: &plan.Approve{Prompt: "go?"}}}
	for _, c := range change {
		c(&n)
	}
	return n
}

func pipeline(name string, nodes ...plan.Node) *plan.Plan {
	return &plan.Plan{Pipeline: name, Nodes: nodes}
}

// ask makes a build, as the API does.
func (w *world) ask(word string, r store.Request) store.Build {
	w.t.Helper()
	r.Project = cmp.Or(r.Project, "shop")
	r.Ref = cmp.Or(r.Ref, "main")
	number, err := w.NextNumber(context.Background())
	require.NoError(w.t, err)
	b, err := w.Enqueue(context.Background(), store.NewBuild(build.ID("build-"+word), number, r, now()))
	require.NoError(w.t, err)
	return b
}

// see is a build as it stands.
func (w *world) see(id build.ID) store.Build {
	w.t.Helper()
	b, err := w.Build(context.Background(), id)
	require.NoError(w.t, err)
	return b
}

// wait lets time go by until ok, at most so long.
func (w *world) wait(most time.Duration, what string, ok func() bool) {
	w.t.Helper()
	for end := time.Now().Add(most); !ok(); time.Sleep(50 * time.Millisecond) {
		require.True(w.t, time.Now().Before(end), "%s within %s", what, most)
	}
}

// ended waits for the end of a build.
func (w *world) ended(most time.Duration, id build.ID) store.Build {
	w.t.Helper()
	w.wait(most, fmt.Sprintf("%s ends", id), func() bool { b := w.see(id); return b.Terminal() })
	return w.see(id)
}

// A host is a machine with one agent at a time.
type host struct {
	w    *world
	name string
	dir  string
	link *link // to the store
	stop context.CancelFunc
	done chan struct{}
	err  error
	cut  chan struct{} // closed when the agent is killed

	change func(*Agent)
	lives  int
}

// host makes a machine whose agent has yet to be started.
func (w *world) host(name string, change func(*Agent)) *host {
	h := &host{w: w, name: name, dir: filepath.Join(w.t.TempDir(), name), change: change}
	w.hosts = append(w.hosts, h)
	return h
}

// start starts the agent.
func (h *host) start() {
	h.lives++
	ctx, stop := context.WithCancel(context.Background())
	h.link = newLink(h.w.witness, uint64(h.lives))
	h.stop, h.done, h.cut = stop, make(chan struct{}), make(chan struct{})
	a := Agent{
		Store: h.link, Sources: sources{h.w}, Runner: runner{h, h.cut}, Dir: h.dir, Name: h.name, Host: h.name, Slots: 1,
		Plan: h.w.plan,
		Free: func(string) (uint64, uint64, error) { return 1 << 40, 1 << 40, nil },
		draw: draws(fmt.Sprint(h.name, h.lives)),
	}
	link := h.link
	a.Record = func(b store.Build) (Record, error) { return newRecord(link, b), nil }
	if h.change != nil {
		h.change(&a)
	}
	done := h.done
	go func() {
		defer close(done)
		err := a.Run(ctx)
		h.w.mu.Lock()
		h.err = err
		h.w.mu.Unlock()
	}()
}

// draws makes random numbers, of each kind the same ones for the same word.
func draws(word string) func(what string) uint64 {
	var mu sync.Mutex
	drawn := map[string]uint64{}
	return func(what string) uint64 {
		mu.Lock()
		defer mu.Unlock()
		drawn[what]++
		return dice(word, what, drawn[what]).Uint64()
	}
}

// dice are random in the way that the words say.
func dice(words ...any) *rand.Rand {
	h := fnv.New64a()
	fmt.Fprintln(h, words...)
	return rand.New(rand.NewPCG(h.Sum64(), 0))
}

// kill is kill -9: nothing that the agent does is seen any more, and its runners
// die with it.
func (h *host) kill() {
	close(h.cut)
	h.link.die()
	h.stop()
	<-h.done
}

// drain is SIGTERM.
func (h *host) drain() error {
	h.stop()
	<-h.done
	h.w.mu.Lock()
	defer h.w.mu.Unlock()
	return h.err
}

// over ends all agents, if need be the hard way.
func (w *world) over() {
	for _, h := range w.hosts {
		if h.done == nil {
			continue
		}
		h.stop()
		select {
		case <-h.done:
		case <-time.After(time.Hour):
			h.kill()
		}
	}
}

// Sources, the plan and the record of a world.
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

// A record writes in its own time and in order, as the real one does.
type record struct {
	store store.Store
	build build.ID
	fence int64
	todo  chan func() error
	done  chan struct{}
	err   error
}

func newRecord(s store.Store, b store.Build) *record {
	r := &record{store: s, build: b.ID, fence: b.Fence, todo: make(chan func() error, 1000), done: make(chan struct{})}
	go func() {
		defer close(r.done)
		for do := range r.todo {
			r.err = errors.Join(r.err, store.Insist(context.Background(), do))
		}
	}()
	return r
}

func (r *record) Record(events []build.Event) error {
	r.todo <- func() error {
		return r.store.AppendEvents(context.Background(), store.EventKey{Build: r.build, Fence: r.fence, Seq: events[0].Seq}, events)
	}
	return nil
}

func (r *record) Open(node string, attempt int) (logs.Writer, error) {
	return &writer{r, store.Chunk{Key: store.ChunkKey{Build: r.build, Fence: r.fence, Node: node, Attempt: attempt}}}, nil
}

func (r *record) Flush(ctx context.Context) error {
	all := make(chan error, 1)
	r.todo <- func() error { all <- r.err; return nil }
	select {
	case err := <-all:
		return err
	case <-ctx.Done():
		return ctx.Err()
	}
}

func (r *record) Close() error {
	close(r.todo)
	<-r.done
	return r.err
}

type writer struct {
	r    *record
	next store.Chunk
}

func (w *writer) Write(at time.Time, p []byte) error {
	c := w.next
	c.Data, c.Lines, c.Times = p, 1, []store.Stamp{{At: at}}
	w.r.todo <- func() error { return w.r.store.AppendChunks(context.Background(), []store.Chunk{c}) }
	w.next.Key.Seq++
	w.next.Line++
	w.next.Offset += int64(len(p))
	return nil
}
func (w *writer) Close() error { return nil }

// A runner runs the plan with the real engine, in this process, and steps that do
// nothing but take time.
type runner struct {
	host *host
	cut  <-chan struct{}
}

var errCut = errors.New("the runner died")

func (r runner) Run(ctx context.Context, j Job, h Handler) error {
	h = oneByOne{h, make(turn, 1)}
	cancels := make(chan runtime.Cancel, 1)
	asked, ask := context.WithCancelCause(context.Background())
	over, end := context.WithCancel(context.Background())
	var listening sync.WaitGroup
	defer listening.Wait()
	defer end()
	var forced sync.Once
	force := func() { forced.Do(func() { cancels <- runtime.Cancel{Force: true} }) }
	listening.Go(func() {
		for {
			select {
			case c := <-j.Cancels:
				ask(errors.New(c.Reason))
				if c.Force {
					force()
				}
			case <-ctx.Done():
				force()
				return
			case <-r.cut:
				force()
				return
			case <-over.Done():
				return
			}
		}
	})
	gone := func() error {
		select {
		case <-r.cut:
			return errCut
		default:
			return ctx.Err()
		}
	}
	e := runtime.Engine{
		Executor:  executor{r.host, j, h},
		Recorder:  recorder(func(ev build.Event) error { return cmp.Or(gone(), h.Event(ev)) }),
		Workspace: j.Tree.Dir, Temp: j.Tree.Dir, Parallel: 2, ID: j.Build.ID, Cancels: cancels,
		Output: func(n *plan.Node, attempt int) (runtime.Output, error) { return output2{h, n.Name, attempt}, nil },
		Trigger: func(ctx context.Context, n *plan.Node, params map[string]string, made func(build.ID)) (build.State, error) {
			return h.Trigger(ctx, n.Name, params, made)
		},
		Approve: func(ctx context.Context, n *plan.Node) (runtime.Approval, error) { return h.Approve(ctx, n.Name) },
		Expand: func(ctx context.Context, n *plan.Node, outputs map[string]string) (plan.Expansion, error) {
			return h.Expand(ctx, n.Name, outputs)
		},
	}
	return e.Run(asked, build.New(j.Plan))
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
	h    Handler
}

func (e executor) Execute(ctx context.Context, t runtime.Task) runtime.Result {
	if t.Node.Step.Once {
		if err := e.h.Intend(ctx, t.Node.Name); err != nil {
			return runtime.Result{State: build.Failed, Reason: err.Error(), Final: true}
		}
	}
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

// ran are the processes of a build, in the order they started.
func (w *world) ran(id build.ID) (all []process) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, p := range w.processes {
		if p.build == id {
			all = append(all, *p)
		}
	}
	return all
}
