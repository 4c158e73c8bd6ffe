package plan

import (
	"testing"

	"github.com/stretchr/testify/require"
)

func TestNearest(t *testing.T) {
	tests := []struct {
		word       string
		candidates []string
		want       string // "" when none is near
	}{
		{"unti", []string{"lint", "unit"}, "unit"},
		{"relase", []string{"release", "test"}, "release"},
		{"log-dir", []string{"log_dir"}, "log_dir"},
		{"Build", []string{"build"}, "build"},
		{"x*", []string{"ok", "publish"}, ""},
		{"ab", []string{"cd"}, ""},
		{"abc", []string{"xyz", "abd"}, "abd"},
		{"abc", []string{"xyz"}, ""},
		{"publish", []string{"ok", "clean"}, ""},
		{"", []string{"a"}, ""},
		{"a", nil, ""},
	}
	for _, test := range tests {
		got, ok := Nearest(test.word, test.candidates)
		require.Equal(t, test.want, got, "%q of %q", test.word, test.candidates)
		require.Equal(t, test.want != "", ok, "%q of %q", test.word, test.candidates)
	}
}
