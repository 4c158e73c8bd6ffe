package agent

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/piper-build/piper/runtime/build"
	"github.com/piper-build/piper/runtime/plan"
	"github.com/piper-build/piper/runtime/store"
)

// bubble has a test happen in a world where time goes by when nobody works. At
// its end no invariant may be broken.
func bubble(t *testing.T, test func(t *testing.T, w *world), plans ...*plan.Plan) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, plans...)
		defer w.over()
		test(t, w)
		w.over()
		w.one.Lock()
		defer w.one.Unlock()
		require.Empty(t, w.broken)
	})
}

func TestABuildIsRun(t *testing.T) {
	bubble(t, func(t *testing.T, w *world) {
		h := w.host("one", nil)
		h.start()
		b := w.ended(20*time.Second, w.ask("x", store.Request{Pipeline: "unit"}).ID)
		require.Equal(t, build.Success, b.State, b.Reason)
		require.Equal(t, build.Progress{Total: 2, Done: 2}, b.Progress)
		require.Equal(t, "c0ffee", b.Commit)
		require.NoError(t, h.drain())
		require.Zero(t, w.rescues)
		agents, err := w.Agents(t.Context())
		require.NoError(t, err)
		require.Empty(t, agents, "it left")
		left, err := os.ReadDir(filepath.Join(h.dir, "work"))
		require.NoError(t, err)
		require.Empty(t, left)
		chunks, err := w.Chunks(t.Context(), store.ChunkKey{Build: b.ID, Fence: 1, Node: "test", Attempt: 1}, 10)
		require.NoError(t, err)
		require.Equal(t, "test runs\n", string(chunks[0].Data))
	}, pipeline("unit", step("lint"), step("test", needs("lint"))))
}

func TestWhatIsAskedForInVainIsRejected(t *testing.T) {
	for name, c := range map[string]struct {
		request store.Request
		state   build.State
		reason  string
	}{
		"no project":  {store.Request{Project: "nobody", Pipeline: "unit"}, build.Rejected, "there is no project nobody"},
		"no ref":      {store.Request{Pipeline: "unit", Ref: "nowhere"}, build.Rejected, "no ref nowhere"},
		"no pipeline": {store.Request{Pipeline: "none"}, build.Rejected, "there is no pipeline none"},
		"no secret":   {store.Request{Pipeline: "unit", Params: map[string]string{"secret": "none"}}, build.Failed, "find secrets: no secret none"},
	} {
		t.Run(name, func(t *testing.T) {
			bubble(t, func(t *testing.T, w *world) {
				w.host("one", func(a *Agent) {
					a.Secrets = func(_ context.Context, b store.Build, _ *plan.Plan) (map[string]string, error) {
						if name := b.Request.Params["secret"]; name != "" {
							return nil, errors.New("no secret " + name)
						}
						return nil, nil
					}
				}).start()
				b := w.ended(20*time.Second, w.ask("x", c.request).ID)
				require.Equal(t, c.state, b.State)
				require.Contains(t, b.Reason, c.reason)
				require.Empty(t, w.ran(b.ID))
				require.Equal(t, name == "no pipeline", len(b.Diagnostics) > 0)
			}, pipeline("unit", step("test")))
		})
	}
}

func TestAnAccidentIsTriedAgain(t *testing.T) {
	bubble(t, func(t *testing.T, w *world) {
		w.accidents = 2
		w.host("one", nil).start()
		require.Equal(t, build.Success, w.ended(2*time.Minute, w.ask("x", store.Request{Pipeline: "unit"}).ID).State)
		w.accidents = 3
		b := w.ended(2*time.Minute, w.ask("y", store.Request{Pipeline: "unit"}).ID)
		require.Equal(t, build.Failed, b.State)
		require.Contains(t, b.Reason, `resolve "main": the network is away`)
	}, pipeline("unit", step("test")))
}

