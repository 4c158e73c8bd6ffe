package agent

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"reflect"
	"slices"
	"sync"
	"time"

	"github.com/piper-build/piper/runtime/build"
	"github.com/piper-build/piper/runtime/store"
)

// A witness is a store that holds each change against what must be true of every
// one, and remembers what was not.
type witness struct {
	*store.Memory
	cheat   func(now store.Build, c store.Change) store.Change // takes a guard out; nil takes none
	quiet   bool                                               // agents are told of what concerns them only
	renamed func(id build.ID) build.ID                         // of a build that is made; nil leaves it

	one     sync.Mutex // change at a time
	broken  []string
	granted map[string]store.AgentID // by build and fence
	rescues int
	told    []string // each change, for comparing runs
	endedAt map[build.ID]time.Time
	onEnd   func(before, after store.Build, c store.Change)
}

func newWitness() *witness {
	return &witness{Memory: store.NewMemory(), granted: map[string]store.AgentID{}, endedAt: map[build.ID]time.Time{}}
}

func (w *witness) breaks(format string, args ...any) {
	w.broken = append(w.broken, fmt.Sprintf(format, args...))
}

// Change implements store.Builds.
func (w *witness) Change(ctx context.Context, id build.ID, c store.Change) (store.Build, error) {
	w.one.Lock()
	defer w.one.Unlock()
	before, err := w.Memory.Build(ctx, id)
	if err != nil {
		return before, err
	}
	does := c
	if w.cheat != nil {
		does = w.cheat(before, c)
	}
	after, err := w.Memory.Change(ctx, id, does)
	if err == nil && after.Rev != before.Rev {
		w.look(before, after, c)
	}
	return after, err
}

// fenceOf is the fence that a change carries; false for one that carries none.
func fenceOf(c store.Change) (int64, bool) {
	f := reflect.ValueOf(c).FieldByName("Fence")
	if !f.IsValid() {
		return 0, false
	}
	return f.Int(), true
}

// look holds one change that was made against the invariants.
func (w *witness) look(before, after store.Build, c store.Change) {
	w.told = append(w.told, fmt.Sprintf("%s %T %s f%d→%s f%d", after.ID, c, before.State, before.Fence, after.State, after.Fence))
	switch fence, carries := fenceOf(c); {
	case before.Terminal() && after.State != before.State:
		w.breaks("I1: build %s was %s and became %s by %#v", after.ID, before.State, after.State, c)
	case before.Terminal() && reflect.TypeOf(c) == reflect.TypeFor[store.Complete]():
		w.breaks("I1: build %s has a second result", after.ID)
	case after.Fence < before.Fence:
		w.breaks("I2: the fence of build %s shrank", after.ID)
	case carries && fence < before.Fence:
		w.breaks("I6: build %s at fence %d was changed by %#v", after.ID, before.Fence, c)
	}
	switch c := c.(type) {
	case store.Claim:
		key := fmt.Sprint(after.ID, " ", after.Fence)
		if had, ok := w.granted[key]; ok && had != after.Owner {
			w.breaks("I2: fence %s was granted to %s and %s", key, had, after.Owner)
		}
		w.granted[key] = after.Owner
		if before.Cancel != nil || before.Terminal() {
			w.breaks("I8: build %s was claimed though it was %s", after.ID, before.State)
		}
		for fence := int64(1); fence < after.Fence; fence++ {
			if w.granted[fmt.Sprint(after.ID, " ", fence)] != "" && len(before.Once) > 0 {
				w.breaks("once: build %s is claimed again after %v had started", after.ID, before.Once)
			}
		}
	case store.Rescue:
		w.rescues++
	case store.Collect:
		_ = c
	}
	if after.Terminal() && !before.Terminal() {
		w.endedAt[after.ID] = time.Now()
		if w.onEnd != nil {
			w.onEnd(before, after, c)
		}
	}
}

// Enqueue implements store.Builds.
func (w *witness) Enqueue(ctx context.Context, b store.Build) (store.Build, error) {
	w.one.Lock()
	defer w.one.Unlock()
	if w.renamed != nil {
		b.ID = w.renamed(b.ID)
	}
	w.told = append(w.told, fmt.Sprintf("%s Enqueue %s of %s", b.ID, b.Request.Pipeline, b.Request.Cause.Build))
	return w.Memory.Enqueue(ctx, b)
}

