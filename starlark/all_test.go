package starlark

import (
	"context"
	"errors"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/rogpeppe/go-internal/txtar"
	"github.com/stretchr/testify/require"

	"github.com/piper-build/piper/runtime/plan"
)

// TestAllIsEach: to plan all pipelines at once finds the same plans, and the same
// problems, as to plan each by itself. The files are those of TestChunks.
func TestAllIsEach(t *testing.T) {
	names, err := filepath.Glob("testdata/*.star")
	require.NoError(t, err)
	compared := 0
	for _, name := range names {
		data, err := os.ReadFile(name)
		require.NoError(t, err)
		for _, chunk := range strings.Split(string(data), "\n---\n") {
			source, _ := cutExpectation(chunk)
			r := request(t, source, &txtar.Archive{Files: []txtar.File{
				{Name: "PIPER.star", Data: []byte(source)},
				{Name: "VERSION", Data: []byte("1.2.3\n")},
			}})
			r.Pipeline, r.CatalogOnly = "", false
			catalog := r
			catalog.CatalogOnly = true
			listed, err := Evaluate(context.Background(), catalog)
			if err != nil || len(listed.Catalog.Pipelines) == 0 {
				continue
			}
			compared++

			var plans []string
			wrong := make(map[string]bool)
			note := func(err error) {
				var found plan.Diagnostics
				if errors.As(err, &found) {
					for _, d := range found {
						wrong[plan.Diagnostics{d}.Error()] = true
					}
				}
			}
			for _, p := range listed.Catalog.Pipelines {
				one := r
				one.Pipeline, one.Params = p.Name, map[string]string{}
				if !p.Complete(r.Params) {
					continue
				}
				for _, param := range p.Params {
					if value, given := r.Params[param.Name]; given {
						one.Params[param.Name] = value
					}
				}
				result, err := Evaluate(context.Background(), one)
				note(err)
				if err == nil {
					plans = append(plans, result.Plan.Digest())
				}
			}
			apart := slices.Sorted(maps.Keys(wrong))

			clear(wrong)
			r.All = true
			result, err := Evaluate(context.Background(), r)
			note(err)
			require.Equal(t, apart, slices.Sorted(maps.Keys(wrong)), "%s:\n%s", name, source)
			if err == nil {
				var digests []string
				for _, p := range allPlans(t, r) {
					digests = append(digests, p.Digest())
				}
				require.Equal(t, plans, digests, "%s:\n%s", name, source)
				require.Nil(t, result.Plan)
				require.Nil(t, result.Expand)
			}
		}
	}
	require.Greater(t, compared, 50)
}

// allPlans returns the plans that an evaluation of all pipelines looks at.
func allPlans(t *testing.T, r Request) (plans []*plan.Plan) {
	t.Helper()
	dir, err := OpenDir(r.Root, r.Files)
	require.NoError(t, err)
	defer dir.Close()
	r.Tree = dir
	e := newEvaluation(&r)
	defer e.bound(context.Background())()
	e.load()
	e.execute()
	for _, p := range e.words.Pipelines() {
		if !p.Complete(r.Params) {
			continue
		}
		given := make(map[string]string)
		for _, param := range p.Params {
			if value, ok := r.Params[param.Name]; ok {
				given[param.Name] = value
			}
		}
		plans = append(plans, e.make(p, given))
		require.Empty(t, e.found)
		require.Empty(t, e.words.Problems())
	}
	return plans
}

// TestAllKeepsPipelinesApart: what the function of one looked at, made or took is
// nothing to another.
func TestAllKeepsPipelinesApart(t *testing.T) {
	r := Request{Root: writeTree(t, `
-- PIPER.star --
def _a(ctx):
    fs.read("x")
    environment(name = "mine", kind = host())
    for _ in range(700):
        pass
    return [step("a", run = "a")]
for _ in range(500):
    pass
shared = step("s", run = "s")
pipeline(name = "a", impl = _a)
pipeline(name = "b", impl = _a)
pipeline(name = "c", steps = [shared])
pipeline(name = "d", steps = [step("t", run = "t"), shared])
pipeline(name = "left", params = {"v": param.string(required = True)}, steps = [step("a", run = "a")])
-- x --
`), All: true, Limits: Limits{Steps: 9000}}
	_, err := Evaluate(context.Background(), r)
	require.NoError(t, err)
	var show strings.Builder
	r.Limits.Steps = 0
	for _, p := range allPlans(t, r) {
		show.WriteString(p.Pipeline + ": " + flow(p.Nodes, p.Groups, p.Inputs))
	}
	require.Equal(t, `a: a runs "a"
looked at file "x"
b: a runs "a"
looked at file "x"
c: s runs "s"
d: t runs "t"
s needs t runs "s"
`, show.String())

	// The limit holds for each with the top level, as when it is alone.
	for _, steps := range []uint64{3000, 5000, 6000, 7000, 8000} {
		r.Limits.Steps = steps
		r.All = true
		_, all := Evaluate(context.Background(), r)
		r.All, r.Pipeline = false, "b"
		_, one := Evaluate(context.Background(), r)
		require.Equal(t, one == nil, all == nil, "%d steps: %v and %v", steps, one, all)
	}
}