func TestAPanicFailsTheBuildAlone(t *testing.T) {
	for _, where := range []string{"plan", "secrets", "expand"} {
		t.Run(where, func(t *testing.T) {
			bubble(t, func(t *testing.T, w *world) {
				var log lines
				w.host("one", func(a *Agent) {
					a.Log = slog.New(slog.NewTextHandler(&log, nil))
					plans := a.Plan
					a.Plan = func(ctx context.Context, tree Tree, b store.Build) (*plan.Plan, Expander, error) {
						if where == "plan" && b.ID == "build-x" {
							panic("oh no")
						}
						p, _, err := plans(ctx, tree, b)
						return p, func(context.Context, string, map[string]string) (plan.Expansion, error) { panic("oh no") }, err
					}
					a.Secrets = func(_ context.Context, b store.Build, _ *plan.Plan) (map[string]string, error) {
						if where == "secrets" && b.ID == "build-x" {
							panic("oh no")
						}
						return nil, nil
					}
				}).start()
				b := w.ended(20*time.Second, w.ask("x", store.Request{Pipeline: map[bool]string{true: "grow", false: "unit"}[where == "expand"]}).ID)
				require.Equal(t, build.Failed, b.State)
				if where != "expand" {
					require.Equal(t, "the agent is broken: oh no", b.Reason)
				}
				require.Contains(t, log.String(), "agent is broken")
				require.Equal(t, build.Success, w.ended(20*time.Second, w.ask("y", store.Request{Pipeline: "unit"}).ID).State)
			}, pipeline("unit", step("test")), pipeline("grow", step("find"), plan.Node{Name: "more", Needs: []string{"find"}, More: &plan.More{Expand: &plan.Expand{After: "find"}}}))
		})
	}
}

// lines is a log that a test reads.
type lines struct {
	mu   sync.Mutex
	text bytes.Buffer
}

func (l *lines) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.Write(p)
}

func (l *lines) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.String()
}

func TestABuildGoesToWhoCanRunIt(t *testing.T) {
	bubble(t, func(t *testing.T, w *world) {
		w.host("small", nil).start()
		w.host("large", func(a *Agent) { a.Labels = map[string]string{"gpu": "yes"} }).start()
		for i := range 6 {
			b := w.ended(30*time.Second, w.ask(fmt.Sprint(i), store.Request{Pipeline: "big"}).ID)
			require.Equal(t, build.Success, b.State, b.Reason)
			require.Equal(t, "large", w.ran(b.ID)[0].agent)
			require.Equal(t, 1, b.Attempt, "to hand it over costs none")
		}
		require.Zero(t, w.rescues)
	}, pipeline("big", step("train", requireLabel("gpu"))))
}

func TestFactsAreFoundWhenABuildAsksForThem(t *testing.T) {
	bubble(t, func(t *testing.T, w *world) {
		w.host("one", func(a *Agent) {
			a.Facts = func(_ context.Context, keys []string) (map[string]string, error) {
				found := map[string]string{"os": "linux"}
				for _, key := range keys {
					found[key] = "1.22"
				}
				return found, nil
			}
		}).start()
		b := w.ended(20*time.Second, w.ask("x", store.Request{Pipeline: "odd"}).ID)
		require.Equal(t, build.Success, b.State, b.Reason)
	}, pipeline("odd", step("x", func(n *plan.Node) {
		n.Step.Requires = []plan.Requirement{{Op: "has", Key: "tools.zig"}}
	})))
}

func TestWhatNobodyCanRunIsRejectedInTheEnd(t *testing.T) {
	patient := pipeline("patient", step("train", requireLabel("gpu")))
	patient.QueueTimeout = plan.Duration(5 * time.Minute)
	long := pipeline("long", step("sleep"))
	hurried := pipeline("hurried", step("test"))
	hurried.QueueTimeout = plan.Duration(3 * time.Minute)
	bubble(t, func(t *testing.T, w *world) {
		w.takes = func(id build.ID, node string) time.Duration {
			return map[string]time.Duration{"sleep": 10 * time.Minute}[node] + time.Second
		}
		h := w.host("small", nil)
		h.start()
		big, pat := w.ask("big", store.Request{Pipeline: "big"}), w.ask("patient", store.Request{Pipeline: "patient"})
		here := w.ask("here", store.Request{Pipeline: "long", Here: "somebody"})
		b := w.ended(7*time.Minute, pat.ID)
		require.Equal(t, build.Rejected, b.State)
		require.Contains(t, b.Reason, "no eligible agent: small lacks the least: it is big")
		b = w.see(big.ID)
		require.Equal(t, build.Queued, b.State)
		b = w.ended(time.Hour, big.ID)
		require.Equal(t, build.Rejected, b.State)
		require.Contains(t, b.Reason, "no eligible agent: small lacks the least")
		require.Equal(t, "the process that was to run it never did", w.ended(time.Minute, here.ID).Reason)

		w.ask("long", store.Request{Pipeline: "long"})
		w.wait(time.Minute, "it runs", func() bool { return w.see("build-long").State == build.Running })
		w.ask("after", store.Request{Pipeline: "hurried"})
		require.Equal(t, build.Success, w.ended(20*time.Minute, "build-after").State, "until it was planned nobody knew")
	}, pipeline("big", step("train", requireLabel("gpu"))), patient, long, hurried)
}

