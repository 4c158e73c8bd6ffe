package plan

import (
	"fmt"
	"testing"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"
)

// TestNames holds Names against a map.
func TestNames(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		var list []string
		names := NewNames(rapid.IntRange(0, 20).Draw(t, "size"), func(i int32) string { return list[i] })
		want := map[string]int32{}
		for range rapid.IntRange(0, 200).Draw(t, "steps") {
			name := rapid.StringMatching(`[a-c]{0,3}`).Draw(t, "name")
			had, known := want[name]
			got, ok := names.Find(name)
			require.Equal(t, known, ok)
			if known {
				require.Equal(t, had, got)
			} else {
				had = int32(len(list))
				want[name] = had
			}
			list = append(list, name)
			has, added := names.Add(name, int32(len(list)-1))
			require.Equal(t, had, has)
			require.Equal(t, !known, added)
			require.Equal(t, len(want), names.Len())
		}
	})
}

func TestNamesOfMany(t *testing.T) {
	const many = 100_000
	name := func(i int32) string { return fmt.Sprint("s", i) }
	names := NewNames(0, name)
	for i := range int32(many) {
		_, added := names.Add(name(i), i)
		require.True(t, added)
	}
	for i := range int32(many) {
		if got, ok := names.Find(name(i)); !ok || got != i {
			t.Fatalf("%s is %d, %v", name(i), got, ok)
		}
	}
	_, ok := names.Find("s")
	require.False(t, ok)
}
