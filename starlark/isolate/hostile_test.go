package isolate_test

import (
	"flag"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"runtime/debug"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"

	"github.com/rogpeppe/go-internal/txtar"
	"github.com/stretchr/testify/require"

	"github.com/piper-build/piper/starlark"
	"github.com/piper-build/piper/starlark/isolate"
)

var update = flag.Bool("update", false, "rewrite the expectations in testdata/hostile")

// TestHostile evaluates each file of testdata/hostile, which means harm, as a
// PIPER.star. Lines that begin with "#|" say what must come of it: each is a
// part of the error, or of what is printed of a plan. Lines that begin with
// "#:" are the request, and what else is in the tree: see hostile.
//
// The parent must not grow by 16 MiB over all of them, and each evaluation is
// followed by another, which must succeed.
func TestHostile(t *testing.T) {
	if raceEnabled {
		t.Skip("the race detector takes memory of its own")
	}
	names, err := filepath.Glob("../../testdata/hostile/*.star")
	require.NoError(t, err)
	require.Greater(t, len(names), 50)
	e := evaluator()
	_, err = e.Evaluate(t.Context(), starlark.Request{Root: t.TempDir(), Source: []byte(calm)})
	require.NoError(t, err)
	before := resident(t)
	peak := watchPeak(t)
	t.Run("files", func(t *testing.T) {
		for _, name := range names {
			t.Run(strings.TrimSuffix(filepath.Base(name), ".star"), func(t *testing.T) {
				t.Parallel()
				hostile(t, e, name)
			})
		}
	})
	if runtime.GOOS == "linux" {
		require.Less(t, resident(t)-before, 16<<20, "bytes that the parent has grown by")
		t.Logf("the parent grew by %d KiB, and by %d KiB at its peak", (resident(t)-before)>>10, (peak()-before)>>10)
	}
}

const calm = `pipeline(name = "calm", steps = [step("a", run = "true")])`

// resident is how many bytes of memory this process has.
func resident(t *testing.T) int {
	debug.FreeOSMemory()
	statm, err := os.ReadFile("/proc/self/statm")
	if os.IsNotExist(err) {
		return 0
	}
	require.NoError(t, err)
	pages, err := strconv.Atoi(strings.Fields(string(statm))[1])
	require.NoError(t, err)
	return pages * os.Getpagesize()
}

// watchPeak returns what tells the most memory that this process has had since.
func watchPeak(t *testing.T) func() int {
	os.WriteFile("/proc/self/clear_refs", []byte("5"), 0)
	return func() int {
		status, _ := os.ReadFile("/proc/self/status")
		_, after, _ := strings.Cut(string(status), "VmHWM:")
		kib, _ := strconv.Atoi(strings.Fields(after + " 0")[0])
		return kib << 10
	}
}

// TestPeak evaluates each of the hostile files in a process that has done next
// to nothing before, which must never grow by 16 MiB meanwhile.
func TestPeak(t *testing.T) {
	switch {
	case raceEnabled:
		t.Skip("the race detector takes memory of its own")
	case runtime.GOOS != "linux":
		t.Skip("the kernel does not tell the peak of a part of a process's life")
	}
	names, err := filepath.Glob("../../testdata/hostile/*.star")
	require.NoError(t, err)
	require.Greater(t, len(names), 50)
	for _, name := range names {
		name = strings.TrimSuffix(filepath.Base(name), ".star")
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			alone := exec.Command(os.Args[0], "-test.v", "-test.run=^TestHostile$/^files$/^"+name+"$")
			alone.Env = append(os.Environ(), "PIPER_TEST_ALONE=1")
			said, err := alone.CombinedOutput()
			require.NoError(t, err, "%s", said)
			_, grown, found := strings.Cut(string(said), "peak: ")
			require.True(t, found, "%s", said)
			kib, err := strconv.Atoi(strings.Fields(grown)[0])
			require.NoError(t, err)
			require.Less(t, kib, 16<<10, "KiB that the parent has grown by")
			t.Logf("%d KiB", kib)
		})
	}
}

