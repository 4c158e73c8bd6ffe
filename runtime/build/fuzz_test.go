package build

import (
	"testing"
	"time"

	"github.com/piper-build/piper/runtime/plan"
	"github.com/stretchr/testify/require"
)

var (
	fuzzKinds  = []Kind{BuildStarted, AttemptStarted, AttemptEnded, NodeReady, NodeSkipped, NodeTriggered, CancelRequested, DeadlinePassed, BuildEnded, "other"}
	fuzzStates = []State{Success, Failed, TimedOut, Cancelled, Skipped, Lost, Waiting, Running}
)

// fuzzPlan has something of everything.
const fuzzPlan = `plan timeout=1h
group g limit=2 fail_fast=yes
group in@g limit=1
a@in: attempts=3 backoff=1s on=7
b@in: a key=db
c@g: key=db allow=known
t: c kind=wait
u: kind=trigger
ask: g kind=approve
clean: ask t u run_on=always services=db
tell: ask run_on=failure
db: kind=service
web: kind=service
s: a services=db,web attempts=2
more@g: s kind=expand after=s services=web
last: more`

// fuzzFound is what an expand of it may find, and what it may not.
var fuzzFound = []string{
	"x: services=web", "group h fail_fast=yes limit=1\nx@h: services=db\nz@h: run_on=always\ndeep@h: kind=expand after=s services=db",
	"cache: kind=service\nx: services=cache,web", "idle: kind=service\ngroup empty\nx: empty u", "y:\nz: y c",
	"x: last", "a:", "x: nowhere", "x@g:",
}

// FuzzApply reads three bytes each as an event of a plan, possible or not.
// Nothing may panic, an error may change nothing, and what has ended stays as
// it is.
func FuzzApply(f *testing.F) {
	p := parsePlan(f, fuzzPlan)
	require.Empty(f, plan.Validate(p, 0))
	var expansions []*plan.Expansion
	for _, lines := range fuzzFound {
		found := parsePlan(f, lines)
		expansions = append(expansions, &plan.Expansion{Nodes: found.Nodes, Groups: found.Groups})
	}
	// event reads one. An expand may find something, and now and then what is
	// none too.
	event := func(b *Build, kind, node, rest byte) Event {
		nodes := b.Plan().Nodes
		ev := Event{Seq: b.Seq() + 1, Kind: fuzzKinds[int(kind)%len(fuzzKinds)], State: fuzzStates[rest%8]}
		i := int(node) % (len(nodes) + 1)
		if i < len(nodes) {
			ev.Node, ev.Attempt = nodes[i].Name, b.Node(i).Attempt
			if found := int(rest / 8); found < len(expansions) && ev.Kind == AttemptEnded && (nodes[i].Expand() != nil || kind > 224) {
				ev.Expansion = expansions[found]
			}
		}
		switch ev.Kind {
		case AttemptStarted:
			ev.Attempt++
		case NodeTriggered:
			ev.Child = "child"
		case CancelRequested:
			ev.Force = rest%2 == 1
		}
		if kind >= 128 {
			exit := 7
			ev.Exit, ev.Signal, ev.Infra, ev.Seq = &exit, "killed", rest%2 == 0, ev.Seq+int64(rest%5/4)
		}
		return ev
	}
	for found := range byte(len(expansions)) {
		for state := range byte(3) {
			f.Add(fuzzSeed(f, New(p), event, found, state))
		}
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		b := New(p)
		now := time.UnixMilli(1)
		for range 200 { // what is longer says the same again
			if len(data) < 3 {
				break
			}
			ev := event(b, data[0], data[1], data[2])
			ev.Time = now
			slots := int(data[2]) % 4
			data = data[3:]

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
			b.Next(now, slots)
			for i := range b.Plan().Nodes {
				b.Why(i)
			}
		}
	})
}

// fuzzSeed returns the bytes of a build that an engine drives to its end. Every
// third node ends in state, and expands find the expansion of that number.
func fuzzSeed(t require.TestingT, b *Build, event func(b *Build, kind, node, rest byte) Event, found, state byte) (data []byte) {
	apply := func(kind, node, rest byte) bool {
		ev := event(b, kind, node, rest)
		ev.Time = time.UnixMilli(1)
		data = append(data, kind, node, rest)
		return b.Apply(ev) == nil
	}
	const started, end, ready, skip, triggered, over = 1, 2, 3, 4, 5, 8
	require.True(t, apply(0, 0, 0))
	for b.State() == Running {
		actions, _ := b.Next(time.UnixMilli(1e9), 2)
		for _, a := range actions {
			rest := byte(0)
			for fuzzStates[rest] != a.State && a.State != "" {
				rest++
			}
			switch a.Verb {
			case Start:
				require.True(t, apply(started, byte(a.Node), 0))
			case Skip:
				require.True(t, apply(skip, byte(a.Node), rest))
			case End:
				require.True(t, apply(over, 0, rest))
			}
		}
		for i := range b.Plan().Nodes {
			if b.Node(i).State != Running {
				continue
			}
			n := byte(i)
			if apply(ready, n, 0) || apply(triggered, n, 0) {
				continue
			}
			how := byte(0)
			if i%3 == 0 {
				how = state
			}
			if b.services[int32(i)] == nil || b.nodes[i].verdict != free {
				if !apply(end, n, found*8+how) {
					require.True(t, apply(end, n, 31*8+1)) // what it found was refused
				}
			}
		}
	}
	return data
}
