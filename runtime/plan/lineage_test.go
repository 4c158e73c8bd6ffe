package plan

import (
	"fmt"
	"runtime"
	"testing"

	"github.com/stretchr/testify/require"
)

func lineageOf(steps int) (*Lineage, *Plan) {
	p := &Plan{Pipeline: "p", Nodes: []Node{
		{Name: "a", Step: &Step{Script: "true"}},
		{Name: "x", Needs: []string{"a"}, More: &More{Expand: &Expand{After: "a"}}},
		{Name: "y", Needs: []string{"a"}, More: &More{Expand: &Expand{After: "a"}}},
	}}
	for i := range steps {
		p.Nodes = append(p.Nodes, Node{Name: fmt.Sprintf("s%d", i), Step: &Step{Script: "true"}})
	}
	return NewLineage(p), p
}

// another is an expand that comes after a, and a step of its own name.
func another(name string) Expansion {
	return Expansion{Nodes: []Node{
		{Name: name + "/step", Step: &Step{Script: "true"}},
		{Name: name, Needs: []string{"a"}, More: &More{Expand: &Expand{After: "a"}}},
	}}
}

// TestLineage: what an expand has found is held against what those before it
// have found, and against nothing else.
func TestLineage(t *testing.T) {
	l, first := lineageOf(0)
	for _, add := range []struct {
		expand string
		found  Expansion
		want   string // in the problem or the error; "" is none
	}{
		{"gone", another("z"), `there is no expand "gone"`},
		{"a", another("z"), `there is no expand "a"`},
		{"x", another("a"), `has the name of step "a"`},
		{"a/step", another("z"), `there is no expand`},
		{"x", another("z"), ""},
		{"z", another("z"), `has the name of`},
		{"y", another("w"), ""},
		{"w", another("x/other"), ""}, // nothing knows of z here
		{"z", another("w"), ""},       // nor of w here: the build itself holds the two against each other
		{"x", another("z"), ""},       // again
		{"z", Expansion{Nodes: []Node{{Name: "n", Group: "nowhere", Step: &Step{Script: "true"}}}}, "which it did not find"},
	} {
		wrong, err := l.Add(add.expand, add.found, MaxNodes)
		switch {
		case err != nil:
			require.ErrorContains(t, err, add.want)
			require.NotEmpty(t, add.want)
		case len(wrong) > 0:
			require.Contains(t, wrong.Error(), add.want)
			require.NotEmpty(t, add.want)
		default:
			require.Empty(t, add.want, "%s", add.expand)
		}
	}
	require.True(t, l.Has("z"))
	require.False(t, l.Has("a"))
	require.Len(t, first.Nodes, 3)

	wrong, err := l.Add("x", another("v"), 4)
	require.NoError(t, err)
	require.Contains(t, wrong.Error(), "the limit is 4")
	require.False(t, l.Has("v"))
}

// TestLineageGrowsAnew: a plan that is not kept any more is as it was.
func TestLineageGrowsAnew(t *testing.T) {
	_, p := lineageOf(0)
	const chains, long = maxRecent + 3, 5
	at := make([]string, chains)
	for i := range at {
		at[i] = fmt.Sprintf("c%d", i)
		p.Nodes = append(p.Nodes, another(at[i]).Nodes[1])
	}
	l := NewLineage(p)
	for range long {
		for i, expand := range at {
			next := another(expand + "n")
			next.Nodes = append(next.Nodes, Node{Name: expand + "o", Needs: []string{expand}, Step: &Step{Script: "true"}})
			wrong, err := l.Add(expand, next, MaxNodes)
			require.NoError(t, err)
			require.Empty(t, wrong)
			at[i] += "n"
		}
	}
	require.LessOrEqual(t, len(l.recent), maxRecent)
	for _, expand := range at {
		g := l.standsIn[expand]
		grown, err := l.plan(g)
		require.NoError(t, err)
		require.Len(t, grown.Nodes, len(p.Nodes)+3*long)
		require.Len(t, grown.Groups, long)
		want := p
		for at := expand[:len(expand)-long]; at != expand; at += "n" {
			want, err = Grow(want, at, l.standsIn[at+"n"].found)
			require.NoError(t, err)
		}
		require.Equal(t, want.Digest(), grown.Digest())
	}
}

// TestLineageIsSmall: many expands that find expands take the memory of what
// they find, not of a plan each.
func TestLineageIsSmall(t *testing.T) {
	const many = 100
	_, p := lineageOf(5000)
	for i := range many {
		p.Nodes = append(p.Nodes, another(fmt.Sprintf("e%d", i)).Nodes[1])
	}
	l := NewLineage(p)
	before := allocated()
	for i := range many {
		wrong, err := l.Add(fmt.Sprintf("e%d", i), another(fmt.Sprintf("f%d", i)), MaxNodes)
		require.NoError(t, err)
		require.Empty(t, wrong)
	}
	require.Less(t, allocated()-before, 32<<20, "bytes")
	runtime.KeepAlive(l)
}

func allocated() int {
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return int(m.HeapAlloc)
}

// TestFoundTwice: two expands that find the same step are told so.
func TestFoundTwice(t *testing.T) {
	same := Node{Name: "same", Step: &Step{Script: "true"}, Pos: Pos{File: "P", Line: 1, Column: 1}}
	_, p := lineageOf(0)
	for _, expand := range []string{"x", "y"} {
		var err error
		p, err = Grow(p, expand, Expansion{Nodes: []Node{same}})
		require.NoError(t, err)
	}
	require.Contains(t, Validate(p, MaxNodes).Error(), "what two expands find")
}
