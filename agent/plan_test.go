package agent

import (
	"context"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/piper-build/piper/runtime/build"
	"github.com/piper-build/piper/runtime/plan"
	"github.com/piper-build/piper/runtime/store"
)

func TestRequires(t *testing.T) {
	linux := plan.Requirement{Op: "eq", Key: "os", Values: []string{"linux"}}
	either := plan.Requirement{Op: "any_of", Of: []plan.Requirement{linux, {Op: "has", Key: "tools.podman"}}}
	of := func(all ...plan.Requirement) func(*plan.Node) {
		return func(n *plan.Node) { n.Step.Requires = all }
	}
	p := pipeline("x", step("a", of(linux, either)), step("b", of(either)), approve("c"))
	p.Environments = []plan.Environment{{Name: "e", Kind: "host", Requires: []plan.Requirement{linux}}}
	require.Equal(t, []plan.Requirement{linux, either}, requires(p))
}

// A build that is taken over is built by the plan that it has; what its expands
// need is evaluated anew, and has to come out the same.
func TestAPlanIsMadeOnce(t *testing.T) {
	grow := func() *plan.Plan {
		return pipeline("grow", step("find"), plan.Node{Name: "more", Needs: []string{"find"}, More: &plan.More{Expand: &plan.Expand{After: "find"}}})
	}
	bubble(t, func(t *testing.T, w *world) {
		w.takes = func(build.ID, string) time.Duration { return 20 * time.Second }
		planned := map[build.ID]int{}
		differs := false
		h := w.host("one", func(a *Agent) {
			plans := a.Plan
			a.Plan = func(ctx context.Context, tree Tree, b store.Build) (*plan.Plan, Expander, error) {
				planned[b.ID]++
				p, _, err := plans(ctx, tree, b)
				if differs {
					other := *p
					other.Priority++
					p = &other
				}
				return p, func(context.Context, string, map[string]string) (plan.Expansion, error) {
					return plan.Expansion{Nodes: []plan.Node{step("found")}}, nil
				}, err
			}
		})
		h.start()
		again := func(name string) store.Build {
			b := w.ask(name, store.Request{Pipeline: name})
			w.wait(10*time.Second, "it runs", func() bool { return len(w.ran(b.ID)) > 0 })
			h.kill()
			h.start()
			return w.ended(2*time.Minute, b.ID)
		}
		b := again("unit")
		require.Equal(t, build.Success, b.State)
		require.Equal(t, 1, planned[b.ID])
		b = again("grow")
		require.Equal(t, build.Success, b.State, b.Reason)
		require.Equal(t, 2, planned[b.ID])
		require.Equal(t, 3, b.Progress.Total)
		require.Equal(t, "found", w.ran(b.ID)[2].node)

		b = w.ask("other", store.Request{Pipeline: "grow"})
		w.wait(10*time.Second, "it runs", func() bool { return len(w.ran(b.ID)) > 0 })
		h.kill()
		differs = true
		h.start()
		b = w.ended(2*time.Minute, b.ID)
		require.Equal(t, build.Failed, b.State)
		require.Contains(t, b.Reason, "one has another plan for it")
	}, pipeline("unit", step("test")), grow())
}

// While a step waits for its retry and the rest for a person, the slot is free;
// the retry does not wait for one.
func TestARetryTakesItsSlotBack(t *testing.T) {
	bubble(t, func(t *testing.T, w *world) {
		failed := map[string]bool{}
		w.ends = func(_ build.ID, node string) build.State {
			if node == "flaky" && !failed[node] {
				failed[node] = true
				return build.Failed
			}
			return build.Success
		}
		w.host("one", nil).start()
		b := w.ask("x", store.Request{Pipeline: "gate"})
		w.wait(20*time.Second, "it has failed once", func() bool { r := w.ran(b.ID); return len(r) == 1 && !r[0].ended.IsZero() })
		time.Sleep(3 * time.Second)
		w.takes = func(build.ID, string) time.Duration { return 2 * time.Minute }
		other := w.ask("y", store.Request{Pipeline: "unit"})
		w.wait(20*time.Second, "the other one runs", func() bool { return len(w.ran(other.ID)) == 1 })
		w.wait(50*time.Second, "it is tried again", func() bool { return len(w.ran(b.ID)) == 2 })
		_, err := w.Change(t.Context(), b.ID, store.Approve{Node: "go", Approval: store.Approval{Approved: true, By: "ann", At: now()}})
		require.NoError(t, err)
		require.Equal(t, build.Success, w.ended(10*time.Minute, b.ID).State)
		require.Equal(t, build.Success, w.ended(10*time.Minute, other.ID).State)
	}, pipeline("unit", step("test")), pipeline("gate", approve("go"), step("flaky", func(n *plan.Node) {
		n.Step.Retry = &plan.Retry{Attempts: 3, Backoff: plan.Duration(30 * time.Second)}
	})))
}
