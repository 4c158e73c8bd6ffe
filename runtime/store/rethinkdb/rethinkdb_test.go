package rethinkdb_test

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	crand "crypto/rand"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	r "gopkg.in/rethinkdb/rethinkdb-go.v6"

	"github.com/piper-build/piper/runtime/build"
	"github.com/piper-build/piper/runtime/logs/logstest"
	"github.com/piper-build/piper/runtime/store"
	"github.com/piper-build/piper/runtime/store/rethinkdb"
	"github.com/piper-build/piper/runtime/store/rethinkdb/rethinkdbtest"
	"github.com/piper-build/piper/runtime/store/rethinkdb/rethinkdbtest/server"
	"github.com/piper-build/piper/runtime/store/storetest"
)

func TestMain(m *testing.M) { os.Exit(rethinkdbtest.Main(m)) }

// at is a time like any other.
var at = time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)

func TestStore(t *testing.T) {
	rethinkdbtest.Host(t)
	storetest.Run(t, func(t *testing.T) store.Store { return rethinkdbtest.Open(t) })
}

func TestLogs(t *testing.T) {
	rethinkdbtest.Host(t)
	logstest.Run(t, func(t *testing.T) logstest.Place { return logstest.Of(rethinkdbtest.Open(t)) })
}

func BenchmarkStore(b *testing.B) {
	storetest.Benchmark(b, func(b *testing.B) store.Store { return rethinkdbtest.Open(b) })
}

// Two agents are two stores.
func TestTwoClaimTheSame(t *testing.T) {
	address := rethinkdbtest.Address(t)
	require.NoError(t, rethinkdb.Init(t.Context(), address, rethinkdb.Options{}, rethinkdb.Layout{}))
	stores := []*rethinkdb.Store{rethinkdbtest.Reopen(t, address), rethinkdbtest.Reopen(t, address)}
	const builds, racers = 20, 8
	for i := range builds {
		_, err := stores[0].Enqueue(t.Context(), store.NewBuild(build.ID(fmt.Sprint(i)), int64(i+1), store.Request{Project: "p"}, at))
		require.NoError(t, err)
	}
	won := make([][]int, builds)
	var mu sync.Mutex
	var done sync.WaitGroup
	for racer := range racers {
		done.Go(func() {
			for i := range builds {
				agent := store.AgentID(fmt.Sprint("agent", racer))
				_, err := stores[racer%2].Change(t.Context(), build.ID(fmt.Sprint(i)), store.Claim{Agent: agent, Nonce: string(agent), Max: 3, At: at})
				if err == nil {
					mu.Lock()
					won[i] = append(won[i], racer)
					mu.Unlock()
				} else if !errors.Is(err, store.ErrConflict) {
					t.Error(err)
				}
			}
		})
	}
	done.Wait()
	for i := range builds {
		require.Len(t, won[i], 1, "build %d", i)
		b, err := stores[1].Build(t.Context(), build.ID(fmt.Sprint(i)))
		require.NoError(t, err)
		require.Equal(t, store.AgentID(fmt.Sprint("agent", won[i][0])), b.Owner)
	}
}

// A change of what was just seen is one question. What was seen may be old.
func TestAChangeBeginsWithWhatWasSeen(t *testing.T) {
	address := rethinkdbtest.Address(t)
	require.NoError(t, rethinkdb.Init(t.Context(), address, rethinkdb.Options{}, rethinkdb.Layout{}))
	one, two := rethinkdbtest.Reopen(t, address), rethinkdbtest.Reopen(t, address)
	asked := func(do func() error) uint64 {
		before := one.Asked()
		require.NoError(t, do())
		return one.Asked() - before
	}
	change := func(s store.Store, c store.Change) func() error {
		return func() error { _, err := s.Change(t.Context(), "b", c); return err }
	}
	b := store.NewBuild("b", 1, store.Request{Project: "p"}, at)
	b.FirstChoice = "me"
	require.Equal(t, uint64(1), asked(func() error { _, err := one.Enqueue(t.Context(), b); return err }))
	claim := store.Claim{Agent: "me", Nonce: "n", Max: 3, At: at}
	require.Equal(t, uint64(1), asked(change(one, claim)))
	require.Equal(t, uint64(1), asked(change(one, claim)), "it reads what is so already")
	require.NoError(t, change(two, store.Rescue{Owner: "me", Fence: 1, Max: 3, At: at})())
	err := change(one, store.Complete{Agent: "me", Fence: 1, State: build.Success, At: at})()
	require.ErrorIs(t, err, store.ErrFenced, "it was rescued meanwhile")

	// Who refused by what was seen would be wrong.
	claim.Fence, claim.Nonce = 2, "m"
	require.NoError(t, change(two, claim)())
	require.NoError(t, change(one, store.Complete{Agent: "me", Fence: 3, State: build.Success, At: at})())
}

