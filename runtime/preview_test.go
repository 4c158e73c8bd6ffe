package runtime_test

import (
	"slices"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/piper-build/piper/runtime"
	"github.com/piper-build/piper/runtime/plan"
)

func TestPreview(t *testing.T) {
	token := plan.Text{Parts: []plan.Part{{Literal: "token "}, {Secret: "pw"}}}
	version := plan.Text{Parts: []plan.Part{{Literal: "v"}, {Output: &plan.Output{Step: "a", Key: "version"}}}}
	p := steps("a", "b", "c")
	p.Env = plan.Env{{Name: "LEVEL", Value: plan.Lit("plan")}}
	p.Nodes[1].Step = &plan.Step{Argv: []plan.Text{plan.Lit("tag"), version}, Dir: "sub",
		Env: plan.Env{{Name: "V", Value: version}, {Name: "AUTH", Value: token}}, PassEnv: []string{"CI"}}
	p.Nodes[2] = plan.Node{Name: "c", More: &plan.More{Approve: &plan.Approve{}}}
	e := &runtime.Engine{
		Lookup:    func(name string) (string, bool) { return "caller's", name == "PATH" || name == "CI" },
		Secret:    func(string) (string, error) { panic("no secret is asked for") },
		Plain:     func(script string) ([]string, bool) { return []string{"plain"}, script == "true | a" },
		Workspace: "/w",
	}
	b, err := e.Preview(p, "b")
	require.NoError(t, err)
	require.Equal(t, []string{"tag", "v<a.output version>"}, b.Argv)
	require.Equal(t, "/w", b.Workspace)
	require.Equal(t, "sub", b.Dir)
	require.Equal(t, []string{"PATH=caller's", "LEVEL=plan", "PIPER=1", "PIPER_PROJECT=shop", "PIPER_PIPELINE=build",
		"PIPER_BUILD=<id of the build>", "PIPER_VERSION=v1", "PIPER_COMMIT=", "PIPER_BRANCH=", "PIPER_WORKSPACE=/w",
		"CI=caller's", "V=v<a.output version>", "AUTH=token ***", "PIPER_STEP=b", "PIPER_ATTEMPT=1",
		"PIPER_OUTPUT=<directory of the attempt>"}, b.Env)

	// It is what would run, but for what is not known yet.
	a, err := e.Preview(p, "a")
	require.NoError(t, err)
	o := play(t.Context(), t, steps("a"), &scripted{}, func(run *runtime.Engine) { run.Plain, run.Lookup = e.Plain, e.Lookup })
	ran := o.task("a")
	require.Equal(t, ran.Argv, a.Argv)
	require.Equal(t, ran.Grace, a.Grace)
	known := func(env []string) []string {
		return slices.DeleteFunc(slices.Clone(env), func(kv string) bool {
			return slices.Contains([]string{"PIPER_OUTPUT=" + ran.OutputDir, "PIPER_OUTPUT=" + a.OutputDir, "PIPER_BUILD=", "PIPER_BUILD=<id of the build>", "LEVEL=plan"}, kv)
		})
	}
	require.Equal(t, known(ran.Env), known(a.Env))

	_, err = e.Preview(p, "c")
	require.EqualError(t, err, "preview c: it is no step, so it starts nothing")
	_, err = e.Preview(p, "d")
	require.EqualError(t, err, "preview d: the plan has no such node")
	p.Nodes[0].Step.Env = plan.Env{{Name: "NUL", Value: plan.Lit("a\x00")}}
	_, err = e.Preview(p, "a")
	require.EqualError(t, err, "preview a: env NUL: the value holds a NUL byte")
}
