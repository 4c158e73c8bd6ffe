package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"os"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/piper-build/piper/runtime/plan"
	"github.com/piper-build/piper/starlark"
	"github.com/piper-build/piper/starlark/test"
)

// A testReport tells how tests went, as they end and in their order.
type testReport struct {
	*testRun
	started        time.Time
	left           map[string]int // tests that have not ended, by file
	files          []testFile     // that have ended, and the one that has not
	passed, failed int
}

// A testFile is what is reported of one file.
type testFile struct {
	name    string
	results []test.Result
	failed  int
	took    time.Duration
}

func (r *testRun) newReport(tests []test.Test) *testReport {
	report := &testReport{testRun: r, started: time.Now(), left: map[string]int{}}
	for _, t := range tests {
		report.left[t.File]++
	}
	return report
}

// test takes the next result.
func (r *testReport) test(result test.Result) error {
	if n := len(r.files); n == 0 || r.files[n-1].name != result.File {
		r.files = append(r.files, testFile{name: result.File})
	}
	file := &r.files[len(r.files)-1]
	file.results = append(file.results, result)
	file.took += result.Duration
	if result.Passed() {
		r.passed++
	} else {
		r.failed++
		file.failed++
	}
	if r.json {
		return r.line(testEnded(result))
	}
	r.printTest(&result)
	if r.left[result.File]--; r.left[result.File] == 0 {
		r.printFile(file)
	}
	return nil
}

// printTest shows a test that failed, or any when that is asked for.
func (r *testReport) printTest(result *test.Result) {
	if result.Passed() && !r.verbose {
		for _, name := range result.Updated {
			fmt.Fprintf(r.stdout, "wrote %s\n", name)
		}
		return
	}
	word := "FAIL"
	if result.Passed() {
		word = "ok  "
	}
	fmt.Fprintf(r.stdout, "%s  %s (%s) in %s\n", word, result.Name, result.Pos, rounded(result.Duration))
	for _, line := range result.Output {
		fmt.Fprintf(r.stdout, "      %s\n", strings.ReplaceAll(line, "\n", "\n      "))
	}
	for _, name := range result.Updated {
		fmt.Fprintf(r.stdout, "      wrote %s\n", name)
	}
	if !result.Passed() {
		fmt.Fprintf(r.stdout, "%s\n\n", strings.TrimRight(result.Failure.Error(), "\n"))
	}
}

// printFile sums up a file.
func (r *testReport) printFile(file *testFile) {
	if file.failed > 0 {
		fmt.Fprintf(r.stdout, "FAIL  %s: %d of %s failed in %s\n", file.name, file.failed, counted(len(file.results), "test"), rounded(file.took))
		return
	}
	fmt.Fprintf(r.stdout, "ok    %s: %s in %s\n", file.name, counted(len(file.results), "test"), rounded(file.took))
}

// end tells what is to be told once all tests have ended.
func (r *testReport) end(coverage *starlark.Coverage) error {
	var covered []starlark.FileCoverage
	if coverage != nil {
		covered = coverage.Files()
	}
	if r.cover {
		if err := r.coverage(covered); err != nil {
			return err
		}
	}
	if err := r.summary(time.Since(r.started)); err != nil {
		return err
	}
	if r.profile != "" {
		if err := os.WriteFile(r.path(r.profile), lcov(covered), 0o666); err != nil {
			return fmt.Errorf("write the coverage: %w", err)
		}
	}
	if r.junit != "" {
		if err := os.WriteFile(r.path(r.junit), r.junitXML(), 0o666); err != nil {
			return fmt.Errorf("write the JUnit report: %w", err)
		}
	}
	return nil
}

// summary is the last that is shown.
func (r *testReport) summary(took time.Duration) error {
	if r.json {
		return r.line(struct {
			Kind    string  `json:"kind"`
			Passed  int     `json:"passed"`
			Failed  int     `json:"failed"`
			Seconds float64 `json:"seconds"`
		}{"summary", r.passed, r.failed, took.Seconds()})
	}
	word := "OK"
	if r.failed > 0 {
		word = "FAILED"
	}
	fmt.Fprintf(r.stdout, "piper: %s %d passed, %d failed in %s\n", word, r.passed, r.failed, rounded(took))
	return nil
}

func rounded(d time.Duration) time.Duration { return d.Round(time.Millisecond) }

// coverage tells which lines no test ran.
func (r *testReport) coverage(covered []starlark.FileCoverage) error {
	if r.json {
		for _, f := range covered {
			err := r.line(struct {
				Kind   string `json:"kind"`
				File   string `json:"file"`
				Ran    []int  `json:"ran"`
				Missed []int  `json:"missed"`
			}{"coverage", f.File, append([]int{}, f.Ran...), append([]int{}, f.Missed...)})
			if err != nil {
				return err
			}
		}
		return nil
	}
	ran, lines := 0, 0
	w := tabwriter.NewWriter(r.stdout, 0, 0, 2, ' ', 0)
	for _, f := range covered {
		ran += len(f.Ran)
		lines += len(f.Ran) + len(f.Missed)
		missed := ""
		if len(f.Ran) == 0 && len(f.Missed) > 0 {
			missed = "no test loads it"
		} else if len(f.Missed) > 0 {
			missed = "not run: " + starlark.Ranges(f.Missed)
		}
		row(w, f.File, percent(len(f.Ran), len(f.Ran)+len(f.Missed)), missed)
	}
	row(w, "all", percent(ran, lines))
	return w.Flush()
}

