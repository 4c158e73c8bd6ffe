// Package store is what agents share: builds and who has them, what happened in
// them, what they wrote.
//
// Agents have no server among them, only a database, and of that they ask
// little: a change of one document is atomic, and a write that was acknowledged
// stays. All else follows from how a document may change. Each way is a Change:
// a guard and what becomes of the document where the guard holds, written once,
// as a pure function, in this package. A store reads a document, has the Change
// applied to it, and writes what comes out if nobody was faster; so every store
// has the same guards, and the model in this package's tests explores those
// very functions.
//
// # Fences
//
// A claim gives a build the next fence. Whatever an agent then writes carries
// it: changes are refused once the build has another one, and events and log
// chunks lie under keys that hold it, so that an agent that was thought dead can
// only write into what was lost anyway. No guard looks at a clock. That an agent
// is dead is a suspicion, which each of the others forms by itself, watching a
// counter on its own clock; being wrong costs work, never correctness.
//
// # When an answer is lost
//
// A write whose answer does not come may have happened. Every Change therefore
// knows its own trace: applied to a document that it changed before, it changes
// nothing and succeeds. The one who is in doubt sends the same Change again.
package store

import (
	"cmp"
	"context"
	"errors"
	"io"
	"time"

	"github.com/piper-build/piper/runtime/build"
)

// What a store's errors say. Each comes wrapped, with what it is about.
var (
	ErrNotFound = errors.New("not found")
	ErrConflict = errors.New("conflict")   // the guard of a Change does not hold, or a key has other content
	ErrFenced   = errors.New("lease lost") // the build has another fence or owner: whoever asked has no say any more
	ErrCursor   = errors.New("no such cursor")
	ErrFull     = errors.New("the store is full") // it did not happen; what is there can be read
	ErrInDoubt  = errors.New("in doubt")          // no answer came: it may have happened; send the same again
)

// A Purger deletes what is kept of a build beside itself. It comes before
// Collect: what is left of an interrupted collection is collected again.
type Purger interface {
	// Purge deletes the events and chunks of a build, of every fence.
	Purge(ctx context.Context, id build.ID) error
}

// A Portable is a Store that can be taken elsewhere whole. It tells what a Store
// need not list, and draws no number twice that came with a build from elsewhere.
// What else there is to take is named by builds, or listed by a Store.
type Portable interface {
	// AllBuilds returns builds by ID, also those that were collected: the ones
	// after the ID after, "" being before all, at most limit.
	AllBuilds(ctx context.Context, after build.ID, limit int) ([]Build, error)

	// Written returns of what there is anything of a build: the fences under which
	// there are events, and the attempts of which there are chunks, by fence, node
	// and attempt, with 0 as Seq.
	Written(ctx context.Context, id build.ID) (fences []int64, attempts []ChunkKey, err error)

	// AllGroups returns the groups that were ever asked for, by key.
	AllGroups(ctx context.Context) ([]Group, error)

	// SkipNumbers has NextNumber draw none up to and including last any more.
	SkipNumbers(ctx context.Context, last int64) error
}

// A Store keeps what agents share. Its methods are safe for many goroutines,
// and as far as the store says so for many processes and machines. A write has
// happened for good once it returned without an error.
type Store interface {
	Builds
	Blobs
	Events
	Logs
	Groups
	Agents
	Projects
	Tokens
	Purger
	io.Closer
}

// Builds keeps builds.
type Builds interface {
	// NextNumber draws a number for a build. Numbers grow; gaps are allowed.
	NextNumber(ctx context.Context) (int64, error)

	// Enqueue inserts b, which is as NewBuild made it, or what Changes made of
	// that: who runs what he asked for has claimed it already, and one that comes
	// from another store has its Rev of there, which is 1 at least. When there is a
	// build of that ID it is returned instead if it was asked for with the same
	// words (Hash), collected or not; ErrConflict if it was not.
	Enqueue(ctx context.Context, b Build) (Build, error)

	// Build returns the build as it is now: no acknowledged change is missed.
	Build(ctx context.Context, id build.ID) (Build, error)

	// BuildNumbered is Build by number.
	BuildNumbered(ctx context.Context, number int64) (Build, error)

	// Change takes a build through c and returns what it is then. The error is
	// c's when its guard does not hold.
	Change(ctx context.Context, id build.ID, c Change) (Build, error)

	// List returns a page of builds, newest first, and the cursor of the next
	// one; "" when there is none. It costs the page, however many builds there
	// are.
	List(ctx context.Context, f Filter, cursor string, limit int) (page []Build, next string, err error)

	// Queue returns queued builds in the order in which they are to be
	// claimed: by priority, then oldest first. Of choice it returns those
	// whose FirstChoice that is; of "" all.
	Queue(ctx context.Context, choice AgentID, limit int) ([]Build, error)

	// Running returns the builds that run; of an owner its own, of "" all.
	Running(ctx context.Context, owner AgentID) ([]Build, error)

	// Unsettled returns ended and running builds with something in Pending,
	// oldest first.
	Unsettled(ctx context.Context, limit int) ([]Build, error)

	// Watch hints at builds that were changed, or of which something was
	// appended, until ctx is done. For an agent it hints at changes of builds that
	// it runs, or that name it or nobody as first choice, and at all, as something
	// for others, when builds were made or a group has changed; for one build at
	// its changes. It may tell more than that, tell it twice, and miss some: a hint
	// means look. The channel is closed when hints end.
	Watch(ctx context.Context, what Watched) (<-chan Hint, error)
}

