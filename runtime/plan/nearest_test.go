package plan

import (
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"
)

func TestNearest(t *testing.T) {
	tests := []struct {
		word       string
		candidates string
		want       string // "" is none
	}{
		{"unti", "lint unit race", "unit"},
		{"unit", "unit", "unit"},
		{"Unit", "unite unit", "unit"},
		{"depend-on", "depends_on", "depends_on"},
		{"depnds_on", "name depends_on", "depends_on"},
		{"lint", "link list", "link"}, // the first of equals
		{"tset", "test", "test"},
		{"test", "tests", "tests"},
		{"tst", "test", "test"},
		{"ab", "ba", ""}, // too short to tell
		{"abc", "acb", "acb"},
		{"abc", "xyz", ""},
		{"abcdef", "abxyef", "abxyef"},
		{"abcdef", "axyzef", ""},
		{"abcdefghijkl", "abcdxxxxijkl", ""}, // four slips
		{"abcdefghijkl", "abcdxxxhijkl", "abcdxxxhijkl"},
		{"build/linux-amd64", "build/linux-arm64 build/darwin-arm64", "build/linux-arm64"},
		{"relase", "release test", "release"},
		{"log-dir", "log_dir", "log_dir"},
		{"x*", "ok publish", ""},
		{"publish", "ok clean", ""},
		{"", "a", ""},
		{"a", "", ""},
		{"é", "è", ""},
		{"release", "", ""},
		{strings.Repeat("long", 10_000), strings.Repeat("long", 10_000) + "x", strings.Repeat("long", 10_000) + "x"},
	}
	for _, test := range tests {
		got, ok := Nearest(test.word, strings.Split(test.candidates, " "))
		require.Equal(t, test.want, got, test.word)
		require.Equal(t, test.want != "", ok, test.word)
	}
}

// The band and its early end must give what the whole table gives.
func TestDistance(t *testing.T) {
	word := rapid.StringOfN(rapid.SampledFrom([]rune("abc")), 0, 9, -1)
	var d distance // kept from one draw to the next
	rapid.Check(t, func(t *rapid.T) {
		a, b := word.Draw(t, "a"), word.Draw(t, "b")
		limit := rapid.IntRange(0, 4).Draw(t, "limit")
		require.Equal(t, min(wholeDistance(a, b), limit+1), d.between(a, b, limit))
	})
}

func wholeDistance(a, b string) int {
	table := make([][]int, len(a)+1)
	for i := range table {
		table[i] = make([]int, len(b)+1)
		for j := range table[i] {
			switch {
			case i == 0 || j == 0:
				table[i][j] = i + j
			default:
				n := min(table[i-1][j], table[i][j-1]) + 1
				swap := 1
				if a[i-1] == b[j-1] {
					swap = 0
				}
				n = min(n, table[i-1][j-1]+swap)
				if i > 1 && j > 1 && a[i-1] == b[j-2] && a[i-2] == b[j-1] {
					n = min(n, table[i-2][j-2]+1)
				}
				table[i][j] = n
			}
		}
	}
	return table[len(a)][len(b)]
}