func hostile(t *testing.T, e *isolate.Evaluator, name string) {
	text, err := os.ReadFile(name)
	require.NoError(t, err)
	file, want := expectation(string(text))
	r := request(t, file, &txtar.Archive{})
	r.File = filepath.Base(name)
	r.Source = prepare(t, r.Root, file)
	r.Environ = func(name string) (string, bool) { return "value of " + name, true }
	if r.Limits.Memory == 0 && !strings.Contains(strings.Join(want, "\n"), "memory limit") {
		r.Limits.Memory = 4 << 30 // it is something else that has to end this one
	}
	tell := func() {}
	if os.Getenv("PIPER_TEST_ALONE") != "" { // see TestPeak
		before, peak := resident(t), watchPeak(t)
		tell = func() { t.Logf("peak: %d KiB", (peak()-before)>>10) }
	}
	result, err := e.Evaluate(t.Context(), r)
	tell()
	got := outcome(result, err)
	holds := len(want) > 0 && !slices.ContainsFunc(want, func(part string) bool { return !strings.Contains(got, part) })
	if *update && !holds {
		first, _, _ := strings.Cut(got, "\n")
		if i := strings.Index(first, "error: evaluation takes longer"); i >= 0 {
			first = strings.TrimSuffix(first[i:], " of processor time") // who stopped it, and where, is chance
		}
		said := []string{first}
		for line := range strings.Lines(got) {
			if strings.HasPrefix(line, r.File+":") && len(said) < 10 && !strings.HasPrefix(line, first) {
				said = append(said, strings.TrimSpace(line))
			}
		}
		require.NoError(t, os.WriteFile(name, []byte(file+"\n#| "+strings.Join(said, "\n#| ")+"\n"), 0o666))
		return
	}
	require.NotEmpty(t, want)
	for _, part := range want {
		require.Contains(t, got, part)
	}
	require.NotContains(t, got, "\x1b")
	require.Less(t, len(got), 1<<20)

	result, err = e.Evaluate(t.Context(), starlark.Request{Root: r.Root, Source: []byte(calm), Limits: starlark.Limits{Time: r.Limits.Time * 100}})
	require.NoError(t, err)
	require.Equal(t, "calm", result.Plan.Pipeline)
}

// expectation takes the lines that begin with "#|" from a text.
func expectation(text string) (file string, want []string) {
	for line := range strings.Lines(text) {
		if part, ok := strings.CutPrefix(line, "#| "); ok {
			want = append(want, strings.TrimSpace(part))
		} else {
			file += line
		}
	}
	return strings.TrimRight(file, "\n") + "\n", want
}

// outcome is what a person would see.
func outcome(result starlark.Result, err error) string {
	var b strings.Builder
	switch {
	case err != nil:
		fmt.Fprintln(&b, err)
	case result.Plan != nil:
		fmt.Fprintf(&b, "ok: pipeline %s with %d nodes\n", result.Plan.Pipeline, len(result.Plan.Nodes))
	default:
		fmt.Fprintf(&b, "ok: %d pipelines\n", len(result.Catalog.Pipelines))
	}
	for _, w := range result.Warnings {
		fmt.Fprintln(&b, w.String())
	}
	return b.String()
}

// prepare makes the tree that a hostile file asks for, and returns its source:
// the file itself, and what its lines make.
//
//	#: begin "text"        before the file
//	#: text "text"         after it
//	#: repeat N "text"     N times after it, {i} a number from 0 on, {next} the one after, {indent} so many blanks
//	#: file NAME TEXT      a file in the tree; and so on
func prepare(t *testing.T, root, file string) []byte {
	t.Helper()
	begin, end := "", ""
	unquote := func(s string) string {
		text, err := strconv.Unquote(s)
		require.NoError(t, err, s)
		return text
	}
	write := func(name, text string) {
		name = filepath.Join(root, name)
		require.NoError(t, os.MkdirAll(filepath.Dir(name), 0o777))
		require.NoError(t, os.WriteFile(name, []byte(text+"\n"), 0o666))
	}
	for line := range strings.Lines(file) {
		line, ok := strings.CutPrefix(strings.TrimSpace(line), "#: ")
		if !ok {
			continue
		}
		word, rest, _ := strings.Cut(line, " ")
		name, arg, _ := strings.Cut(rest, " ")
		number := func(s string) int {
			n, err := strconv.Atoi(s)
			require.NoError(t, err, line)
			return n
		}
		switch word {
		case "begin":
			begin = unquote(rest)
		case "text":
			end += unquote(rest)
		case "repeat":
			end += repeat(number(name), unquote(arg))
		case "file":
			write(name, arg)
		case "files":
			for i := range number(arg) {
				write(fmt.Sprintf("%s%d.star", name, i), "x = 1")
			}
		case "chain":
			for i := range number(arg) {
				write(fmt.Sprintf("%s%d.star", name, i), fmt.Sprintf(`load("//%s%d.star", "x")`, name, i+1))
			}
		case "diamond":
			write(name+"0.star", "x = 1")
			for i := range number(arg) {
				write(fmt.Sprintf("%s%d.star", name, i+1), fmt.Sprintf("load(\"//%s%d.star\", a = \"x\")\nload(\"./%s%d.star\", b = \"x\")\nx = a + b", name, i, name, i))
			}
		case "link":
			require.NoError(t, os.Symlink(arg, filepath.Join(root, name)))
		case "fifo":
			require.NoError(t, syscall.Mkfifo(filepath.Join(root, name), 0o666))
		case "sparse":
			write(name, "")
			require.NoError(t, os.Truncate(filepath.Join(root, name), int64(number(arg))))
		case "catalog", "max_memory", "max_time", "max_steps", "max_output": // for request
		default:
			t.Fatalf("unknown word %q", word)
		}
	}
	return []byte(begin + file + end)
}

func repeat(n int, text string) string {
	if !strings.Contains(text, "{") || text == "{" {
		return strings.Repeat(text, n)
	}
	var b strings.Builder
	for i := range n {
		b.WriteString(strings.NewReplacer("{i}", strconv.Itoa(i), "{next}", strconv.Itoa(i+1), "{indent}", strings.Repeat(" ", i)).Replace(text))
	}
	return b.String()
}
