package logs

import (
	"bytes"
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"github.com/piper-build/piper/runtime/build"
	"github.com/piper-build/piper/runtime/store"
)

// A Wide query is one over the outputs of all builds. Zero fields pick all.
type Wide struct {
	Query    // Text or Regex, and Fold; the rest is not looked at
	Project  string
	Pipeline string // of Project, which must be set then
	Step     string
	Build    build.ID
	Since    time.Time // builds that were made then or later
	Until    time.Time // builds that were made before

	// Sees reports whether who asks may know of a project; nil is any.
	Sees func(project string) bool
}

// sees reports whether what a build wrote may be looked at, but for its pipeline.
func (q *Wide) sees(b *store.Build) bool {
	switch {
	case q.Project != "" && b.Request.Project != q.Project,
		q.Build != "" && b.ID != q.Build,
		b.Created.Before(q.Since),
		!q.Until.IsZero() && !b.Created.Before(q.Until):
		return false
	}
	return q.Sees == nil || q.Sees(b.Request.Project)
}

// A Hit is a Match in one of many outputs.
type Hit struct {
	Output
	Match
}

// A Page is a piece of what was found: the newest build first, the lines of each in
// the order of Output.Order and their own. Adding up the pages gives the counts of
// the whole.
type Page struct {
	Hits    []Hit
	Builds  int    // that were looked at, also in part; 0 where an index was asked, which need not
	Lines   int64  // that were looked at, likewise
	Matches int64  // in Hits, and in lines of which there was no room
	Next    string // the cursor to go on from; "" when there is no more

	// Total is in how many lines there is a match, in all pages, where that is
	// known beforehand; less than 0 where it is not.
	Total int64
}

// A Searcher finds lines in the outputs of all builds. A cursor that it did not
// give is store.ErrCursor.
type Searcher interface {
	Search(ctx context.Context, q Wide, cursor string, limit int) (Page, error)
}

// What is looked at for one page of a Scan: whichever is reached first ends it.
const (
	scanTime   = 2 * time.Second
	scanBytes  = 64 << 20
	scanText   = 4 << 20 // of what is given
	scanBuilds = 20      // that are listed at once
)

// A Scan is a Searcher that reads the outputs, build by build. A page of it is
// bounded in time and in bytes, and says what was looked at. What the signature of a
// build rules out is not read, and counts as looked at; where one is missing it is
// made of what is read whole.
type Scan struct {
	Builds  store.Builds
	History History
	Logs    store.Logs
}

// ScanOf returns a Scan of all that a store has.
func ScanOf(s store.Store) Scan { return Scan{s, s, s} }

// A place is where a Scan goes on.
type place struct {
	Page   string `json:"page,omitempty"`   // the store's cursor of the page that the build is on
	Number int64  `json:"number,omitempty"` // of the build; 0 is the first on the page
	Order  int    `json:"order,omitempty"`  // of the output
	Line   int64  `json:"line,omitempty"`
}

func (p place) String() string {
	data, err := json.Marshal(p)
	if err != nil {
		panic(err) // it is made of strings and numbers
	}
	return base64.RawURLEncoding.EncodeToString(data)
}

func parsePlace(text string) (p place, err error) {
	if text == "" {
		return p, nil
	}
	data, err := base64.RawURLEncoding.DecodeString(text)
	if err == nil {
		err = json.Unmarshal(data, &p)
	}
	if err != nil || p.String() != text {
		return p, fmt.Errorf("search output: %w", store.ErrCursor)
	}
	return p, nil
}

// A scanning is one page of a Scan.
type scanning struct {
	Scan
	ctx   context.Context
	q     Wide
	find  func([]byte) [][2]int
	grams []gram // that are in every line in which it is found
	limit int
	page  Page

	end   time.Time
	looks int // bytes until the clock is looked at
	bytes int // that may still be read
	text  int // bytes of hits that may still be given
}

// Search implements Searcher.
func (s Scan) Search(ctx context.Context, q Wide, cursor string, limit int) (Page, error) {
	at, err := parsePlace(cursor)
	if err != nil {
		return Page{}, err
	}
	r := &scanning{Scan: s, ctx: ctx, q: q, limit: limit, page: Page{Total: -1},
		end: time.Now().Add(scanTime), bytes: scanBytes, text: scanText}
	if r.find, err = q.Compile(); err != nil {
		return Page{}, err
	}
	r.grams = q.grams()
	more, err := r.run(&at)
	if more {
		r.page.Next = at.String()
	}
	return r.page, err
}

// run searches builds from a place on. more is that the page is full, and the
// place is where the next one begins.
func (s *scanning) run(at *place) (more bool, err error) {
	if s.q.Build != "" {
		b, err := s.Builds.Build(s.ctx, s.q.Build)
		if err != nil || !s.q.sees(&b) {
			return false, gone(err)
		}
		return s.build(&b, at)
	}
	f := store.Filter{Project: s.q.Project, Pipeline: s.q.Pipeline}
	for {
		page, next, err := s.Builds.List(s.ctx, f, at.Page, scanBuilds)
		if err != nil {
			return false, err
		}
		recent := false
		for i := range page {
			b := &page[i]
			if b.Created.Before(s.q.Since) {
				continue
			}
			recent = true
			if at.Number > 0 && b.Number > at.Number || !s.q.sees(b) {
				continue
			}
			if b.Number != at.Number {
				at.Number, at.Order, at.Line = b.Number, 0, 0
			}
			if s.full() {
				return true, nil
			}
			if more, err := s.build(b, at); more || err != nil {
				return more, err
			}
			at.Number--
		}
		if next == "" || !recent { // numbers are drawn in the order of time, or nearly
			return false, nil
		}
		*at = place{Page: next}
		if s.full() || time.Now().After(s.end) { // also of builds that may not be seen
			return true, nil
		}
	}
}

