package starlark

import (
	"context"
	"encoding/json"
	"fmt"
	"math"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"github.com/piper-build/piper/runtime/plan"
)

// everything is a file whose expand uses all that its function may use.
const everything = `
load("//lib.star", "shard")
version = fs.read("VERSION").strip()
db = service("db", run = "postgres", ready = ready.port(5432))
build = step("build", run = "make")
extra = step("extra", run = "true", env = {"V": "v-%s" % build.output("v")})

def _again(ctx, result):
    cache = service("cache", run = "redis")
    return [step("again/%d" % i, run = ["x", result.outputs.get("a", "")], services = [cache]) for i in range(len(result.outputs))]

def _impl(ctx):
    names = ["made", "by", ctx.event.branch]
    def _found(ctx, result):
        deb = environment(name = "deb", kind = container(image = "debian"))
        found = [
            shard("t/%d" % i, key, value, environment = deb, services = [db], env = {
                "K": hash.sha256(key), "N": " ".join(names), "V": fs.read("VERSION"), "P": ctx.params.p,
                "SORTED": "".join(sorted([str(build.output("z")), str(build.output("a")), "x%s" % build.output("v")])),
            })
            for i, (key, value) in enumerate(result.outputs.items())
        ]
        last = step("last", run = "true", env = {"WHO": ctx.event.author, "S": secret("pw")})
        return [parallel(found, limit = 3), last, expand(last, _again, name = "again"), extra]
    return [build, expand(build, _found, services = [db]), step("end", run = "end")]

pipeline(name = "p", impl = _impl, params = {"p": param.string(default = "x")})
-- VERSION --
1.2.3
-- lib.star --
def shard(name, key, value, **more):
    return step(name, run = ["run", key, value], **more)
`

func evaluateEverything(t testing.TB, dir string) Result {
	r := Request{Root: dir, Event: plan.Event{Branch: "main", Author: "ann"}}
	result, err := Evaluate(context.Background(), r)
	require.NoError(t, err)
	require.NotNil(t, result.Expand)
	return result
}

// TestExpandIsPure: the same outputs give the same bytes, whatever was asked
// before, of whichever evaluation of the same request.
func TestExpandIsPure(t *testing.T) {
	dir := writeTree(t, "-- PIPER.star --"+everything)
	old := evaluateEverything(t, dir)
	ask := func(r Result, node string, outputs map[string]string) string {
		x, err := r.Expand(context.Background(), node, outputs)
		if err != nil {
			return err.Error()
		}
		data, err := json.Marshal(x)
		require.NoError(t, err)
		return string(data)
	}
	rapid.Check(t, func(rt *rapid.T) {
		outputs := rapid.MapOfN(rapid.StringMatching(`[a-z]{1,3}`), rapid.String(), 0, 4).Draw(rt, "outputs")
		nested := rapid.MapOfN(rapid.StringMatching(`[a-z]{1,3}`), rapid.String(), 0, 4).Draw(rt, "nested")
		fresh := evaluateEverything(t, dir)
		require.Equal(rt, digestOf(t, old.Plan), digestOf(t, fresh.Plan))
		first := ask(fresh, "build/expand", outputs)
		require.Equal(rt, first, ask(fresh, "build/expand", outputs))
		require.Equal(rt, first, ask(old, "build/expand", outputs))
		second := ask(fresh, "again", nested)
		require.Equal(rt, first, ask(fresh, "build/expand", outputs))
		require.Equal(rt, second, ask(fresh, "again", nested))
		if strings.HasPrefix(first, "{") {
			require.Equal(rt, second, ask(old, "again", nested))
		}
	})
}

func digestOf(t testing.TB, p *plan.Plan) string {
	t.Helper()
	data, err := json.Marshal(p)
	require.NoError(t, err)
	return string(data)
}

// TestExpandGrows: what comes of an expand fits the plan, at every level.
func TestExpandGrows(t *testing.T) {
	r := evaluateEverything(t, writeTree(t, "-- PIPER.star --"+everything))
	before := digestOf(t, r.Plan)
	x, err := r.Expand(context.Background(), "build/expand", map[string]string{"a": "1", "b": "2"})
	require.NoError(t, err)
	grown, err := plan.Grow(r.Plan, "build/expand", x)
	require.NoError(t, err)
	require.Empty(t, plan.Validate(grown, 0))
	y, err := r.Expand(context.Background(), "again", map[string]string{"a": "1"})
	require.NoError(t, err)
	grown, err = plan.Grow(grown, "again", y)
	require.NoError(t, err)
	require.Empty(t, plan.Validate(grown, 0))
	require.Equal(t, before, digestOf(t, r.Plan), "the plan itself was changed")
	var names []string
	for _, n := range grown.Nodes {
		names = append(names, n.Name)
	}
	require.Equal(t, []string{"build", "db", "build/expand", "end", "t/0", "t/1", "last", "again", "extra", "cache", "again/0"}, names)
	require.Equal(t, []plan.Input{{Kind: "event", Key: "author"}, {Kind: "param", Key: "p"}}, withoutDigests(x.Inputs))
	require.Empty(t, y.Inputs)
	require.Equal(t, "deb", x.Environments[0].Name)
}

func withoutDigests(list []plan.Input) []plan.Input {
	out := make([]plan.Input, len(list))
	for i, in := range list {
		out[i] = plan.Input{Kind: in.Kind, Key: in.Key}
	}
	return out
}

