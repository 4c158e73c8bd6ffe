package main

import (
	"bytes"
	"errors"
	"fmt"
	"math"
	"os"
	"os/exec"
	"runtime"
	"slices"
	"strings"
	"unicode/utf8"
)

// A row holds one side of a trial against another.
type row struct {
	name, work  string
	piper, peer *side // peer is nil when there is none
	over        *side // whose memory is taken off piper's, or nil
	peerOver    *side // and off peer's
	of          quantity
	said        string  // the name of what the sides measured themselves; "" is what the clock says
	per         int     // the number of steps that an amount is divided by; 0 is 1
	must        float64 // how much the ratio may be; 0 is no goal
	stretch     float64 // how little it should be; 0 is as must
	absolute    bool    // must and stretch are of piper's own amount
}

// A quantity is what is read off a sample.
type quantity int

const (
	wall   quantity = iota // seconds
	cpu                    // seconds
	memory                 // bytes
	count                  // of anything
)

func (q quantity) of(s sample) float64 {
	switch q {
	case cpu:
		return s.cpu.Seconds()
	case memory:
		return float64(s.memory)
	default:
		return s.wall.Seconds()
	}
}

func (q quantity) text(x float64) string {
	switch {
	case math.IsNaN(x):
		return "–"
	case q == count:
		return factor(x)
	case q == memory && math.Abs(x) < 10_000:
		return fmt.Sprintf("%.0f B", x)
	case q == memory:
		return fmt.Sprintf("%.1f MB", x/1e6)
	case x < 1e-3:
		return fmt.Sprintf("%.1f µs", x*1e6)
	case x < 0.1:
		return fmt.Sprintf("%.2f ms", x*1e3)
	default:
		return fmt.Sprintf("%.2f s", x)
	}
}

// amounts returns what each round says of s, less what it says of over.
func (r *row) amounts(s, over *side) []float64 {
	if s == nil {
		return nil
	}
	var amounts []float64
	for i, took := range s.samples {
		x := r.of.of(took)
		if r.said != "" {
			var ok bool
			if x, ok = took.said[r.said]; !ok {
				x = math.NaN()
			}
		}
		if over != nil {
			if i == len(over.samples) {
				break
			}
			x -= r.of.of(over.samples[i])
		}
		amounts = append(amounts, x/float64(max(1, r.per)))
	}
	return amounts
}

// lacking returns a side that did not run and that the row cannot do without,
// or nil.
func (r *row) lacking() *side {
	for _, s := range []*side{r.piper, r.over, r.peer, r.peerOver} {
		if s != nil && s.missing != nil {
			return s
		}
	}
	return nil
}

// cells returns the columns of the row.
func (r *row) cells() []string {
	piper, peer := r.amounts(r.piper, r.over), r.amounts(r.peer, r.peerOver)
	var ratios []float64
	for i := range min(len(piper), len(peer)) {
		ratios = append(ratios, piper[i]/peer[i])
	}
	against := "–"
	if r.peer != nil {
		against = r.peer.name
	}
	if len(peer) > 0 {
		against += " " + r.of.text(median(peer))
	}
	cells := []string{r.name, r.work, r.of.text(median(piper)), against}
	if r.lacking() != nil {
		return append(cells, "skipped", r.goal(), "–")
	}
	spread := "–"
	switch {
	case len(ratios) == 1:
		spread = factor(ratios[0])
	case len(ratios) > 1:
		spread = fmt.Sprintf("%s (%s–%s)", factor(median(ratios)), factor(slices.Min(ratios)), factor(slices.Max(ratios)))
	}
	judged := median(ratios)
	if r.absolute {
		judged = median(piper)
	}
	return append(cells, spread, r.goal(), r.holds(judged))
}

// holds says which of the row's goals x reaches.
func (r *row) holds(x float64) string {
	switch {
	case r.must == 0:
		return "–"
	case r.stretch != 0 && x <= r.stretch:
		return "M, S"
	case x <= r.must:
		return "M"
	default:
		return "no"
	}
}

