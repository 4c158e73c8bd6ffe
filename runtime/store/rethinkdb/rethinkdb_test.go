package rethinkdb_test

import (
	"os"
	"testing"

	"github.com/piper-build/piper/runtime/store"
	"github.com/piper-build/piper/runtime/store/rethinkdb/rethinkdbtest"
	"github.com/piper-build/piper/runtime/store/storetest"
)

func TestMain(m *testing.M) { os.Exit(rethinkdbtest.Main(m)) }

func TestStore(t *testing.T) {
	rethinkdbtest.Host(t)
	storetest.Run(t, func(t *testing.T) store.Store { return rethinkdbtest.Open(t) })
}