func TestLinearizable(t *testing.T) {
	address := rethinkdbtest.Address(t)
	require.NoError(t, rethinkdb.Init(t.Context(), address, rethinkdb.Options{}, rethinkdb.Layout{}))
	storetest.Linearizable(t, nil, rethinkdbtest.Reopen(t, address), rethinkdbtest.Reopen(t, address))
}

func TestLinearizableWhileConnectionsEnd(t *testing.T) {
	s, proxy := behind(t)
	storetest.Linearizable(t, proxy.Cut, s)
}

func TestInitMayBeRepeated(t *testing.T) {
	address := rethinkdbtest.Address(t)
	_, err := rethinkdb.Open(t.Context(), address, rethinkdb.Options{})
	require.ErrorContains(t, err, "there is no piper database "+address.Database+": make one with piper db init --store "+address.String())
	require.ErrorContains(t, rethinkdb.Migrate(t.Context(), address, rethinkdb.Options{}), "there is no piper database")
	require.NoError(t, rethinkdb.Init(t.Context(), address, rethinkdb.Options{}, rethinkdb.Layout{}))
	s := rethinkdbtest.Reopen(t, address)
	_, err = s.PutProject(t.Context(), store.Project{Name: "shop"})
	require.NoError(t, err)
	require.NoError(t, rethinkdb.Init(t.Context(), address, rethinkdb.Options{}, rethinkdb.Layout{}))
	require.NoError(t, rethinkdb.Migrate(t.Context(), address, rethinkdb.Options{}))
	_, err = s.Project(t.Context(), "shop")
	require.NoError(t, err)
}

// What is there is not moved, and that is said.
func TestInitDoesNotMoveTables(t *testing.T) {
	address := rethinkdbtest.Address(t)
	init := func(l rethinkdb.Layout) error { return rethinkdb.Init(t.Context(), address, rethinkdb.Options{}, l) }
	err := init(rethinkdb.Layout{Replicas: 3})
	require.ErrorContains(t, err, "Can't put 3 replicas on servers")
	require.NotErrorIs(t, err, store.ErrInDoubt, "to try again is of no use")

	require.NoError(t, init(rethinkdb.Layout{Shards: 2}))
	for _, same := range []rethinkdb.Layout{{}, {Shards: 2}, {Replicas: 1}, {Shards: 2, Replicas: 1}} {
		require.NoError(t, init(same))
	}
	require.ErrorContains(t, init(rethinkdb.Layout{Shards: 3}), "table meta was there, with 2 shards and 1 replicas: "+
		`r.db("`+address.Database+`").reconfigure({shards: 3, replicas: 1}) spreads all tables anew`)
	require.ErrorContains(t, init(rethinkdb.Layout{Replicas: 2}), "with 2 shards and 1 replicas: ")
	rethinkdbtest.Reopen(t, address)
}

// admin runs a term in the test's database, as whoever looks after it would.
func admin(t *testing.T, a rethinkdb.Address, term r.Term) {
	t.Helper()
	session, err := r.Connect(r.ConnectOpts{Addresses: a.Hosts, Database: a.Database, NumRetries: 1})
	require.NoError(t, err)
	defer session.Close()
	cursor, err := term.Run(session)
	require.NoError(t, err)
	require.NoError(t, cursor.Close())
}

func TestTablesOfANewerPiper(t *testing.T) {
	address := rethinkdbtest.Address(t)
	require.NoError(t, rethinkdb.Init(t.Context(), address, rethinkdb.Options{}, rethinkdb.Layout{}))
	admin(t, address, r.Table("meta").Get("schema").Update(map[string]any{"version": 99}))
	_, err := rethinkdb.Open(t.Context(), address, rethinkdb.Options{})
	require.ErrorIs(t, err, rethinkdb.ErrNewer)
	require.ErrorContains(t, err, "its tables have version 99, this piper knows 1: use the newer one")
	require.ErrorIs(t, rethinkdb.Init(t.Context(), address, rethinkdb.Options{}, rethinkdb.Layout{}), rethinkdb.ErrNewer)
	require.ErrorIs(t, rethinkdb.Migrate(t.Context(), address, rethinkdb.Options{}), rethinkdb.ErrNewer)
}

