package agent

import (
	"context"
	"flag"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/piper-build/piper/runtime/build"
	"github.com/piper-build/piper/runtime/plan"
	"github.com/piper-build/piper/runtime/store"
	"github.com/piper-build/piper/runtime/store/fsck"
)

var (
	seeds      = flag.Int("simulation.seeds", 1000, "how many worlds the simulation makes")
	oneSeed    = flag.Uint64("simulation.seed", 0, "the one world to make; 0 makes as many as there are to be")
	withRecord = flag.Bool("simulation.record", false, "use the real record, with which a world is not quite the same again")
	faultFor   = faults{lost: 20, unanswered: 20, late: 15, doubled: 15, delay: 30 * time.Millisecond}
)

// A scenario is a world to be: what is asked for, and what goes wrong.
type scenario struct {
	seed    uint64
	faults  faults // on each link
	kills   int    // of agents, which are started again
	parts   int    // of links
	outages int    // of the store
	cancels int
	mutant  mutant
	record  bool // with the real one
}

// A mutant takes something out of the protocol.
type mutant struct {
	name    string
	cheat   func(now store.Build, c store.Change) store.Change
	renamed func(id build.ID) build.ID
}

// fields of work: what builds there are.
func pipelines() []*plan.Plan {
	deploy := pipeline("deploy", step("prepare"), step("deploy", needs("prepare"), once))
	deploy.Concurrency = "live"
	return []*plan.Plan{
		pipeline("unit", step("lint"), step("test")),
		deploy,
		pipeline("release", step("build"), trigger("unit", true, needs("build")), step("publish", needs("run-unit"))),
		pipeline("fire", step("build"), trigger("deploy", false, needs("build"))),
		pipeline("gate", approve("go"), step("ship", needs("go"))),
		pipeline("big", step("train", requireLabel("gpu"))),
		pipeline("notify", step("mail")),
	}
}

// play lets a scenario happen, and returns what was not as it must be.
func play(t *testing.T, s scenario) (wrong, told []string) {
	synctest.Test(t, func(t *testing.T) { wrong, told = played(t, s) })
	return wrong, told
}

