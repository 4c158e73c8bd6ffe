package build

import (
	"fmt"
	"runtime"
	"testing"
	"time"

	"github.com/piper-build/piper/runtime/plan"
	"github.com/stretchr/testify/require"
)

func stepNode(i int, needs ...string) plan.Node {
	return plan.Node{Name: fmt.Sprintf("step/%06d", i), Needs: needs, Step: &plan.Step{Script: "true"}}
}

func serviceNode(i int) plan.Node {
	n := stepNode(i)
	n.Step.Service = &plan.Service{}
	return n
}

// shapes are plans of n nodes that an algorithm may stumble over.
var shapes = []struct {
	name string
	plan func(n int) *plan.Plan
}{
	{"independent", func(n int) *plan.Plan {
		p := &plan.Plan{}
		for i := range n {
			p.Nodes = append(p.Nodes, stepNode(i))
		}
		return p
	}},
	{"chain", func(n int) *plan.Plan {
		p := &plan.Plan{Nodes: []plan.Node{stepNode(0)}}
		for i := 1; i < n; i++ {
			p.Nodes = append(p.Nodes, stepNode(i, p.Nodes[i-1].Name))
		}
		return p
	}},
	{"fan-in", func(n int) *plan.Plan {
		p := &plan.Plan{}
		var all []string
		for i := range n - 1 {
			p.Nodes = append(p.Nodes, stepNode(i))
			all = append(all, p.Nodes[i].Name)
		}
		p.Nodes = append(p.Nodes, stepNode(n, all...))
		return p
	}},
	{"stages of 100 by groups", func(n int) *plan.Plan {
		p := &plan.Plan{}
		for i := range n {
			nd := stepNode(i)
			nd.Group = fmt.Sprintf("parallel#%d", i/100)
			if i%100 == 0 {
				p.Groups = append(p.Groups, plan.Group{Name: nd.Group})
			}
			if i >= 100 {
				nd.Needs = []string{fmt.Sprintf("parallel#%d", i/100-1)}
			}
			p.Nodes = append(p.Nodes, nd)
		}
		return p
	}},
	{"one group with a limit of 1", func(n int) *plan.Plan {
		p := &plan.Plan{Groups: []plan.Group{{Name: "g", Limit: 1}}}
		for i := range n {
			nd := stepNode(i)
			nd.Group = "g"
			p.Nodes = append(p.Nodes, nd)
		}
		return p
	}},
	{"many limited groups in a full one", func(n int) *plan.Plan {
		p := &plan.Plan{Groups: []plan.Group{{Name: "outer", Limit: 2}}}
		for i := range n {
			nd := stepNode(i)
			nd.Group = fmt.Sprintf("g%d", i/4)
			if i%4 == 0 {
				p.Groups = append(p.Groups, plan.Group{Name: nd.Group, Group: "outer", Limit: 1})
			}
			p.Nodes = append(p.Nodes, nd)
		}
		return p
	}},
	{"one concurrency key", func(n int) *plan.Plan {
		p := &plan.Plan{}
		for i := range n {
			nd := stepNode(i)
			nd.Step.Concurrency = "db"
			p.Nodes = append(p.Nodes, nd)
		}
		return p
	}},
	{"one service for all", func(n int) *plan.Plan {
		p := &plan.Plan{Nodes: []plan.Node{serviceNode(0)}}
		for i := 1; i < n; i++ {
			nd := stepNode(i)
			nd.Step.Services = []string{p.Nodes[0].Name}
			p.Nodes = append(p.Nodes, nd)
		}
		return p
	}},
	{"a service for each", func(n int) *plan.Plan {
		p := &plan.Plan{}
		for i := 0; i < n; i += 2 {
			nd := stepNode(i + 1)
			nd.Step.Services = []string{serviceNode(i).Name}
			p.Nodes = append(p.Nodes, serviceNode(i), nd)
		}
		return p
	}},
	{"approvals", func(n int) *plan.Plan {
		p := &plan.Plan{}
		for i := range n {
			nd := stepNode(i)
			nd.Step, nd.Own().Approve = nil, &plan.Approve{}
			p.Nodes = append(p.Nodes, nd)
		}
		return p
	}},
}

// BenchmarkRun schedules whole builds with four slots and nothing run. The
// time for each node must stay the same from one size to the next.
func BenchmarkRun(b *testing.B) {
	for _, shape := range shapes {
		for _, n := range []int{10_000, 100_000} {
			b.Run(fmt.Sprintf("%s/%d", shape.name, n), func(b *testing.B) {
				p := shape.plan(n)
				for b.Loop() {
					runAll(b, p, Success)
				}
				b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/float64(n), "ns/node")
			})
		}
	}
}