func TestCheckFindsWhatIsUnsafe(t *testing.T) {
	address := rethinkdbtest.Address(t)
	require.NoError(t, rethinkdb.Init(t.Context(), address, rethinkdb.Options{}, rethinkdb.Layout{}))
	found := func() (lines []string) {
		all, err := rethinkdb.Check(t.Context(), address, rethinkdb.Options{})
		require.NoError(t, err)
		for _, f := range all {
			lines = append(lines, f.String())
		}
		return lines
	}
	const password = `warning: the user admin has no password: whoever reaches the server may do anything: r.db("rethinkdb").table("users").get("admin").update({password: "..."})`
	require.Equal(t, []string{password}, found())
	admin(t, address, r.Table("builds").Config().Update(map[string]any{"durability": "soft", "write_acks": "single"}))
	admin(t, address, r.Table("builds").IndexDrop("queue"))
	require.Equal(t, []string{
		`error: table builds has durability soft: what was acknowledged may be lost: r.table("builds").config().update({durability: "hard"})`,
		`error: table builds acknowledges writes of single: they may be lost with one server: r.table("builds").config().update({write_acks: "majority"})`,
		`error: table builds has no index queue: piper db init makes it`,
		password,
	}, found())
	_, err := rethinkdb.Open(t.Context(), address, rethinkdb.Options{})
	require.ErrorContains(t, err, "table builds has durability soft: what was acknowledged may be lost")
}

// Tables of an older piper are brought up to date when somebody says so, with what is
// in them, and the older one says then why it does not open them.
func TestMigrate(t *testing.T) {
	address, o := rethinkdbtest.Address(t), rethinkdb.Options{}
	require.NoError(t, rethinkdb.Init(t.Context(), address, o, rethinkdb.Layout{}))
	older := rethinkdbtest.Reopen(t, address)
	_, err := older.Enqueue(t.Context(), store.NewBuild("b", 1, store.Request{Project: "p", Ref: "main"}, at))
	require.NoError(t, err)
	rethinkdb.Newer(t, func(t *testing.T) {
		_, err := rethinkdb.Open(t.Context(), address, o)
		require.ErrorContains(t, err, "its tables have version 1, this piper needs 2: bring them up to date with piper db migrate --store "+address.String())
		for range 2 {
			require.NoError(t, rethinkdb.Migrate(t.Context(), address, o))
		}
		s := rethinkdbtest.Reopen(t, address)
		_, err = s.Build(t.Context(), "b")
		require.NoError(t, err)
		admin(t, address, r.Branch(r.Table("builds").GetAllByIndex("ref", "main").Count().Eq(1), true, r.Error("it is not in the index")))
		admin(t, address, r.Table("colours").Insert(map[string]any{"id": "blue"}))
		found, err := rethinkdb.Check(t.Context(), address, o)
		require.NoError(t, err)
		for _, f := range found {
			require.False(t, f.Fatal, f)
		}
	})
	_, err = older.Change(t.Context(), "b", store.Offer{To: "a"})
	require.NoError(t, err, "who has them open goes on")
	_, err = rethinkdb.Open(t.Context(), address, o)
	require.ErrorIs(t, err, rethinkdb.ErrNewer)
	require.ErrorContains(t, err, "its tables have version 2, this piper knows 1: use the newer one")
}

// An old server is refused before anything is read or made there.
func TestAServerThatIsTooOld(t *testing.T) {
	address, empty := rethinkdbtest.Address(t), rethinkdbtest.Address(t)
	require.NoError(t, rethinkdb.Init(t.Context(), address, rethinkdb.Options{}, rethinkdb.Layout{}))
	t.Run("", func(t *testing.T) {
		rethinkdb.SetOldest(t, "99.1")
		const says = "upgrade it: piper needs 99.1 or later"
		_, err := rethinkdb.Open(t.Context(), address, rethinkdb.Options{})
		require.ErrorContains(t, err, "open store "+address.String()+": server ")
		require.ErrorContains(t, err, says)
		require.NotErrorIs(t, err, store.ErrInDoubt, "to try again is of no use")
		require.ErrorContains(t, rethinkdb.Init(t.Context(), empty, rethinkdb.Options{}, rethinkdb.Layout{}), says)
		require.ErrorContains(t, rethinkdb.Migrate(t.Context(), address, rethinkdb.Options{}), says)
		found, err := rethinkdb.Check(t.Context(), address, rethinkdb.Options{})
		require.NoError(t, err)
		require.True(t, found[0].Fatal)
		require.Equal(t, says, found[0].Hint)
	})
	rethinkdbtest.Reopen(t, address)
	_, err := rethinkdb.Open(t.Context(), empty, rethinkdb.Options{})
	require.ErrorContains(t, err, "there is no piper database")
}

