package api

import (
	"bufio"
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"regexp/syntax"
	"strings"
	"time"

	"github.com/piper-build/piper/runtime/build"
	"github.com/piper-build/piper/runtime/logs"
	"github.com/piper-build/piper/runtime/logs/archive"
	"github.com/piper-build/piper/runtime/store"
)

const (
	maxLines = 5000    // in one answer
	maxText  = 4 << 20 // bytes of them
	maxLine  = 1 << 20 // bytes of one line; what is more is counted

	maxMatches = 1000
	maxContext = 20
)

// An output is what one attempt of a step wrote.
type output struct {
	*logs.Reader
	build   store.Build
	step    string
	attempt int
	fence   int64
	ended   bool
}

// output finds what is asked for. Of a step that has not begun it is its first
// attempt.
func (c *call) output(b store.Build) (output, error) {
	o := output{build: b, step: c.query.Get("step")}
	attempt, err := c.number("attempt", 1)
	if err != nil {
		return o, err
	}
	if o.fence, err = c.number("fence", 1); err != nil {
		return o, err
	}
	if o.step == "" {
		return o, badField("step", "is missing")
	}
	o.attempt = int(attempt)
	if o.attempt == 0 || o.fence == 0 || !b.Terminal() {
		if err := c.newest(&o); err != nil {
			return o, err
		}
	}
	o.ended = o.ended || b.Terminal() || b.State == build.Running && o.fence != b.Fence
	o.Reader = logs.NewReader(c.Store, b.ID, o.fence)
	return o, nil
}

// newest looks the step up in what happened, and fills in what is not asked for.
func (c *call) newest(o *output) error {
	if o.build.Plan == "" {
		return notPlanned(&o.build)
	}
	step, fence, err := c.past.step(c.ctx, &o.build, o.step)
	if err != nil {
		return err
	}
	if o.fence == 0 {
		o.fence = fence
	}
	if o.attempt == 0 {
		o.attempt = max(1, step.Attempt)
	}
	if o.fence == fence {
		o.ended = saidAll(step, o.attempt)
	}
	return nil
}

// over reports whether nothing more is written, as the step has ended, or the build
// has, or somebody else has that by now.
func (o *output) over(ctx context.Context, past *past) (bool, error) {
	if o.ended {
		return true, nil
	}
	b, err := past.Build(ctx, o.build.ID)
	if err != nil {
		return false, err
	}
	// Then all that was ever written under the fence is there.
	if o.ended = b.Terminal() || b.Fence != o.fence; o.ended {
		return true, nil
	}
	step, _, err := past.step(ctx, &b, o.step)
	if err == nil {
		o.ended = saidAll(step, o.attempt)
	}
	return o.ended, err
}

func notPlanned(b *store.Build) error {
	return problem(http.StatusConflict, "not-planned", fmt.Sprintf("build %d was not planned: its steps are not known", b.Number))
}

// saidAll reports whether an attempt of a step writes nothing more.
func saidAll(s build.Step, attempt int) bool {
	ended := s.State != build.Running && s.State != build.Waiting
	return s.State == build.Skipped || s.Attempt > attempt || s.Attempt == attempt && ended
}

func (c *call) showLog() (*answer, error) {
	b, err := c.build()
	if err != nil {
		return nil, err
	}
	follow, err := c.flag("follow")
	if err != nil {
		return nil, err
	}
	var from, to, tail int64
	for name, n := range map[string]*int64{"from": &from, "to": &to, "tail": &tail} {
		if *n, err = c.number(name, 1); err != nil {
			return nil, err
		}
	}
	if tail > 0 && from+to > 0 {
		return nil, badField("tail", "goes with neither from nor to")
	}
	if follow {
		return nil, c.follow(b, max(1, from), tail)
	}
	o, err := c.output(b)
	if err != nil {
		return nil, err
	}
	log := Log{Step: o.step, Attempt: o.attempt, Fence: o.fence, Ended: o.ended, Next: max(1, from), Lines: []Line{}, Notice: c.awayNotice()}
	size, err := o.Size(c.ctx, o.step, o.attempt)
	switch {
	case errors.Is(err, logs.ErrNoOutput):
		return ok(log)
	case err != nil:
		return nil, err
	}
	log.Total, log.Bytes = size.Lines, size.Bytes
	if tail > 0 {
		from, log.Next = max(1, size.Lines-tail+1), max(1, size.Lines-tail+1)
	}
	page := max(1, from) + maxLines - 1
	return c.fill(o, log, from, cmp.Or(min(to, page), page), to)
}