// BenchmarkFail lets the first node fail and skips what comes after it.
func BenchmarkFail(b *testing.B) {
	for _, n := range []int{10_000, 100_000} {
		b.Run(fmt.Sprint(n), func(b *testing.B) {
			p := shapes[1].plan(n)
			for b.Loop() {
				runAll(b, p, Failed)
			}
			b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/float64(n), "ns/node")
		})
	}
}

// BenchmarkMemory reports what the state of a build holds for each node once
// all have ended, apart from the plan.
func BenchmarkMemory(b *testing.B) {
	for _, shape := range shapes {
		b.Run(shape.name, func(b *testing.B) {
			const n = 100_000
			p := shape.plan(n)
			var kept *Build
			var size float64
			for b.Loop() {
				before := heapInUse()
				kept = runAll(b, p, Success)
				size = heapInUse() - before
			}
			runtime.KeepAlive(kept)
			b.ReportMetric(size/n, "B/node")
		})
	}
}

// BenchmarkGrow has expands that find a step each, one after the other. What
// one costs grows with the plan, as a plan that never changes is copied.
func BenchmarkGrow(b *testing.B) {
	for _, n := range []int{100, 1000, 10_000} {
		b.Run(fmt.Sprint(n), func(b *testing.B) {
			p := shapes[0].plan(n)
			var events []Event
			add := func(ev Event) {
				ev.Seq = int64(len(events) + 1)
				events = append(events, ev)
			}
			add(Event{Kind: BuildStarted})
			add(Event{Kind: AttemptStarted, Node: p.Nodes[0].Name, Attempt: 1})
			add(Event{Kind: AttemptEnded, Node: p.Nodes[0].Name, Attempt: 1, State: Success})
			const expands = 10
			for i := range expands {
				x := plan.Node{Name: fmt.Sprint("x", i), Needs: []string{p.Nodes[0].Name}, More: &plan.More{Expand: &plan.Expand{After: p.Nodes[0].Name}}}
				p.Nodes = append(p.Nodes, x)
				add(Event{Kind: AttemptStarted, Node: x.Name, Attempt: 1})
				add(Event{Kind: AttemptEnded, Node: x.Name, Attempt: 1, State: Success, Expansion: &plan.Expansion{Nodes: []plan.Node{stepNode(n + i)}}})
			}
			for b.Loop() {
				if _, err := Fold(p, events); err != nil {
					b.Fatal(err)
				}
			}
			b.ReportMetric(float64(b.Elapsed().Microseconds())/float64(b.N)/expands, "µs/expand")
		})
	}
}

func heapInUse() float64 {
	var m runtime.MemStats
	runtime.GC()
	runtime.GC()
	runtime.ReadMemStats(&m)
	return float64(m.HeapAlloc)
}

// runAll drives p to its end. Each attempt ends in the state given, the oldest
// first.
func runAll(t require.TestingT, p *plan.Plan, state State) *Build {
	b := New(p)
	now := time.UnixMilli(1).UTC()
	apply := func(ev Event) {
		ev.Seq, ev.Time = b.Seq()+1, now
		if err := b.Apply(ev); err != nil {
			require.NoError(t, err)
		}
	}
	apply(Event{Kind: BuildStarted})
	var running []int
	slots := 4
	for b.State() == Running {
		actions, _ := b.Next(now, slots)
		for _, a := range actions {
			switch a.Verb {
			case Start:
				n := &p.Nodes[a.Node]
				apply(Event{Kind: AttemptStarted, Node: n.Name, Attempt: 1})
				if n.IsService() {
					apply(Event{Kind: NodeReady, Node: n.Name})
					continue
				}
				running = append(running, a.Node)
				if n.Step != nil {
					slots--
				}
			case Stop:
				apply(Event{Kind: AttemptEnded, Node: p.Nodes[a.Node].Name, Attempt: 1, State: Cancelled})
			case Skip:
				apply(Event{Kind: NodeSkipped, Node: p.Nodes[a.Node].Name, State: a.State, Reason: a.Reason})
			case End:
				apply(Event{Kind: BuildEnded, State: a.State})
			}
		}
		if len(running) > 0 {
			n := &p.Nodes[running[0]]
			apply(Event{Kind: AttemptEnded, Node: n.Name, Attempt: 1, State: state})
			running = running[1:]
			if n.Step != nil {
				slots++
			}
		}
	}
	return b
}