func TestWhoIsNotLetIn(t *testing.T) {
	address := rethinkdbtest.Address(t)
	require.NoError(t, rethinkdb.Init(t.Context(), address, rethinkdb.Options{}, rethinkdb.Layout{}))
	_, err := rethinkdb.Open(t.Context(), address, rethinkdb.Options{Password: "wrong"})
	require.ErrorContains(t, err, "open store "+address.String())
	require.ErrorContains(t, err, "is the password the one of this user?")
	require.NotErrorIs(t, err, store.ErrInDoubt, "to try again is of no use")

	// A user of its own needs to read and write, and no more.
	user := address
	user.User = address.Database
	admin(t, address, r.DB("rethinkdb").Table("users").Insert(map[string]any{"id": user.User, "password": "s3cret"}))
	t.Cleanup(func() { admin(t, address, r.DB("rethinkdb").Table("users").Get(user.User).Delete()) })
	_, err = rethinkdb.Open(t.Context(), user, rethinkdb.Options{Password: "s3cret"})
	require.ErrorContains(t, err, "permission")
	admin(t, address, r.DB(address.Database).Grant(user.User, map[string]bool{"read": true, "write": true}))
	s, err := rethinkdb.Open(t.Context(), user, rethinkdb.Options{Password: "s3cret"})
	require.NoError(t, err)
	defer s.Close()
	_, err = s.NextNumber(t.Context())
	require.NoError(t, err)
	found, err := rethinkdb.Check(t.Context(), user, rethinkdb.Options{Password: "s3cret"})
	require.NoError(t, err)
	for _, f := range found {
		require.False(t, f.Fatal, f)
		require.Equal(t, "check as admin", f.Hint)
	}
}

func TestNobodyThere(t *testing.T) {
	address, err := rethinkdb.ParseURL("rethinkdb://127.0.0.1:1/piper")
	require.NoError(t, err)
	_, err = rethinkdb.Open(t.Context(), address, rethinkdb.Options{})
	require.ErrorContains(t, err, "open store rethinkdb://127.0.0.1:1/piper: in doubt: no server is reached: 127.0.0.1:1")
}

// behind opens a store of a new database through a proxy.
func behind(t *testing.T) (*rethinkdb.Store, *server.Proxy) {
	address := rethinkdbtest.Address(t)
	require.NoError(t, rethinkdb.Init(t.Context(), address, rethinkdb.Options{}, rethinkdb.Layout{}))
	proxy := rethinkdbtest.NewProxy(t, address.Hosts[0])
	address.Hosts = []string{proxy.Host}
	s, err := rethinkdb.Open(t.Context(), address, rethinkdb.Options{Timeout: time.Second})
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, s.Close()) })
	return s, proxy
}

func TestConnectionsAreMadeAnew(t *testing.T) {
	s, proxy := behind(t)
	var last int64
	for _, harm := range []func(){proxy.Cut, proxy.HalfClose, proxy.Cut, proxy.HalfClose, func() {}} {
		var number int64
		require.NoError(t, store.Insist(t.Context(), func() (err error) { number, err = s.NextNumber(t.Context()); return err }))
		require.Greater(t, number, last)
		last = number
		harm()
	}
	for range 8 { // every connection is broken, and who reads does not hear of it
		proxy.Cut()
		_, _, err := s.List(t.Context(), store.Filter{}, "", 10)
		require.NoError(t, err)
	}
}

