package store

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/piper-build/piper/runtime/build"
)

func TestDerive(t *testing.T) {
	seen := map[build.ID][]string{}
	for _, parts := range [][]string{{}, {""}, {"a"}, {"ab"}, {"a", "b"}, {"1:a"}, {"a", ""}, {"", "a"}} {
		id := Derive(parts...)
		require.Regexp(t, "^[0-9a-f]{8}-[0-9a-f]{4}-8[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}$", id)
		require.NotContains(t, seen, id, parts)
		seen[id] = parts
		require.Equal(t, id, Derive(parts...))
	}
}