// An agent with one slot runs what its build waits for.
func TestWaitingTakesNoSlot(t *testing.T) {
	bubble(t, func(t *testing.T, w *world) {
		w.host("one", nil).start()
		parent := w.ask("x", store.Request{Pipeline: "release", Cause: store.Cause{Kind: "push", By: "ann", Trust: "fork"}, Event: plan.Event{Kind: "push", Branch: "main"}})
		b := w.ended(2*time.Minute, parent.ID)
		require.Equal(t, build.Success, b.State, b.Reason)
		child := w.see(b.Outbox["run-unit"].Child)
		require.Equal(t, build.Success, child.State)
		require.Equal(t, store.Cause{Kind: "trigger", Build: b.ID, Node: "run-unit", By: "ann", Trust: "fork"}, child.Request.Cause, "who is not trusted does not become so")
		require.Equal(t, "c0ffee", child.Request.Commit)
		require.Equal(t, "main", child.Request.Event.Branch)

		gate := w.ask("gate", store.Request{Pipeline: "gate"})
		w.wait(time.Minute, "it waits", func() bool { return w.see(gate.ID).Progress.Running == 1 })
		time.Sleep(5 * time.Second)
		require.Equal(t, build.Success, w.ended(time.Minute, w.ask("y", store.Request{Pipeline: "unit"}).ID).State)
		_, err := w.Change(t.Context(), gate.ID, store.Approve{Node: "go", Approval: store.Approval{Approved: true, By: "ann", At: now()}})
		require.NoError(t, err)
		require.Equal(t, build.Success, w.ended(time.Minute, gate.ID).State)
		no := w.ask("no", store.Request{Pipeline: "gate"})
		_, err = w.Change(t.Context(), no.ID, store.Approve{Node: "go", Approval: store.Approval{By: "bob", Reason: "not today", At: now()}})
		require.NoError(t, err)
		require.Equal(t, build.Failed, w.ended(time.Minute, no.ID).State)
	}, pipelines()...)
}

func TestACancelReachesWhatIsWaitedFor(t *testing.T) {
	bubble(t, func(t *testing.T, w *world) {
		w.takes = func(build.ID, string) time.Duration { return time.Minute }
		w.host("one", nil).start()
		parent := w.ask("x", store.Request{Pipeline: "release"})
		w.wait(5*time.Minute, "its child runs", func() bool {
			child := w.see(parent.ID).Outbox["run-unit"].Child
			return child != "" && w.see(child).State == build.Running
		})
		_, err := w.Change(t.Context(), parent.ID, store.RequestCancel{Cancel: store.Cancel{By: "ann", Reason: "wrong tag"}, At: now()})
		require.NoError(t, err)
		b := w.ended(10*time.Second, parent.ID)
		require.Equal(t, build.Cancelled, b.State)
		require.Contains(t, b.Reason, "wrong tag")
		require.Equal(t, build.Cancelled, w.ended(10*time.Second, b.Outbox["run-unit"].Child).State)
		w.wait(30*time.Second, "nothing is left to be done", func() bool { return len(w.see(b.ID).Pending) == 0 })
	}, pipelines()...)
}

func TestACancelDuringTheCheckoutEndsIt(t *testing.T) {
	bubble(t, func(t *testing.T, w *world) {
		w.accidents = 1 << 20
		w.host("one", nil).start()
		b := w.ask("x", store.Request{Pipeline: "unit"})
		w.wait(10*time.Second, "it was claimed", func() bool { return w.see(b.ID).State == build.Running })
		_, err := w.Change(t.Context(), b.ID, store.RequestCancel{Cancel: store.Cancel{By: "ann", Reason: "never mind"}, At: now()})
		require.NoError(t, err)
		b = w.ended(5*time.Second, b.ID)
		require.Equal(t, build.Cancelled, b.State)
		require.Equal(t, "never mind", b.Reason)
	}, pipeline("unit", step("test")))
}

