// Package record brings what happens in a build, and what its steps write, into
// a store while the build runs.
//
// A Record is a queue with one goroutine at its end. Whoever writes only appends
// to it; the goroutine takes what has gathered, sends it, and waits for the store
// to acknowledge it before it sends the next. So a store that is quick gets each
// line by itself and at once, one that is slow gets them in large batches.
//
// # Order
//
// Events reach the store in order, and so do the bytes of each attempt. What an
// attempt wrote before an event was recorded is there before the event is: who
// reads that an attempt has ended finds all of its output.
//
// # When the store does not answer
//
// A batch that was sent never changes; while it is in doubt it is sent again.
// What comes meanwhile waits in memory, up to Options.Memory. Then whoever writes
// output waits as well, for a store that is only slow, but not longer than
// Options.Patience: after that a file takes what comes, and gives it back in
// order. Once Options.Quota bytes lie in it, output is left out: what came before
// stays, and so does the end of each attempt, and the chunk after the gap says
// how much is missing. Events are never left out.
package record

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/piper-build/piper/runtime/build"
	"github.com/piper-build/piper/runtime/logs"
	"github.com/piper-build/piper/runtime/store"
)

// A Store is what a Record needs of a store.Store. It must not keep what it is
// given.
type Store interface {
	AppendEvents(ctx context.Context, key store.EventKey, events []build.Event) error
	AppendChunks(ctx context.Context, chunks []store.Chunk) error
}

// Options are limits, and manners. The zero value of each field is usable.
type Options struct {
	// SpoolDir is where the file is made when the store stalls. It has no name
	// there, and is gone with the process. "" is no file: output is left out as
	// soon as memory is full.
	SpoolDir string

	Memory   int64         // bytes of output that wait in memory, roughly; 0 is 1 MiB
	Quota    int64         // bytes that wait in the file; 0 is 1 GiB
	Limit    int64         // bytes that are kept of one attempt, and its end; 0 is no limit
	Patience time.Duration // how long a write of output waits for a store that is slow; 0 is a second

	// Pace is the least time between two batches, but for those that Flush asks
	// for or that are large. The first one waits for nothing. 0 is 20 ms.
	Pace time.Duration

	// Before is called once before anything is sent, in the background. Its error
	// ends the Record.
	Before func(ctx context.Context) error
}

// The defaults of Options.
const (
	defaultMemory   = 1 << 20
	defaultQuota    = 1 << 30
	defaultPatience = time.Second
	defaultPace     = 20 * time.Millisecond
)

// ErrUnsent says that a Record was closed before the store had all of it.
var ErrUnsent = errors.New("not all of it was acknowledged")

// ErrClosed says that something was written after Close.
var ErrClosed = errors.New("record is closed")

// A Record keeps the events and the output of one build under one fence. It
// implements runtime.Recorder and logs.Sink, and is safe for many goroutines.
//
// The first error that the store means is the last: it is what every call
// returns from then on, and nothing more is sent.
type Record struct {
	store Store
	id    build.ID
	fence int64
	o     Options

	stop  context.CancelFunc
	ended chan struct{} // closed when send has returned
	wake  chan struct{} // send looks again

	mu       sync.Mutex // guards what follows
	ready    []*segment // full ones, oldest first
	spool    spool      // what came after those
	open     *segment   // what comes now; nil is nothing
	flight   int        // segments that are being sent
	free     []*segment // for reuse
	put      int64      // how often something was added
	acked    int64      // up to which put the store has it
	progress chan struct{}
	asleep   sleep
	hurry    int  // how many Flushes wait
	stalled  bool // the store has not answered for so long that the file is used
	cutting  bool // the file is full
	closing  bool
	err      error

	sender sender // of the goroutine alone
}

// A sleep is what the goroutine sleeps for.
type sleep int8

const (
	awake  sleep = iota
	idle         // until there is anything
	pacing       // until there is much, or the time has come
)

// Open begins to record the build id, which is held under fence.
func Open(s Store, id build.ID, fence int64, o Options) *Record {
	o.Memory = cmp.Or(o.Memory, defaultMemory)
	o.Quota = cmp.Or(o.Quota, defaultQuota)
	o.Patience = cmp.Or(o.Patience, defaultPatience)
	o.Pace = cmp.Or(o.Pace, defaultPace)
	ctx, stop := context.WithCancel(context.Background())
	r := &Record{store: s, id: id, fence: fence, o: o, stop: stop,
		ended: make(chan struct{}), wake: make(chan struct{}, 1), progress: make(chan struct{})}
	r.spool.dir = o.SpoolDir
	go r.send(ctx)
	return r
}

// Record adds events, which follow those before.
func (r *Record) Record(events []build.Event) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	if err := r.usable(); err != nil {
		return err
	}
	for _, ev := range events {
		s := r.current()
		s.events = append(s.events, ev)
		r.added(s)
	}
	return nil
}

// Open returns the Writer of an attempt.
func (r *Record) Open(node string, attempt int) (logs.Writer, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if err := r.usable(); err != nil {
		return nil, err
	}
	return &writer{record: r, stream: &stream{key: store.ChunkKey{Build: r.id, Fence: r.fence, Node: node, Attempt: attempt}}}, nil
}

// Flush returns once the store has acknowledged all that came before it, but for
// the end of an output of which something is being left out.
func (r *Record) Flush(ctx context.Context) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.hurry++
	defer func() { r.hurry-- }()
	r.rouse()
	for target := r.put; r.acked < target; {
		if err := r.usable(); err != nil {
			return err
		}
		progress := r.progress
		r.mu.Unlock()
		select {
		case <-progress:
			r.mu.Lock()
		case <-ctx.Done():
			r.mu.Lock()
			return fmt.Errorf("record build: %w: %w", ErrUnsent, ctx.Err())
		}
	}
	return r.err
}

// Close ends the Record. It waits for nothing: what is to be kept is flushed
// before, and ErrUnsent says that something was not.
func (r *Record) Close() error {
	r.mu.Lock()
	r.closing = true
	r.rouse()
	r.mu.Unlock()
	r.stop()
	<-r.ended
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.err == nil && r.acked < r.put {
		r.err = fmt.Errorf("record build: %w", ErrUnsent)
	}
	err := r.err
	r.drop()
	return err
}

// usable returns why nothing can be recorded.
func (r *Record) usable() error {
	if r.err == nil && r.closing {
		return ErrClosed
	}
	return r.err
}

// fail ends the Record with err.
func (r *Record) fail(err error) {
	if r.err == nil {
		r.err = err
	}
	r.drop()
	r.advanced()
}

// drop forgets all that waits.
func (r *Record) drop() {
	r.ready, r.open, r.free = nil, nil, nil
	r.spool.close()
}

// advanced wakes all that wait for something to be acknowledged.
func (r *Record) advanced() {
	close(r.progress)
	r.progress = make(chan struct{})
}

// rouse has the goroutine look whether there is something to do.
func (r *Record) rouse() {
	if r.asleep != awake {
		r.asleep = awake
		select {
		case r.wake <- struct{}{}:
		default:
		}
	}
}
