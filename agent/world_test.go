package agent

import (
	"cmp"
	"context"
	"fmt"
	"hash/fnv"
	"math/rand/v2"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/piper-build/piper/runtime/build"
	"github.com/piper-build/piper/runtime/plan"
	"github.com/piper-build/piper/runtime/record"
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

// now is a time as the store keeps it.
func now() time.Time { return time.Now().UTC().Truncate(time.Millisecond) }

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
	cut  chan struct{} // closed when its runners are killed; guarded by w.mu

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
	h.stop, h.done = stop, make(chan struct{})
	h.cutRunners()
	a := Agent{
		Store: h.link, Sources: sources{h.w}, Runner: runner{h}, Dir: h.dir, Name: h.name, Host: h.name, Slots: 1,
		Plan: h.w.plan,
		Free: func(string) (uint64, uint64, error) { return 1 << 40, 1 << 40, nil },
		draw: draws(fmt.Sprint(h.name, h.lives)),
	}
	link := h.link
	a.Record = func(b store.Build) (Record, error) { return record.Open(link, b.ID, b.Fence, record.Options{}), nil }
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

// draws makes random numbers, of each kind the same ones for the same word: all at one
// time are the same but those that are IDs.
func draws(word string) func(what string) uint64 {
	var mu sync.Mutex
	drawn := 0
	return func(what string) uint64 {
		if what != "id" {
			return dice(word, what, time.Now().UnixNano()).Uint64()
		}
		mu.Lock()
		defer mu.Unlock()
		drawn++
		return dice(word, what, drawn).Uint64()
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
	h.cutRunners()
	h.link.die()
	h.stop()
	<-h.done
}

// cutRunners is kill -9 of its runners alone.
func (h *host) cutRunners() {
	h.w.mu.Lock()
	defer h.w.mu.Unlock()
	if h.cut != nil {
		close(h.cut)
	}
	h.cut = make(chan struct{})
}

func (h *host) cutting() <-chan struct{} {
	h.w.mu.Lock()
	defer h.w.mu.Unlock()
	return h.cut
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