func TestBuildsOfOneGroupTakeTurns(t *testing.T) {
	bubble(t, func(t *testing.T, w *world) {
		w.host("one", func(a *Agent) { a.Slots = 4 }).start()
		w.host("two", func(a *Agent) { a.Slots = 4 }).start()
		var last store.Build
		for i := range 5 {
			last = w.ask(fmt.Sprint(i), store.Request{Pipeline: "deploy"})
		}
		w.ended(3*time.Minute, last.ID)
		for i := range 5 {
			b := w.ended(3*time.Minute, build.ID(fmt.Sprint("build-", i)))
			require.Equal(t, build.Success, b.State, b.Reason)
		}
		// Who is the first to know that it needs the group has it first. The
		// others stand in line.
		var order []build.ID
		var before process
		for _, p := range w.processes {
			if p.build != before.build {
				require.False(t, p.started.Before(before.ended), "one at a time")
				order = append(order, p.build)
			}
			before = *p
		}
		require.Len(t, order, 5)
		require.True(t, slices.IsSorted(order[1:]), order)
		g, err := w.Group(t.Context(), "shop/live")
		require.NoError(t, err)
		require.Empty(t, g.Holder)
		require.Empty(t, g.Queue)
		require.Zero(t, w.rescues)
	}, pipelines()...)
}

func TestWhatWouldWaitForEverIsRefused(t *testing.T) {
	inner, outer := pipeline("inner", step("x")), pipeline("outer", trigger("inner", true))
	inner.Concurrency, outer.Concurrency = "live", "live"
	bubble(t, func(t *testing.T, w *world) {
		w.host("one", nil).start()
		b := w.ended(time.Minute, w.ask("x", store.Request{Pipeline: "outer"}).ID)
		require.Equal(t, build.Failed, b.State)
		child := w.see(b.Outbox["run-inner"].Child)
		require.Equal(t, build.Rejected, child.State)
		require.Contains(t, child.Reason, "it would wait for shop/live, which build 1 holds, and that waits for it")

		b = w.ended(time.Minute, w.ask("loop", store.Request{Pipeline: "ping"}).ID)
		require.Equal(t, build.Failed, b.State)
		pong := w.see(b.Outbox["run-pong"].Child)
		events, err := w.Events(t.Context(), pong.ID, 1, 1, 100)
		require.NoError(t, err)
		require.Contains(t, fmt.Sprint(events), "pipelines start each other without end: ping → pong → ping")
	}, inner, outer, pipeline("ping", trigger("pong", true)), pipeline("pong", trigger("ping", true)))
}

func TestWhatComesAfter(t *testing.T) {
	bubble(t, func(t *testing.T, w *world) {
		_, err := w.PutProject(t.Context(), store.Project{Name: "docs", Repo: "https://example.com/docs.git", Ref: "stable"})
		require.NoError(t, err)
		w.on["mail"] = []plan.On{{Kind: "after", Pipeline: "unit", State: "ended"}}
		w.on["praise"] = []plan.On{{Kind: "after", Pipeline: "unit"}}
		w.on["alarm"] = []plan.On{{Kind: "after", Pipeline: "unit", State: "failed"}}
		w.on["pong"] = []plan.On{{Kind: "after", Pipeline: "mail"}}
		w.on["unit"] = []plan.On{{Kind: "after", Pipeline: "pong"}} // back to the beginning
		w.elsewhere = map[string][]plan.On{"publish": {{Kind: "after", Project: "shop", Pipeline: "unit"}}, "rest": {{Kind: "after", Pipeline: "unit"}}}
		w.host("one", nil).start()
		b := w.ended(time.Minute, w.ask("x", store.Request{Pipeline: "unit", Event: plan.Event{Kind: "push", Branch: "topic"}, Priority: 3}).ID)
		time.Sleep(time.Minute)
		children := w.children(b.ID)
		require.Len(t, children, 3)
		require.Equal(t, plan.Event{Kind: "after", Branch: "topic", Commit: "c0ffee", Time: b.Ended}, children["shop mail"].Request.Event)
		require.Equal(t, 3, children["shop praise"].Request.Priority)
		require.Equal(t, store.Request{Project: "docs", Pipeline: "publish", Ref: "stable", Priority: 3,
			Event: plan.Event{Kind: "after", Branch: "stable", Time: b.Ended}, Cause: store.Cause{Kind: "after", Build: b.ID}}, children["docs publish"].Request)
		pong := w.children(children["shop mail"].ID)["shop pong"]
		require.Equal(t, build.Success, pong.State)
		require.Empty(t, w.children(pong.ID), "it ends somewhere")

		w.ends = func(build.ID, string) build.State { return build.Failed }
		b = w.ended(time.Minute, w.ask("y", store.Request{Pipeline: "unit"}).ID)
		time.Sleep(time.Minute)
		require.Contains(t, w.children(b.ID), "shop alarm")
		require.NotContains(t, w.children(b.ID), "shop praise")
		b = w.ended(time.Minute, w.ask("patched", store.Request{Pipeline: "unit", Patch: "sha256:1"}).ID)
		time.Sleep(time.Minute)
		require.Empty(t, w.children(b.ID))
	}, pipeline("unit", step("test")), pipeline("mail", step("x")), pipeline("praise", step("x")), pipeline("alarm", step("x")), pipeline("pong", step("x")), pipeline("publish", step("x")))
}