// What was asked and not answered has happened, and happens once.
func TestAnswersThatAreLost(t *testing.T) {
	s, proxy := behind(t)
	for i := range 3 {
		id := build.ID(fmt.Sprint("b", i))
		proxy.StallAnswers()
		put := make(chan error, 1)
		go func() {
			put <- store.Insist(t.Context(), func() error {
				_, err := s.Enqueue(t.Context(), store.NewBuild(id, int64(i+1), store.Request{Project: "p"}, at))
				return err
			})
		}()
		select {
		case err := <-put:
			t.Fatal("there was an answer: ", err)
		case <-time.After(100 * time.Millisecond):
		}
		proxy.Cut()
		proxy.Resume()
		require.NoError(t, <-put)
	}
	var all []store.Build
	require.NoError(t, store.Insist(t.Context(), func() (err error) { all, _, err = s.List(t.Context(), store.Filter{}, "", 10); return err }))
	require.Len(t, all, 3)
}

func TestAServerThatIsSilent(t *testing.T) {
	s, proxy := behind(t)
	b := store.NewBuild("b", 1, store.Request{Project: "p"}, at)
	_, err := s.Enqueue(t.Context(), b)
	require.NoError(t, err)
	proxy.Stall()
	_, err = s.Build(t.Context(), "b")
	require.ErrorIs(t, err, store.ErrInDoubt)
	require.ErrorIs(t, err, context.DeadlineExceeded)
	gone, cancel := context.WithCancel(t.Context())
	time.AfterFunc(10*time.Millisecond, cancel)
	_, err = s.Change(gone, "b", store.Offer{To: "a"})
	require.ErrorIs(t, err, context.Canceled)
	require.ErrorIs(t, err, store.ErrInDoubt)
	proxy.Resume()
	require.NoError(t, store.Insist(t.Context(), func() error {
		_, err := s.Change(t.Context(), "b", store.Offer{To: "a"})
		return err
	}))
	got, err := s.Build(t.Context(), "b")
	require.NoError(t, err)
	require.Equal(t, store.AgentID("a"), got.FirstChoice)
}

func TestAFeedIsMadeAnew(t *testing.T) {
	s, proxy := behind(t)
	hints, err := s.Watch(t.Context(), store.Watched{})
	require.NoError(t, err)
	wait := func(want build.ID) {
		t.Helper()
		for hint := range hints {
			if hint.Build == want {
				return
			}
		}
		t.Fatal("hints ended")
	}
	wait("") // it begins
	for i := range 3 {
		id := build.ID(fmt.Sprint("b", i))
		_, err := s.Enqueue(t.Context(), store.NewBuild(id, int64(i), store.Request{Project: "p"}, at))
		require.NoError(t, err)
		wait(id)
		proxy.Cut()
		wait("")
		wait("") // once it is broken, and once there is another one
		require.NoError(t, store.Insist(t.Context(), func() error { _, err := s.NextNumber(t.Context()); return err }))
	}
}

// What was acknowledged is there after the server was killed.
func TestTheServerIsKilled(t *testing.T) {
	running := rethinkdbtest.Start(t)
	address, err := rethinkdb.ParseURL("rethinkdb://" + running.Host + "/piper")
	require.NoError(t, err)
	require.NoError(t, rethinkdb.Init(t.Context(), address, rethinkdb.Options{}, rethinkdb.Layout{}))
	s := rethinkdbtest.Reopen(t, address)
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
	defer cancel()
	acknowledged := make(chan int64, 10000)
	go func() {
		defer close(acknowledged)
		for n := int64(1); n <= 200 && ctx.Err() == nil; n++ {
			id := build.ID(fmt.Sprint("b", n))
			if store.Insist(ctx, func() error {
				_, err := s.Enqueue(ctx, store.NewBuild(id, n, store.Request{Project: "p"}, at))
				return err
			}) == nil {
				acknowledged <- n
			}
		}
	}()
	count := 0
	for n := range acknowledged {
		count++
		if n == 50 {
			running.Kill()
			rethinkdbtest.StartAgain(t, running)
		}
	}
	require.Equal(t, 200, count)
	all, _, err := s.List(ctx, store.Filter{}, "", 1000)
	require.NoError(t, err)
	require.Len(t, all, 200)
}

func TestTheNextHostIsTried(t *testing.T) {
	address := rethinkdbtest.Address(t)
	require.NoError(t, rethinkdb.Init(t.Context(), address, rethinkdb.Options{}, rethinkdb.Layout{}))
	proxy := rethinkdbtest.NewProxy(t, address.Hosts[0])
	address.Hosts = []string{"127.0.0.1:1", proxy.Host, address.Hosts[0]}
	s := rethinkdbtest.Reopen(t, address)
	proxy.Close()
	for range 8 { // every connection had the proxy
		require.NoError(t, store.Insist(t.Context(), func() error { _, err := s.NextNumber(t.Context()); return err }))
	}
}

