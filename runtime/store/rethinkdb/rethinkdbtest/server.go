// Package rethinkdbtest gives tests a RethinkDB server: the one that
// PIPER_TEST_RETHINKDB names as host:port, or else one of their own, started from
// the rethinkdb on PATH. Where there is neither, tests that need one are skipped; a
// test that needs a server of its own (see Start) takes the rethinkdb on PATH.
package rethinkdbtest

import (
	"crypto/rand"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/stretchr/testify/require"
	r "gopkg.in/rethinkdb/rethinkdb-go.v6"

	"github.com/piper-build/piper/runtime/store/rethinkdb"
	"github.com/piper-build/piper/runtime/store/rethinkdb/rethinkdbtest/server"
)

// Variable names the environment variable with a server's host:port.
const Variable = "PIPER_TEST_RETHINKDB"

// Main runs the tests of a package, and ends the server that they used. It is for
// TestMain.
func Main(m *testing.M) int {
	defer shared.stop()
	return m.Run()
}

var shared host

// A host is a server that is started when it is first needed.
type host struct {
	once sync.Once
	host string // host:port
	err  error
	end  func() // of our own

	mu   sync.Mutex
	free []rethinkdb.Address // of databases that are empty
	made []rethinkdb.Address // by New
}

func (s *host) stop() {
	if s.end != nil {
		s.end() // the databases go with it
		return
	}
	for _, a := range s.made {
		drop(failing{}, a)
	}
}

// failing is a test that is over.
type failing struct{ testing.TB }

func (failing) Errorf(format string, args ...any) { fmt.Fprintf(os.Stderr, format+"\n", args...) }
func (failing) FailNow()                          { os.Exit(1) }
func (failing) Helper()                           {}

// ErrNone says that there is no server to be had.
var ErrNone = errors.New("no rethinkdb on PATH, and no " + Variable)

// Host returns the host:port of the server that the tests of this process share.
func Host(t testing.TB) string {
	t.Helper()
	host, err := Find()
	if errors.Is(err, ErrNone) {
		t.Skip(err)
	}
	require.NoError(t, err)
	return host
}

// Start starts a server of the test's own, which ends with it.
func Start(t testing.TB, flags ...string) *server.Process {
	t.Helper()
	return StartIn(t, filepath.Join(t.TempDir(), "data"), flags...)
}

// StartIn is Start with the data in a directory.
func StartIn(t testing.TB, dir string, flags ...string) *server.Process {
	t.Helper()
	if _, err := exec.LookPath("rethinkdb"); err != nil {
		t.Skip("no rethinkdb on PATH: this takes a server of its own, and none that " + Variable + " names")
	}
	p, err := server.Start(dir, flags...)
	require.NoError(t, err)
	t.Cleanup(p.Kill)
	return p
}

// StartAgain starts a server that has ended, with the same data on the same ports.
func StartAgain(t testing.TB, ended *server.Process) {
	t.Helper()
	p, err := server.StartAgain(ended)
	require.NoError(t, err)
	t.Cleanup(p.Kill)
}

// Find is Host for what is no test of its own. The error is ErrNone where a test
// would be skipped.
func Find() (string, error) {
	shared.once.Do(func() {
		if shared.host = os.Getenv(Variable); shared.host != "" {
			return
		}
		if _, err := exec.LookPath("rethinkdb"); err != nil {
			shared.err = ErrNone
			fmt.Fprintln(os.Stderr, "SKIPPED: tests on RethinkDB: "+ErrNone.Error())
			return
		}
		dir, err := os.MkdirTemp("", "piper-rethinkdb-")
		if err != nil {
			shared.err = err
			return
		}
		var one *server.Process
		one, shared.err = server.Start(filepath.Join(dir, "data"))
		shared.end = func() {
			if one != nil {
				one.Kill()
			}
			os.RemoveAll(dir)
		}
		if one != nil {
			shared.host = one.Host
		}
	})
	return shared.host, shared.err
}

// New returns the address of a database that nobody else has, which is gone after
// the tests. It is not made yet.
func New(host string) (rethinkdb.Address, error) {
	a, err := rethinkdb.ParseURL(rethinkdb.Scheme + "://" + host + "/test_" + strings.ToLower(rand.Text()[:12]))
	if err == nil {
		shared.mu.Lock()
		defer shared.mu.Unlock()
		shared.made = append(shared.made, a)
	}
	return a, err
}

// Address is New for one test.
func Address(t testing.TB) rethinkdb.Address {
	t.Helper()
	a, err := New(Host(t))
	require.NoError(t, err)
	return a
}

func drop(t testing.TB, a rethinkdb.Address) {
	session := connect(t, a)
	defer session.Close()
	_, err := r.DBDrop(a.Database).RunWrite(session)
	if !errors.As(err, new(r.RQLOpFailedError)) { // which it is when the test made none
		require.NoError(t, err)
	}
}

func connect(t testing.TB, a rethinkdb.Address) *r.Session {
	session, err := r.Connect(r.ConnectOpts{Addresses: a.Hosts, Database: a.Database, NumRetries: 1})
	require.NoError(t, err)
	return session
}

// Open returns an empty store, in a database that tests use one after the other: to
// make one takes a second.
func Open(t testing.TB) *rethinkdb.Store {
	t.Helper()
	a := shared.take(t)
	t.Cleanup(func() { shared.giveBack(t, a) })
	return Reopen(t, a)
}

// take returns the address of an empty database.
func (s *host) take(t testing.TB) rethinkdb.Address {
	t.Helper()
	host := Host(t)
	s.mu.Lock()
	if last := len(s.free) - 1; last >= 0 {
		defer s.mu.Unlock()
		a := s.free[last]
		s.free = s.free[:last]
		return a
	}
	s.mu.Unlock()
	a, err := New(host)
	require.NoError(t, err)
	require.NoError(t, rethinkdb.Init(t.Context(), a, rethinkdb.Options{}, rethinkdb.Layout{}))
	return a
}

// giveBack empties a database.
func (s *host) giveBack(t testing.TB, a rethinkdb.Address) {
	session := connect(t, a)
	defer session.Close()
	for _, table := range rethinkdb.Tables() {
		if table == "meta" {
			continue
		}
		_, err := r.Table(table).Delete().RunWrite(session)
		require.NoError(t, err)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.free = append(s.free, a)
}

// Reopen returns a store in a database that is there.
func Reopen(t testing.TB, a rethinkdb.Address) *rethinkdb.Store {
	t.Helper()
	s, err := rethinkdb.Open(t.Context(), a, rethinkdb.Options{})
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, s.Close()) })
	return s
}

// NewProxy returns a proxy to a server, which ends with the test.
func NewProxy(t testing.TB, to string) *server.Proxy {
	t.Helper()
	p, err := server.NewProxy(to)
	require.NoError(t, err)
	t.Cleanup(p.Close)
	return p
}