// gone is err, unless that says that a build is being deleted.
func gone(err error) error {
	if errors.Is(err, store.ErrNotFound) {
		return nil
	}
	return err
}

// build searches what one build wrote.
func (s *scanning) build(b *store.Build, at *place) (more bool, err error) {
	if at.Order == 0 && at.Line == 0 { // else it was counted when the page before this one ended in it
		s.page.Builds++
	}
	s.looks = 0
	if len(s.grams) > 0 {
		if done, more, err := s.sift(b, at); done {
			return more, err
		}
	}
	outputs, whole, err := outputsOf(s.ctx, s.History, b)
	if err != nil {
		return false, gone(err)
	}
	var sign *signing // of what is read anyway
	if whole && at.Order == 0 && at.Line == 0 && len(outputs) > 0 && s.q.Step == "" && len(s.grams) > 0 {
		if sign, err = newSigning(s.ctx, s.Logs, outputs[0]); err == nil {
			defer sign.close()
		}
	}
	for _, o := range outputs {
		if o.Order < at.Order || s.q.Step != "" && s.q.Step != o.Node {
			continue
		}
		from := at.Line
		at.Order, at.Line = 0, 0
		if sign != nil {
			sign.output(o)
		}
		if more, err := s.lines(o, from, 0, at, sign); more || err != nil {
			return more, err
		}
	}
	if sign != nil {
		_ = sign.keep() // who searches need not know that it could not be kept
	}
	return false, nil
}

// lines searches the lines of an output numbered from up to and including to, which
// sign is given too unless it is nil.
func (s *scanning) lines(o Output, from, to int64, at *place, sign *signing) (more bool, err error) {
	s.looks = 0
	for line, err := range o.reader(s.Logs).Lines(s.ctx, o.Node, o.Attempt, from, to) {
		if err != nil {
			return false, err
		}
		if line.Offset == 0 && line.Cut == 0 && s.full() { // between lines
			at.Order, at.Line = o.Order, line.Number
			return true, nil
		}
		if sign != nil {
			sign.line(line)
		}
		if spans := s.look(line); len(spans) > 0 && len(s.page.Hits) < s.limit {
			line.Text = bytes.Clone(line.Text)
			s.page.Hits = append(s.page.Hits, Hit{o, Match{Line: line, Spans: spans}})
			s.text -= len(line.Text)
		}
	}
	return false, nil
}

// sift searches what one build wrote by its signature: it reads the blocks that may
// have what is looked for, and counts the lines of the others. Unless it is done, the
// place is where the output has to be read from.
func (s *scanning) sift(b *store.Build, at *place) (done, more bool, err error) {
	r, ok := openSigned(s.ctx, s.Logs, b)
	if !ok {
		return false, false, nil
	}
	defer r.close()
	start := *at
	o := Output{Build: b.ID, Number: b.Number, Project: b.Request.Project, Pipeline: r.pipeline, Created: b.Created, Fence: b.Fence, Ended: true}
	for run, err := range r.runs(s.grams) {
		if err != nil {
			forget(s.ctx, s.Logs, b)
			return false, false, nil
		}
		o.Order, o.Node, o.Attempt = run.Order, run.Node, run.Attempt
		first := o.Order == start.Order
		if o.Order < start.Order || first && run.last < start.Line || s.q.Step != "" && s.q.Step != o.Node {
			continue
		}
		if first && run.first < start.Line {
			run.first, run.may = start.Line, true // how many lines are left of it is not known
		}
		at.Order, at.Line = o.Order, run.first
		switch {
		case run.may:
			if more, err := s.lines(o, run.first, run.last, at, nil); more || err != nil {
				return true, more, err
			}
		case s.full():
			return true, true, nil
		default:
			s.page.Lines += run.lines
			s.looks -= len(run.bits)
		}
		at.Line = run.last + 1
	}
	*at = place{Page: at.Page, Number: at.Number}
	return true, false, nil
}

// look finds what is looked for in a line, or a piece of one, and counts.
func (s *scanning) look(line Line) [][2]int {
	size := len(line.Text) + 1
	s.bytes -= size
	s.looks -= size
	if line.Cut > 0 {
		return nil
	}
	if line.Offset == 0 {
		s.page.Lines++
	}
	spans := s.find(line.Text)
	s.page.Matches += int64(len(spans))
	return spans
}

// full reports whether the page ends here. One that has looked at nothing never
// does, however long that took.
func (s *scanning) full() bool {
	if s.page.Lines == 0 && s.page.Builds <= 1 {
		return false
	}
	if len(s.page.Hits) == s.limit || s.bytes <= 0 || s.text <= 0 {
		return true
	}
	if s.looks > 0 {
		return false
	}
	s.looks = store.MaxChunk
	return time.Now().After(s.end)
}