// goal is what is wanted of the row, in words.
func (r *row) goal() string {
	say := factor
	if r.absolute {
		say = r.of.text
	}
	switch {
	case r.must == 0:
		return "–"
	case r.stretch == 0:
		return "M ≤ " + say(r.must)
	default:
		return "M ≤ " + say(r.must) + ", S ≤ " + say(r.stretch)
	}
}

func factor(x float64) string { return fmt.Sprintf("%.2f", x) }

// median returns the middle of xs, NaN when there are none.
func median(xs []float64) float64 {
	if len(xs) == 0 {
		return math.NaN()
	}
	xs = slices.Sorted(slices.Values(xs))
	return (xs[(len(xs)-1)/2] + xs[len(xs)/2]) / 2
}

// table writes rows as Markdown that is also a table to the eye, and below it
// why rows were skipped.
func table(rows []row) string {
	lines := [][]string{{"figure", "work", "piper", "held against", "ratio (least–most)", "goal", "holds"}, nil}
	var reasons []string
	for _, r := range rows {
		lines = append(lines, r.cells())
		if s := r.lacking(); s != nil {
			reasons = append(reasons, "- skipped: "+s.missing.Error()+"\n")
		}
	}
	widths := make([]int, len(lines[0]))
	for _, line := range lines {
		for i, cell := range line {
			widths[i] = max(widths[i], utf8.RuneCountInString(cell))
		}
	}
	for _, width := range widths {
		lines[1] = append(lines[1], strings.Repeat("-", width))
	}
	var b strings.Builder
	for _, line := range lines {
		for i, cell := range line {
			b.WriteString("| " + cell + strings.Repeat(" ", widths[i]-utf8.RuneCountInString(cell)+1))
		}
		b.WriteString("|\n")
	}
	slices.Sort(reasons)
	if reasons = slices.Compact(reasons); len(reasons) > 0 {
		b.WriteString("\n" + strings.Join(reasons, ""))
	}
	return b.String()
}

// facts says on what and with what the table was measured.
func (b *bench) facts() string {
	facts := []string{
		fmt.Sprintf("%d cores", runtime.NumCPU()),
		"Linux " + said("uname", "-r"),
		runtime.Version(),
	}
	facts = append(facts, said(b.programs.piper().path, "version"))
	if p := b.programs.peer("ninja"); p.missing == nil {
		facts = append(facts, "ninja "+said(p.path, "--version"))
	}
	facts = append(facts, fmt.Sprintf("%d rounds, %d of P9 and P10, one of P8 and of P13's longer step", b.rounds, 10*b.rounds))
	if b.scale != 1 {
		facts = append(facts, fmt.Sprintf("sizes × %g: for a look, not for the record", b.scale))
	}
	if b.cpu {
		facts = append(facts, "processor time: for a look, not for the record")
	}
	return strings.Join(facts, "; ") + "."
}

// said returns the first line that a command prints.
func said(name string, args ...string) string {
	out, err := exec.Command(name, args...).Output()
	if err != nil {
		return "unknown"
	}
	line, _, _ := strings.Cut(strings.TrimSpace(string(out)), "\n")
	return line
}

const opens, closes = "<!-- bench -->", "<!-- /bench -->"

// writeInto puts text between the markers of a file.
func writeInto(file, text string) error {
	old, err := os.ReadFile(file)
	if err != nil {
		return err
	}
	before, rest, opened := bytes.Cut(old, []byte(opens))
	_, after, closed := bytes.Cut(rest, []byte(closes))
	if !opened || !closed {
		return errors.New(file + " has no " + opens + " followed by a " + closes)
	}
	var b bytes.Buffer
	fmt.Fprintf(&b, "%s%s\n%s\n%s%s", before, opens, strings.TrimSpace(text), closes, after)
	return os.WriteFile(file, b.Bytes(), 0o644)
}
