package runtime_test

import (
	"context"
	"fmt"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"github.com/piper-build/piper/runtime"
	"github.com/piper-build/piper/runtime/build"
	"github.com/piper-build/piper/runtime/plan"
)

// TestWhateverHappens runs small plans with services and expands in a world
// where anything may fail, end early, or be cancelled. Each build ends, nothing
// of it runs any more then, no step begins without the services that it lists,
// and what was recorded folds to what is.
func TestWhateverHappens(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		w := world{T: rt, fates: map[string]fate{}, finds: map[string]plan.Expansion{}}
		w.drawPlan()
		synctest.Test(t, func(*testing.T) { w.run(t) })
	})
}

// A world is a plan, and what becomes of its nodes. All of it is drawn before
// anything runs, as goroutines have no order.
type world struct {
	*rapid.T
	plan     plan.Plan
	services []string
	fates    map[string]fate
	finds    map[string]plan.Expansion
}

// A fate is what becomes of a node.
type fate struct {
	takes time.Duration // until it ends by itself
	ready time.Duration // until it is, for a service
	code  int           // that it exits with
}

// chance is true once in so many times.
func (w *world) chance(what string, of int) bool {
	return rapid.IntRange(1, of).Draw(w.T, what) == 1
}

func (w *world) pause(what string) time.Duration {
	return time.Duration(rapid.IntRange(0, 40).Draw(w.T, what)) * 100 * time.Millisecond
}

func (w *world) drawFate(n *plan.Node) {
	f := fate{takes: w.pause("takes"), ready: w.pause("ready"), code: rapid.IntRange(0, 4).Draw(w.T, "code") / 4}
	if n.IsService() && !w.chance("ends by itself", 3) {
		f.takes = time.Hour
	}
	w.fates[n.Name] = f
}

func (w *world) drawStep(name string) plan.Node {
	n := plan.Node{Name: name, Step: &plan.Step{Script: "x"}}
	for _, s := range w.services {
		if w.chance("lists "+s, 2) {
			n.Step.Services = append(n.Step.Services, s)
		}
	}
	if w.chance("always", 5) {
		n.Own().RunOn = plan.Always
	}
	if w.chance("retry", 4) {
		n.Step.Retry = &plan.Retry{Attempts: 2, Backoff: plan.Duration(time.Second)}
	}
	w.drawFate(&n)
	return n
}

func (w *world) drawPlan() {
	w.plan = plan.Plan{Format: plan.Format, Project: plan.Project{Name: "shop"}, Pipeline: "build"}
	for i := range rapid.IntRange(0, 2).Draw(w.T, "services") {
		n := plan.Node{Name: fmt.Sprintf("db%d", i), Step: &plan.Step{Script: "x", Service: &plan.Service{
			Ready: plan.Ready{Port: i + 1}, ReadyTimeout: plan.Duration(3 * time.Second)}}}
		w.drawFate(&n)
		w.services = append(w.services, n.Name)
		w.plan.Nodes = append(w.plan.Nodes, n)
	}
	for i := range rapid.IntRange(1, 5).Draw(w.T, "steps") {
		n := w.drawStep(fmt.Sprintf("s%d", i))
		if i > 0 && w.chance("needs", 2) {
			n.Needs = []string{fmt.Sprintf("s%d", rapid.IntRange(0, i-1).Draw(w.T, "needed"))}
		}
		w.plan.Nodes = append(w.plan.Nodes, n)
		if w.chance("expand", 3) {
			w.plan.Nodes = append(w.plan.Nodes, w.drawExpand(n.Name))
		}
	}
	if w.chance("time-out", 4) {
		w.plan.Timeout = plan.Duration(5 * time.Second)
	}
}

func (w *world) drawExpand(after string) plan.Node {
	n := plan.Node{Name: after + "/expand", Needs: []string{after}, More: &plan.More{Expand: &plan.Expand{After: after, Services: w.services}}}
	w.drawFate(&n)
	var x plan.Expansion
	for i := range rapid.IntRange(0, 3).Draw(w.T, "found") {
		x.Nodes = append(x.Nodes, w.drawStep(fmt.Sprintf("%s/%d", n.Name, i)))
	}
	if w.chance("broken", 6) {
		x.Nodes = append(x.Nodes, plan.Node{Name: "s0", Step: &plan.Step{Script: "x"}})
	}
	w.finds[n.Name] = x
	return n
}

// run runs the plan, and looks whether all is well.
func (w *world) run(t *testing.T) {
	x := &scripted{}
	set := func(do func()) {
		x.mu.Lock()
		defer x.mu.Unlock()
		do()
	}
	running, ready, ended := 0, map[string]bool{}, map[string]time.Time{} // the services that are, and when others have
	x.run = func(ctx context.Context, task runtime.Task) runtime.Result {
		name := task.Node.Name
		set(func() { running++ })
		defer set(func() { running--; delete(ready, name); ended[name] = time.Now() })
		if task.Node.IsService() {
			task.Started()
			defer time.AfterFunc(w.fates[name].ready, func() { set(func() { ready[name] = true }) }).Stop()
		}
		set(func() {
			for _, s := range task.Node.Step.Services {
				// What happens in the same moment has no order.
				if task.Attempt == 1 && !ready[s] && !ended[s].Equal(time.Now()) {
					w.Errorf("%s began without %s", name, s)
				}
			}
		})
		select {
		case <-time.After(w.fates[name].takes):
			return exit(w.fates[name].code)
		case <-ctx.Done():
		case <-task.Kill:
		}
		return runtime.Result{State: build.Cancelled}
	}

	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	if w.chance("cancel", 3) {
		defer time.AfterFunc(w.pause("cancelled after"), cancel).Stop()
	}
	cancels := make(chan runtime.Cancel, 1)
	if w.chance("kill", 4) {
		defer time.AfterFunc(w.pause("killed after"), func() { cancels <- runtime.Cancel{Force: true} }).Stop()
	}
	began := time.Now()
	o := play(ctx, t, &w.plan, x, func(e *runtime.Engine) {
		e.Parallel, e.Cancels = rapid.IntRange(1, 3).Draw(w.T, "parallel"), cancels
		e.Answers = func(port int) (up bool) {
			set(func() { up = ready[fmt.Sprintf("db%d", port-1)] })
			return up
		}
		e.Expand = func(ctx context.Context, node *plan.Node, _ map[string]string) (plan.Expansion, error) {
			select {
			case <-time.After(w.fates[node.Name].takes):
				return w.finds[node.Name], nil
			case <-ctx.Done():
				return plan.Expansion{}, context.Cause(ctx)
			}
		}
	})
	require.NoError(w, o.err)
	require.Zero(w, running)
	require.Less(w, time.Since(began), 10*time.Minute, "no service is waited for that nobody needs")
	for name, state := range o.states() {
		require.NotContains(w, []build.State{build.Waiting, build.Running}, state, name)
	}
}
