package agent

import (
	"fmt"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/piper-build/piper/runtime/build"
	"github.com/piper-build/piper/runtime/plan"
	"github.com/piper-build/piper/runtime/store"
)

// crons are the builds that schedules made, oldest first, by minute.
func (w *world) crons() (all []store.Build) {
	w.t.Helper()
	page, _, err := w.List(w.t.Context(), store.Filter{}, "", 1000)
	require.NoError(w.t, err)
	for _, b := range page {
		if b.Request.Cause.Kind == "cron" {
			all = append([]store.Build{b}, all...)
		}
	}
	return all
}

func minutes(all []store.Build) (texts []string) {
	for _, b := range all {
		texts = append(texts, b.Request.Event.Time.Format("02 15:04"))
	}
	return texts
}

// A bubble begins at midnight UTC of 2000-01-01.
func TestASchedule(t *testing.T) {
	for name, c := range map[string]struct {
		on   plan.On
		zone string
		want []string
	}{
		"every twenty minutes":    {plan.On{Schedule: "*/20 * * * *"}, "", []string{"01 00:20", "01 00:40", "01 01:00"}},
		"in a zone":               {plan.On{Schedule: "10 2 * * *"}, "Europe/Berlin", []string{"01 01:10"}},
		"of branches":             {plan.On{Schedule: "0 1 * * *", Branches: []string{"release/*", "main"}}, "", []string{"01 01:00", "01 01:00", "01 01:00"}},
		"of one":                  {plan.On{Schedule: "0 1 * * *", Branches: []string{"gone"}}, "", []string{"01 01:00"}},
		"in a zone there is none": {plan.On{Schedule: "10 * * * *"}, "Europe/Bonn", nil},
		"that is none":            {plan.On{Schedule: "10 * * *"}, "", nil},
	} {
		t.Run(name, func(t *testing.T) {
			bubble(t, func(t *testing.T, w *world) {
				p, err := w.Project(t.Context(), "shop")
				require.NoError(t, err)
				p.Zone = c.zone
				_, err = w.PutProject(t.Context(), p)
				require.NoError(t, err)
				c.on.Kind = "cron"
				w.on["nightly"] = []plan.On{c.on}
				for i := range 3 { // who all see that it is time
					w.host(fmt.Sprint("host", i), nil).start()
				}
				time.Sleep(75 * time.Minute)
				all := w.crons()
				require.Equal(t, c.want, minutes(all))
				branches := map[string]bool{}
				for _, b := range all {
					require.Equal(t, build.Success, b.State)
					branches[b.Request.Ref] = true
				}
				if len(c.on.Branches) == 2 {
					require.Equal(t, map[string]bool{"main": true, "release/1": true, "release/2": true}, branches)
				}
			}, pipeline("nightly", step("test")))
		})
	}
}

func TestAScheduleThatOverlaps(t *testing.T) {
	for policy, want := range map[string][]build.State{
		"skip":   {build.Success, build.Success}, // of 00:20 and, that one being over, 01:00
		"":       {build.Success, build.Success},
		"queue":  {build.Success, build.Success, build.Success},
		"cancel": {build.Cancelled, build.Cancelled, build.Success},
	} {
		t.Run(policy, func(t *testing.T) {
			bubble(t, func(t *testing.T, w *world) {
				w.takes = func(build.ID, string) time.Duration { return 35 * time.Minute }
				w.on["nightly"] = []plan.On{{Kind: "cron", Schedule: "*/20 * * * *", Overlap: policy}}
				w.host("one", func(a *Agent) { a.Slots = 5 }).start()
				w.ask("by-hand", store.Request{Pipeline: "nightly"})
				time.Sleep(61 * time.Minute)
				w.mu.Lock()
				w.on["nightly"], w.head = nil, "beef"
				w.mu.Unlock()
				time.Sleep(time.Hour)
				var states []build.State
				for _, b := range w.crons() {
					states = append(states, b.State)
				}
				require.Equal(t, want, states)
				require.Equal(t, build.Success, w.see("build-by-hand").State, "what a person asked for is none of its business")
			}, pipeline("nightly", step("test")))
		})
	}
}

func TestAScheduleThatWasMissed(t *testing.T) {
	for policy, want := range map[string][]string{
		"none": {"01 00:20", "01 04:20"},
		"last": {"01 00:20", "01 03:20", "01 04:20"},
		"all":  {"01 00:20", "01 01:20", "01 02:20", "01 03:20", "01 04:20"},
	} {
		t.Run(policy, func(t *testing.T) {
			bubble(t, func(t *testing.T, w *world) {
				w.on["nightly"] = []plan.On{{Kind: "cron", Schedule: "20 * * * *", CatchUp: policy, Overlap: "queue"}}
				h := w.host("one", nil)
				h.start()
				time.Sleep(30 * time.Minute)
				require.NoError(t, h.drain())
				time.Sleep(3*time.Hour + 20*time.Minute)
				h.start()
				time.Sleep(40 * time.Minute)
				require.Equal(t, want, minutes(w.crons()))
			}, pipeline("nightly", step("test")))
		})
	}
}

// A minute is for one build, whoever dies between making it and noting that.
func TestAScheduleIsFollowedOnce(t *testing.T) {
	bubble(t, func(t *testing.T, w *world) {
		w.on["nightly"] = []plan.On{{Kind: "cron", Schedule: "*/2 * * * *", Overlap: "queue", CatchUp: "all"}}
		for i := range 3 {
			w.host(fmt.Sprint("host", i), func(a *Agent) {
				a.Slots = 3
				a.Store.(*link).faults = faultFor
			}).start()
		}
		for i := range 20 {
			time.Sleep(3 * time.Minute)
			w.hosts[i%3].kill()
			w.hosts[i%3].start()
		}
		time.Sleep(10 * time.Minute)
		all := minutes(w.crons())
		seen := map[string]bool{}
		for _, m := range all {
			require.False(t, seen[m], "%s was made twice", m)
			seen[m] = true
		}
		require.GreaterOrEqual(t, len(all), 33)
	}, pipeline("nightly", step("test")))
}
