package store_test

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/piper-build/piper/runtime/store"
)

// Whoever waits for one build is not kept from hearing of it by all the others.
func TestHintsAtOneBuild(t *testing.T) {
	var hints store.Hints
	c := hints.Listen(store.Watched{Build: "x"})
	for range 2 * cap(c) {
		hints.Tell(store.Hint{Build: "y"})
	}
	hints.Tell(store.Hint{Build: "x"})
	hints.Tell(store.Hint{})
	hints.Close()
	var told []store.Hint
	for hint := range c {
		told = append(told, hint)
	}
	require.Equal(t, []store.Hint{{Build: "x"}, {}}, told)
}
