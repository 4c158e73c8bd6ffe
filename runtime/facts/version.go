package facts

import (
	"cmp"
	"slices"
	"strings"
)

// CompareVersions returns -1, 0 or 1 as a is before, level with or after b.
//
// Numbers compare as numbers, part by part, and a missing part is 0: 1.9 is
// before 1.10, and 1 is 1.0.0. The words of a pre-release come before the
// number they stand in front of: 1.0-dev, 1.0-alpha, 1.0-beta and 1.0-rc1 are
// before 1.0. Other words do not count, nor does what follows a plus sign.
func CompareVersions(a, b string) int {
	as, bs := versionParts(a), versionParts(b)
	for i := range max(len(as), len(bs)) {
		if c := comparePart(part(as, i), part(bs, i)); c != 0 {
			return c
		}
	}
	return 0
}

// isVersion reports whether s begins as a version does.
func isVersion(s string) bool {
	s = strings.TrimPrefix(strings.TrimPrefix(s, "v"), "go")
	return s != "" && '0' <= s[0] && s[0] <= '9'
}

// preReleases are the words that mean "before", the earliest first. Each line
// holds words that mean the same.
var preReleases = [...][]string{
	{"dev", "nightly", "snapshot"},
	{"alpha", "a"},
	{"beta", "b"},
	{"m", "milestone"},
	{"rc", "cr", "c", "pre", "preview", "ea"},
}

// versionParts cuts a version into its numbers and the words that count.
func versionParts(s string) []string {
	s, _, _ = strings.Cut(strings.ToLower(s), "+")
	var parts []string
	for s != "" {
		end := strings.IndexFunc(s, func(r rune) bool { return kind(r) != kind(rune(s[0])) })
		if end < 0 {
			end = len(s)
		}
		word := s[:end]
		s = s[end:]
		switch {
		case kind(rune(word[0])) == digit:
			parts = append(parts, strings.TrimLeft(word, "0"))
		case rank(word) < len(preReleases):
			parts = append(parts, word)
		}
	}
	return parts
}

const (
	other = iota
	digit
	letter
)

func kind(r rune) int {
	switch {
	case '0' <= r && r <= '9':
		return digit
	case 'a' <= r && r <= 'z':
		return letter
	}
	return other
}

// part is the i-th part; past the last one stands 0, which is "".
func part(parts []string, i int) string {
	if i < len(parts) {
		return parts[i]
	}
	return ""
}

// comparePart compares two parts: words come before numbers, and a number
// without its leading zeros is the greater the longer it is.
func comparePart(a, b string) int {
	return cmp.Or(cmp.Compare(rank(a), rank(b)), cmp.Compare(len(number(a)), len(number(b))), strings.Compare(number(a), number(b)))
}

// rank orders the words of pre-releases; every number comes after them.
func rank(part string) int {
	i := slices.IndexFunc(preReleases[:], func(words []string) bool { return slices.Contains(words, part) })
	if i < 0 {
		return len(preReleases)
	}
	return i
}

// number is a part that is one, else "".
func number(part string) string {
	if part != "" && kind(rune(part[0])) == digit {
		return part
	}
	return ""
}