func TestARestartOnTheSameHostRescuesAtOnce(t *testing.T) {
	bubble(t, func(t *testing.T, w *world) {
		w.takes = func(build.ID, string) time.Duration { return 30 * time.Second }
		h := w.host("one", nil)
		h.start()
		b := w.ask("x", store.Request{Pipeline: "unit"})
		w.wait(10*time.Second, "it runs", func() bool { return len(w.ran(b.ID)) > 0 })
		h.kill()
		h.start()
		w.wait(3*time.Second, "it was rescued", func() bool { return w.see(b.ID).Fence > 1 })
		b = w.ended(time.Minute, b.ID)
		require.Equal(t, build.Success, b.State)
		require.Equal(t, 2, b.Attempt)
		agents, err := w.Agents(t.Context())
		require.NoError(t, err)
		require.Len(t, agents, 1)
	}, pipeline("unit", step("test")))
}

func TestTheOthersRescueFromTheDead(t *testing.T) {
	bubble(t, func(t *testing.T, w *world) {
		w.takes = func(build.ID, string) time.Duration { return 20 * time.Second }
		one, two := w.host("one", nil), w.host("two", func(a *Agent) { a.MaxAttempts = 2 })
		one.start()
		b, deploy := w.ask("x", store.Request{Pipeline: "unit"}), store.Build{}
		w.wait(10*time.Second, "it runs", func() bool { return len(w.ran(b.ID)) > 0 })
		two.start()
		time.Sleep(7 * time.Second)
		one.kill()
		w.wait(50*time.Second, "it was rescued", func() bool { return w.see(b.ID).Fence > 1 })
		require.Equal(t, build.Success, w.ended(time.Minute, b.ID).State)

		deploy = w.ask("deploy", store.Request{Pipeline: "deploy"})
		w.wait(time.Minute, "it is deployed", func() bool { return len(w.see(deploy.ID).Once) > 0 })
		one.start()
		time.Sleep(7 * time.Second)
		two.kill()
		deploy = w.ended(2*time.Minute, deploy.ID)
		require.Equal(t, build.Lost, deploy.State)
		require.Contains(t, deploy.Reason, "after deploy, which must not run twice, had been started")
	}, pipelines()...)
}

