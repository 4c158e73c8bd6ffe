package logs

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"github.com/piper-build/piper/runtime/build"
	"github.com/piper-build/piper/runtime/store"
)

// ErrAway says that an index does not answer, or not as it should. What is
// appended to it is kept by the store meanwhile.
var ErrAway = errors.New("the index of logs is away")

// ErrQuery says that an index cannot look for what is asked for.
var ErrQuery = errors.New("not for the index of logs")

// An Index is a second place for what builds wrote, in which a line is found
// without reading all of them. The store has the truth: what an index has
// acknowledged is what it need not be given again. Its methods are safe for many
// goroutines, and several machines may append what one build wrote at once.
type Index interface {
	Searcher

	// Append adds lines of an output, in order, and returns once all of them are
	// there or were put aside as dead letters. Those up to had may be there: none
	// is there twice afterwards. It tries again until ctx is done, which is ErrAway.
	Append(ctx context.Context, o Output, lines []Line, had Position) error

	// Position is that of the last line that there is of an output; its zero value
	// is none.
	Position(ctx context.Context, o Output) (Position, error)

	// Finish notes that all of a build is there, and drops what it wrote under
	// other fences.
	Finish(ctx context.Context, b store.Build, fence int64) error

	// Finished returns those of ids for which Finish was called.
	Finished(ctx context.Context, ids []build.ID) (map[build.ID]bool, error)

	// Delete drops all of a build.
	Delete(ctx context.Context, id build.ID) error

	// Health is how the index does, as it was seen last. It waits for nothing.
	Health() Health

	// DeadLetters returns those lines that the index would not take, the newest
	// first, and how many there are.
	DeadLetters(ctx context.Context, limit int) (letters []DeadLetter, total int64, err error)

	// Keeps is how long the index keeps a build; 0 is for ever.
	Keeps() time.Duration
}

// A Position is that of a line, or a piece of one: its Number and Begin.
type Position struct{ Number, Begin int64 }

// Covers reports whether the line is one of those up to p.
func (p Position) Covers(l Line) bool { return p.Number > 0 && l.Begin <= p.Begin }

// A Health is how an index does. What it counts is of this process.
type Health struct {
	Name  string    // what it is, such as "Elasticsearch"
	Error string    // why it is away; "" is that it is not
	Since time.Time // when it began to be so

	Sent    int64 // lines that it acknowledged
	Had     int64 // lines that it had already
	Retried int64 // lines that were sent again
	Dead    int64 // lines that it would not take
}

// A DeadLetter is a line that an index would not take, however often it were
// asked. The store has it.
type DeadLetter struct {
	Time   time.Time
	Reason string
	Line   json.RawMessage // as it was sent
}

// The most that is appended at once.
const (
	mostLines = 10_000
	mostBytes = 4 << 20
)

// Ship appends to an index what it lacks of an output, and returns where it got. It
// goes on from where an earlier call got; a zero Position asks the index. The last
// line of an output that has not ended waits for its end.
func Ship(ctx context.Context, s store.Logs, to Index, o Output, at Position) (Position, error) {
	var had Position
	first := max(1, at.Number)
	if at == (Position{}) {
		var err error
		if had, err = to.Position(ctx, o); err != nil {
			return at, err
		}
		// Of what was appended last some may be missing, and that is bounded.
		first = max(1, had.Number-mostLines)
	}
	var lines []Line
	var text []byte // of lines, and of the one that follows
	send := func() error {
		if len(lines) == 0 {
			return nil
		}
		if err := to.Append(ctx, o, lines, had); err != nil {
			return err
		}
		last := &lines[len(lines)-1]
		at = Position{last.Number, last.Begin}
		lines, text = lines[:0], text[:0]
		return nil
	}
	sent := at
	var next *Line // is whole when another one follows
	for line, err := range o.reader(s).Lines(ctx, o.Node, o.Attempt, first, 0) {
		if err != nil {
			return at, err
		}
		if next != nil {
			lines, next = append(lines, *next), nil
		}
		if len(lines) == mostLines || len(text) >= mostBytes {
			if err := send(); err != nil {
				return at, err
			}
		}
		if sent.Covers(line) {
			continue
		}
		begin := len(text)
		text = append(text, line.Text...)
		line.Text = text[begin:len(text):len(text)]
		next = &line
	}
	if next != nil && (o.Ended || next.Newline || len(next.Text) == maxPiece) {
		lines = append(lines, *next)
	}
	return at, send()
}

// ShipBuild appends to an index what it lacks of a build that has ended.
func ShipBuild(ctx context.Context, s interface {
	History
	store.Logs
}, to Index, b store.Build) error {
	outputs, err := Outputs(ctx, s, &b)
	if err != nil {
		return fmt.Errorf("ship build %d: %w", b.Number, err)
	}
	for _, o := range outputs {
		if _, err := Ship(ctx, s, to, o, Position{}); err != nil {
			return fmt.Errorf("ship build %d: %w", b.Number, err)
		}
	}
	fence, err := Fence(ctx, s, &b)
	if err == nil {
		err = to.Finish(ctx, b, fence)
	}
	if err != nil {
		return fmt.Errorf("ship build %d: %w", b.Number, err)
	}
	return nil
}

// Indexed returns s, of which there is an index: what is purged from it is deleted
// from that first.
func Indexed(s store.Store, index Index) store.Store { return indexed{s, index} }

type indexed struct {
	store.Store
	index Index
}

func (s indexed) Purge(ctx context.Context, id build.ID) error {
	if err := s.index.Delete(ctx, id); err != nil {
		return err
	}
	return s.Store.Purge(ctx, id)
}
