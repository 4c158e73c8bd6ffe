package main

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"runtime/debug"
	"strings"
	"time"

	"github.com/piper-build/piper/cmd/piper/progress"
	"github.com/piper-build/piper/runtime/build"
	"github.com/piper-build/piper/runtime/logs"
	"github.com/piper-build/piper/runtime/plan"
	"github.com/piper-build/piper/runtime/record"
	"github.com/piper-build/piper/runtime/store"
)

const (
	// recordingPace is how long what a step wrote may wait for company: commits
	// are not to take the processors from short steps.
	recordingPace = 100 * time.Millisecond
	// recordingMemory is how much output waits there for the store, which is near.
	recordingMemory = 256 << 10
	// loud is how much output of a build makes it worth keeping memory tight.
	loud = 64 << 10
	// recordingPatience is how long a build that has ended waits for its record.
	recordingPatience = 10 * time.Second
	// collectEvery is at how many builds older ones are removed.
	collectEvery = 8
)

// A recording keeps one build of this process in the local store. Nothing that
// goes wrong with it is the build's concern: it ends the recording, and is told
// once the build has ended.
//
// It is a runtime.Recorder, a logs.Sink, and what package record takes for a
// store: that is opened in the background, while the first step runs.
type recording struct {
	*local
	record *record.Record
	born   store.Build   // as it is inserted, but for its number
	plan   *plan.Plan    // is let go once it is in the store
	begun  chan struct{} // closed once the build is in the store, or never will be
	number int64         // 0 is none; good once begun is closed
	closed bool          // by finish, which runs once
	output int           // bytes of it that were sent, until it is loud
}

// recordBuild begins to record a build of p.
func (l *local) recordBuild(id build.ID, p *plan.Plan, r store.Request) *recording {
	r.Here = l.id
	rec := &recording{local: l, plan: p, born: store.NewBuild(id, 0, r, now()), begun: make(chan struct{})}
	rec.record = record.Open(rec, id, 1, record.Options{
		SpoolDir: filepath.Join(filepath.Dir(l.path), "spool"),
		Memory:   recordingMemory,
		Pace:     recordingPace,
		Before:   rec.begin,
	})
	return rec
}

// begin puts the build into the store, as one that was asked for, claimed and
// planned.
func (r *recording) begin(ctx context.Context) (err error) {
	defer close(r.begun)
	if err := r.open(ctx); err != nil {
		return err
	}
	var digest string
	err = store.Insist(ctx, func() (err error) { digest, err = store.PutPlan(ctx, r.store, r.plan); return err })
	if err != nil {
		return err
	}
	b := r.born
	for _, c := range []store.Change{
		store.Claim{Agent: r.id, Nonce: string(r.id), Max: 1, At: b.Created},
		store.Planned{Agent: r.id, Fence: 1, Commit: b.Request.Commit, Plan: digest, Total: len(r.plan.Nodes)},
	} {
		if b, _, err = b.Changed(c); err != nil {
			return err
		}
	}
	r.plan = nil
	if b.Number, err = r.store.NextNumber(ctx); err != nil {
		return err
	}
	if err := store.Insist(ctx, func() error { _, err := r.store.Enqueue(ctx, b); return err }); err != nil {
		return err
	}
	r.number = b.Number
	return nil
}

// Record implements runtime.Recorder.
func (r *recording) Record(events []build.Event) error {
	r.record.Record(events) // it tells finish of its errors, as all that follow do
	return nil
}

// Open implements logs.Sink.
func (r *recording) Open(node string, attempt int) (logs.Writer, error) {
	w, err := r.record.Open(node, attempt)
	if err != nil {
		return lenient{}, nil
	}
	return lenient{w}, nil
}

// Close implements logs.Sink.
func (r *recording) Close() error { return nil }

// lenient is a Writer whose errors are somebody else's to tell.
type lenient struct{ to logs.Writer } // nil drops what is written

func (l lenient) Write(at time.Time, p []byte) error {
	if l.to != nil {
		l.to.Write(at, p)
	}
	return nil
}

func (l lenient) Close() error {
	if l.to != nil {
		l.to.Close()
	}
	return nil
}