// A short outage is nobody's death, and a long one ends what runs.
func TestTheStoreIsAway(t *testing.T) {
	bubble(t, func(t *testing.T, w *world) {
		w.takes = func(id build.ID, _ string) time.Duration {
			return map[build.ID]time.Duration{"build-x": 2 * time.Minute, "build-y": time.Hour}[id]
		}
		one, two := w.host("one", nil), w.host("two", nil)
		one.start()
		two.start()
		b := w.ask("x", store.Request{Pipeline: "unit"})
		w.wait(10*time.Second, "it runs", func() bool { return len(w.ran(b.ID)) > 0 })
		one.link.part(time.Minute)
		two.link.part(time.Minute)
		require.Equal(t, build.Success, w.ended(4*time.Minute, b.ID).State)
		require.Len(t, w.ran(b.ID), 1)
		require.Zero(t, w.rescues)

		b = w.ask("y", store.Request{Pipeline: "unit"})
		w.wait(10*time.Second, "it runs", func() bool { return len(w.ran(b.ID)) > 0 })
		one.link.part(15 * time.Minute)
		two.link.part(15 * time.Minute)
		time.Sleep(12 * time.Minute)
		require.False(t, w.ran(b.ID)[0].ended.IsZero(), "its agent gave it up")
		w.wait(10*time.Minute, "it runs again", func() bool { return len(w.ran(b.ID)) > 1 })
	}, pipeline("unit", step("test")))
}

// An agent that was paused past its lease finds itself buried, kills what it runs
// and starts anew.
func TestTheBuriedStartAnew(t *testing.T) {
	bubble(t, func(t *testing.T, w *world) {
		w.takes = func(build.ID, string) time.Duration { return 10 * time.Minute }
		one, two := w.host("one", nil), w.host("two", nil)
		one.start()
		b := w.ask("x", store.Request{Pipeline: "unit"})
		w.wait(10*time.Second, "it runs", func() bool { return len(w.ran(b.ID)) > 0 })
		two.start()
		time.Sleep(10 * time.Second)
		one.link.part(2 * time.Minute)
		w.wait(90*time.Second, "the other one runs it", func() bool { return len(w.ran(b.ID)) == 2 })
		w.wait(2*time.Minute, "it sees that", func() bool { return !w.ran(b.ID)[0].ended.IsZero() })
		require.Equal(t, build.Success, w.ended(time.Hour, b.ID).State)
		require.Len(t, w.ran(b.ID), 2)
		agents, err := w.Agents(t.Context())
		require.NoError(t, err)
		require.Len(t, agents, 2, "it is back")
	}, pipeline("unit", step("test")))
}

func TestAnAgentDrains(t *testing.T) {
	bubble(t, func(t *testing.T, w *world) {
		w.takes = func(id build.ID, _ string) time.Duration {
			return map[build.ID]time.Duration{"build-short": 20 * time.Second}[id] + 10*time.Second
		}
		h := w.host("one", func(a *Agent) { a.Timings.Drain = time.Minute })
		h.start()
		short := w.ask("short", store.Request{Pipeline: "unit"})
		w.wait(10*time.Second, "it runs", func() bool { return len(w.ran(short.ID)) > 0 })
		next := w.ask("next", store.Request{Pipeline: "unit"})
		require.NoError(t, h.drain())
		require.Equal(t, build.Success, w.see(short.ID).State, "it was waited for")
		require.Equal(t, build.Queued, w.see(next.ID).State)

		w.takes = func(build.ID, string) time.Duration { return time.Hour }
		h.start()
		w.wait(10*time.Second, "it runs", func() bool { return len(w.ran(next.ID)) > 0 })
		began := time.Now()
		require.NoError(t, h.drain())
		require.Less(t, time.Since(began), 70*time.Second)
		b := w.see(next.ID)
		require.Equal(t, build.Queued, b.State, "it was given back")
		require.False(t, w.ran(next.ID)[0].ended.IsZero())

		// From far away it only stops claiming.
		h.start()
		w.wait(30*time.Second, "it runs", func() bool { return w.see(next.ID).State == build.Running })
		require.NoError(t, w.Drain(t.Context(), w.see(next.ID).Owner, true))
		time.Sleep(10 * time.Second)
		_, err := w.Change(t.Context(), next.ID, store.RequestCancel{Cancel: store.Cancel{By: "ann"}, At: now()})
		require.NoError(t, err)
		other := w.ask("other", store.Request{Pipeline: "unit"})
		time.Sleep(time.Minute)
		require.Equal(t, build.Queued, w.see(other.ID).State)
		agents, err := w.Agents(t.Context())
		require.NoError(t, err)
		require.NoError(t, w.Drain(t.Context(), agents[0].ID, false))
		w.wait(30*time.Second, "it claims again", func() bool { return w.see(other.ID).State == build.Running })
		h.kill()
	}, pipeline("unit", step("test")))
}

