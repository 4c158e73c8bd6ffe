package logs

import (
	"bytes"
	"regexp"
	"sync"
)

// An errorFinder tells lines that matter after a failure from those that do not.
// Nothing says which they are but the habits of compilers, test runners and
// shells, so those are what it knows: testdata/errors shows them. It is given the
// lines of one output in order.
type errorFinder struct {
	traceback int  // how many more lines a Python traceback may have
	failed    bool // what is indented belongs to a Go test that failed
	marks     []span
}

const (
	mostOfLine    = 4 << 10 // bytes that are looked at
	mostTraceback = 500     // lines

	tracebackBegins = "Traceback (most recent call last):"
)

// matters reports whether the next line does.
func (f *errorFinder) matters(line []byte) bool {
	line = line[:min(len(line), mostOfLine)]
	w := words()
	if f.traceback == 0 && !f.failed { // as nearly always
		if _, f.marks = w.marks.scan(0, line, f.marks[:0]); len(f.marks) == 0 {
			return false
		}
	}
	line = bare(line)
	indented := len(line) > 0 && (line[0] == ' ' || line[0] == '\t')
	switch {
	case bytes.HasSuffix(line, []byte(tracebackBegins)):
		f.traceback = mostTraceback
		return false
	case f.traceback > 0 && indented:
		f.traceback--
		return false
	case f.traceback > 0:
		f.traceback = 0
		return len(line) > 0 // it ends with what was raised
	}
	switch trimmed := bytes.TrimLeft(line, " \t"); {
	case bytes.HasPrefix(trimmed, []byte("--- FAIL: ")):
		f.failed = true
		return true
	case !indented:
		f.failed = false
	case f.failed && w.goTest.Match(trimmed):
		return true
	}
	if w.passes.Match(line) {
		return false
	}
	for i := range w.habits {
		h := &w.habits[i]
		if !h.near(line) || !h.says.Match(line) {
			continue
		}
		if w.harmless.Match(line) {
			return false
		}
		if h.says.Match(w.zero.ReplaceAll(line, nil)) {
			return true
		}
	}
	return false
}

// bare is what a person reads of a line, without the time that may stand before
// it.
func bare(line []byte) []byte {
	if bytes.ContainsAny(line, "\x1b\r") {
		line = words().colour.ReplaceAll([]byte(Sanitize(bytes.TrimRight(line, "\r"))), nil)
	}
	line = bytes.TrimRight(line, " \t")
	if len(line) > 0 && (line[0] == '[' || line[0] == '#' || '0' <= line[0] && line[0] <= '9') {
		line = line[len(words().time.Find(line)):]
	}
	return line
}

// A habit is a way in which programs say that something went wrong.
type habit struct {
	marks []string // one of them, which the matcher wants 4 bytes of at least, is in each such line
	says  *regexp.Regexp
}

func (h *habit) near(line []byte) bool {
	for _, mark := range h.marks {
		if bytes.Contains(line, []byte(mark)) {
			return true
		}
	}
	return false
}

// A vocabulary is what an errorFinder looks for.
type vocabulary struct {
	habits   []habit
	marks    *matcher       // of all habits: most lines hold none
	passes   *regexp.Regexp // how lines begin that are of no matter
	zero     *regexp.Regexp // how programs say that nothing is wrong, in the midst of a line
	harmless *regexp.Regexp // lines that speak of errors, and are none
	goTest   *regexp.Regexp
	colour   *regexp.Regexp
	time     *regexp.Regexp
}

