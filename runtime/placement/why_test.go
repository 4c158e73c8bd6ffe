package placement_test

import (
	"fmt"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/piper-build/piper/runtime/build"
	"github.com/piper-build/piper/runtime/placement"
	"github.com/piper-build/piper/runtime/plan"
	"github.com/piper-build/piper/runtime/store"
)

func TestWhy(t *testing.T) {
	held := map[string]store.Group{"deploy": {Key: "deploy", Holder: "b0"}}
	grouped := queued(linux)
	grouped.Groups = []string{"deploy"}
	urgent := store.Build{ID: "u", Request: store.Request{Priority: 5}}
	other := store.Build{ID: "o"}
	for name, test := range map[string]struct {
		build   store.Build
		view    placement.View
		summary string
		queue   []string
		nearest string
	}{
		"no agent":          {queued(linux), placement.View{}, `there is no agent: "piper agentd" starts one`, nil, ""},
		"about to":          {queued(linux), placement.View{Agents: []store.Agent{agent("b", full), agent("a")}}, "a is about to take it", nil, ""},
		"not planned":       {queued(), placement.View{Agents: []store.Agent{agent("a", mac)}}, "a is about to take it", nil, ""},
		"busy":              {queued(linux), placement.View{Agents: []store.Agent{agent("a", full), agent("m", mac)}}, "no agent that could run it is free: a runs 1 of 1 builds", nil, ""},
		"held back":         {queued(linux), placement.View{Agents: []store.Agent{agent("a", full, stuck)}}, "no agent that could run it is free: a runs 1 of 1 builds, as what builds left cannot be killed: dd (7)", nil, ""},
		"draining":          {queued(linux), placement.View{Agents: []store.Agent{agent("a", draining)}}, "no agent that could run it is free: a is draining", nil, ""},
		"ending":            {queued(linux), placement.View{Agents: []store.Agent{agent("a", draining, ending)}}, "no agent that could run it is free: a is ending", nil, ""},
		"silent":            {queued(linux), placement.View{Agents: []store.Agent{agent("a", silent)}}, "no agent that could run it is free: a has not been heard of for 2m0s", nil, ""},
		"nobody can":        {queued(linux, docker), placement.View{Agents: []store.Agent{agent("m", mac), agent("a")}}, "no eligible agent", nil, "a lacks the least: image store: needs tools.docker at least 25.0, found 24.0"},
		"a slip":            {queued(plan.Requirement{Op: "has", Key: "docker"}), placement.View{Agents: []store.Agent{agent("a")}}, "no eligible agent", nil, `a lacks the least: needs docker, found nothing (did you mean "tools.docker"?)`},
		"no meaning":        {queued(broken), placement.View{Agents: []store.Agent{agent("a")}}, "no eligible agent", nil, `a lacks the least: needs like os, found check requirement like os: there is no condition "like"`},
		"a group":           {grouped, placement.View{Agents: []store.Agent{agent("a")}, Groups: held}, `concurrency "deploy" is held by build b0`, []string{`concurrency "deploy" is held by build b0`}, ""},
		"its own group":     {grouped, placement.View{Agents: []store.Agent{agent("a")}, Groups: map[string]store.Group{"deploy": {Holder: "b1"}}}, "a is about to take it", nil, ""},
		"a name for people": {grouped, placement.View{Agents: []store.Agent{agent("a")}, Groups: held, Holder: func(build.ID) string { return "build 6" }}, `concurrency "deploy" is held by build 6`, []string{`concurrency "deploy" is held by build 6`}, ""},
		"one before it":     {queued(), placement.View{Agents: []store.Agent{agent("a", full)}, Queue: []store.Build{other, queued()}}, "1 build is queued before it", []string{"1 build is queued before it"}, ""},
		"more urgent ones":  {queued(), placement.View{Agents: []store.Agent{agent("a", full)}, Queue: []store.Build{urgent, other, queued()}}, "2 builds are queued before it, 1 of them with a higher priority", []string{"2 builds are queued before it, 1 of them with a higher priority"}, ""},
		"the head of it":    {queued(), placement.View{Agents: []store.Agent{agent("a")}, Queue: []store.Build{queued(), other}}, "a is about to take it", nil, ""},
		"it runs":           {store.Build{State: build.Running, Owner: "id-a"}, placement.View{Agents: []store.Agent{agent("a")}}, "it runs on a", nil, ""},
		"it runs somewhere": {store.Build{State: build.Running, Owner: "id-x"}, placement.View{}, "it runs", nil, ""},
		"it has ended":      {store.Build{State: build.Lost, Reason: "its agent was lost 3 times"}, placement.View{}, "it has ended: its agent was lost 3 times", nil, ""},
		"it was a success":  {store.Build{State: build.Success}, placement.View{}, "it has ended: success", nil, ""},
		"for this machine":  {store.Build{State: build.Queued, Request: store.Request{Here: "id-x"}}, placement.View{Agents: []store.Agent{agent("a")}}, "it runs where it was asked for, and that has not begun", nil, ""},
	} {
		t.Run(name, func(t *testing.T) {
			test.view.Now = now
			w := placement.Explain(&test.build, test.view)
			require.Equal(t, test.summary, w.Summary)
			require.Equal(t, test.queue, w.Queue)
			require.Equal(t, test.nearest, w.Nearest)
			require.Equal(t, test.build.State, w.State)
		})
	}
}

func TestCandidates(t *testing.T) {
	b := queued(linux, docker, plan.Requirement{Op: "all_of", Reason: "training", Of: []plan.Requirement{h100, {Op: "has", Key: "tools.cuda"}}})
	w := placement.Explain(&b, placement.View{Now: now, Agents: []store.Agent{agent("m", mac), agent("a", gpu, full)}})
	require.Equal(t, []placement.Candidate{
		{ID: "id-a", Name: "a", Reasons: []string{"runs 1 of 1 builds"}, Checks: []placement.Check{
			{Wanted: "os linux", Met: true, Found: "linux"},
			{Wanted: "tools.docker at least 25.0", Found: "24.0", Reason: "image store"},
			{Wanted: "tools.cuda", Found: "nothing", Reason: "training"},
		}},
		{ID: "id-m", Name: "m", Free: 1, Checks: []placement.Check{
			{Wanted: "os linux", Found: "darwin"},
			{Wanted: "tools.docker at least 25.0", Found: "nothing", Reason: "image store"},
			{Wanted: "labels.gpu h100", Found: "nothing", Reason: "training"},
			{Wanted: "tools.cuda", Found: "nothing", Reason: "training"},
		}},
	}, w.Agents)
}

func BenchmarkExplain(b *testing.B) {
	var v placement.View
	for i := range 500 {
		v.Agents = append(v.Agents, agent(fmt.Sprint("a", i)))
	}
	q := queued(linux, docker)
	for b.Loop() {
		placement.Explain(&q, v)
	}
}