// percent is how much of a whole a part is. Of nothing it is all.
func percent(part, whole int) string {
	if whole == 0 {
		return "100.0%"
	}
	return fmt.Sprintf("%.1f%%", 100*float64(part)/float64(whole))
}

// lcov writes coverage in the format of lcov's info files, which most tools
// that show coverage read.
func lcov(covered []starlark.FileCoverage) []byte {
	var b bytes.Buffer
	for _, f := range covered {
		fmt.Fprintf(&b, "TN:\nSF:%s\n", f.File)
		ran, missed := f.Ran, f.Missed
		for len(ran)+len(missed) > 0 {
			if len(missed) == 0 || len(ran) > 0 && ran[0] < missed[0] {
				fmt.Fprintf(&b, "DA:%d,1\n", ran[0])
				ran = ran[1:]
			} else {
				fmt.Fprintf(&b, "DA:%d,0\n", missed[0])
				missed = missed[1:]
			}
		}
		fmt.Fprintf(&b, "LF:%d\nLH:%d\nend_of_record\n", len(f.Ran)+len(f.Missed), len(f.Ran))
	}
	return b.Bytes()
}

// printTests lists tests.
func (r *testRun) printTests(tests []test.Test) error {
	for _, t := range tests {
		if !r.json {
			fmt.Fprintf(r.stdout, "%s:%d: %s\n", t.File, t.Pos.Line, t.Name)
			continue
		}
		err := r.line(struct {
			Kind string `json:"kind"`
			File string `json:"file"`
			Line int32  `json:"line"`
			Test string `json:"test"`
		}{"test", t.File, t.Pos.Line, t.Name})
		if err != nil {
			return err
		}
	}
	return nil
}

// line prints one object of the stream.
func (r *testRun) line(v any) error {
	e := json.NewEncoder(r.stdout)
	e.SetEscapeHTML(false)
	return e.Encode(v)
}

// testEnded is a result as the stream has it.
func testEnded(result test.Result) any {
	state := "passed"
	if !result.Passed() {
		state = "failed"
	}
	return struct {
		Kind        string           `json:"kind"`
		File        string           `json:"file"`
		Line        int32            `json:"line"`
		Test        string           `json:"test"`
		State       string           `json:"state"`
		Seconds     float64          `json:"seconds"`
		Output      []string         `json:"output,omitempty"`
		Updated     []string         `json:"updated,omitempty"`
		Diagnostics plan.Diagnostics `json:"diagnostics,omitempty"`
	}{"test_ended", result.File, result.Pos.Line, result.Name, state, result.Duration.Seconds(), result.Output, result.Updated, result.Failure}
}

// junitXML is the report that JUnit's readers know. It is written by hand, as
// encoding/xml would make every command slower to start.
func (r *testReport) junitXML() []byte {
	var b bytes.Buffer
	seconds := func(d time.Duration) string { return fmt.Sprintf("%.3f", d.Seconds()) }
	b.WriteString("<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n")
	fmt.Fprintf(&b, "<testsuites tests=\"%d\" failures=\"%d\" time=\"%s\">\n", r.passed+r.failed, r.failed, seconds(time.Since(r.started)))
	for _, file := range r.files {
		fmt.Fprintf(&b, "  <testsuite name=\"%s\" tests=\"%d\" failures=\"%d\" time=\"%s\">\n",
			xmlText(file.name), len(file.results), file.failed, seconds(file.took))
		for _, result := range file.results {
			fmt.Fprintf(&b, "    <testcase name=\"%s\" classname=\"%s\" file=\"%s\" line=\"%d\" time=\"%s\">\n", xmlText(result.Name),
				xmlText(strings.TrimSuffix(file.name, ".star")), xmlText(file.name), result.Pos.Line, seconds(result.Duration))
			if !result.Passed() {
				fmt.Fprintf(&b, "      <failure message=\"%s\">%s</failure>\n", xmlText(result.Failure[0].Message), xmlText(result.Failure.Error()))
			}
			if len(result.Output) > 0 {
				fmt.Fprintf(&b, "      <system-out>%s</system-out>\n", xmlText(strings.Join(result.Output, "\n")))
			}
			b.WriteString("    </testcase>\n")
		}
		b.WriteString("  </testsuite>\n")
	}
	b.WriteString("</testsuites>\n")
	return b.Bytes()
}

// xmlText is s as XML writes it, in an element or an attribute. What XML has no
// way to write becomes a question mark.
func xmlText(s string) string {
	var b strings.Builder
	for _, c := range s {
		switch {
		case c == '<' || c == '>' || c == '&' || c == '"' || c == '\n' || c == '\t' || c == '\r':
			fmt.Fprintf(&b, "&#%d;", c)
		case c < ' ' || c == 0xFFFE || c == 0xFFFF:
			b.WriteByte('?')
		default:
			b.WriteRune(c)
		}
	}
	return b.String()
}
