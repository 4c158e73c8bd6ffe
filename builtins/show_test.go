package builtins

import (
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	"go.starlark.net/starlark"
	"go.starlark.net/starlarkstruct"
)

// TestLines: what is compared is whole, and has a line for each thing that can
// differ.
func TestLines(t *testing.T) {
	e := &Evaluation{}
	wide := starlark.String(strings.Repeat("x", 60))
	dict := starlark.NewDict(2)
	require.NoError(t, dict.SetKey(starlark.String("k"), starlark.Tuple{wide, wide}))
	require.NoError(t, dict.SetKey(starlark.String("text"), starlark.String("a\nb")))
	numbers := make([]starlark.Value, 300)
	for i := range numbers {
		numbers[i] = starlark.MakeInt(i)
	}
	long := strings.Repeat("y", 5000)
	for _, test := range []struct {
		v    starlark.Value
		want string
	}{
		{dict, "{\n    \"k\": (\n        " + wide.String() + ",\n        " + wide.String() + ",\n    ),\n    \"text\": \"\"\"a\n    b\"\"\",\n}"},
		{starlark.Tuple{wide + wide}, "(\n    " + (wide + wide).String() + ",\n)"},
		{starlark.NewList(numbers[1:3]), `[1, 2]`},
		{starlarkstruct.FromStringDict(starlarkstruct.Default, starlark.StringDict{"a": wide, "b": wide}), "struct(\n    a = " + wide.String() + ",\n    b = " + wide.String() + ",\n)"},
		{starlark.String("a\nb"), "\"\"\"a\nb\"\"\""},
		{starlark.String("\x1b"), `"\x1b"`},
		{starlark.String(long), `"` + long + `"`},
	} {
		require.Equal(t, test.want, e.lines(test.v))
	}
	require.Equal(t, 301, strings.Count(e.lines(starlark.NewList(numbers)), "\n"))
}

func TestLinesHaveAnEnd(t *testing.T) {
	e := &Evaluation{}
	wide := starlark.String(strings.Repeat("x", 60))
	loop := starlark.NewList(nil)
	for _, v := range []starlark.Value{wide, loop, loop} { // it holds itself
		require.NoError(t, loop.Append(v))
	}
	require.Contains(t, e.lines(loop), ", […], […]]")
	deep := starlark.NewList(nil)
	for range 10_000 {
		deep = starlark.NewList([]starlark.Value{deep})
	}
	require.Contains(t, e.lines(deep), "[…]")
	for _, v := range []starlark.Value{starlark.String(strings.Repeat("é\n", 1<<18)), starlark.NewList(make([]starlark.Value, 1<<17))} {
		if list, ok := v.(*starlark.List); ok {
			for i := range list.Len() {
				require.NoError(t, list.SetIndex(i, wide))
			}
		}
		require.LessOrEqual(t, len(e.lines(v)), toCompare.bytes+len("…"))
	}
}
