package main

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/piper-build/piper/api"
	"github.com/piper-build/piper/api/client"
	"github.com/piper-build/piper/runtime/build"
	"github.com/piper-build/piper/runtime/facts"
	"github.com/piper-build/piper/runtime/store"
)

// What the doctor takes for too much.
const (
	clockOff  = time.Minute
	longQueue = time.Hour        // to wait for an agent that can
	longLeft  = 10 * time.Minute // for what agents do within seconds
	manyWhys  = 10               // builds are asked about
)

// agents looks at the agents, and at the builds that wait for them.
func (d *doctor) agents(ctx context.Context, c *client.Client) {
	before, err := c.Agents(ctx)
	now := time.Now()
	after := before
	// Only who is heard of again is seen to live: its clock may be off.
	for end := now.Add(d.lease / 2); err == nil && doubtful(before, after, now, d.lease) && now.Before(end); {
		select {
		case <-ctx.Done():
			return
		case <-time.After(min(d.lease/10, time.Second)):
		}
		after, err = c.Agents(ctx)
		now = time.Now()
	}
	if err != nil {
		d.tell(broken("agents", "", "%v", err))
		return
	}
	found, alive := agentFindings(before, after, now, d.lease)
	for _, f := range found {
		d.tell(f)
	}
	d.queue(ctx, c, alive)
}

// doubt reports whether what an agent said last leaves it open whether it lives.
func doubt(a *api.Agent, now time.Time, lease time.Duration) bool {
	age := now.Sub(a.Seen)
	return age > lease || age < -clockOff
}

// moved reports whether an agent was heard of since before.
func moved(before []api.Agent, a *api.Agent) bool {
	return !slices.ContainsFunc(before, func(b api.Agent) bool { return b.ID == a.ID && b.Seen.Equal(a.Seen) })
}

// doubtful reports whether there is an agent that may be dead or not.
func doubtful(before, after []api.Agent, now time.Time, lease time.Duration) bool {
	return slices.ContainsFunc(after, func(a api.Agent) bool { return doubt(&a, now, lease) && !moved(before, &a) })
}

// agentFindings holds what agents say of themselves against each other and against
// the clock, and returns those that live.
func agentFindings(before, after []api.Agent, now time.Time, lease time.Duration) (found []finding, alive map[store.AgentID]bool) {
	alive = map[store.AgentID]bool{}
	names, versions := map[string][]string{}, map[string][]string{} // of hosts, of agents
	slots, free := 0, 0
	for i := range after {
		a := &after[i]
		age := now.Sub(a.Seen)
		doubted := doubt(a, now, lease)
		if doubted && !moved(before, a) {
			f := warning("agents", "is it at work, and does it reach the store? Its builds run elsewhere if another one lives",
				"%s on %s has not been heard of for %s", a.Name, a.Host, age.Round(time.Second))
			if age < 0 {
				f = warning("agents", "see whether it is at work, and set its clock", "%s on %s is not heard of, and was last by a clock that is %s ahead", a.Name, a.Host, -age.Round(time.Second))
			}
			found = append(found, f)
			continue
		}
		alive[a.ID] = true
		slots, free = slots+a.Slots, free+a.Free
		names[a.Name] = append(names[a.Name], a.Host)
		versions[a.Version] = append(versions[a.Version], a.Name)
		if doubted && age.Abs() > clockOff {
			way := "behind"
			if age < 0 {
				way = "ahead of"
			}
			found = append(found, warning("clocks", "nothing goes wrong by that, but times that are shown are: set one of them",
				"the clock of %s is %s %s that of this machine", a.Host, age.Abs().Round(time.Second), way))
		}
		switch {
		case a.Draining && !a.Ending && len(a.Running) == 0:
			found = append(found, warning("agents", fmt.Sprintf(`"piper drain %s --resume" has it take builds again; or stop it`, a.Name), "%s on %s is draining, and runs nothing any more", a.Name, a.Host))
		case a.Facts[facts.Unkillable] != "":
			found = append(found, warning("agents", "see what they wait for, such as a disk that does not answer; the slots are free again once they have ended",
				"%s on %s holds slots back as what builds left cannot be killed: %s", a.Name, a.Host, a.Facts[facts.Unkillable]))
		case a.Slots == 0:
			found = append(found, warning("agents", "piper agentd --slots N", "%s on %s has no slots", a.Name, a.Host))
		}
	}
	for _, name := range slices.Sorted(maps.Keys(names)) {
		if hosts := names[name]; len(hosts) > 1 {
			found = append(found, warning("agents", "give each its own: piper agentd --name", "%d agents are called %s, on %s", len(hosts), name, strings.Join(hosts, ", ")))
		}
	}
	if len(versions) > 1 {
		var all []string
		for _, version := range slices.SortedFunc(maps.Keys(versions), facts.CompareVersions) {
			all = append(all, version+" ("+strings.Join(versions[version], ", ")+")")
		}
		found = append(found, warning("agents", "bring all to one: a release and the next go together, and no others", "agents have different versions: %s", strings.Join(all, ", ")))
	}
	switch {
	case len(after) == 0:
		found = append(found, warning("agents", `"piper agentd" starts one`, "there is no agent"))
	case len(alive) > 0:
		found = append(found, fine("agents", "%s at work, with %d of %s free", counted(len(alive), "agent"), free, counted(slots, "slot")))
	}
	return found, alive
}

