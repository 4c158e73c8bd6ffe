package placement

import (
	"cmp"
	"fmt"
	"slices"
	"time"

	"github.com/piper-build/piper/runtime/build"
	"github.com/piper-build/piper/runtime/facts"
	"github.com/piper-build/piper/runtime/plan"
	"github.com/piper-build/piper/runtime/store"
)

// Lease is how long after its last heartbeat an agent is thought dead, unless a
// setting says otherwise.
const Lease = 30 * time.Second

// A View is what an explanation looks at: what was in the store at one moment.
type View struct {
	Agents []store.Agent
	Queue  []store.Build          // in the order in which builds are claimed
	Groups map[string]store.Group // those that the build names
	Holder func(build.ID) string  // names a build for people, such as "build 41"; nil takes its ID
	Now    time.Time
	Lease  time.Duration // 0 is Lease
}

// A Why says why a build is not running.
type Why struct {
	State   build.State `json:"state"`
	Summary string      `json:"summary"`           // one sentence: what it waits for
	Queue   []string    `json:"queue,omitempty"`   // what keeps any agent from claiming it now
	Agents  []Candidate `json:"agents,omitempty"`  // the nearest first
	Nearest string      `json:"nearest,omitempty"` // what is missing to the agent that lacks the least
}

// A Candidate is an agent as a build sees it.
type Candidate struct {
	ID       store.AgentID `json:"id"`
	Name     string        `json:"name"`
	Eligible bool          `json:"eligible"` // it meets every requirement
	Free     int           `json:"free"`     // slots
	Reasons  []string      `json:"reasons,omitempty"`
	Checks   []Check       `json:"checks,omitempty"`
}

// A Check is one requirement held against one agent.
type Check struct {
	Wanted string `json:"wanted"`           // such as "tools.docker at least 25.0"
	Met    bool   `json:"met"`              //
	Found  string `json:"found,omitempty"`  // the value seen
	Reason string `json:"reason,omitempty"` // the author's
	Hint   string `json:"hint,omitempty"`   // the fact that was meant, when nobody knows the one that was written
}

// Explain says why the build does not run, or that it does.
func Explain(b *store.Build, v View) Why {
	w := Why{State: b.State}
	switch {
	case b.State == build.Running:
		w.Summary = "it runs"
		if name := agentName(v.Agents, b.Owner); name != "" {
			w.Summary = "it runs on " + name
		}
		return w
	case b.Terminal():
		w.Summary = "it has ended: " + cmp.Or(b.Reason, string(b.State))
		return w
	}
	for i := range v.Agents {
		w.Agents = append(w.Agents, v.candidate(&v.Agents[i], b))
	}
	slices.SortStableFunc(w.Agents, func(a, b Candidate) int {
		return cmp.Or(cmp.Compare(a.missing(), b.missing()), cmp.Compare(len(a.Reasons), len(b.Reasons)), cmp.Compare(a.Name, b.Name))
	})
	w.Queue = v.queueReasons(b)
	w.Summary, w.Nearest = v.summary(b, w.Agents, w.Queue)
	return w
}

// summary is the sentence, and what the nearest miss lacks.
func (v View) summary(b *store.Build, agents []Candidate, queue []string) (summary, nearest string) {
	able := slices.IndexFunc(agents, func(c Candidate) bool { return c.Eligible })
	free := slices.IndexFunc(agents, func(c Candidate) bool { return c.Eligible && len(c.Reasons) == 0 })
	switch {
	case b.Request.Here != "":
		return "it runs where it was asked for, and that has not begun", ""
	case len(agents) == 0:
		return "there is no agent: \"piper agentd\" starts one", ""
	case able < 0:
		near := agents[0]
		return "no eligible agent", fmt.Sprintf("%s lacks the least: %s", near.Name, near.lack())
	case len(queue) > 0:
		return queue[0], ""
	case free < 0:
		return "no agent that could run it is free: " + agents[able].Name + " " + agents[able].Reasons[0], ""
	}
	return agents[free].Name + " is about to take it", ""
}