func played(t *testing.T, s scenario) (wrong, told []string) {
	random := rand.New(rand.NewPCG(s.seed, 1))
	w := newWorld(t, pipelines()...)
	w.cheat, w.renamed = s.mutant.cheat, s.mutant.renamed
	w.on["notify"] = []plan.On{{Kind: "after", Pipeline: "deploy", State: "ended"}}
	w.takes = func(id build.ID, node string) time.Duration {
		return time.Duration(1 + dice(s.seed, id, node).Int64N(int64(20*time.Second)))
	}
	w.onEnd = func(before, after store.Build, c store.Change) {
		if _, ok := c.(store.Complete); !ok {
			return
		}
		for _, p := range w.ran(after.ID) {
			if p.fence == before.Fence && p.ended.IsZero() {
				w.breaks("I7: build %s has ended, and %s of it still runs", after.ID, p.node)
			}
		}
	}

	slots := map[string]int{}
	for i := range 2 + random.IntN(2) {
		name := fmt.Sprint("host", i)
		slots[name] = 1 + random.IntN(2)
		w.host(name, func(a *Agent) {
			a.Slots = slots[name]
			if i == 0 {
				a.Labels = map[string]string{"gpu": "yes"}
			}
			a.Timings.Drain = time.Minute
			a.Now = func() time.Time { // its clock is set each minute, and never right
				at := time.Now()
				off := dice(s.seed, build.ID(name), at.Truncate(time.Minute).String()).Int64N(int64(20 * time.Minute))
				return at.Add(time.Duration(off) - 10*time.Minute)
			}
			if !s.record {
				a.Record = func(b store.Build) (Record, error) { return newDiary(a.Store, b), nil }
			}
			a.Store.(*link).faults = s.faults
			a.Store.(*link).seed ^= s.seed
		}).start()
	}
	hosts := w.hosts

	// What happens, at moments of the first three minutes.
	var happening sync.WaitGroup
	later := func(most time.Duration, do func()) {
		at := time.Duration(1 + random.Int64N(int64(most)))
		happening.Go(func() {
			time.Sleep(at)
			do()
		})
	}
	var ids []build.ID
	names := []string{"unit", "deploy", "release", "fire", "gate", "big", "deploy"}
	for i := range 4 + random.IntN(5) {
		word, name := fmt.Sprint(i), names[random.IntN(len(names))]
		id := build.ID("build-" + word)
		ids = append(ids, id)
		later(2*time.Minute, func() { w.ask(word, store.Request{Pipeline: name, Priority: i % 2}) })
		if name == "gate" {
			later(4*time.Minute, func() {
				for {
					_, err := w.Change(context.Background(), id, store.Approve{Node: "go", Approval: store.Approval{Approved: i%3 > 0, By: "ann", At: now()}})
					if err == nil || refused(err) && !isMissing(err) {
						return
					}
					time.Sleep(time.Minute)
				}
			})
		}
	}
	for range s.cancels {
		id, force := ids[random.IntN(len(ids))], random.IntN(2) == 0
		later(3*time.Minute, func() {
			w.Change(context.Background(), id, store.RequestCancel{Cancel: store.Cancel{By: "bob", Reason: "no", Force: force}, At: now()})
		})
	}
	struck := make([]turn, len(hosts))
	for i := range struck {
		struck[i] = make(turn, 1)
	}
	for range s.kills {
		i := random.IntN(len(hosts))
		pause := time.Duration(random.Int64N(int64(90 * time.Second)))
		later(3*time.Minute, func() {
			struck[i].Lock()
			defer struck[i].Unlock()
			hosts[i].kill()
			time.Sleep(pause)
			hosts[i].start()
		})
	}
	for range s.parts {
		i, d := random.IntN(len(hosts)), time.Duration(random.Int64N(int64(100*time.Second)))
		later(3*time.Minute, func() {
			struck[i].Lock()
			defer struck[i].Unlock()
			hosts[i].link.part(d)
		})
	}
	for range s.outages {
		later(3*time.Minute, func() {
			for i, h := range hosts {
				struck[i].Lock()
				h.link.part(time.Minute)
				struck[i].Unlock()
			}
		})
	}
	happening.Wait()

	// Then all that is left comes to its end.
	all := func() []store.Build {
		page, _, err := w.List(context.Background(), store.Filter{}, "", 1000)
		require.NoError(t, err)
		return page
	}
	for end := time.Now().Add(2 * time.Hour); ; time.Sleep(time.Second) {
		open := slices.DeleteFunc(all(), func(b store.Build) bool { return b.Terminal() && len(b.Pending) == 0 })
		if len(open) == 0 {
			break
		}
		if time.Now().After(end) {
			for _, b := range open {
				w.breaks("I5: build %s (%s) is %s, with %v to be done, for %+v, groups %v", b.ID, b.Request.Pipeline, b.State, b.Pending, b.Cancel, b.Groups)
			}
			break
		}
	}
	time.Sleep(2 * time.Minute) // for what was late
	w.afterwards(s, all(), slots)
	for _, h := range hosts {
		if err := h.drain(); err != nil {
			w.breaks("agent: %v", err)
		}
	}
	for _, p := range w.processes {
		if p.ended.IsZero() {
			w.breaks("I7: %s of build %s outlives its agent", p.node, p.build)
		}
	}
	w.one.Lock()
	defer w.one.Unlock()
	return w.broken, w.witness.told
}

// A turn is a lock under which time goes by: a bubble takes a sync.Mutex for
// something that will be free in no time.
type turn chan struct{}

func (t turn) Lock()   { t <- struct{}{} }
func (t turn) Unlock() { <-t }

