package build

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// FuzzApply reads each byte pair as an event of a plan that has something of
// everything, possible or not. Nothing may panic, an error may change nothing,
// and what has ended stays as it is.
func FuzzApply(f *testing.F) {
	const text = `plan timeout=1h
group g limit=2 fail_fast=yes
group in@g limit=1
a@in: attempts=3 backoff=1s on=7
b@in: a key=db
c@g: key=db allow=known
t: c kind=wait
u: kind=trigger
ask: g kind=approve
clean: ask t u run_on=always
tell: ask run_on=failure`
	p := parsePlan(f, text)
	kinds := []Kind{BuildStarted, AttemptStarted, AttemptEnded, AttemptEnded, NodeSkipped, NodeTriggered, CancelRequested, DeadlinePassed, BuildEnded, "other"}
	states := []State{Success, Failed, TimedOut, Cancelled, Skipped, Lost, Waiting}

	f.Add([]byte("\x00\x00\x01\x00\x02\x08"))
	f.Add([]byte{0, 0, 1, 0, 1, 2, 1, 4, 2, 8, 6, 0, 2, 2})
	f.Fuzz(func(t *testing.T, data []byte) {
		b := New(p)
		now := time.UnixMilli(1)
		for len(data) >= 2 {
			kind, x := data[0], int(data[1])
			data = data[2:]
			node := x % (len(p.Nodes) + 1)
			ev := Event{Seq: b.Seq() + 1, Time: now, Kind: kinds[int(kind)%len(kinds)], Attempt: 1, State: states[x/len(p.Nodes)%len(states)]}
			if node < len(p.Nodes) {
				ev.Node = p.Nodes[node].Name
				ev.Attempt = b.Node(node).Attempt
			}
			switch ev.Kind {
			case AttemptStarted:
				ev.Attempt++
			case NodeTriggered:
				ev.Child = "child"
			case CancelRequested:
				ev.Force = x%2 == 1
			}
			if kind >= 128 {
				exit := 7
				ev.Exit, ev.Signal, ev.Infra, ev.Seq = &exit, "killed", x%2 == 0, ev.Seq+int64(x%5/4)
			}

			before, stood := b.Steps(), b.State()
			err := b.Apply(ev)
			after := b.Steps()
			if err != nil {
				require.Equal(t, before, after)
				require.Equal(t, stood, b.State())
			}
			if stood != Queued && stood != Running {
				require.Error(t, err)
			}
			for name, s := range before {
				if ended(s.State) {
					require.Equal(t, s, after[name])
				}
			}
			now = now.Add(100 * time.Millisecond)
			b.Next(now, x%4)
			for i := range p.Nodes {
				b.Why(i)
			}
		}
	})
}