// fill reads lines into log, of those up to last that were asked for; 0 is all.
func (c *call) fill(o output, log Log, from, to, last int64) (*answer, error) {
	room := maxText
	for line, err := range o.Lines(c.ctx, o.step, o.attempt, from, to) {
		if err != nil {
			return nil, err
		}
		if after := line.Number + line.CutLines; line.Cut > 0 && after > to && (last == 0 || after <= last) {
			log.Next = after // there it is told
			return ok(log)
		}
		if room -= len(line.Text); room < 0 && line.Number > max(1, from) {
			for n := len(log.Lines); n > 0 && log.Lines[n-1].Number == line.Number; n-- {
				log.Lines = log.Lines[:n-1] // all of a line, or nothing
			}
			log.Next = line.Number
			return ok(log)
		}
		if line.Offset >= maxLine {
			log.Lines[len(log.Lines)-1].Cut += int64(len(line.Text))
		} else {
			log.Lines = append(log.Lines, lineOf(line))
		}
		switch log.Next = line.Number; {
		case line.Cut > 0:
			log.Next += line.CutLines
		case line.Newline || o.ended:
			log.Next++
		}
	}
	return ok(log)
}

func lineOf(l logs.Line) Line {
	return Line{Number: l.Number, Time: l.Arrival, Text: string(bytes.ToValidUTF8(l.Text, []byte("\uFFFD"))), Offset: l.Offset, Partial: !l.Newline && l.Cut == 0, Cut: l.Cut}
}

// follow streams lines as they come, each once.
func (c *call) follow(b store.Build, from, tail int64) error {
	place := linePlace{line: from}
	if last := c.r.Header.Get("Last-Event-ID"); last != "" {
		if !place.parse(last) {
			return badField("Last-Event-ID", "is none that this log gave")
		}
		tail = 0
	}
	hints, err := c.Store.Watch(c.ctx, store.Watched{})
	if err != nil {
		return err
	}
	if b, err = c.began(b, hints); err != nil {
		return err
	}
	o, err := c.output(b)
	if err != nil {
		return err
	}
	if place.fence != 0 && (place.fence != o.fence || place.attempt != o.attempt) {
		place = linePlace{line: 1} // that one was lost; the client is told by the fence
	}
	place.fence, place.attempt = o.fence, o.attempt
	if tail > 0 {
		if size, err := o.Size(c.ctx, o.step, o.attempt); err == nil {
			place.line = max(1, size.Lines-tail+1)
		}
	}
	s := c.events()
	s.send("open", place.String(), map[string]any{"step": o.step, "attempt": o.attempt, "fence": o.fence})
	watch := logs.Watch{Hints: hints, Live: c.Live, Ended: func(ctx context.Context) (bool, error) {
		if !s.alive() {
			return false, errGone
		}
		return o.over(ctx, &c.past)
	}}
	for line, err := range o.Follow(c.ctx, o.step, o.attempt, place.line, watch) {
		if err != nil {
			if !errors.Is(err, errGone) && c.ctx.Err() == nil {
				c.log().Warn("log is not followed any more", "build", b.ID, "error", err)
			}
			return nil
		}
		if line.Number == place.line && line.Offset+line.Cut < place.offset {
			continue // it has that piece
		}
		place.after(line)
		if !s.send("line", place.String(), lineOf(line)) {
			return nil
		}
	}
	if c.ctx.Err() == nil {
		s.send("end", place.String(), struct{}{})
	}
	return nil
}