// afterwards holds what is left against the invariants.
func (w *world) afterwards(s scenario, all []store.Build, slots map[string]int) {
	children := map[build.ID][]store.Build{}
	for _, b := range all {
		children[b.Request.Cause.Build] = append(children[b.Request.Cause.Build], b)
	}
	for _, b := range all {
		if !b.Terminal() {
			continue
		}
		want := len(b.Outbox)
		if b.Request.Pipeline == "deploy" && b.Plan != "" && b.State != build.Rejected {
			want++ // notify
		}
		if got := len(children[b.ID]); got != want {
			w.breaks("I3: build %s (%s, %s) made %d builds, not %d", b.ID, b.Request.Pipeline, b.State, got, want)
		}
		if once := ranOnce(w.ran(b.ID)); once > 1 {
			w.breaks("once: deploy of build %s ran %d times", b.ID, once)
		}
		if b.State == build.Lost && s.kills == 0 && s.parts == 0 && s.faults == (faults{}) {
			w.breaks("build %s is lost: %s", b.ID, b.Reason)
		}
	}
	if s.kills == 0 && s.parts == 0 && s.outages == 0 && s.faults == (faults{}) && w.rescues > 0 {
		w.breaks("I16: %d rescues, and nothing was wrong", w.rescues)
	}
	_, err := fsck.Check(context.Background(), w.Memory, func(f fsck.Finding) { w.breaks("fsck: %s", f) })
	if err != nil {
		w.breaks("fsck: %v", err)
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, p := range w.processes {
		busy := map[string]map[build.ID]bool{}
		live := map[build.ID]bool{} // of one group, under a fence that counts
		for _, q := range w.processes {
			if q.started.After(p.started) || !q.ended.IsZero() && !q.ended.After(p.started) {
				continue
			}
			if busy[q.agent] == nil {
				busy[q.agent] = map[build.ID]bool{}
			}
			busy[q.agent][q.build] = true
			if q.node == "deploy" || q.node == "prepare" {
				live[q.build] = true
			}
		}
		if n := len(busy[p.agent]); n > slots[p.agent] {
			w.breaks("I7: %s ran %d builds in %d slots", p.agent, n, slots[p.agent])
		}
		if len(live) > 1 && s.parts == 0 && s.outages == 0 && s.faults == (faults{}) {
			w.breaks("groups: %v ran at once", live)
		}
	}
}

func ranOnce(all []process) (n int) {
	for _, p := range all {
		if p.node == "deploy" {
			n++
		}
	}
	return n
}

func isMissing(err error) bool { return strings.Contains(err.Error(), store.ErrNotFound.Error()) }

// scenarioOf is the scenario of a seed.
func scenarioOf(seed uint64) scenario {
	s := scenario{seed: seed}
	if seed%5 > 0 { // every fifth world has no faults
		r := rand.New(rand.NewPCG(seed, 2))
		s.faults = faultFor
		s.kills, s.parts, s.outages, s.cancels = r.IntN(4), r.IntN(3), r.IntN(2), r.IntN(4)
	}
	return s
}

func TestSimulation(t *testing.T) {
	first, last := uint64(1), uint64(*seeds)
	if testing.Short() {
		last = min(last, 15)
	}
	if *oneSeed > 0 {
		first, last = *oneSeed, *oneSeed
	}
	for seed := first; seed <= last; seed++ {
		t.Run(fmt.Sprint("seed ", seed), func(t *testing.T) {
			s := scenarioOf(seed)
			s.record = *withRecord
			wrong, told := play(t, s)
			if len(wrong) > 0 {
				t.Fatalf("%s\n\nagain: go test ./agent -run TestSimulation -simulation.seed %d\n\n%s", strings.Join(wrong, "\n"), seed, strings.Join(told, "\n"))
			}
		})
	}
}

func TestSimulationWithTheRealRecord(t *testing.T) {
	worlds := uint64(max(10, *seeds/10))
	if testing.Short() {
		worlds = 10
	}
	for seed := range worlds {
		s := scenarioOf(seed)
		s.record = true
		wrong, told := play(t, s)
		require.Empty(t, wrong, "seed %d:\n%s", seed, strings.Join(told, "\n"))
	}
}

// A seed is worth something only if it tells the same story again.
func TestAWorldIsTheSameAgain(t *testing.T) {
	for _, seed := range []uint64{1, 2, 3} {
		_, first := play(t, scenarioOf(seed))
		_, again := play(t, scenarioOf(seed))
		require.Equal(t, first, again)
	}
}
