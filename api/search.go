package api

import (
	"cmp"
	"encoding/base64"
	"encoding/json"
	"errors"
	"net/http"
	"time"

	"github.com/piper-build/piper/runtime/logs"
	"github.com/piper-build/piper/runtime/store"
)

// What is looked at for one page of a search over builds: whichever is reached
// first ends it.
const (
	searchTime  = 2 * time.Second
	searchBytes = 64 << 20
	searchPage  = 20 // builds that are listed at once
)

// A searchPlace is where a search over builds goes on.
type searchPlace struct {
	Page   string `json:"page,omitempty"`   // the store's cursor of the page that the build is on
	Number int64  `json:"number,omitempty"` // of the build; 0 is the first on the page
	Step   string `json:"step,omitempty"`   // "" is the first
	Line   int64  `json:"line,omitempty"`
}

func (p searchPlace) String() string { return base64.RawURLEncoding.EncodeToString(encode(p)) }

func (c *call) searchPlace() (p searchPlace, err error) {
	text := c.query.Get("cursor")
	if text == "" {
		return p, nil
	}
	data, err := base64.RawURLEncoding.DecodeString(text)
	if err == nil {
		err = json.Unmarshal(data, &p)
	}
	if err != nil || p.String() != text {
		return p, problem(http.StatusBadRequest, "bad-cursor", "it is none that a search gave")
	}
	return p, nil
}

// A searching is one page of a search over builds.
type searching struct {
	*call
	find  func([]byte) [][2]int
	step  string // "" is every one
	limit int
	found FoundLogs

	end   time.Time
	looks int // bytes until the clock is looked at
	bytes int // that may still be read
	text  int // bytes of hits that may still be given
}

func (c *call) searchLogs() (*answer, error) {
	q, limit, err := c.searchQuery()
	switch {
	case err != nil:
		return nil, err
	case q.Errors:
		return nil, badField("errors", "are looked for in one build")
	}
	f := store.Filter{Project: c.query.Get("project"), Pipeline: c.query.Get("pipeline")}
	switch {
	case f.Pipeline != "" && f.Project == "":
		return nil, badField("pipeline", "needs project too")
	case f.Project != "" && !c.sees(f.Project):
		return nil, c.noProject(f.Project)
	}
	var since time.Time
	if text := c.query.Get("since"); text != "" {
		if since, err = time.Parse(time.RFC3339, text); err != nil {
			return nil, badField("since", quote(text)+" is no time such as 2026-03-01T12:00:00Z")
		}
	}
	at, err := c.searchPlace()
	if err != nil {
		return nil, err
	}
	s := &searching{call: c, step: c.query.Get("step"), limit: limit, end: time.Now().Add(searchTime), bytes: searchBytes, text: maxText}
	if s.find, err = q.Compile(); err != nil {
		return nil, err
	}
	s.found.Hits = []BuildMatch{}
	more, err := s.run(f, since, &at)
	if err != nil {
		return nil, err
	}
	a := &answer{value: s.found}
	if more {
		c.next(a, at.String())
	}
	return a, nil
}

// run searches builds from a place on. more is that the page is full, and the
// place is where the next one begins.
func (s *searching) run(f store.Filter, since time.Time, at *searchPlace) (more bool, err error) {
	for {
		page, next, err := s.Store.List(s.ctx, f, at.Page, searchPage)
		if err != nil {
			return false, err
		}
		recent := false
		for i := range page {
			b := &page[i]
			if b.Created.Before(since) {
				continue
			}
			recent = true
			if at.Number > 0 && b.Number > at.Number || !s.sees(b.Request.Project) {
				continue
			}
			if b.Number != at.Number {
				at.Number, at.Step, at.Line = b.Number, "", 0
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
		*at = searchPlace{Page: next}
		if s.full() || time.Now().After(s.end) { // also of builds that may not be seen
			return true, nil
		}
	}
}

// build searches what one build wrote.
func (s *searching) build(b *store.Build, at *searchPlace) (more bool, err error) {
	if at.Step == "" { // else it was counted when the page before this one ended in it
		s.found.Builds++
	}
	s.looks = 0
	f, err := s.fold(b)
	switch {
	case errors.Is(err, store.ErrNotFound), err == nil && f == nil:
		return false, nil // it is being deleted, or was not planned
	case err != nil:
		return false, err
	}
	reader := logs.NewReader(s.Store, b.ID, f.fence)
	for i, name := range f.Build.Plan().NodeNames() {
		attempt := f.Node(i).Attempt
		if attempt == 0 || f.Build.Plan().Nodes[i].Step == nil || s.step != "" && s.step != name || at.Step != "" && at.Step != name {
			continue
		}
		from := at.Line
		at.Step, at.Line = "", 0
		s.looks = 0
		for line, err := range reader.Lines(s.ctx, name, attempt, from, 0) {
			if err != nil {
				return false, err
			}
			if line.Offset == 0 && line.Cut == 0 && s.full() { // between lines
				at.Step, at.Line = name, line.Number
				return true, nil
			}
			if spans := s.look(line); len(spans) > 0 && len(s.found.Hits) < s.limit {
				m := matchOf(output{step: name, attempt: attempt}, logs.Match{Line: line, Spans: spans})
				s.found.Hits = append(s.found.Hits, BuildMatch{Build: b.ID, BuildNumber: b.Number, Project: b.Request.Project, Pipeline: cmp.Or(b.Request.Pipeline, f.plan.Pipeline), Match: m})
				s.text -= len(m.Text)
			}
		}
	}
	return false, nil
}

// look finds what is looked for in a line, or a piece of one, and counts.
func (s *searching) look(line logs.Line) [][2]int {
	size := len(line.Text) + 1
	s.bytes -= size
	s.looks -= size
	if line.Cut > 0 {
		return nil
	}
	if line.Offset == 0 {
		s.found.Lines++
	}
	spans := s.find(line.Text)
	s.found.Matches += int64(len(spans))
	return spans
}

// full reports whether the page ends here. One that has looked at nothing never
// does, however long that took.
func (s *searching) full() bool {
	if s.found.Lines == 0 && s.found.Builds <= 1 {
		return false
	}
	if len(s.found.Hits) == s.limit || s.bytes <= 0 || s.text <= 0 {
		return true
	}
	if s.looks > 0 {
		return false
	}
	s.looks = store.MaxChunk
	return time.Now().After(s.end)
}