// began waits until there is something that can be followed.
func (c *call) began(b store.Build, hints <-chan store.Hint) (store.Build, error) {
	tick := time.NewTicker(time.Second)
	defer tick.Stop()
	for b.State == build.Queued || b.State == build.Running && b.Plan == "" {
		select {
		case <-c.ctx.Done():
			return b, c.ctx.Err()
		case <-tick.C:
		case _, ok := <-hints:
			if !ok {
				hints = nil
			}
		}
		if !c.standing() {
			return b, problem(http.StatusUnauthorized, "bad-token", "this token is not known any more")
		}
		var err error
		if b, err = c.Store.Build(c.ctx, b.ID); err != nil {
			return b, err
		}
	}
	return b, nil
}

// A linePlace is where in a log somebody is.
type linePlace struct {
	fence   int64
	attempt int
	line    int64
	offset  int64 // bytes of the line that it has
}

func (p linePlace) String() string {
	return fmt.Sprintf("%d.%d.%d.%d", p.fence, p.attempt, p.line, p.offset)
}

func (p *linePlace) parse(s string) bool {
	n, err := fmt.Sscanf(s, "%d.%d.%d.%d", &p.fence, &p.attempt, &p.line, &p.offset)
	return n == 4 && err == nil && p.String() == s && p.fence > 0 && p.attempt > 0 && p.line > 0 && p.offset >= 0
}

// after goes on behind a line, or a piece of one.
func (p *linePlace) after(l logs.Line) {
	switch p.line, p.offset = l.Number, l.Offset+int64(len(l.Text)); {
	case l.Cut > 0:
		p.line, p.offset = l.Number+l.CutLines, 0
	case l.Newline:
		p.line, p.offset = l.Number+1, 0
	}
}

func (c *call) rawLog() (*answer, error) {
	b, err := c.build()
	if err != nil {
		return nil, err
	}
	o, err := c.output(b)
	if err != nil {
		return nil, err
	}
	name := strings.Map(func(r rune) rune {
		if r == '/' || r == '"' || r == '\\' {
			return '-'
		}
		return r
	}, o.step)
	header := c.w.Header()
	header.Set("Content-Type", "text/plain; charset=utf-8")
	header.Set("Content-Disposition", fmt.Sprintf(`attachment; filename="%d-%s.log"`, b.Number, name))
	c.sends(b, func(to io.Writer) error {
		err := o.Raw(c.ctx, o.step, o.attempt, 0, 0, to)
		if errors.Is(err, logs.ErrNoOutput) {
			return nil
		}
		return err
	})
	return nil, nil
}

// exportLog sends all that a build wrote, as package archive has it.
func (c *call) exportLog() (*answer, error) {
	b, err := c.build()
	switch {
	case err != nil:
		return nil, err
	case !b.Terminal():
		return nil, problem(http.StatusConflict, "not-ended", fmt.Sprintf("build %d has not ended: what it writes can be exported once it has", b.Number))
	case b.Plan == "":
		return nil, notPlanned(&b)
	}
	header := c.w.Header()
	header.Set("Content-Type", "application/jsonl")
	header.Set("Content-Disposition", fmt.Sprintf(`attachment; filename="%d.jsonl"`, b.Number))
	c.sends(b, func(to io.Writer) error {
		buffered := bufio.NewWriterSize(to, store.MaxChunk)
		return cmp.Or(archive.Write(c.ctx, &c.past, &b, c.Version, buffered), buffered.Flush())
	})
	return nil, nil
}

// sends sends what write writes. Once that has begun all that can be done about an
// error is to break it off.
func (c *call) sends(b store.Build, write func(to io.Writer) error) {
	to := io.Writer(&steady{c.w, http.NewResponseController(c.w)})
	if c.r.Method == http.MethodHead {
		to = io.Discard
	}
	if err := write(to); err != nil {
		c.log().Warn("log is not sent whole", "build", b.ID, "error", err)
		panic(http.ErrAbortHandler)
	}
}

// steady gives each write its own time to be taken.
type steady struct {
	w        io.Writer
	deadline *http.ResponseController
}

