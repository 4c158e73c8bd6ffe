package main

import (
	"context"
	"fmt"
	"math/rand/v2"
	"net/http"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"time"
)

// lines is how many lines the talking step prints.
const lines = 300

// pipelines is the project that is built. Each step that does something says so
// in the ledger, a file that survives whatever happens to the agents.
const pipelines = `
talk = step("talk", run = "i=0; while [ $i -lt %[1]d ]; do echo line $i of $PIPER_BUILD; i=$((i+1)); done")
nap = step("nap", run = "sleep 0.%%s" %% "2")
number = {"n": param.int(default = 0)}

def mark(name):
    return step(name, run = "echo $PIPER_BUILD " + name + " >> %[2]s")

pipeline(name = "plain", params = number, steps = [talk, nap, mark("done")])
pipeline(name = "child", params = number, steps = [mark("child")])
pipeline(name = "fires", params = number, steps = [talk, trigger("child", params = {"n": "1"}), mark("done")])
pipeline(name = "waits", params = number, steps = [nap, trigger("child", params = {"n": "2"}, wait = True), mark("done")])
pipeline(name = "fails", params = number, steps = [talk, step("no", run = "exit 3"), mark("done")])
pipeline(name = "long", params = number, steps = [step("long", run = "sleep 600")])
`

// A work is a project and the builds of it that were asked for.
type work struct {
	fleet  *fleet
	ledger string
	asked  []asked
	over   map[string]seen // how builds ended, as it was first seen
}

// An asked is a build that was accepted.
type asked struct {
	ID       string
	pipeline string
}

// A seen is a build as the API tells of it.
type seen struct {
	ID       string `json:"id"`
	Number   int64  `json:"number"`
	Pipeline string `json:"pipeline"`
	State    string `json:"state"`
	Attempt  int    `json:"attempt"`
	Reason   string `json:"reason"`
	Parent   string `json:"parent"`
	Ended    string `json:"ended"`
}

func (b *seen) over() bool { return b.State != "queued" && b.State != "running" }

// lost reports whether its agents were killed too often. It says so.
func (b *seen) lost() bool { return b.State == "lost" && b.Attempt == 3 }

// newWork makes the project and tells the agents of it.
func newWork(ctx context.Context, f *fleet, repo, ledger string) (*work, error) {
	if err := os.MkdirAll(repo, 0o700); err != nil {
		return nil, err
	}
	if err := os.WriteFile(ledger, nil, 0o600); err != nil {
		return nil, err
	}
	text := fmt.Sprintf(pipelines, lines, ledger)
	if err := os.WriteFile(filepath.Join(repo, "PIPER.star"), []byte(text), 0o600); err != nil {
		return nil, err
	}
	for _, args := range [][]string{{"init", "-q", "-b", "main"}, {"add", "."}, {"-c", "user.name=soak", "-c", "user.email=soak@localhost", "commit", "-q", "-m", "begin"}} {
		if out, err := exec.CommandContext(ctx, "git", append([]string{"-C", repo}, args...)...).CombinedOutput(); err != nil {
			return nil, fmt.Errorf("git %s: %w\n%s", args[0], err, out)
		}
	}
	_, err := f.call(ctx, http.MethodPut, "/v1/projects/shop", "", map[string]any{"repo": repo}, nil)
	return &work{fleet: f, ledger: ledger, over: map[string]seen{}}, err
}

// ask asks for the i-th build, now and then twice, and cancels some.
func (w *work) ask(ctx context.Context, i int, random *rand.Rand) error {
	names := []string{"plain", "plain", "fires", "fires", "waits", "fails", "long"}
	pipeline := names[random.IntN(len(names))]
	var b seen
	for range 1 + random.IntN(2) {
		before := b.ID
		_, err := w.fleet.call(ctx, http.MethodPost, "/v1/builds", fmt.Sprint("soak-", i),
			map[string]any{"project": "shop", "pipeline": pipeline, "params": map[string]string{"n": fmt.Sprint(i)}}, &b)
		switch {
		case err != nil:
			return fmt.Errorf("ask for build %d of %s: %w", i, pipeline, err)
		case before != "" && before != b.ID:
			return fmt.Errorf("ask for build %d twice: got %s, then %s", i, before, b.ID)
		}
	}
	w.asked = append(w.asked, asked{b.ID, pipeline})
	if pipeline == "long" {
		if _, err := w.fleet.call(ctx, http.MethodPost, "/v1/builds/"+b.ID+"/cancel", "", map[string]any{"reason": "enough"}, nil); err != nil {
			return fmt.Errorf("cancel build %d: %w", i, err)
		}
	}
	return nil
}

// wait waits until at most left builds have not ended, those that others
// triggered included.
func (w *work) wait(ctx context.Context, left int) error {
	for said := time.Now(); ; time.Sleep(200 * time.Millisecond) {
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
		n := 0
		for _, state := range []string{"queued", "running"} {
			all, err := w.list(ctx, "state="+state)
			if err != nil {
				return err
			}
			n += len(all)
		}
		if n <= left {
			return w.look(ctx)
		}
		if time.Since(said) > 15*time.Second {
			said = time.Now()
			if err := w.look(ctx); err != nil {
				return err
			}
			fmt.Printf("soak: %d builds to go\n", n)
		}
	}
}

// look notes how builds ended.
func (w *work) look(ctx context.Context) error {
	all, err := w.list(ctx, "")
	for _, b := range all {
		if _, known := w.over[b.ID]; !known && b.over() {
			w.over[b.ID] = b
		}
	}
	return err
}

// list lists builds that match, all pages of them.
func (w *work) list(ctx context.Context, filter string) (all []seen, err error) {
	for cursor := ""; ; {
		var page []seen
		answer, err := w.fleet.call(ctx, http.MethodGet, "/v1/builds?limit=200&project=shop&"+filter+"&cursor="+url.QueryEscape(cursor), "", nil, &page)
		if err != nil {
			return nil, fmt.Errorf("list builds: %w", err)
		}
		all = append(all, page...)
		if cursor = answer.Get("X-Next-Cursor"); cursor == "" {
			return all, nil
		}
	}
}