// A link is the way from one agent to the store. Faults bound what goes wrong on
// it: requests and answers take their time, are lost, and come twice.
type link struct {
	*witness
	faults faults
	seed   uint64

	mu    sync.Mutex
	calls map[string]uint64
	order []call // all so far
	blow  *blow  // nil is none
	dead  bool
	cut   time.Time // until then nothing gets through
	blind bool      // no view does
}

// A call is the nth of those that ask the same.
type call struct {
	op  string
	nth uint64
}

// A blow is what goes wrong with one call.
type blow struct {
	call
	how string // one of blows
	hit bool
}

var blows = []string{"fails", "request lost", "answer lost", "stalls"}

var errBroken = errors.New("input/output error")

// strike has the blow hit, if this is the call that it is for.
func strike[T any](ctx context.Context, l *link, c call, do func(ctx context.Context) (T, error)) (answer T, hit bool, err error) {
	l.mu.Lock()
	b := l.blow
	l.order = append(l.order, c)
	hit = b != nil && b.call == c
	if hit {
		b.hit = true
	}
	l.mu.Unlock()
	if !hit {
		return answer, false, nil
	}
	switch b.how {
	case "fails":
		return answer, true, errBroken
	case "answer lost":
		do(ctx)
	case "stalls":
		<-ctx.Done()
		return answer, true, ctx.Err()
	}
	return answer, true, store.ErrInDoubt
}

// Faults are in how many of a thousand calls what goes wrong.
type faults struct {
	lost, unanswered, doubled, late int
	delay                           time.Duration // at most, each way
}

func newLink(w *witness, seed uint64) *link {
	return &link{witness: w, seed: seed, calls: map[string]uint64{}}
}

// die lets nothing through any more: whoever asks is not there.
func (l *link) die() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.dead = true
}

// part lets nothing through for a while.
func (l *link) part(d time.Duration) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.cut = time.Now().Add(d)
}

// throw makes the dice of one call: the same for the same calls at the same time, as
// nobody knows in which order those are that come at once.
func (l *link) throw(op string) (c call, r *rand.Rand, dead bool, cut time.Time) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.calls[op]++
	c = call{op, l.calls[op]}
	return c, dice(l.seed, c.op, time.Now().UnixNano()), l.dead, l.cut
}

// through has do reach the store, or not, and its answer come back, or not.
func through[T any](ctx context.Context, l *link, op string, writes bool, do func(ctx context.Context) (T, error)) (answer T, err error) {
	var none T
	c, dice, dead, cut := l.throw(op)
	if dead {
		return none, fmt.Errorf("%s: %w", op, store.ErrNotFound)
	}
	if answer, hit, err := strike(ctx, l, c, do); hit {
		return answer, err
	}
	if l.faults == (faults{}) && cut.IsZero() {
		return do(ctx)
	}
	pause := func() bool {
		return sleep(ctx, time.Duration(1+dice.Int64N(int64(max(l.faults.delay, 1)))))
	}
	inDoubt := fmt.Errorf("%s: %w", op, store.ErrInDoubt)
	if !pause() {
		return none, ctx.Err()
	}
	if time.Now().Before(cut) {
		sleep(ctx, time.Second)
		return none, inDoubt
	}
	later := func() { // it arrives when nobody thinks of it any more
		after := time.Duration(dice.Int64N(int64(90 * time.Second)))
		time.AfterFunc(after, func() { do(context.Background()) })
	}
	f := l.faults
	switch fate := dice.IntN(1000); {
	case fate < f.lost:
		sleep(ctx, time.Second)
		return none, inDoubt
	case writes && fate < f.lost+f.unanswered:
		do(context.Background())
		sleep(ctx, time.Second)
		return none, inDoubt
	case writes && fate < f.lost+f.unanswered+f.late:
		later()
		sleep(ctx, time.Second)
		return none, inDoubt
	case writes && fate < f.lost+f.unanswered+f.late+f.doubled:
		later()
	}
	answer, err = do(context.WithoutCancel(ctx))
	pause()
	if _, _, dead, _ := l.throw("alive"); dead {
		return none, fmt.Errorf("%s: %w", op, store.ErrNotFound)
	}
	return answer, err
}

