package runtime_test

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/piper-build/piper/runtime"
	"github.com/piper-build/piper/runtime/build"
	"github.com/piper-build/piper/runtime/plan"
)

// finding is a plan of a step "list", an expand that comes after it, and a step
// "last" that needs the expand.
func finding() *plan.Plan {
	p := steps("list", "list/expand", "last")
	p.Nodes[1].Step, p.Nodes[1].Own().Expand = nil, &plan.Expand{After: "list"}
	return p
}

// found is an expansion of steps, each after the one before.
func found(names ...string) plan.Expansion { return plan.Expansion{Nodes: steps(names...).Nodes} }

type expander func(ctx context.Context, node *plan.Node, outputs map[string]string) (plan.Expansion, error)

func TestExpand(t *testing.T) {
	var given map[string]string
	o := play(t.Context(), t, finding(), &scripted{run: func(_ context.Context, task runtime.Task) runtime.Result {
		if task.Node.Name == "list" {
			require.NoError(t, os.WriteFile(filepath.Join(task.OutputDir, "all"), []byte("x y"), 0o600))
		}
		return ok()
	}}, func(e *runtime.Engine) {
		e.Expand = func(_ context.Context, node *plan.Node, outputs map[string]string) (plan.Expansion, error) {
			given = outputs
			x := found(strings.Fields(outputs["all"])...)
			x.Environments = []plan.Environment{{Name: "late", Kind: "host", Env: plan.Env{{Name: "LATE", Value: plan.Lit("yes")}}}}
			x.Nodes[0].Step.Environment = "late"
			x.Nodes[1].Step.Env = plan.Env{{Name: "ALL", Value: plan.Text{Parts: []plan.Part{{Output: &plan.Output{Step: "list", Key: "all"}}}}}}
			return x, nil
		}
	})
	require.NoError(t, o.err)
	require.Equal(t, build.Success, o.State())
	require.Equal(t, map[string]string{"all": "x y"}, given)
	require.Equal(t, []string{"list", "x", "y", "last"}, o.names(), "what needs the expand waits for what it found")
	require.Contains(t, o.task("x").Env, "LATE=yes")
	require.Contains(t, o.task("y").Env, "ALL=x y")
	require.Len(t, o.Plan().Nodes, 5)
}

// What is found is run on as many slots as there are, not as many as were
// needed before.
func TestExpandFindsMoreThanThereWas(t *testing.T) {
	const many = 8
	var all sync.WaitGroup
	all.Add(many)
	o := play(t.Context(), t, finding(), &scripted{run: func(_ context.Context, task runtime.Task) runtime.Result {
		if strings.HasPrefix(task.Node.Name, "n") {
			all.Done()
			all.Wait()
		}
		return ok()
	}}, func(e *runtime.Engine) {
		e.Parallel = many
		e.Expand = func(context.Context, *plan.Node, map[string]string) (x plan.Expansion, err error) {
			for i := range many {
				x.Nodes = append(x.Nodes, plan.Node{Name: fmt.Sprintf("n%d", i), Step: &plan.Step{Script: "x"}})
			}
			return x, nil
		}
	})
	require.NoError(t, o.err)
	require.Equal(t, build.Success, o.State())
}

func TestExpandInExpand(t *testing.T) {
	o := play(t.Context(), t, finding(), &scripted{}, func(e *runtime.Engine) {
		e.Expand = func(_ context.Context, node *plan.Node, _ map[string]string) (plan.Expansion, error) {
			if node.Name == "list/expand" {
				x := found("x", "x/expand")
				x.Nodes[1].Step, x.Nodes[1].Own().Expand = nil, &plan.Expand{After: "x"}
				return x, nil
			}
			return found("y"), nil
		}
	})
	require.NoError(t, o.err)
	require.Equal(t, []string{"list", "x", "y", "last"}, o.names())
}

func TestExpandThatFails(t *testing.T) {
	cycle := found("x", "y")
	cycle.Nodes[0].Needs = []string{"y"}
	for name, c := range map[string]struct {
		expand expander
		reason string
		infra  bool
	}{
		"nobody": {nil, "there is nothing here that could run its function", false},
		"what the user wrote": {func(context.Context, *plan.Node, map[string]string) (plan.Expansion, error) {
			return plan.Expansion{}, plan.Diagnostics{{File: "PIPER.star", Line: 3, Column: 5, Severity: "error", Message: "no output \"all\""}}
		}, `no output "all"`, false},
		"the machine": {func(context.Context, *plan.Node, map[string]string) (plan.Expansion, error) {
			return plan.Expansion{}, errors.New("the evaluator went away")
		}, "the evaluator went away", true},
		"a cycle": {func(context.Context, *plan.Node, map[string]string) (plan.Expansion, error) { return cycle, nil }, "waits for itself", false},
		"a name that is taken": {func(context.Context, *plan.Node, map[string]string) (plan.Expansion, error) {
			return found("last"), nil
		}, `"last"`, false},
		"too much": {func(context.Context, *plan.Node, map[string]string) (plan.Expansion, error) {
			return found("1", "2", "3"), nil
		}, "5", false},
	} {
		t.Run(name, func(t *testing.T) {
			p := finding()
			before := p.Canonical()
			o := play(t.Context(), t, p, &scripted{}, func(e *runtime.Engine) { e.Expand, e.MaxNodes = c.expand, 5 })
			require.NoError(t, o.err)
			require.Equal(t, build.Failed, o.State())
			require.Equal(t, map[string]build.State{"list": build.Success, "list/expand": build.Failed, "last": build.Skipped}, o.states())
			require.Contains(t, o.Node(1).Reason, c.reason)
			require.Equal(t, c.infra, o.Node(1).Infra)
			require.Equal(t, before, o.Plan().Canonical(), "nothing else has changed")
		})
	}
}

func TestExpandFindsNothing(t *testing.T) {
	o := play(t.Context(), t, finding(), &scripted{}, func(e *runtime.Engine) {
		e.Expand = func(context.Context, *plan.Node, map[string]string) (plan.Expansion, error) {
			return plan.Expansion{}, nil
		}
	})
	require.NoError(t, o.err)
	require.Equal(t, []string{"list", "last"}, o.names())
}

func TestExpandCancelled(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	o := play(ctx, t, finding(), &scripted{}, func(e *runtime.Engine) {
		e.Expand = func(ctx context.Context, _ *plan.Node, _ map[string]string) (plan.Expansion, error) {
			cancel()
			<-ctx.Done()
			return plan.Expansion{}, context.Cause(ctx)
		}
	})
	require.NoError(t, o.err)
	require.Equal(t, build.Cancelled, o.State())
	require.Equal(t, build.Cancelled, o.Node(1).State)
}

// A service is kept for what an expand finds.
func TestExpandAndService(t *testing.T) {
	p := finding()
	p.Nodes[0].Step.Services = []string{"db"}
	p.Nodes[1].Expand().Services = []string{"db"}
	p.Nodes = append(p.Nodes, plan.Node{Name: "db", Step: &plan.Step{Script: "serve", Service: &plan.Service{}}})
	o := play(t.Context(), t, p, daemon(nil), func(e *runtime.Engine) {
		e.Expand = func(context.Context, *plan.Node, map[string]string) (plan.Expansion, error) {
			x := found("x")
			x.Nodes[0].Step.Services = []string{"db"}
			return x, nil
		}
	})
	require.NoError(t, o.err)
	require.Equal(t, build.Success, o.State())
	require.Equal(t, []string{"db", "list", "x", "last"}, o.names())
}