func TestADirectoryIsOneAgents(t *testing.T) {
	bubble(t, func(t *testing.T, w *world) {
		h := w.host("one", nil)
		h.start()
		time.Sleep(time.Second)
		err := Agent{Store: w.witness, Dir: h.dir}.Run(t.Context())
		require.ErrorContains(t, err, "another agent works there")
	})
}

func TestAFullDiskClaimsNothing(t *testing.T) {
	bubble(t, func(t *testing.T, w *world) {
		var mu sync.Mutex
		free := uint64(1 << 29)
		var log lines
		w.host("one", func(a *Agent) {
			a.Log = slog.New(slog.NewTextHandler(&log, nil))
			a.Free = func(string) (uint64, uint64, error) {
				mu.Lock()
				defer mu.Unlock()
				return free, 1 << 40, nil
			}
		}).start()
		b := w.ask("x", store.Request{Pipeline: "unit"})
		time.Sleep(time.Minute)
		require.Equal(t, build.Queued, w.see(b.ID).State)
		require.Equal(t, 1, strings.Count(log.String(), "the disk is full: 512 of 1048576 MiB are free"))
		mu.Lock()
		free = 1 << 39
		mu.Unlock()
		require.Equal(t, build.Success, w.ended(30*time.Second, b.ID).State)
	}, pipeline("unit", step("test")))
}

func TestTheWorkspaceOfAFailureIsKept(t *testing.T) {
	bubble(t, func(t *testing.T, w *world) {
		w.ends = func(id build.ID, _ string) build.State {
			return map[build.ID]build.State{"build-bad": build.Failed, "build-good": build.Success}[id]
		}
		h := w.host("one", func(a *Agent) { a.KeepFailed = true })
		h.start()
		w.ended(time.Minute, w.ask("bad", store.Request{Pipeline: "unit"}).ID)
		w.ended(time.Minute, w.ask("good", store.Request{Pipeline: "unit"}).ID)
		require.NoError(t, h.drain())
		kept, err := os.ReadDir(filepath.Join(h.dir, "kept"))
		require.NoError(t, err)
		require.Len(t, kept, 1)
		require.Equal(t, "build-bad-1", kept[0].Name())
	}, pipeline("unit", step("test")))
}

func TestTheUrgentComeFirst(t *testing.T) {
	bubble(t, func(t *testing.T, w *world) {
		for i := range 4 {
			w.ask(fmt.Sprint(i), store.Request{Pipeline: "unit", Priority: i / 2})
		}
		w.host("one", nil).start()
		var order []build.ID
		w.wait(2*time.Minute, "all have ended", func() bool { b := w.see("build-1"); return b.Terminal() })
		w.mu.Lock()
		defer w.mu.Unlock()
		for _, p := range w.processes {
			order = append(order, p.build)
		}
		require.Equal(t, []build.ID{"build-2", "build-3", "build-0", "build-1"}, order)
	}, pipeline("unit", step("test")))
}

func TestBuildsAreKeptAsLongAsTheProjectWants(t *testing.T) {
	bubble(t, func(t *testing.T, w *world) {
		p, err := w.Project(t.Context(), "shop")
		require.NoError(t, err)
		p.Retention = store.Retention{Count: 2, Age: plan.Duration(3 * time.Hour)}
		_, err = w.PutProject(t.Context(), p)
		require.NoError(t, err)
		w.host("one", nil).start()
		for i := range 4 {
			w.ended(time.Minute, w.ask(fmt.Sprint(i), store.Request{Pipeline: "unit"}).ID)
		}
		w.ended(time.Minute, w.ask("other", store.Request{Pipeline: "lint"}).ID)
		left := func() (n int) {
			page, _, err := w.List(t.Context(), store.Filter{}, "", 100)
			require.NoError(t, err)
			return len(page)
		}
		w.wait(15*time.Minute, "two of each pipeline are left", func() bool { return left() == 3 })
		require.True(t, w.see("build-0").Collected)
		events, err := w.Events(t.Context(), "build-0", 1, 1, 10)
		require.NoError(t, err)
		require.Empty(t, events)
		require.False(t, w.see("build-3").Collected)
		w.wait(4*time.Hour, "all are too old", func() bool { return left() == 0 })
	}, pipeline("unit", step("test")), pipeline("lint", step("test")))
}