// queue looks for builds that wait for an agent in vain.
func (d *doctor) queue(ctx context.Context, c *client.Client, alive map[store.AgentID]bool) {
	var old []api.Build // the newest first
	waiting, now := 0, time.Now()
	for cursor := ""; ; {
		page, next, err := c.Builds(ctx, api.BuildFilter{State: build.Queued}, cursor, 0)
		if err != nil {
			d.tell(broken("queue", "", "%v", err))
			return
		}
		waiting += len(page)
		for _, b := range page {
			if now.Sub(b.Created) > longQueue {
				old = append(old, b)
			}
		}
		if cursor = next; cursor == "" {
			break
		}
	}
	slices.Reverse(old)
	vain := 0
	for i, b := range old {
		if i == manyWhys {
			d.tell(warning("queue", `"piper builds --state queued" lists them`, "%s more than an hour, too", counted(len(old)-i, "other build")+" waited for"))
			break
		}
		why, err := c.Why(ctx, fmt.Sprint(b.Number), "")
		var gone *api.Problem
		if errors.As(err, &gone) || err == nil && why.State != build.Queued {
			continue // meanwhile
		}
		if err != nil {
			d.tell(broken("queue", "", "%v", err))
			return
		}
		if f, stuck := queueFinding(b, why, alive, now); stuck {
			vain++
			d.tell(f)
		}
	}
	if vain == 0 && len(old) <= manyWhys {
		d.tell(fine("queue", "%s in the queue, and none for an hour that no agent can run", counted(waiting, "build")))
	}
}

// queueFinding is that nobody who lives can run a build, if so.
func queueFinding(b api.Build, why api.Why, alive map[store.AgentID]bool, now time.Time) (f finding, stuck bool) {
	reason := why.Summary
	for _, a := range why.Agents {
		switch {
		case a.Eligible && alive[a.ID]:
			return finding{}, false
		case a.Eligible:
			reason = "no agent that could run it is at work"
		}
	}
	if why.Nearest != "" {
		reason += ": " + why.Nearest
	}
	return warning("queue", fmt.Sprintf(`"piper why %d" says more, "piper cancel %[1]d" ends it`, b.Number), "build %d of %s has waited for %s: %s",
		b.Number, b.Project, now.Sub(b.Created).Round(time.Second), reason), true
}

