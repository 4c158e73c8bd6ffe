package build

import (
	"fmt"
	"strings"

	"github.com/piper-build/piper/runtime/plan"
)

// Why returns in words why the i-th node of the plan waits, or, when it has
// ended or is to be skipped, what is to be said of that. It returns "" for a
// step that runs or succeeded, and for a service that can be used.
func (b *Build) Why(i int) string {
	v := int32(i)
	n, p := &b.nodes[v], &b.plan.Nodes[v]
	switch {
	case n.phase.ended():
		return b.texts[n.reason]
	case b.state == Queued:
		return "the build has not started"
	case b.state != Running:
		return fmt.Sprintf("the build is %s", b.state)
	case n.phase == blocked && p.IsService():
		return "waits for a step that needs it"
	case n.phase == blocked:
		return b.whatFor(v)
	case n.phase == held:
		return b.whichService(v)
	case n.phase == doomed:
		return b.verdictReason(v)
	case n.phase == running && n.verdict != free:
		return "is being stopped: " + b.verdictReason(v)
	case n.phase == running && p.Approve() != nil:
		return strings.TrimSuffix("waits for a person to approve: "+p.Approve().Prompt, ": ")
	case n.phase == running && b.more[n.more].child != "":
		return fmt.Sprintf("waits for build %s", b.more[n.more].child)
	case n.phase == running && p.IsService() && n.flags&isReady == 0:
		return "is not ready yet"
	case n.phase == running:
		return ""
	case n.phase == delayed:
		r := p.Step.Retry
		return fmt.Sprintf("waits %s before attempt %d of %d", plan.Duration(Backoff(r, int(n.attempt))), n.attempt+1, r.Attempts)
	}
	if q := b.ready.full(v); q != nil {
		if q.group < 0 {
			return fmt.Sprintf("waits for another step with the concurrency key %q", p.Step.Concurrency)
		}
		g := &b.plan.Groups[int(q.group)-len(b.nodes)]
		return fmt.Sprintf("waits for a free place in %s (limit %d)", g.Title(), g.Limit)
	}
	if b.ready.lane(v) == others {
		return "is about to start"
	}
	return "waits for a free slot"
}

// whyNot says for an error what a node is doing instead.
func (b *Build) whyNot(v int32) string {
	n := &b.nodes[v]
	switch why := b.Why(int(v)); {
	case n.phase == running:
		return fmt.Sprintf("runs attempt %d", n.attempt)
	case n.phase == doomed:
		return "is to be skipped: " + why
	case why != "":
		return why
	default:
		return "is " + string(n.phase.state())
	}
}

// whatFor names the first of what a blocked node waits for. Of a group that nobody
// named that is a node in it.
func (b *Build) whatFor(v int32) string {
	first, more := "", 0
	for _, need := range b.plan.Nodes[v].Needs {
		u, _ := b.graph.Lookup(need)
		switch {
		case b.over(u):
			continue
		case first != "":
			more++
		default:
			first, more = b.named(u)
		}
	}
	if more > 0 {
		return fmt.Sprintf("waits for %s and %d more", first, more)
	}
	return "waits for " + first
}

// named is how people know what has not ended: a node, a group, or the first node in
// a group that has no name, and how many more of its members there are.
func (b *Build) named(v int32) (name string, more int) {
	if b.graph.IsNode(v) {
		return b.plan.Nodes[v].Name, 0
	}
	g, m := &b.plan.Groups[int(v)-len(b.nodes)], b.members(v)
	for m.over < len(m.all) && b.over(m.all[m.over]) {
		m.over++
	}
	if !g.Made() || m.over == len(m.all) { // they are to be skipped
		return g.Title(), 0
	}
	name, more = b.named(m.all[m.over])
	return name, more + int(b.group(v).waits) - 1
}

// whichService names the first of the services that a held node waits for.
func (b *Build) whichService(v int32) string {
	first, more := "", 0
	for _, name := range b.plan.Nodes[v].Step.Services {
		switch s := b.serviceNamed(name); {
		case b.nodes[s].flags&isReady != 0:
		case first == "":
			first = name
		default:
			more++
		}
	}
	if more > 0 {
		return fmt.Sprintf("waits for service %s and %d more to be ready", first, more)
	}
	return fmt.Sprintf("waits for service %s to be ready", first)
}

// over reports whether a vertex no longer keeps its users waiting.
func (b *Build) over(v int32) bool {
	if b.graph.IsNode(v) {
		return b.nodes[v].phase.ended() || b.nodes[v].phase == doomed
	}
	return b.group(v).waits == 0
}

// verdictReason returns in words why a node is skipped or stopped.
func (b *Build) verdictReason(v int32) string {
	switch n := &b.nodes[v]; n.verdict {
	case needFailed:
		return fmt.Sprintf("needs %s, which %s", b.plan.Nodes[n.cause].Name, b.nodes[n.cause].did())
	case noResult:
		after, _ := b.graph.Lookup(b.plan.Nodes[v].Expand().After)
		return fmt.Sprintf("needs %s, which %s", b.plan.Nodes[after].Name, b.nodes[after].did())
	case unused:
		return "no step needs it"
	case usedUp:
		return "no step needs it any more"
	case notCalled:
		return "nothing before it failed"
	case groupFailed:
		by := b.group(b.graph.Group(v)).halt
		return fmt.Sprintf("%s %s and the group stops at the first failure", b.plan.Nodes[by].Name, b.nodes[by].did())
	default:
		return b.haltReason()
	}
}

// did says of a node what became of it.
func (n *node) did() string {
	state := n.phase.state()
	if n.phase == doomed {
		state = n.skippedAs()
	}
	switch state {
	case TimedOut:
		return "timed out"
	case Failed:
		return "failed"
	default:
		return "was " + string(state)
	}
}

// haltReason says in words what called the build off.
func (b *Build) haltReason() string {
	if b.halt == byDeadline && !b.forced {
		return fmt.Sprintf("the build ran longer than %s", b.plan.Timeout)
	}
	return byWhom("cancelled", b.by, b.asked)
}

// byWhom returns "did by whom: why", without what is not known.
func byWhom(did, whom, why string) string {
	if whom != "" {
		did += " by " + whom
	}
	if why != "" {
		did += ": " + why
	}
	return did
}

// outcomeReason says in words why the build ends as it does.
func (b *Build) outcomeReason(outcome State) string {
	switch outcome {
	case Cancelled:
		return byWhom("cancelled", b.by, b.asked)
	case TimedOut:
		return fmt.Sprintf("the build ran longer than %s", b.plan.Timeout)
	case Failed:
		reason := fmt.Sprintf("%s %s", b.plan.Nodes[b.firstBad].Name, b.nodes[b.firstBad].did())
		if more := b.progress.Failed - 1; more > 0 {
			reason += fmt.Sprintf(" and %d more", more)
		}
		return reason
	default:
		return ""
	}
}

// reasons gives nodes with the same reason the same string, as long as they
// come in a row: one failure can doom a hundred thousand.
type reasons struct {
	verdict  verdict
	cause    int32
	lastText string
}

func (r *reasons) of(b *Build, v int32) string {
	n := &b.nodes[v]
	cause := n.cause
	if n.verdict == groupFailed {
		cause = b.group(b.graph.Group(v)).halt
	} else if n.verdict == buildOff {
		cause = -1
	} else if n.verdict == noResult {
		cause = v // each has its own
	}
	if r.lastText == "" || r.verdict != n.verdict || r.cause != cause {
		*r = reasons{n.verdict, cause, b.verdictReason(v)}
	}
	return r.lastText
}
