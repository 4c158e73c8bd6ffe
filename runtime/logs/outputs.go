package logs

import (
	"context"
	"fmt"
	"time"

	"github.com/piper-build/piper/runtime/build"
	"github.com/piper-build/piper/runtime/store"
)

// An Output is what one attempt of a step wrote, and what it is found by among
// those of all builds.
type Output struct {
	Build    build.ID
	Number   int64 // of the build
	Project  string
	Pipeline string
	Created  time.Time // when the build was made

	Fence   int64
	Order   int // among the outputs of the build: that in which the attempts began, from 0
	Node    string
	Attempt int
	Ended   bool // there will be no more
}

// reader reads the output.
func (o *Output) reader(s store.Logs) *Reader { return NewReader(s, o.Build, o.Fence) }

// A History is what tells which outputs there are.
type History interface {
	store.Events
	store.Blobs
}

// Outputs returns what there is of a build, in the order in which the attempts
// began: none of one that was not planned.
func Outputs(ctx context.Context, s History, b *store.Build) (list []Output, err error) {
	list, _, err = outputsOf(ctx, s, b)
	return list, err
}

// outputsOf is Outputs. whole says that there will be no others, nor more in these:
// the build has ended, and who ran it recorded that last, under the fence that it
// has still.
func outputsOf(ctx context.Context, s History, b *store.Build) (list []Output, whole bool, err error) {
	if b.Plan == "" {
		return nil, false, nil
	}
	all := Output{Build: b.ID, Number: b.Number, Project: b.Request.Project, Pipeline: b.Request.Pipeline, Created: b.Created}
	if all.Pipeline == "" {
		blob, err := s.Blob(ctx, b.Plan)
		if err != nil {
			return nil, false, fmt.Errorf("read the plan of build %s: %w", b.ID, err)
		}
		p, err := store.DecodePlan(blob)
		if err != nil {
			return nil, false, fmt.Errorf("read the plan of build %s: %w", b.ID, err)
		}
		all.Pipeline = p.Pipeline
	}
	if all.Fence, err = Fence(ctx, s, b); err != nil {
		return nil, false, err
	}
	type attempt struct {
		node   string
		number int
	}
	at := map[attempt]int{}
	const batch = 1000
	for seq := int64(1); ; seq += batch {
		events, err := s.Events(ctx, b.ID, all.Fence, seq, batch)
		if err != nil {
			return nil, false, err
		}
		for _, ev := range events {
			key := attempt{ev.Node, ev.Attempt}
			i, known := at[key]
			whole = ev.Kind == build.BuildEnded && b.Terminal() && all.Fence == b.Fence
			switch {
			case ev.Kind == build.AttemptStarted && !known:
				o := all
				o.Order, o.Node, o.Attempt, o.Ended = len(list), ev.Node, ev.Attempt, b.State != build.Running
				at[key] = len(list)
				list = append(list, o)
			case ev.Kind == build.AttemptEnded && known:
				list[i].Ended = true
			}
		}
		if len(events) < batch {
			return list, whole, nil
		}
	}
}

// Fence is the one under which happened what there is to tell of b. Whoever ends
// or takes back a build from outside gives it another one, under which nothing
// happens any more: then it is the newest one under which something did.
func Fence(ctx context.Context, s store.Events, b *store.Build) (int64, error) {
	if b.State == build.Running {
		return b.Fence, nil
	}
	for fence := b.Fence; fence > max(0, b.Fence-20); fence-- {
		events, err := s.Events(ctx, b.ID, fence, 1, 1)
		if err != nil {
			return 0, err
		}
		if len(events) > 0 {
			return fence, nil
		}
	}
	return b.Fence, nil
}