// projects looks whether the server can read the repositories. What stands in a
// PIPER.star is for those who write it: a wrong one rejects builds, and says why.
func (d *doctor) projects(ctx context.Context, c *client.Client) {
	all, err := c.Projects(ctx)
	if err != nil {
		d.tell(broken("projects", "", "%v", err))
		return
	}
	sound := true
	for _, p := range all {
		limited, cancel := context.WithTimeout(ctx, answerTime)
		_, err := c.Pipelines(limited, p.Name, "")
		cancel()
		var problem *api.Problem
		switch {
		case err == nil, ctx.Err() != nil, errors.As(err, &problem) && len(problem.Diagnostics) > 0:
			continue
		case problem != nil && problem.Status == http.StatusNotImplemented:
			return // it looks into none
		}
		sound = false
		d.tell(broken("projects", fmt.Sprintf(`"piper project show %s" says where it is; agent.yaml has what it takes to read it`, p.Name), "%s: %v", p.Name, err))
	}
	if sound {
		d.tell(fine("projects", "the server can read %s", counted(len(all), "project")))
	}
}

// leftovers looks for what agents should have done long ago.
func (d *doctor) leftovers(ctx context.Context, s store.Store) {
	now := time.Now()
	unsettled, err := s.Unsettled(ctx, 1000)
	if err != nil {
		d.tell(broken("chores", "", "%v", err))
		return
	}
	d.tell(choreFinding(unsettled, now))
	all, ok := s.(store.Portable)
	if !ok {
		return
	}
	groups, err := all.AllGroups(ctx)
	if err != nil {
		d.tell(broken("groups", "", "%v", err))
		return
	}
	held := true
	for _, g := range groups {
		// One that nobody waits for may stay with a build that has ended.
		if g.Holder == "" || len(g.Queue) == 0 {
			continue
		}
		b, err := s.Build(ctx, g.Holder)
		if err != nil && !errors.Is(err, store.ErrNotFound) {
			d.tell(broken("groups", "", "%v", err))
			return
		}
		if f, wrong := groupFinding(g, b, err == nil, now); wrong {
			held = false
			d.tell(f)
		}
	}
	if held {
		d.tell(fine("groups", "no build waits for one that has ended"))
	}
}

// choreFinding is about builds that ended long ago, and about which something is to
// be done still. When a running one got a chore is not known.
func choreFinding(unsettled []store.Build, now time.Time) finding {
	var left []string
	for i := range unsettled {
		if b := &unsettled[i]; b.Terminal() && now.Sub(b.Ended) > longLeft {
			left = append(left, fmt.Sprintf("build %d (%s)", b.Number, strings.TrimSpace(b.Pending[0].Verb+" "+b.Pending[0].Target)))
		}
	}
	if len(left) == 0 {
		return fine("chores", "nothing is left to be done about builds that ended")
	}
	more := ""
	if n := len(left) - 3; n > 0 {
		left, more = left[:3], fmt.Sprintf(" and %d more", n)
	}
	return warning("chores", `any agent does it; its log says "chore left" when it cannot`, "something is to be done since more than %s about %s%s", longLeft, strings.Join(left, ", "), more)
}

// groupFinding is that a build holds a group that others wait for, and will not
// give it back.
func groupFinding(g store.Group, holder store.Build, there bool, now time.Time) (f finding, wrong bool) {
	waits := fmt.Sprintf("build %d waits for %s", g.Queue[0].Number, g.Key)
	switch {
	case !there:
		return broken("groups", fmt.Sprintf(`"piper cancel %d" ends the one that waits; "piper fsck" may find more`, g.Queue[0].Number), "%s, which build %s holds, and there is no such build", waits, g.Holder), true
	case holder.Terminal() && now.Sub(holder.Ended) > longLeft:
		return warning("groups", fmt.Sprintf(`an agent that could run the build takes it: "piper why %d" says whether there is one`, g.Queue[0].Number),
			"%s, which build %d holds and has ended %s ago", waits, holder.Number, now.Sub(holder.Ended).Round(time.Second)), true
	}
	return finding{}, false
}