// told is through for what has no answer but an error.
func told(ctx context.Context, l *link, op string, do func(ctx context.Context) error) error {
	_, err := through(ctx, l, op, true, func(ctx context.Context) (struct{}, error) { return struct{}{}, do(ctx) })
	return err
}

func (l *link) NextNumber(ctx context.Context) (int64, error) {
	return through(ctx, l, "number", true, l.witness.NextNumber)
}
func (l *link) Enqueue(ctx context.Context, b store.Build) (store.Build, error) {
	return through(ctx, l, "enqueue "+string(b.ID), true, func(ctx context.Context) (store.Build, error) { return l.witness.Enqueue(ctx, b) })
}
func (l *link) Build(ctx context.Context, id build.ID) (store.Build, error) {
	return through(ctx, l, "build "+string(id), false, func(ctx context.Context) (store.Build, error) { return l.witness.Build(ctx, id) })
}
func (l *link) Change(ctx context.Context, id build.ID, c store.Change) (store.Build, error) {
	return through(ctx, l, fmt.Sprintf("change %s %T", id, c), true, func(ctx context.Context) (store.Build, error) { return l.witness.Change(ctx, id, c) })
}
func (l *link) List(ctx context.Context, f store.Filter, cursor string, limit int) (page []store.Build, next string, err error) {
	page, err = through(ctx, l, fmt.Sprint("list ", f, cursor), false, func(ctx context.Context) ([]store.Build, error) {
		page, n, err := l.witness.List(ctx, f, cursor, limit)
		next = n
		return page, err
	})
	return page, next, err
}
func (l *link) Queue(ctx context.Context, choice store.AgentID, limit int) ([]store.Build, error) {
	return through(ctx, l, "queue "+string(choice), false, func(ctx context.Context) ([]store.Build, error) { return l.witness.Queue(ctx, choice, limit) })
}
func (l *link) Running(ctx context.Context, owner store.AgentID) ([]store.Build, error) {
	return through(ctx, l, "running "+string(owner), false, func(ctx context.Context) ([]store.Build, error) { return l.witness.Running(ctx, owner) })
}
func (l *link) Unsettled(ctx context.Context, limit int) ([]store.Build, error) {
	return through(ctx, l, "unsettled", false, func(ctx context.Context) ([]store.Build, error) { return l.witness.Unsettled(ctx, limit) })
}

// Overview is one read in one world and four in another, as stores differ in that.
func (l *link) Overview(ctx context.Context, unsettled, queue int) (store.Overview, error) {
	l.mu.Lock()
	blind := l.blind
	l.mu.Unlock()
	if blind {
		return store.Overview{}, store.ErrInDoubt
	}
	if l.seed%2 == 0 {
		return store.Look(ctx, struct{ store.Store }{l}, unsettled, queue)
	}
	return through(ctx, l, "overview", false, func(ctx context.Context) (store.Overview, error) { return store.Look(ctx, l.witness, unsettled, queue) })
}
func (l *link) Watch(ctx context.Context, what store.Watched) (<-chan store.Hint, error) {
	c, _, _, _ := l.throw("watch") // hints are lost in other ways
	if hints, hit, err := strike(ctx, l, c, func(ctx context.Context) (<-chan store.Hint, error) { return l.watch(ctx, what) }); hit {
		return hints, err
	}
	return l.watch(ctx, what)
}