var words = sync.OnceValue(func() *vocabulary {
	v := &vocabulary{
		zero: regexp.MustCompile(`(?i)\b(?:0|no|without|without any) (?:\w+ )?(?:errors?|fail(?:ed|ing|ures?)|problems?)\b` +
			`|\b(?:errors?|failed|failures?)"?\s*[:=]\s*"?(?:0\b|none\b|null\b|nil\b|<nil>|false\b|"")`),
		passes: regexp.MustCompile(`^\s*(?:--- (?:PASS|SKIP)|=== |ok\s|PASS\b|✓|✔|√|\++ |\$ |at |(?:except|raise|throws?|catch|import)\s)`),
		harmless: regexp.MustCompile(`(?:\.\.\. ok|\bPASSED(?:\s+\[\s*\d+%\])?|\(ignored\)|# (?:TODO|SKIP)\b.*)$` +
			`|(?:^|[^A-Z])warning(?:\[[\w-]+\])?: |^npm warn|^(?:npm )?WARN\b|^WARNING: [^D]|\[WARN|Waiting for unfinished jobs`),
		goTest: regexp.MustCompile(`^\S+_test\.go:\d+:`),
		colour: regexp.MustCompile("\x1b\\[[0-9;]*m"),
		time:   regexp.MustCompile(`^(?:#\d+ \d+\.\d+ |\[?\d{4}-\d\d-\d\d[T ]\d\d:\d\d:\d\d\S*\]? +|\[?\d\d:\d\d:\d\d\S*\]? +)`),
	}
	add := func(says string, marks ...string) {
		v.habits = append(v.habits, habit{marks, regexp.MustCompile(says)})
	}
	// The words of compilers, linkers and most tools.
	add(`(?i)(?:^|[\s\[("'|│>*!:=])(?:fatal error|fatal|error|panic|critical)(?:\[\w+\]| [A-Z]{1,4}\d{1,6})?(?::(?:\s|$)|\]|\))`,
		"rror", "RROR", "atal", "ATAL", "anic", "PANIC", "ritical", "CRITICAL")
	add(`(?:^|[\s\[|*])(?:ERROR|FATAL|CRITICAL)(?:[\s\]|*!:]|$)`, "ERROR", "FATAL", "CRITICAL")
	add(`^error (?:[A-Z]|during )|^\s+\d+:\d+\s+error\s|\berror occurred|^::error[ :]|^npm (?:ERR!|error)`, "error", "npm ERR!")
	add(`(?i)(?:^|[\s{,"])(?:level|lvl|severity)"?\s*[=:]\s*"?(?:error|eror|fatal|d?panic|critical)\b`, "level", "lvl=", `lvl"`, "everity")
	add(`[Ff]ailed (?:to|with) |[Bb]uild failed|[Cc]ommand failed|[Ff]ailed: |: failed$|^[Ff]ailed\b`, "ailed")
	add(`\btimed out\b`, "timed out")
	add(`(?i)\bexit(?:ed)? (?:with )?(?:exit )?(?:code|status)[: ]+[1-9]\d*\b|non-zero exit`, "exit", "Exit", "EXIT")
	add(`panicked at|undefined reference to|undefined symbol|multiple definition of|cannot find -l|runtime error:`,
		"panicked", "undefined", "multiple definition", "cannot find", "runtime error")
	add(`WARNING: DATA RACE|[Aa]ssertion .*failed|[Uu]nhandled (?:exception|rejection|promise)|[Ss]egmentation (?:fault|violation)|core dumped|^Killed$|[Oo]ut of memory|OOMKilled`,
		"DATA RACE", "ssertion", "nhandled", "egmentation", "core dumped", "Killed", "ut of memory")
	// Go, make and others that put a place or their own name first.
	add(`^(?:vet: )?\S+\.go:\d+:\d+: \S`, ".go:")
	add(`^go: (?:.+: |cannot |errors |no |updates to |inconsistent )`, "go: ")
	add(`make(?:\[\d+\])?: \*\*\* |^ninja: (?:error|build stopped)|^CMake Error`, "*** ", "ninja: ", "CMake Error")
	// Shells.
	add(`command not found|: not found$|No such file|Permission denied|No space left on device|Connection refused|Could not resolve host|: cannot \w+ |^E: [CDFPSTU]|^curl: \(\d+\)`,
		"not found", "No such file", "denied", "No space", "refused", "not resolve", ": cannot ", "E: C", "E: D", "E: F", "E: P", "E: S", "E: T", "E: U", "curl: ")
	// What is raised.
	add(`^\s*(?:Uncaught |Unhandled |Caused by: |Exception in thread "[^"]*" )?(?:[\w$]+(?:\.|::))*[A-Z][\w$]*(?:Error|Exception|Throwable|Interrupt)(?:: | \[|:?$)`+
		`|^\s*Exception(?:: |$| in thread )|: (?:[\w$]+\.)*[A-Z][\w$]*(?:Error|Exception)(?:: |$)|\([A-Z]\w*(?:Error|Exception)\)$`, "Error", "Exception", "Throwable", "Interrupt")
	// Test runners.
	add(`^\s*FAIL(?:[:\s]|$)|(?:^|[\s:>])FAILED(?:[\s:!.(]|$)|<<< (?:FAILURE|ERROR)!|\bBUILD FAIL|^FAILURE:`, "FAIL", "<<< ERROR")
	add(`\b[1-9]\d* (?:tests? )?(?:failed|failing|failures?|errors?)\b|(?i)\b(?:failures|errors|failed)\s*[:=]\s*[1-9]|^(?:# |ℹ )fail [1-9]`, "fail", "Fail", "FAIL", "error", "Error", "ERROR")
	add(`^\s*(?:✕|✗|✘|✖) \S|^\s+× \S|^\s*● .+ › |^\s*● Test suite|^\s*not ok \d`, "✕ ", "✗ ", "✘ ", "✖ ", " × ", "● ", "not ok")
	add(`^E {3,}\S`, "E   ")
	marks := []string{tracebackBegins}
	for _, h := range v.habits {
		marks = append(marks, h.marks...)
	}
	v.marks = newMatcher(marks)
	return v
})
