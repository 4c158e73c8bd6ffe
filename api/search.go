package api

import (
	"errors"
	"fmt"
	"net/http"
	"strconv"
	"time"

	"github.com/piper-build/piper/runtime/build"
	"github.com/piper-build/piper/runtime/logs"
	"github.com/piper-build/piper/runtime/store"
)

func (c *call) searchLogs() (*answer, error) {
	q, limit, err := c.wideQuery()
	if err != nil {
		return nil, err
	}
	found, next, err := c.findLines(q, c.query.Get("cursor"), limit)
	switch {
	case errors.Is(err, store.ErrCursor):
		return nil, problem(http.StatusBadRequest, "bad-cursor", "it is none that a search gave")
	case err != nil:
		return nil, err
	}
	a := &answer{value: found}
	if next != "" {
		c.next(a, next)
	}
	return a, nil
}

// wideQuery reads what is to be looked for in all builds.
func (c *call) wideQuery() (w logs.Wide, limit int, err error) {
	w.Query, limit, err = c.searchQuery()
	switch {
	case err != nil:
		return w, 0, err
	case w.Errors:
		return w, 0, badField("errors", "are looked for in one build")
	}
	w.Project, w.Pipeline, w.Step = c.query.Get("project"), c.query.Get("pipeline"), c.query.Get("step")
	switch {
	case w.Pipeline != "" && w.Project == "":
		return w, 0, badField("pipeline", "needs project too")
	case w.Project != "" && !c.sees(w.Project):
		return w, 0, c.noProject(w.Project)
	}
	if len(c.token.Projects) > 0 {
		w.Sees = c.sees
	}
	for name, t := range map[string]*time.Time{"since": &w.Since, "until": &w.Until} {
		text := c.query.Get(name)
		if text == "" {
			continue
		}
		if *t, err = time.Parse(time.RFC3339, text); err != nil {
			return w, 0, badField(name, quote(text)+" is no time such as 2026-03-01T12:00:00Z")
		}
	}
	return w, limit, nil
}

// A cursor begins with who gave it: whoever goes on asks the same one.
const (
	fromIndex = "i"
	fromStore = "s"
)

// findLines asks the index, if there is one, and else, or where that cannot tell, the
// store. A page after the first is found where the one before it was.
func (c *call) findLines(q logs.Wide, cursor string, limit int) (found FoundLogs, next string, err error) {
	from, rest := "", ""
	if cursor != "" {
		from, rest = cursor[:1], cursor[1:]
		if from != fromIndex && from != fromStore || rest == "" || from == fromIndex && c.Index == nil {
			return found, "", store.ErrCursor
		}
	}
	if c.Index != nil && from != fromStore {
		page, err := c.Index.Search(c.ctx, q, rest, limit)
		if err == nil {
			found = foundOf(page)
			found.Index = c.Index.Health().Name
			if page.Total >= 0 {
				found.Total = &page.Total
			}
			return found, begun(fromIndex, page.Next), nil
		}
		left := errors.Is(err, logs.ErrAway) || errors.Is(err, logs.ErrQuery)
		switch {
		case !left || c.ctx.Err() != nil:
			return found, "", err
		case from == fromIndex:
			return found, "", problem(http.StatusServiceUnavailable, "index-away", "the pages before were found elsewhere: begin the search anew, or try again later ("+err.Error()+")")
		}
		found.FellBack = err.Error()
	}
	page, err := logs.Scan{Builds: c.Store, History: &c.past, Logs: c.Store}.Search(c.ctx, q, rest, limit)
	if err != nil {
		return found, "", err
	}
	why := found.FellBack
	found = foundOf(page)
	found.FellBack = why
	return found, begun(fromStore, page.Next), nil
}

func begun(by, cursor string) string {
	if cursor == "" {
		return ""
	}
	return by + cursor
}