// AppendEvents implements record.Store.
func (r *recording) AppendEvents(ctx context.Context, key store.EventKey, events []build.Event) error {
	return r.store.AppendEvents(ctx, key, events)
}

// AppendChunks implements record.Store.
func (r *recording) AppendChunks(ctx context.Context, chunks []store.Chunk) error {
	if r.output < loud {
		for i := range chunks {
			r.output += len(chunks[i].Data)
		}
		if r.output >= loud {
			debug.SetGCPercent(tight)
		}
	}
	return r.store.AppendChunks(ctx, chunks)
}

// finish waits until the store has everything, and ends the build there as b
// has ended. It gives up when that takes long, or kill is closed. A build that
// has no end will be called lost.
func (r *recording) finish(b *build.Build, kill <-chan struct{}) (err error) {
	if r.closed {
		return nil
	}
	r.closed = true
	ctx, cancel := context.WithTimeout(context.Background(), recordingPatience)
	defer cancel()
	go func() {
		select {
		case <-kill:
			cancel()
		case <-ctx.Done():
		}
	}()
	if err = r.record.Flush(ctx); err == nil {
		err = r.complete(ctx, b)
	}
	r.record.Close() // says what Flush said
	<-r.begun
	switch {
	case err == nil:
		if r.number%collectEvery == 0 {
			err = r.collect(ctx, r.born.Request.Project)
		}
		return err
	case r.number == 0:
		return fmt.Errorf("this run is not recorded: %w", err)
	}
	r.number, r.left = 0, true
	return fmt.Errorf("this run is not recorded to its end: %w", err)
}

// complete ends the build in the store as b has ended.
func (r *recording) complete(ctx context.Context, b *build.Build) error {
	if b.Ended().IsZero() {
		return errors.New("it was given up")
	}
	end := store.Complete{Agent: r.id, Fence: 1, State: b.State(), Reason: b.Reason(), Progress: b.Progress(), At: b.Ended()}
	return store.Insist(ctx, func() error {
		_, err := r.store.Change(ctx, r.born.ID, end)
		return err
	})
}

// shown is the number to show of a build that has ended.
func (r *recording) shown() int64 {
	if r == nil {
		return 0
	}
	return r.number
}

// A recorded is the display of a build that is recorded. The record is complete
// before the last line is shown.
type recorded struct {
	progress.Display
	recording *recording
	execution *execution
}

func (d recorded) End(b *build.Build) {
	if err := d.recording.finish(b, d.execution.signals.killed.Done()); err != nil {
		resume := progress.Suspend(d.Display)
		fmt.Fprintf(d.execution.stderr, "piper: %v\n", err)
		resume()
	}
	d.Display.End(b)
}

// request is what was asked for with j, in the words of a store.
func (j *job) request(event plan.Event, by string) store.Request {
	r := store.Request{
		Project:  j.plan.Project.Name,
		Pipeline: j.plan.Pipeline,
		Ref:      j.question.branch + j.question.tag, // which are never both given
		Commit:   event.Commit,
		Event:    event,
		Select:   j.question.narrow,
		Cause:    store.Cause{Kind: event.Kind, By: by},
	}
	if len(j.args) > 1 {
		r.Environment = j.args[1]
	}
	for _, param := range j.question.params {
		if r.Params == nil {
			r.Params = map[string]string{}
		}
		name, value, _ := strings.Cut(param, "=")
		r.Params[name] = value
	}
	if j.parent != nil {
		r.Cause = store.Cause{Kind: "trigger", Build: j.parent.id, Number: j.parent.number, Node: j.node, By: by}
	}
	return r
}

// records gives c the flags that say where its builds are recorded.
func (e *execution) records(c *command) {
	e.where = c.stores()
	c.FlagSet.BoolVar(&e.noRecord, "no-record", false, "do not record what is run")
}

// localStore is where this process records the builds that it runs; nil is
// nowhere. When settings name a database, that is for what machines share: what
// runs here is kept here.
func (e *execution) localStore() (*local, error) {
	where := *e.where
	if where.shared() && where.url == e.settings.made("store") {
		where.url = ""
	}
	if e.noRecord || where.url == "" && e.dataDir() == "" {
		return nil, nil
	}
	path, err := where.file()
	if err != nil {
		return nil, err
	}
	return newLocal(path), nil
}
