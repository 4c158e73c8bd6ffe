package rethinkdbtest

import (
	"testing"

	"github.com/stretchr/testify/require"
)

// A server that others run does not do for a test that kills its own.
func TestWithoutTheProgramAServerOfItsOwnIsSkipped(t *testing.T) {
	t.Setenv("PATH", t.TempDir())
	t.Setenv(Variable, "127.0.0.1:1")
	skipped := false
	t.Run("on purpose", func(t *testing.T) {
		defer func() { skipped = t.Skipped() }()
		Start(t)
	})
	require.True(t, skipped)
}
