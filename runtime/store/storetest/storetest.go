// Package storetest is the suite that every Store passes.
package storetest

import (
	"context"
	"errors"
	"fmt"
	"reflect"
	goruntime "runtime"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/piper-build/piper/runtime/build"
	"github.com/piper-build/piper/runtime/store"
)

// Run holds a store against the contract. open gives an empty one for each
// theme; closing it is up to open.
func Run(t *testing.T, open func(t *testing.T) store.Store) {
	for _, theme := range slices.Concat(themes, reads) {
		t.Run(theme.name, func(t *testing.T) {
			s := open(t)
			theme.check(suite{t, t.Context(), s, direct{s}})
		})
	}
}

// Failing returns the names of the themes that a store fails, one "name: why"
// each. It is for stores that are meant to fail.
func Failing(ctx context.Context, open func() store.Store) (names []string) {
	for _, theme := range slices.Concat(themes, reads) {
		r := &recorder{}
		done := make(chan struct{})
		go func() {
			defer close(done)
			s := open()
			theme.check(suite{r, ctx, s, direct{s}})
		}()
		<-done
		if len(r.failures) > 0 {
			names = append(names, theme.name+": "+strings.Join(strings.Fields(r.failures[0]), " "))
		}
	}
	return names
}

// A recorder takes the place of a test that is meant to fail.
type recorder struct {
	failures []string
	skipped  string // why, if it was
}

func (r *recorder) Errorf(format string, args ...any) {
	r.failures = append(r.failures, fmt.Sprintf(format, args...))
}
func (r *recorder) Skip(args ...any) {
	r.skipped = fmt.Sprint(args...)
	goruntime.Goexit()
}
func (r *recorder) FailNow() { goruntime.Goexit() }
func (r *recorder) Helper()  {}

// A theme is one part of the contract.
type theme struct {
	name  string
	check func(suite)
}

var themes = []theme{
	{"a build is enqueued once", enqueuedOnce},
	{"a number is drawn once", numbersGrow},
	{"one of many claims wins", claimsRace},
	{"many builds are claimed once each", claimersShare},
	{"changes race and none is lost", changesRace},
	{"a fence ends what an owner may do", fenced},
	{"what has ended stays as it is", terminal},
	{"a build that its agents lose is lost", rescued},
	{"a build may be for one agent alone", stays},
	{"a once step keeps a build from running again", onceStays},
	{"a hand-over costs no attempt", handedOver},
	{"a cancel reaches a build wherever it stands", cancelled},
	{"a trigger leaves a chore behind", outbox},
	{"what comes after a build is not forgotten", followed},
	{"the first word on an approval counts", approved},
	{"a tombstone keeps a late insert from running", collected},
	{"the same change twice is one", repeated},
	{"any change does what the pure one does", asThePureOnes},
	{"a lost answer loses nothing and doubles nothing", answersLost},
	{"the queue is by urgency", queued},
	{"an overview is of all that it names", overviewed},
	{"blobs come back as they were put", blobs},
	{"events are appended once and read in order", events},
	{"chunks are appended once and found by line", chunks},
	{"a signature is of what is there", signed},
	{"what is purged is gone, and nothing else", purged},
	{"all there is can be found", portable},
	{"a group is served in order", groups},
	{"an agent that was buried is not there", agents},
	{"a project changes by revision", projects},
	{"a token is found by its hash alone", tokens},
	{"a change is hinted at", watched},
	{"what was not found says so", notFound},
	{"nothing happens once the caller is gone", abandoned},
}

// A suite is one theme at work.
type suite struct {
	t   testingT
	ctx context.Context
	store.Store
	from Reader // of the Store
}

type testingT interface {
	require.TestingT
	Skip(args ...any)
	Helper()
}

// optional is the store as one that can do what the contract leaves open. The theme
// ends where it cannot.
func optional[T any](s suite) T {
	s.t.Helper()
	able, ok := s.Store.(T)
	if !ok {
		s.t.Skip(fmt.Sprintf("the store is no %v", reflect.TypeFor[T]()))
	}
	return able
}

// at is a time like any other: no store may make something of it.
var at = time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)

// ids makes a build's id out of a word, so that failures can be read.
func id(word string) build.ID { return build.ID("build-" + word) }

// enqueue makes a build of project p.
func (s suite) enqueue(word string, change ...func(*store.Request)) store.Build {
	s.t.Helper()
	r := store.Request{Project: "p", Pipeline: "build"}
	for _, c := range change {
		c(&r)
	}
	number, err := s.NextNumber(s.ctx)
	require.NoError(s.t, err)
	b, err := s.Enqueue(s.ctx, store.NewBuild(id(word), number, r, at))
	require.NoError(s.t, err)
	return b
}

// change expects c to be taken.
func (s suite) change(word string, c store.Change) store.Build {
	s.t.Helper()
	b, err := s.Change(s.ctx, id(word), c)
	require.NoError(s.t, err)
	s.stands(b)
	return b
}

// refuse expects c to be refused, and nothing to be changed by it.
func (s suite) refuse(word string, c store.Change, why error) {
	s.t.Helper()
	before := s.read(word)
	_, err := s.Change(s.ctx, id(word), c)
	require.ErrorIs(s.t, err, why)
	require.Equal(s.t, before, s.read(word), "a change that was refused left a trace")
}

func (s suite) read(word string) store.Build {
	s.t.Helper()
	b, err := s.Build(s.ctx, id(word))
	require.NoError(s.t, err)
	return b
}

// stands expects what a write returned to be what is kept.
func (s suite) stands(b store.Build) {
	s.t.Helper()
	kept, err := s.Build(s.ctx, b.ID)
	require.NoError(s.t, err)
	require.Equal(s.t, b, kept)
}

// claim has agent take the build, which it must get.
func (s suite) claim(word string, agent store.AgentID) store.Build {
	s.t.Helper()
	b := s.read(word)
	return s.change(word, store.Claim{Agent: agent, Fence: b.Fence, Nonce: fmt.Sprint(agent, "/", b.Fence), Max: store.MaxAttempts, At: at})
}

// refused reports whether err is one with which a guard refuses.
func refused(err error) bool {
	return errors.Is(err, store.ErrConflict) || errors.Is(err, store.ErrFenced)
}
