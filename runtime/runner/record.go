package runner

import (
	"bufio"
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"time"

	"github.com/piper-build/piper/runtime/build"
	"github.com/piper-build/piper/runtime/plan"
)

// KeepRuns is how many runs of a project stay recorded. Older ones are
// removed when a newer one ends.
const KeepRuns = 20

// A record is one run on disk: a directory named by the build's id, with
//
//	plan.json      the canonical plan
//	events.jsonl   one build.Event a line
//	output.log …  what the steps wrote, and its index (see package logs)
//
// The directory belongs to its run as long as events.jsonl is locked.
type record struct {
	dir    string
	events *os.File
	buf    bytes.Buffer
	enc    *json.Encoder
}

// createRecord makes the directory for the run id below runs.
func createRecord(runs string, id build.ID, p *plan.Plan) (*record, error) {
	dir := filepath.Join(runs, string(id))
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, fmt.Errorf("record run: %w", err)
	}
	if err := writePlan(filepath.Join(dir, "plan.json"), p); err != nil {
		return nil, fmt.Errorf("record run: %w", err)
	}
	f, err := os.OpenFile(filepath.Join(dir, "events.jsonl"), os.O_CREATE|os.O_EXCL|os.O_WRONLY|os.O_APPEND, 0o600)
	if err != nil {
		return nil, fmt.Errorf("record run: %w", err)
	}
	if err := syscall.Flock(int(f.Fd()), syscall.LOCK_EX|syscall.LOCK_NB); err != nil {
		f.Close()
		return nil, fmt.Errorf("lock %s: %w", f.Name(), err)
	}
	r := &record{dir: dir, events: f}
	r.enc = json.NewEncoder(&r.buf)
	r.enc.SetEscapeHTML(false)
	return r, nil
}

func writePlan(name string, p *plan.Plan) error {
	f, err := os.OpenFile(name, os.O_CREATE|os.O_WRONLY|os.O_TRUNC, 0o600)
	if err != nil {
		return err
	}
	return errors.Join(p.WriteCanonical(f), f.Close())
}

// Record writes events as one piece.
func (r *record) Record(events []build.Event) error {
	r.buf.Reset()
	for _, ev := range events {
		if err := r.enc.Encode(ev); err != nil {
			return err
		}
	}
	_, err := r.events.Write(r.buf.Bytes())
	return err
}

func (r *record) Close() error { return r.events.Close() }

// Events reads the events of a recorded run. A torn last line, the mark of a
// run that was killed, is left out.
func Events(dir string) ([]build.Event, error) {
	f, err := os.Open(filepath.Join(dir, "events.jsonl"))
	if err != nil {
		return nil, fmt.Errorf("read run: %w", err)
	}
	defer f.Close()
	var events []build.Event
	in := bufio.NewReaderSize(f, 64<<10)
	for n := 1; ; n++ {
		line, err := in.ReadBytes('\n')
		if err != nil {
			return events, nil
		}
		var ev build.Event
		if err := json.Unmarshal(line, &ev); err != nil {
			return events, fmt.Errorf("read run: %s:%d: %w", f.Name(), n, err)
		}
		events = append(events, ev)
	}
}

// prune removes the oldest runs beyond KeepRuns, but none that still runs.
func prune(runs string) error {
	entries, err := os.ReadDir(runs) // sorted by name, and ids sort by time
	if err != nil {
		return fmt.Errorf("prune runs: %w", err)
	}
	entries = slices.DeleteFunc(entries, func(e fs.DirEntry) bool { return !e.IsDir() })
	var problems []error
	for _, e := range entries[:max(0, len(entries)-KeepRuns)] {
		dir := filepath.Join(runs, e.Name())
		if locked(filepath.Join(dir, "events.jsonl")) {
			continue
		}
		if err := os.RemoveAll(dir); err != nil {
			problems = append(problems, fmt.Errorf("prune runs: %w", err))
		}
	}
	return errors.Join(problems...)
}

func locked(file string) bool {
	f, err := os.Open(file)
	if err != nil {
		return false
	}
	defer f.Close()
	return syscall.Flock(int(f.Fd()), syscall.LOCK_SH|syscall.LOCK_NB) != nil
}

// shortest is how long a node must take to be remembered. What is shorter
// matters neither for the order of a plan nor for when it is done.
const shortest = 50 * time.Millisecond

// History is how long each node of a pipeline, services apart, took when it last
// succeeded, if that was at least 50 ms. It is a hint: what is missing or broken is empty.
func History(runs, pipeline string) map[string]time.Duration {
	data, err := os.ReadFile(historyFile(runs, pipeline))
	if err != nil {
		return nil
	}
	var ms map[string]int64
	if json.Unmarshal(data, &ms) != nil {
		return nil
	}
	history := make(map[string]time.Duration, len(ms))
	for name, n := range ms {
		history[name] = time.Duration(n) * time.Millisecond
	}
	return history
}

// remember puts what b took into the history.
func remember(runs string, b *build.Build, before map[string]time.Duration) error {
	ms := map[string]int64{}
	for i, node := range b.Plan().Nodes {
		took, ok := before[node.Name]
		if step := b.Node(i); step.State == build.Success && !node.IsService() {
			took, ok = step.Ended.Sub(step.Started), true
		}
		if ok && took >= shortest {
			ms[node.Name] = took.Milliseconds()
		}
	}
	if len(ms) == 0 && len(before) == 0 {
		return nil
	}
	data, err := json.Marshal(ms)
	if err != nil {
		return fmt.Errorf("keep history: %w", err)
	}
	return replace(historyFile(runs, b.Plan().Pipeline), data)
}

func historyFile(runs, pipeline string) string {
	return filepath.Join(runs, "history-"+strings.ReplaceAll(pipeline, "/", "%2F")+".json") // no name holds a '%'
}

// replace writes a file in one step, so that no reader sees half of it.
func replace(name string, data []byte) error {
	f, err := os.CreateTemp(filepath.Dir(name), ".new-*")
	if err != nil {
		return err
	}
	_, err = f.Write(data)
	err = errors.Join(err, f.Close())
	if err == nil {
		err = os.Rename(f.Name(), name)
	}
	if err != nil {
		os.Remove(f.Name())
	}
	return err
}

// shortDigest tells apart projects whose directories have the same name.
func shortDigest(s string) string {
	sum := sha256.Sum256([]byte(s))
	return hex.EncodeToString(sum[:6])
}
