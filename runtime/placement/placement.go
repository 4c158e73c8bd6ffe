// Package placement says which agent may run a build, and why another may not.
//
// All of it is pure: it looks at what agents told of themselves and at what a
// build requires. The agents use it to pick and to claim, the API to explain,
// so the explanation is the decision.
//
// A fact that an agent did not tell does not exist for it. An agent tells the
// facts that any machine has and the tools that Piper knows by name; when a
// build that is queued asks for another one (facts.Keys), it finds that and
// tells it too, before it judges.
package placement

import (
	"cmp"
	"errors"
	"hash/fnv"
	"maps"
	"slices"
	"strings"

	"github.com/piper-build/piper/runtime/facts"
	"github.com/piper-build/piper/runtime/plan"
	"github.com/piper-build/piper/runtime/store"
)

// What an agent is told of itself.
const (
	labelPrefix = "labels."
	nameKey     = "agent.name"
)

// Told reports whether a fact is one that an agent is told of itself: there is
// nothing to be found out about it.
func Told(key string) bool { return key == nameKey || strings.HasPrefix(key, labelPrefix) }

// Values are the facts that a requirement is held against: those of the
// machine, labels.KEY for each label, and agent.name.
func Values(a *store.Agent) map[string]string {
	values := make(map[string]string, len(a.Facts)+len(a.Labels)+1)
	maps.Copy(values, a.Facts)
	for key, value := range a.Labels {
		values[labelPrefix+key] = value
	}
	values[nameKey] = a.Name
	return values
}

// Lacks is what of the requirements the agent does not meet. The error is of a
// requirement that has no meaning.
func Lacks(a *store.Agent, requires []plan.Requirement) (facts.Unmet, error) {
	if len(requires) == 0 {
		return nil, nil
	}
	err := facts.Hold(Values(a), requires)
	var unmet facts.Unmet
	if errors.As(err, &unmet) {
		return unmet, nil
	}
	return nil, err
}

// Eligible reports whether the agent may run the build: it meets what the plan
// requires, and is the one that the build is for if it is for one. What a build
// requires that was not planned nobody knows, so anyone may have it.
func Eligible(a *store.Agent, b *store.Build) bool {
	if b.Request.Here != "" {
		return b.Request.Here == a.ID
	}
	unmet, err := Lacks(a, b.Requires)
	return err == nil && len(unmet) == 0
}

// Free is how many more builds the agent says it could run now.
func Free(a *store.Agent) int {
	if a.Draining || a.Ending {
		return 0
	}
	return max(0, a.Slots-len(a.Running))
}

// FirstChoice is the agent that should claim the build: of those that are
// eligible and have a free slot, the one with the highest score for this build.
// Everybody who sees the same agents picks the same one, builds spread evenly,
// and one agent more or less moves no build between the others (rendezvous
// hashing; Thaler and Ravishankar, 1998). It is "", anyone, when there is none.
func FirstChoice(b *store.Build, agents []store.Agent) store.AgentID {
	return Pick(b, slices.DeleteFunc(slices.Clone(agents), func(a store.Agent) bool { return Free(&a) == 0 || !Eligible(&a, b) }))
}

// Pick is the agent with the highest score for the build; "" when there is none.
func Pick(b *store.Build, agents []store.Agent) store.AgentID {
	var choice store.AgentID
	var highest uint64
	for i := range agents {
		a := &agents[i]
		if s := score(b, a); choice == "" || cmp.Or(cmp.Compare(s, highest), cmp.Compare(a.ID, choice)) > 0 {
			choice, highest = a.ID, s
		}
	}
	return choice
}

// score is the weight of an agent for a build.
func score(b *store.Build, a *store.Agent) uint64 {
	h := fnv.New64a()
	h.Write([]byte(b.ID))
	h.Write([]byte{0})
	h.Write([]byte(a.ID))
	// FNV leaves what differs in the last bytes in the low bits: spread it
	// (the finalizer of MurmurHash3).
	x := h.Sum64()
	x = (x ^ x>>33) * 0xff51afd7ed558ccd
	x = (x ^ x>>33) * 0xc4ceb9fe1a85ec53
	return x ^ x>>33
}