// TestExpandReadsNothing: the tree may be gone by then.
func TestExpandReadsNothing(t *testing.T) {
	asked := 0
	r := Request{
		Root: t.TempDir(), Source: []byte(`
a = step("a", run = "a", env = {"C": git.commit(), "E": os.environ("E"), "F": str(fs.walk())})
def _found(ctx, result):
    return [step("b", run = "b", env = {"C": git.commit(), "E": os.environ("E"), "F": str(fs.walk())})]
pipeline(name = "p", steps = [a, expand(a, _found)])
`),
		Git:     fakeGit{},
		Environ: func(string) (string, bool) { asked++; return fmt.Sprint(asked), true },
		Files:   func() ([]string, error) { asked++; return []string{fmt.Sprint(asked)}, nil },
	}
	result, err := Evaluate(context.Background(), r)
	require.NoError(t, err)
	require.Equal(t, 2, asked)
	x, err := result.Expand(context.Background(), "a/expand", nil)
	require.NoError(t, err)
	require.Equal(t, 2, asked)
	require.Equal(t, result.Plan.Nodes[0].Step.Env, x.Nodes[0].Step.Env)
}

// TestExpandTogether: several may ask at once.
func TestExpandTogether(t *testing.T) {
	r := evaluateEverything(t, writeTree(t, "-- PIPER.star --"+everything))
	var wg sync.WaitGroup
	var found [8]plan.Expansion
	var errs [8]error
	for i := range found {
		wg.Go(func() {
			found[i], errs[i] = r.Expand(context.Background(), "build/expand", map[string]string{"i": fmt.Sprint(i)})
		})
	}
	wg.Wait()
	for i, x := range found {
		require.NoError(t, errs[i])
		require.Equal(t, fmt.Sprint(i), x.Nodes[0].Step.Argv[2].Literal)
	}
}

func TestExpandIsBounded(t *testing.T) {
	source := []byte(`
a = step("a", run = "a")
def _loop(ctx, result):
    for _ in range(1 << 40):
        print("x" * 99)
pipeline(name = "p", steps = [a, expand(a, _loop), expand(a, lambda ctx, result: print("y" * 9) or [], name = "b")])
`)
	ctx, cancel := context.WithCancel(context.Background())
	printed := 0
	r := Request{
		Root: t.TempDir(), Source: source, Limits: Limits{Time: time.Hour, Steps: math.MaxUint64, Output: 1000},
		Print: func(_ plan.Pos, message string) {
			if strings.HasPrefix(message, "warning") {
				return // of what is dropped
			}
			if printed += len(message) + 1; printed == 1000 {
				cancel()
			}
		},
	}
	result, err := Evaluate(context.Background(), r)
	require.NoError(t, err)
	_, err = result.Expand(ctx, "a/expand", nil)
	require.ErrorIs(t, err, context.Canceled)
	require.Equal(t, 1000, printed)

	// What is left of one call does not bound the next.
	_, err = result.Expand(context.Background(), "b", nil)
	require.NoError(t, err)
	require.Equal(t, 1010, printed)
}

// TestExpandEnds: with the evaluation it belongs to.
func TestExpandEnds(t *testing.T) {
	ctx, cancel := context.WithCancel(context.Background())
	r := Request{Root: t.TempDir(), Source: []byte("a = step('a', run = 'a')\npipeline(name = 'p', steps = [a, expand(a, lambda ctx, result: [])])\n")}
	result, err := Evaluate(ctx, r)
	require.NoError(t, err)
	_, err = result.Expand(context.Background(), "a/expand", nil)
	require.NoError(t, err)
	cancel()
	_, err = result.Expand(context.Background(), "a/expand", nil)
	require.ErrorIs(t, err, context.Canceled)

	r.Source = []byte("pipeline(name = 'p', steps = [])")
	result, err = Evaluate(context.Background(), r)
	require.NoError(t, err)
	require.Nil(t, result.Expand)
}

// TestExpandIsSmall: an expand in a large plan keeps what it finds, and not
// the room that the plan took.
func TestExpandIsSmall(t *testing.T) {
	dir := writeTree(t, `-- PIPER.star --
first = step("first", run = "true")
def _again(ctx, result):
    a = step(result.name + "x", run = "true")
    return [a, expand(a, _again)]
pipeline(name = "p", steps = [first, expand(first, _again), parallel([step("s%d" % i, run = "true") for i in range(5000)])])
`)
	result, err := Evaluate(t.Context(), Request{Root: dir})
	require.NoError(t, err)
	at := "first/expand"
	for range 10 {
		found, err := result.Expand(t.Context(), at, nil)
		require.NoError(t, err)
		require.Len(t, found.Nodes, 2)
		require.Less(t, cap(found.Nodes), 10)
		at = found.Nodes[1].Name
	}
}

// TestExpandPrintsTooMuch: what is dropped of it is said where it is missing.
func TestExpandPrintsTooMuch(t *testing.T) {
	dir := writeTree(t, `-- PIPER.star --
a = step("a", run = "true")
def _f(ctx, result):
    for i in range(100):
        print("x" * 9)
    return []
pipeline(name = "p", steps = [a, expand(a, _f)])
`)
	var printed []string
	result, err := Evaluate(t.Context(), Request{Root: dir, Limits: Limits{Output: 20},
		Print: func(pos plan.Pos, message string) { printed = append(printed, fmt.Sprint(pos, " ", message)) }})
	require.NoError(t, err)
	for range 2 {
		printed = nil
		_, err = result.Expand(t.Context(), "a/expand", nil)
		require.NoError(t, err)
		require.Equal(t, []string{
			"PIPER.star:4:9 xxxxxxxxx", "PIPER.star:4:9 xxxxxxxxx",
			"PIPER.star:4:9 warning: more than 20 bytes are printed; the rest is dropped (truncated)",
		}, printed)
	}
}
