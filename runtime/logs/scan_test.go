package logs_test

import (
	"testing"

	"github.com/piper-build/piper/runtime/logs/logstest"
	"github.com/piper-build/piper/runtime/store"
)

func TestMemoryPasses(t *testing.T) {
	logstest.Run(t, func(*testing.T) logstest.Place { return logstest.Of(store.NewMemory()) })
}

// The index of tests is held against the contract, too.
func TestAnIndexInMemoryPasses(t *testing.T) {
	logstest.Run(t, func(*testing.T) logstest.Place { return logstest.With(store.NewMemory(), &logstest.Index{}, nil) })
}
