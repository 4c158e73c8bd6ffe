package main

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"time"
	"unicode"
)

// patience is how long one run may take before it counts as hanging.
const patience = 30 * time.Minute

// A trial is some work, written down for each side and run by them in turn.
type trial struct {
	*bench
	dir    string // of this trial alone
	rounds int    // how often each side runs
	sides  []*side
	rows   []row
}

// A side is a program that does the work of a trial.
type side struct {
	name    string
	argv    []string // argv[0] is a path
	dir     string
	env     []string
	stale   []string // files and directories that each run is to find gone
	output  string   // the file that gets both its streams
	missing error    // why it does not run any more, or never did
	samples []sample
}

// A sample is what one run took.
type sample struct {
	wall   time.Duration
	cpu    time.Duration // of all processes that were waited for
	memory int64         // bytes, at its peak, of the largest process

	said map[string]float64 // what the side itself measured, by name: seconds or bytes
}

// try sets a trial up, runs it and returns its rows.
func (b *bench) try(f figure, keep bool) ([]row, error) {
	t := &trial{bench: b, dir: filepath.Join(b.dir, strings.Join(f.names, "-")), rounds: b.rounds}
	for n := 2; exists(t.dir); n++ {
		t.dir = filepath.Join(b.dir, fmt.Sprintf("%s-%d", strings.Join(f.names, "-"), n))
	}
	if err := os.Mkdir(t.dir, 0o755); err != nil {
		return nil, err
	}
	if !keep {
		defer os.RemoveAll(t.dir)
	}
	f.setUp(t)
	for range t.rounds {
		for _, s := range t.sides {
			if s.missing != nil {
				continue
			}
			took, err := t.time(s)
			if err != nil {
				s.missing = err
				continue
			}
			s.samples = append(s.samples, took)
		}
	}
	var rows []row
	for _, r := range t.rows {
		if b.wants(r.name) {
			fmt.Fprintln(os.Stderr, strings.Join(r.cells(), "  ")) // for who waits
			rows = append(rows, r)
		}
	}
	return rows, nil
}

// side adds a side that runs program in its own directory below the trial's.
func (t *trial) side(name string, program program, args ...string) *side {
	s := &side{name: name, argv: append([]string{program.path}, args...), missing: program.missing}
	place := fmt.Sprintf("%d-%s", len(t.sides), strings.ReplaceAll(name, " ", "-"))
	s.dir = filepath.Join(t.dir, place)
	s.output = s.dir + ".output"
	s.env = t.environment()
	if s.missing == nil {
		s.missing = os.Mkdir(s.dir, 0o755)
	}
	t.sides = append(t.sides, s)
	return s
}

// environment is what every side finds: a home of the trial's own that its
// sides and rounds share, and nothing of what the caller has set up.
func (t *trial) environment() []string {
	env := []string{"PATH=" + os.Getenv("PATH"), "LANG=C.UTF-8", "USER=bench", "TMPDIR=" + os.TempDir(), "HOME=" + t.home("")}
	for _, kind := range []string{"config", "state", "data", "cache"} {
		env = append(env, "XDG_"+strings.ToUpper(kind)+"_HOME="+t.home(kind))
	}
	return env
}

// home is a directory in the home of the trial's sides.
func (t *trial) home(kind string) string { return filepath.Join(t.dir, "home", kind) }

// piper adds a side that is piper in a repository with this PIPER.star.
func (t *trial) piper(file workload, args ...string) *side {
	s := t.side("piper", t.programs.piper(), args...)
	s.write("PIPER.star", file)
	git := t.programs.peer("git")
	if git.missing != nil {
		s.missing = git.missing
	}
	for _, args := range [][]string{
		{"init", "-q", "-b", "main"},
		{"add", "."},
		{"-c", "user.name=bench", "-c", "user.email=bench@localhost", "commit", "-q", "-m", "bench: say what to measure"},
	} {
		if s.missing == nil {
			cmd := exec.Command(git.path, args...)
			cmd.Dir, cmd.Env = s.dir, s.env
			s.missing = quietly(cmd)
		}
	}
	return s
}

// ninja adds a side that is ninja, or another that reads its files. Each run
// finds no log of the one before.
func (t *trial) ninja(name string, file workload, args ...string) *side {
	s := t.side(name, t.programs.peer(name), args...)
	s.write("build.ninja", file)
	s.stale = []string{filepath.Join(s.dir, ".ninja_log"), filepath.Join(s.dir, ".ninja_deps")}
	return s
}

// again adds a side that does what s did, after it.
func (t *trial) again(s *side) *side {
	second := *s
	second.stale = nil
	t.sides = append(t.sides, &second)
	return &second
}