func foundOf(page logs.Page) FoundLogs {
	found := FoundLogs{Builds: page.Builds, Lines: page.Lines, Matches: page.Matches, Hits: []BuildMatch{}}
	for _, h := range page.Hits {
		m := matchOf(output{step: h.Node, attempt: h.Attempt}, h.Match)
		found.Hits = append(found.Hits, BuildMatch{Build: h.Output.Build, BuildNumber: h.Output.Number, Project: h.Project, Pipeline: h.Pipeline, Fence: h.Fence, Match: m})
	}
	return found
}

// awayNotice says that the index is away, if so, to who reads what the store has.
func (c *call) awayNotice() string {
	if c.Index == nil {
		return ""
	}
	h := c.Index.Health()
	if h.Error == "" {
		return ""
	}
	return fmt.Sprintf("%s is away since %s; this is from the store, which has all of it", h.Name, h.Since.UTC().Format(time.RFC3339))
}

const (
	behindOf    = 100 // builds are looked at for how far the index is behind
	mostLetters = 100
)

// showIndex is how the index of logs does.
func (c *call) showIndex() (*answer, error) {
	if c.Index == nil {
		return nil, problem(http.StatusNotFound, "no-index", "there is no index of logs here: piper agentd --logs names one")
	}
	i, err := c.index()
	if err != nil {
		return nil, err
	}
	letters, total, err := c.Index.DeadLetters(c.ctx, mostLetters)
	if err == nil {
		i.DeadLetters = &total
	} else if !errors.Is(err, logs.ErrAway) {
		return nil, err
	}
	for _, l := range letters {
		i.Letters = append(i.Letters, DeadLetter{Time: l.Time, Reason: l.Reason, Line: l.Line})
	}
	return ok(i)
}

// index is how the index does, and how far it is behind, if that can be known.
func (c *call) index() (i LogIndex, err error) {
	h := c.Index.Health()
	i = LogIndex{Name: h.Name, Away: h.Error, Since: h.Since, Sent: h.Sent, Had: h.Had, Retried: h.Retried, Refused: h.Dead}
	if h.Error != "" {
		return i, nil
	}
	page, _, err := c.Store.List(c.ctx, store.Filter{}, "", behindOf)
	if err != nil {
		return i, err
	}
	var ended []build.ID
	for n := range page {
		b := &page[n]
		if keeps := c.Index.Keeps(); b.Terminal() && b.Plan != "" && (keeps == 0 || c.now().Sub(b.Ended) < keeps) {
			ended = append(ended, b.ID)
		}
	}
	whole, err := c.Index.Finished(c.ctx, ended)
	switch {
	case errors.Is(err, logs.ErrAway):
		i.Away = err.Error()
	case err != nil:
		return i, err
	default:
		behind := len(ended) - len(whole)
		i.Behind = &behind
	}
	return i, nil
}

// indexMetrics tells them of the index.
func (c *call) indexMetrics(gauge, counter func(name, help string, value any)) error {
	if c.Index == nil {
		return nil
	}
	i, err := c.index()
	if err != nil {
		return err
	}
	up := 1
	if i.Away != "" {
		up = 0
	}
	gauge("piper_log_index_up", "Whether the index of logs answers.", up)
	if i.Behind != nil {
		gauge("piper_log_index_behind_builds", "Of the newest "+strconv.Itoa(behindOf)+" builds that ended, those that it has not all of.", *i.Behind)
	}
	if _, total, err := c.Index.DeadLetters(c.ctx, 1); err == nil {
		gauge("piper_log_index_dead_letters", "Lines that it refused, and that are kept beside it.", total)
	}
	counter("piper_log_index_lines_total", "Lines that it acknowledged to this process.", i.Sent)
	counter("piper_log_index_had_total", "Lines that it had already.", i.Had)
	counter("piper_log_index_retried_total", "Lines that were sent to it again.", i.Retried)
	counter("piper_log_index_refused_total", "Lines of this process that it refused.", i.Refused)
	return nil
}