func TestTLS(t *testing.T) {
	cert, key := certificate(t, t.TempDir())
	running := rethinkdbtest.Start(t, "--driver-tls-key", key, "--driver-tls-cert", cert)
	open := func(options string) error {
		address, err := rethinkdb.ParseURL("rethinkdb://" + running.Host + "/piper" + options)
		require.NoError(t, err)
		return rethinkdb.Init(t.Context(), address, rethinkdb.Options{}, rethinkdb.Layout{})
	}
	require.NoError(t, open("?ca="+cert))
	err := open("?tls=true")
	require.ErrorContains(t, err, "certificate signed by unknown authority")
	require.NotErrorIs(t, err, store.ErrInDoubt, "to try again is of no use")
	require.ErrorContains(t, open(""), "no server is reached")
}

// certificate makes a certificate for this machine, signed by itself.
func certificate(t *testing.T, dir string) (cert, key string) {
	private, err := ecdsa.GenerateKey(elliptic.P256(), crand.Reader)
	require.NoError(t, err)
	template := &x509.Certificate{SerialNumber: big.NewInt(1), NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
		IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)}, IsCA: true, BasicConstraintsValid: true}
	der, err := x509.CreateCertificate(crand.Reader, template, template, &private.PublicKey, private)
	require.NoError(t, err)
	secret, err := x509.MarshalPKCS8PrivateKey(private)
	require.NoError(t, err)
	cert, key = filepath.Join(dir, "cert.pem"), filepath.Join(dir, "key.pem")
	require.NoError(t, os.WriteFile(cert, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}), 0o600))
	require.NoError(t, os.WriteFile(key, pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: secret}), 0o600))
	return cert, key
}

// An agent is told of what concerns it by name, and of others' builds that there are
// some.
func TestHintsForAnAgent(t *testing.T) {
	s := rethinkdbtest.Open(t)
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	hints, err := s.Watch(ctx, store.Watched{Agent: "a"})
	require.NoError(t, err)
	require.Equal(t, store.Hint{}, <-hints, "it begins")
	var told []build.ID
	next := func(what string, want store.Hint) {
		t.Helper()
		for hint := range hints {
			if hint.Build != "" {
				told = append(told, hint.Build)
			}
			if hint == want {
				return
			}
		}
		t.Fatal("waited in vain: ", what)
	}
	others := store.Hint{Others: true}
	for _, choice := range []store.AgentID{"b", "", "a"} {
		number, err := s.NextNumber(ctx)
		require.NoError(t, err)
		next("a number was drawn", others)
		b := store.NewBuild(build.ID("x"+choice), number, store.Request{Project: "p"}, at)
		b.FirstChoice = choice
		_, err = s.Enqueue(ctx, b)
		require.NoError(t, err)
		if choice != "b" {
			next("queued", store.Hint{Build: b.ID})
		}
		_, err = s.Change(ctx, b.ID, store.Claim{Agent: "b", Nonce: "n", Max: store.MaxAttempts, At: at})
		require.NoError(t, err)
		if choice != "b" {
			next("claimed by another one", store.Hint{Build: b.ID})
		}
		_, err = s.ChangeGroup(ctx, "g", store.Acquire{Waiter: store.Waiter{Build: b.ID, Number: number}})
		require.NoError(t, err)
		next("a group has changed hands", others)
	}
	require.NotContains(t, told, build.ID("xb"))
}

// Who waits for one build is told of it alone.
func TestHintsAtABuild(t *testing.T) {
	s := rethinkdbtest.Open(t)
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	hints, err := s.Watch(ctx, store.Watched{Build: "x"})
	require.NoError(t, err)
	require.Equal(t, store.Hint{}, <-hints, "it begins")
	for _, id := range []build.ID{"y", "x"} {
		_, err := s.Enqueue(ctx, store.NewBuild(id, 1, store.Request{Project: "p"}, at))
		require.NoError(t, err)
	}
	require.Equal(t, store.Hint{Build: "x"}, <-hints)
	_, err = s.Change(ctx, "x", store.Claim{Agent: "b", Nonce: "n", Max: store.MaxAttempts, At: at})
	require.NoError(t, err)
	require.Equal(t, store.Hint{Build: "x"}, <-hints)
}