// A Filter picks builds. A zero field picks all.
type Filter struct {
	Project  string
	Pipeline string // of Project, which must be set then
	State    build.State
	Owner    AgentID
	Parent   build.ID
}

// Blobs keeps what is known by its digest: plans, and patches of trees that were
// not committed. A blob is written once and never changes.
type Blobs interface {
	PutBlob(ctx context.Context, digest string, data []byte) error
	Blob(ctx context.Context, digest string) ([]byte, error)
}

// An EventKey names the first event of a batch. Events of different fences
// never meet.
type EventKey struct {
	Build build.ID
	Fence int64
	Seq   int64
}

// Events keeps what happened inside builds.
type Events interface {
	// AppendEvents keeps a batch. A batch that is there already is left as it
	// is: ErrConflict when it is another one.
	AppendEvents(ctx context.Context, key EventKey, events []build.Event) error

	// Events returns the events of one fence from seq on, in order and without
	// gaps, at most limit of them.
	Events(ctx context.Context, id build.ID, fence, seq int64, limit int) ([]build.Event, error)
}

// A ChunkKey names a chunk of what an attempt of a node wrote.
type ChunkKey struct {
	Build   build.ID
	Fence   int64
	Node    string
	Attempt int
	Seq     int64 // from 0, without gaps
}

// Compare orders keys by build, fence, node, attempt and seq.
func (k ChunkKey) Compare(l ChunkKey) int {
	return cmp.Or(cmp.Compare(k.Build, l.Build), cmp.Compare(k.Fence, l.Fence), cmp.Compare(k.Node, l.Node),
		cmp.Compare(k.Attempt, l.Attempt), cmp.Compare(k.Seq, l.Seq))
}

// A Chunk is a piece of what an attempt of a node wrote, at most MaxChunk bytes.
type Chunk struct {
	Key    ChunkKey
	Line   int64 // the number of its first line, from 0; one that is continued keeps its number
	Lines  int64 // how many newlines it holds
	Offset int64 // of its first byte
	Times  []Stamp
	Data   []byte
	Cut    int64 // bytes that were left out before it, because there were too many
}

// MaxChunk bounds the bytes of a Chunk.
const MaxChunk = 64 << 10

// A Stamp says when bytes arrived: those from Offset, counted within the chunk,
// on.
type Stamp struct {
	Offset int32
	At     time.Time
}

// Logs keeps what nodes wrote.
type Logs interface {
	// AppendChunks keeps chunks. One that is there already is left as it is:
	// ErrConflict when it is another one.
	AppendChunks(ctx context.Context, chunks []Chunk) error

	// Chunks returns the chunks of an attempt from seq on, at most limit.
	Chunks(ctx context.Context, key ChunkKey, limit int) ([]Chunk, error)

	// ChunkAt returns the seq of the first chunk that holds some of a line, which
	// may have begun at the end of the chunk before; the next seq that there will
	// be when no chunk does.
	ChunkAt(ctx context.Context, key ChunkKey, line int64) (seq int64, err error)
}

// Signatures is what a Store implements that can keep, beside what a build wrote
// under a fence, a signature: bytes that are made of that, by which who looks for
// something knows what he need not read. They can be made again: they are neither
// backed up nor copied, and Purge deletes them.
type Signatures interface {
	// Signature reads a signature. It is ErrNotFound when there is none, or chunks
	// were appended since Sign was called for it. What the disk made of it meanwhile
	// is for its reader to find out.
	Signature(ctx context.Context, id build.ID, fence int64) (io.ReadCloser, error)

	// Sign begins a signature, which is to be made of chunks that are read after
	// that. It is ErrNotFound when there are none.
	Sign(ctx context.Context, id build.ID, fence int64) (Signature, error)
}

// A Signature is one in the making.
type Signature interface {
	io.Writer

	// Keep has what was written be the signature, in place of the one that there is.
	Keep() error

	// Close is to be called in the end. What Keep was not called for is gone.
	io.Closer
}
