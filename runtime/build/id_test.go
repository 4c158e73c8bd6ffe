package build_test

import (
	"regexp"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/piper-build/piper/runtime/build"
)

func TestNewID(t *testing.T) {
	now := time.UnixMilli(0x0123456789ab)
	form := regexp.MustCompile(`^01234567-89ab-7[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}$`)
	seen := map[build.ID]bool{}
	for range 1000 {
		id := build.NewID(now)
		require.Regexp(t, form, string(id))
		require.False(t, seen[id])
		seen[id] = true
	}
	require.Less(t, build.NewID(now), build.NewID(now.Add(time.Millisecond)))
}