func (s *steady) Write(p []byte) (int, error) {
	s.deadline.SetWriteDeadline(time.Now().Add(stalled))
	return s.w.Write(p)
}

func (c *call) searchLog() (*answer, error) {
	b, err := c.build()
	if err != nil {
		return nil, err
	}
	q, limit, err := c.searchQuery()
	if err != nil {
		return nil, err
	}
	outputs, err := c.outputs(b, q.Errors)
	if err != nil {
		return nil, err
	}
	found := Found{Hits: []Match{}}
	for _, o := range outputs {
		count, err := o.Search(c.ctx, o.step, o.attempt, q, func(m logs.Match) bool {
			if len(found.Hits) < limit {
				found.Hits = append(found.Hits, matchOf(o, m))
			}
			return len(found.Hits) < limit
		})
		if err != nil && !errors.Is(err, logs.ErrNoOutput) {
			return nil, err
		}
		found.Lines += count.Lines
		found.Matches += count.Matches
	}
	return ok(found)
}

func (c *call) searchQuery() (q logs.Query, limit int, err error) {
	q = logs.Query{Text: c.query.Get("text"), Regex: c.query.Get("regex")}
	if q.Fold, err = c.flag("fold"); err != nil {
		return q, 0, err
	}
	around, err := c.number("context", 0)
	if err != nil {
		return q, 0, err
	}
	q.Context = int(min(around, maxContext))
	if limit, err = c.limit(100, maxMatches); err != nil {
		return q, 0, err
	}
	if q.Errors, err = c.flag("errors"); err != nil {
		return q, 0, err
	}
	if q.From, err = c.number("from", 1); err != nil {
		return q, 0, err
	}
	ways := 0
	for _, given := range []bool{q.Text != "", q.Regex != "", q.Errors} {
		if given {
			ways++
		}
	}
	switch {
	case ways != 1:
		return q, 0, badField("text", "regex or errors is what to look for: give one of the three")
	case q.From > 0 && c.query.Get("step") == "":
		return q, 0, badField("from", "is a line of a step: give step too")
	case len(q.Text)+len(q.Regex) > 1000:
		return q, 0, badField("text", "is longer than 1000 bytes")
	}
	var bad *syntax.Error
	if _, err := syntax.Parse(q.Regex, syntax.Perl); errors.As(err, &bad) {
		return q, 0, badField("regex", fmt.Sprintf("%s is none: %s", quote(bad.Expr), bad.Code))
	}
	return q, limit, nil
}

// outputs are those that a search goes through: that of one step, or of the newest
// attempt of every step, or of every one that failed.
func (c *call) outputs(b store.Build, failed bool) ([]output, error) {
	if c.query.Get("step") != "" {
		o, err := c.output(b)
		return []output{o}, err
	}
	f, err := c.fold(&b)
	if err != nil || f == nil {
		return nil, err
	}
	var list []output
	reader := logs.NewReader(c.Store, b.ID, f.fence)
	for i, name := range f.Build.Plan().NodeNames() {
		step := f.Node(i)
		if step.Attempt == 0 || f.Build.Plan().Nodes[i].Step == nil || failed && step.State != build.Failed && step.State != build.TimedOut {
			continue
		}
		list = append(list, output{Reader: reader, step: name, attempt: step.Attempt})
	}
	return list, nil
}

func matchOf(o output, m logs.Match) Match {
	got := Match{Step: o.step, Attempt: o.attempt, Line: lineOf(m.Line)}
	// Where bytes were replaced, what was found has moved.
	valid := func(b []byte) int { return len(bytes.ToValidUTF8(b, []byte("\uFFFD"))) }
	for _, span := range m.Spans {
		from := valid(m.Text[:span[0]])
		got.Spans = append(got.Spans, [2]int{from, from + valid(m.Text[span[0]:span[1]])})
	}
	for _, l := range m.Before {
		got.Before = append(got.Before, lineOf(l))
	}
	for _, l := range m.After {
		got.After = append(got.After, lineOf(l))
	}
	return got
}