// queueReasons are what keeps a build from being claimed whoever asks.
func (v View) queueReasons(b *store.Build) (reasons []string) {
	for _, key := range b.Groups {
		if g := v.Groups[key]; g.Holder != "" && g.Holder != b.ID {
			reasons = append(reasons, fmt.Sprintf("concurrency %q is held by %s", key, v.name(g.Holder)))
		}
	}
	place := slices.IndexFunc(v.Queue, func(q store.Build) bool { return q.ID == b.ID })
	if place <= 0 {
		return reasons
	}
	first := 0
	for _, q := range v.Queue[:place] {
		if q.Priority() > b.Priority() {
			first++
		}
	}
	switch {
	case first > 0:
		reasons = append(reasons, fmt.Sprintf("%s queued before it, %d of them with a higher priority", builds(place), first))
	default:
		reasons = append(reasons, builds(place)+" queued before it")
	}
	return reasons
}

func builds(n int) string {
	if n == 1 {
		return "1 build is"
	}
	return fmt.Sprintf("%d builds are", n)
}

// candidate holds a build against one agent.
func (v View) candidate(a *store.Agent, b *store.Build) Candidate {
	c := Candidate{ID: a.ID, Name: a.Name, Eligible: Eligible(a, b), Free: Free(a)}
	if since := v.Now.Sub(a.Seen); since > cmp.Or(v.Lease, Lease) {
		c.Reasons = append(c.Reasons, fmt.Sprintf("has not been heard of for %s", since.Round(time.Second)))
	}
	switch {
	case a.Ending:
		c.Reasons = append(c.Reasons, "is ending")
	case a.Draining:
		c.Reasons = append(c.Reasons, "is draining")
	case c.Free == 0:
		reason := fmt.Sprintf("runs %d of %d builds", len(a.Running), a.Slots)
		if left := a.Facts[facts.Unkillable]; left != "" {
			reason += ", as what builds left cannot be killed: " + left
		}
		c.Reasons = append(c.Reasons, reason)
	}
	values := Values(a)
	for _, r := range b.Requires {
		c.Checks = append(c.Checks, check(values, r)...)
	}
	return c
}

// check holds one requirement against the facts of an agent. One that combines
// several may lack each.
func check(values map[string]string, r plan.Requirement) []Check {
	err := facts.Hold(values, []plan.Requirement{r})
	unmet, ok := err.(facts.Unmet)
	switch {
	case err == nil:
		return []Check{{Wanted: facts.Describe(r), Met: true, Found: facts.Seen(values, r), Reason: r.Reason}}
	case !ok:
		return []Check{{Wanted: facts.Describe(r), Found: err.Error(), Reason: r.Reason}}
	}
	checks := make([]Check, len(unmet))
	for i, lack := range unmet {
		checks[i] = Check{Wanted: lack.Wanted, Found: lack.Found, Reason: lack.Reason, Hint: lack.Hint}
	}
	return checks
}

// missing is how many checks an agent fails.
func (c Candidate) missing() (n int) {
	for _, check := range c.Checks {
		if !check.Met {
			n++
		}
	}
	return n
}

// lack is what an agent that fails a check fails first, in words.
func (c Candidate) lack() string {
	i := slices.IndexFunc(c.Checks, func(check Check) bool { return !check.Met })
	if i < 0 {
		return "it is for another one"
	}
	check := c.Checks[i]
	return facts.Lack{Reason: check.Reason, Wanted: check.Wanted, Found: check.Found, Hint: check.Hint}.String()
}

func agentName(agents []store.Agent, id store.AgentID) string {
	for _, a := range agents {
		if a.ID == id {
			return a.Name
		}
	}
	return ""
}

// name is a build as people know it.
func (v View) name(id build.ID) string {
	if v.Holder != nil {
		return v.Holder(id)
	}
	return "build " + string(id)
}