// anew has each run of s find no cache.
func (t *trial) anew(s *side) *side {
	s.stale = append(s.stale, t.home("cache"))
	return s
}

// forget has each run of s find no builds, as a peer writes over its file: the
// memory that a kept file occupies is not to be counted as a cost of the next.
func (t *trial) forget(s *side) *side {
	s.stale = append(s.stale, t.home("data"))
	return s
}

// lift raises piper's limits above what the trial's files come to.
func (t *trial) lift() {
	dir := filepath.Join(t.home("config"), "piper")
	err := os.MkdirAll(dir, 0o755)
	if err == nil {
		err = os.WriteFile(filepath.Join(dir, "config.yaml"), []byte("max_nodes: 1000000\nmax_source: 100000000\nmax_steps: 100000000\nmax_time: 10m\n"), 0o644)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "bench: lift piper's limits:", err) // it will say so too
	}
}

// unseen throws away what s shows.
func (s *side) unseen() *side {
	s.output = os.DevNull
	return s
}

// write makes the file that s works on.
func (s *side) write(name string, write workload) {
	if s.missing != nil {
		return
	}
	f, err := os.Create(filepath.Join(s.dir, name))
	if err != nil {
		s.missing = err
		return
	}
	w := bufio.NewWriter(f)
	write(w)
	s.missing = errors.Join(w.Flush(), f.Close())
}

// time runs s once.
func (t *trial) time(s *side) (sample, error) {
	for _, path := range s.stale {
		if err := os.RemoveAll(path); err != nil {
			return sample{}, fmt.Errorf("clean up: %w", err)
		}
	}
	out, err := os.Create(s.output)
	if err != nil {
		return sample{}, err
	}
	defer out.Close()
	told, tell, err := os.Pipe()
	if err != nil {
		return sample{}, err
	}
	defer told.Close()

	clock := t.programs.compile("clock")
	if clock.missing != nil {
		return sample{}, clock.missing
	}
	cmd := exec.Command(clock.path, s.argv...)
	cmd.Dir, cmd.Env, cmd.Stdout, cmd.Stderr = s.dir, s.env, out, out
	cmd.ExtraFiles = []*os.File{tell}
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	err = cmd.Start()
	tell.Close()
	if err != nil {
		return sample{}, fmt.Errorf("start the clock: %w", err)
	}
	hangs := time.AfterFunc(patience, func() { syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL) })
	err = cmd.Wait()
	if !hangs.Stop() {
		return sample{}, fmt.Errorf("%s did not end within %v", s.name, patience)
	}
	if err != nil {
		return sample{}, fmt.Errorf("%s: %w: %s", s.name, err, lastLine(s.output))
	}

	var nanoseconds, microseconds, kibibytes int64
	var code int
	if _, err := fmt.Fscan(told, &nanoseconds, &microseconds, &kibibytes, &code); err != nil {
		return sample{}, fmt.Errorf("read the clock: %w", err)
	}
	if code != 0 {
		return sample{}, fmt.Errorf("%s exits with %d: %s", s.name, code, lastLine(s.output))
	}
	said, err := measured(s.output)
	if err != nil {
		return sample{}, fmt.Errorf("%s: read what it measured: %w", s.name, err)
	}
	return sample{
		said:   said,
		wall:   time.Duration(nanoseconds),
		cpu:    time.Duration(microseconds) * time.Microsecond,
		memory: kibibytes << 10,
	}, nil
}

// measured reads the lines "measured NAME VALUE" at the end of a file.
func measured(file string) (map[string]float64, error) {
	end, err := tail(file)
	said := map[string]float64{}
	for line := range strings.Lines(string(end)) {
		var name string
		var value float64
		if n, _ := fmt.Sscanf(line, "measured %s %g", &name, &value); n == 2 {
			said[name] = value
		}
	}
	return said, err
}

// tail returns the end of a file.
func tail(file string) ([]byte, error) {
	f, err := os.Open(file)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return nil, err
	}
	return io.ReadAll(io.NewSectionReader(f, max(0, info.Size()-4096), 4096))
}

// lastLine returns the last line of a file that holds a word.
func lastLine(file string) string {
	end, _ := tail(file)
	lines := strings.Split(string(end), "\n")
	for _, line := range slices.Backward(lines) {
		if strings.ContainsFunc(line, unicode.IsLetter) {
			return strings.TrimSpace(line)
		}
	}
	return "it says nothing"
}

func exists(path string) bool {
	_, err := os.Lstat(path)
	return !errors.Is(err, os.ErrNotExist)
}
