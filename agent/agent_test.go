package agent

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
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

// Tools are slow to tell their versions. What requires nothing does not wait.
func TestFactsAreFoundWhileBuildsRun(t *testing.T) {
	needy := pipeline("needy", step("test"))
	needy.Nodes[0].Step.Requires = []plan.Requirement{{Op: "has", Key: "tools.docker"}}
	bubble(t, func(t *testing.T, w *world) {
		found := make(chan struct{})
		w.host("one", func(a *Agent) {
			a.Facts = func(ctx context.Context, _ []string) (map[string]string, error) {
				select {
				case <-found:
					return map[string]string{"tools.docker": "25.0"}, nil
				case <-ctx.Done():
					return nil, ctx.Err()
				}
			}
		}).start()
		require.Equal(t, build.Success, w.ended(20*time.Second, w.ask("x", store.Request{Pipeline: "unit"}).ID).State)
		b := w.ask("y", store.Request{Pipeline: "needy"})
		close(found)
		require.Equal(t, build.Success, w.ended(20*time.Second, b.ID).State)
	}, pipeline("unit", step("test")), needy)
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
					a.Secrets = func(_ context.Context, b store.Build, _ []string) (map[string]string, error) {
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
					a.Secrets = func(_ context.Context, b store.Build, _ []string) (map[string]string, error) {
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

// What an expand finds is given the secrets that it names, or is not run.
func TestSecretsOfAnExpand(t *testing.T) {
	for name, state := range map[string]build.State{"granted": build.Success, "refused": build.Failed} {
		t.Run(name, func(t *testing.T) {
			bubble(t, func(t *testing.T, w *world) {
				var asked [][]string
				w.host("one", func(a *Agent) {
					plans := a.Plan
					a.Plan = func(ctx context.Context, tree Tree, b store.Build) (*plan.Plan, Expander, error) {
						p, _, err := plans(ctx, tree, b)
						return p, func(context.Context, string, map[string]string) (x plan.Expansion, err error) {
							n := step("found")
							n.Step.Env = plan.Env{{Name: "TOKEN", Value: plan.Text{Parts: []plan.Part{{Secret: name}}}}}
							x.Nodes = append(x.Nodes, n)
							return x, nil
						}, err
					}
					a.Secrets = func(_ context.Context, _ store.Build, names []string) (map[string]string, error) {
						asked = append(asked, names)
						if len(names) > 0 && name == "refused" {
							return nil, errors.New("refused is not for you")
						}
						return map[string]string{"granted": "hunter22"}, nil
					}
				}).start()
				b := w.ended(20*time.Second, w.ask("x", store.Request{Pipeline: "grow"}).ID)
				require.Equal(t, state, b.State, b.Reason)
				require.Equal(t, [][]string{nil, {name}}, asked)
				events, err := w.Events(t.Context(), b.ID, 1, 1, 100)
				require.NoError(t, err)
				require.Equal(t, state == build.Failed, strings.Contains(fmt.Sprint(events), "find secrets: refused is not for you"), events)
			}, pipeline("grow", step("find"), plan.Node{Name: "more", Needs: []string{"find"}, More: &plan.More{Expand: &plan.Expand{After: "find"}}}))
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

func TestALabelIsNothingToBeFoundOut(t *testing.T) {
	bubble(t, func(t *testing.T, w *world) {
		asked := 0
		w.host("one", func(a *Agent) {
			a.Facts = func(ctx context.Context, keys []string) (map[string]string, error) {
				asked++
				require.Empty(t, keys)
				<-ctx.Done() // a tool that does not answer
				return nil, ctx.Err()
			}
		}).start()
		w.ask("x", store.Request{Pipeline: "odd"})
		w.wait(20*time.Second, "it is handed over", func() bool { b := w.see("build-x"); return b.State == build.Queued && b.Plan != "" })
		require.Equal(t, 1, asked, "once for all")
	}, pipeline("odd", step("x", requireLabel("gpu"))))
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
		w.wait(4*time.Hour, "all are too old but the newest that succeeded", func() bool { return left() == 2 })
		time.Sleep(4 * time.Hour)
		require.Equal(t, 2, left())
		require.False(t, w.see("build-3").Collected)
	}, pipeline("unit", step("test")), pipeline("lint", step("test")))
}