// watch tells an agent no more than a store has to, where the world is a quiet one.
func (l *link) watch(ctx context.Context, what store.Watched) (<-chan store.Hint, error) {
	all, err := l.witness.Watch(ctx, what)
	if err != nil || what.Agent == "" || !l.witness.quiet {
		return all, err
	}
	hints := make(chan store.Hint, 64)
	go func() {
		defer close(hints)
		for hint := range all {
			if b, err := l.witness.Memory.Build(ctx, hint.Build); err != nil || b.Owner != what.Agent && b.FirstChoice != what.Agent {
				hint = store.Hint{Others: true}
			}
			select {
			case hints <- hint:
			default:
			}
		}
	}()
	return hints, nil
}
func (l *link) PutBlob(ctx context.Context, digest string, data []byte) error {
	return told(ctx, l, "put blob "+digest, func(ctx context.Context) error { return l.witness.PutBlob(ctx, digest, data) })
}
func (l *link) Blob(ctx context.Context, digest string) ([]byte, error) {
	return through(ctx, l, "blob "+digest, false, func(ctx context.Context) ([]byte, error) { return l.witness.Blob(ctx, digest) })
}
func (l *link) AppendEvents(ctx context.Context, key store.EventKey, events []build.Event) error {
	events = slices.Clone(events) // it may arrive when they are others
	return told(ctx, l, "events "+string(key.Build), func(ctx context.Context) error { return l.witness.AppendEvents(ctx, key, events) })
}
func (l *link) AppendChunks(ctx context.Context, chunks []store.Chunk) error {
	chunks = slices.Clone(chunks)
	for i := range chunks {
		chunks[i].Data, chunks[i].Times = bytes.Clone(chunks[i].Data), slices.Clone(chunks[i].Times)
	}
	return told(ctx, l, "chunks "+string(chunks[0].Key.Build), func(ctx context.Context) error { return l.witness.AppendChunks(ctx, chunks) })
}
func (l *link) Group(ctx context.Context, key string) (store.Group, error) {
	return through(ctx, l, "group "+key, false, func(ctx context.Context) (store.Group, error) { return l.witness.Group(ctx, key) })
}
func (l *link) ChangeGroup(ctx context.Context, key string, c store.GroupChange) (store.Group, error) {
	return through(ctx, l, fmt.Sprint("change group ", key, c), true, func(ctx context.Context) (store.Group, error) { return l.witness.ChangeGroup(ctx, key, c) })
}
func (l *link) Join(ctx context.Context, a store.Agent) error {
	return told(ctx, l, "join", func(ctx context.Context) error { return l.witness.Join(ctx, a) })
}
func (l *link) Heartbeat(ctx context.Context, id store.AgentID, running map[build.ID]int64, at time.Time) (store.Agent, error) {
	return through(ctx, l, "heartbeat", true, func(ctx context.Context) (store.Agent, error) { return l.witness.Heartbeat(ctx, id, running, at) })
}
func (l *link) Describe(ctx context.Context, id store.AgentID, slots int, labels, facts map[string]string) error {
	return told(ctx, l, "describe", func(ctx context.Context) error { return l.witness.Describe(ctx, id, slots, labels, facts) })
}
func (l *link) Drain(ctx context.Context, id store.AgentID, draining bool) error {
	return told(ctx, l, "drain", func(ctx context.Context) error { return l.witness.Drain(ctx, id, draining) })
}
func (l *link) End(ctx context.Context, id store.AgentID) error {
	return told(ctx, l, "end", func(ctx context.Context) error { return l.witness.End(ctx, id) })
}
func (l *link) Agents(ctx context.Context) ([]store.Agent, error) {
	return through(ctx, l, "agents", false, l.witness.Agents)
}
func (l *link) Bury(ctx context.Context, id store.AgentID) error {
	return told(ctx, l, "bury", func(ctx context.Context) error { return l.witness.Bury(ctx, id) })
}
func (l *link) PutProject(ctx context.Context, p store.Project) (store.Project, error) {
	return through(ctx, l, "put project", true, func(ctx context.Context) (store.Project, error) { return l.witness.PutProject(ctx, p) })
}
func (l *link) Project(ctx context.Context, name string) (store.Project, error) {
	return through(ctx, l, "project", false, func(ctx context.Context) (store.Project, error) { return l.witness.Project(ctx, name) })
}
func (l *link) Projects(ctx context.Context) ([]store.Project, error) {
	return through(ctx, l, "projects", false, l.witness.Projects)
}
func (l *link) Purge(ctx context.Context, id build.ID) error {
	return told(ctx, l, "purge", func(ctx context.Context) error { return l.witness.Purge(ctx, id) })
}
