package elastic

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"time"

	"github.com/elastic/go-elasticsearch/v8/esapi"

	"github.com/piper-build/piper/runtime/build"
	"github.com/piper-build/piper/runtime/logs"
	"github.com/piper-build/piper/runtime/store"
)

// mostHits is what a server gives at once by default (index.max_result_window).
const mostHits = 10_000

// The bounds of a page.
const (
	pageTime = 10 * time.Second
	pageText = 4 << 20
	pageHits = 500 // are read at once: a line may be long
)

// An answer is that to a search.
type answer struct {
	Hits struct {
		Total *struct {
			Value int64 `json:"value"`
		} `json:"total"`
		Hits []hit `json:"hits"`
	} `json:"hits"`
	Aggregations struct {
		Projects struct {
			Buckets []struct {
				Key string `json:"key"`
			} `json:"buckets"`
		} `json:"projects"`
	} `json:"aggregations"`
}

type hit struct {
	Index  string          `json:"_index"`
	ID     string          `json:"_id"`
	Source json.RawMessage `json:"_source"`
	Sort   []int64         `json:"sort"`
}

// search asks for what there is in all of an index. None is as good as an empty
// one.
func (x *Index) search(ctx context.Context, in string, query object) (a answer, err error) {
	all := false
	err = x.ask(ctx, esapi.SearchRequest{Index: []string{in}, Body: encode(query), AllowPartialSearchResults: &all, IgnoreUnavailable: esapi.BoolPtr(true)}, &a)
	if is(err, http.StatusNotFound) {
		return answer{}, nil
	}
	return a, err
}

// order is that of a Page.
var order = []object{{"number": "desc"}, {"order": "asc"}, {"begin": "asc"}}

// Search implements logs.Searcher. The error is logs.ErrQuery when the server
// cannot look for that, and logs.ErrAway when it does not answer.
func (x *Index) Search(ctx context.Context, q logs.Wide, cursor string, limit int) (page logs.Page, err error) {
	find, err := q.Compile()
	if err != nil {
		return page, err
	}
	after, err := parseCursor(cursor)
	if err != nil {
		return page, err
	}
	matches, exact, err := pattern(q.Query)
	if err != nil {
		return page, err
	}
	if h := x.Health(); x.isAway() {
		return page, fmt.Errorf("%w: %s", logs.ErrAway, h.Error)
	}
	ctx, cancel := context.WithTimeout(ctx, pageTime)
	defer cancel()
	began := time.Now()
	filter, err := x.filter(ctx, q)
	if err != nil {
		return page, failed(err)
	}
	query := object{"bool": object{"filter": append(filter, matches)}}
	page.Total, page.Hits = -1, []logs.Hit{}
	for text := 0; ; {
		size := min(max(limit-len(page.Hits), 1), pageHits)
		body := object{"size": size, "query": query, "sort": order, "track_total_hits": exact && page.Total < 0}
		if after != nil {
			body["search_after"] = after
		}
		a, err := x.search(ctx, x.address.Stream, body)
		if err != nil {
			return logs.Page{}, failed(err)
		}
		if exact && a.Hits.Total != nil {
			page.Total = a.Hits.Total.Value
		}
		for i := range a.Hits.Hits {
			h := &a.Hits.Hits[i]
			if text > pageText {
				page.Next = formatCursor(after)
				return page, nil
			}
			after = h.Sort
			found, err := h.match(find)
			if err != nil {
				return logs.Page{}, err
			}
			if len(found.Spans) == 0 {
				continue // the server does not look as closely
			}
			text += len(found.Text)
			page.Hits = append(page.Hits, found)
			page.Matches += int64(len(found.Spans))
		}
		switch {
		case len(a.Hits.Hits) < size:
			if exact && page.Total < 0 {
				page.Total = 0 // there is no stream yet
			}
			return page, nil
		case len(page.Hits) >= limit, time.Since(began) > pageTime/2:
			page.Next = formatCursor(after)
			return page, nil
		}
	}
}

// isAway reports whether it is of no use to ask.
func (x *Index) isAway() bool {
	x.mu.Lock()
	defer x.mu.Unlock()
	return x.away != ""
}

// failed is err as a Searcher says it.
func failed(err error) error {
	if is(err, http.StatusBadRequest) {
		return fmt.Errorf("%w: %w", logs.ErrQuery, err)
	}
	return fmt.Errorf("%w: %w", logs.ErrAway, err)
}

func (h *hit) match(find func([]byte) [][2]int) (found logs.Hit, err error) {
	var s source
	if err := json.Unmarshal(h.Source, &s); err != nil {
		return found, fmt.Errorf("read document %s: %w", h.ID, err)
	}
	line, err := s.line()
	if err != nil {
		return found, err
	}
	found.Output = s.output()
	found.Match = logs.Match{Line: line, Spans: find(line.Text)}
	return found, nil
}

// filter is what picks outputs.
func (x *Index) filter(ctx context.Context, q logs.Wide) (all []object, err error) {
	for field, value := range map[string]string{"project": q.Project, "pipeline": q.Pipeline, "step": q.Step, "build": string(q.Build)} {
		if value != "" {
			all = append(all, object{"term": object{field: value}})
		}
	}
	created := object{}
	if !q.Since.IsZero() {
		created["gte"] = q.Since.UTC()
	}
	if !q.Until.IsZero() {
		created["lt"] = q.Until.UTC()
	}
	if len(created) > 0 {
		all = append(all, object{"range": object{"created": created}})
	}
	if q.Sees == nil || q.Project != "" && q.Sees(q.Project) {
		return all, nil
	}
	// Who may see some projects only is shown those that there are.
	a, err := x.search(ctx, x.address.Stream, object{"size": 0, "track_total_hits": false,
		"aggs": object{"projects": object{"terms": object{"field": "project", "size": mostHits}}}})
	if err != nil {
		return nil, err
	}
	seen := []string{}
	for _, b := range a.Aggregations.Projects.Buckets {
		if q.Sees(b.Key) {
			seen = append(seen, b.Key)
		}
	}
	return append(all, object{"terms": object{"project": seen}}), nil
}

// A cursor is what the last line of a page is sorted by.

const cursorForm = "e" // before what other Searchers do not give

func formatCursor(after []int64) string {
	data, err := json.Marshal(after)
	if err != nil {
		panic(err) // they are numbers
	}
	return cursorForm + base64.RawURLEncoding.EncodeToString(data)
}

func parseCursor(text string) (after []int64, err error) {
	if text == "" {
		return nil, nil
	}
	rest, ok := strings.CutPrefix(text, cursorForm)
	data, err := base64.RawURLEncoding.DecodeString(rest)
	if err == nil {
		err = json.Unmarshal(data, &after)
	}
	if !ok || err != nil || len(after) != len(order) || formatCursor(after) != text {
		return nil, fmt.Errorf("search output: %w", store.ErrCursor)
	}
	return after, nil
}

// Position implements logs.Index.
func (x *Index) Position(ctx context.Context, o logs.Output) (p logs.Position, err error) {
	err = x.persist(ctx, func() error {
		if err := x.Refresh(ctx); err != nil {
			return err
		}
		a, err := x.search(ctx, x.address.Stream, object{"size": 1, "track_total_hits": false, "sort": []object{{"begin": "desc"}},
			"_source": []string{"line", "begin"}, "query": object{"bool": object{"filter": []object{
				{"term": object{"build": o.Build}}, {"term": object{"fence": o.Fence}}, {"term": object{"step": o.Node}}, {"term": object{"attempt": o.Attempt}},
			}}}})
		if err != nil || len(a.Hits.Hits) == 0 {
			return err
		}
		var s source
		if err := json.Unmarshal(a.Hits.Hits[0].Source, &s); err != nil {
			return err
		}
		p = logs.Position{Number: s.Line, Begin: s.Begin}
		return nil
	})
	return p, err
}

// Finished implements logs.Index.
func (x *Index) Finished(ctx context.Context, ids []build.ID) (map[build.ID]bool, error) {
	marks := map[string]build.ID{}
	list := []string{}
	for _, id := range ids {
		marks[mark(id)] = id
		list = append(list, mark(id))
	}
	a, err := x.search(ctx, x.address.Stream, object{"size": mostHits, "_source": false, "track_total_hits": false, "query": object{"ids": object{"values": list}}})
	if err != nil {
		return nil, fmt.Errorf("%w: %w", logs.ErrAway, err)
	}
	finished := map[build.ID]bool{}
	for _, h := range a.Hits.Hits {
		finished[marks[h.ID]] = true
	}
	return finished, nil
}

// Finish implements logs.Index.
func (x *Index) Finish(ctx context.Context, b store.Build, fence int64) error {
	if fence > 1 {
		err := x.drop(ctx, object{"bool": object{"filter": object{"term": object{"build": b.ID}}, "must_not": object{"term": object{"fence": fence}}}}, x.address.Stream)
		if err != nil {
			return err
		}
	}
	body, err := json.Marshal(object{"@timestamp": time.Now().UTC(), "build": b.ID, "project": b.Request.Project, "created": b.Created.UTC(), "fence": fence})
	if err != nil {
		return err
	}
	if err := x.persist(ctx, func() error { return x.prepare(ctx) }); err != nil {
		return err
	}
	return x.deliver(ctx, []document{{mark(b.ID), body}}, false)
}

// Delete implements logs.Index.
func (x *Index) Delete(ctx context.Context, id build.ID) error {
	of := object{"bool": object{"filter": object{"term": object{"build": id}}}}
	return errors.Join(x.drop(ctx, of, x.address.Stream), x.drop(ctx, of, x.dead()))
}

// DeadLetters implements logs.Index.
func (x *Index) DeadLetters(ctx context.Context, limit int) (letters []logs.DeadLetter, total int64, err error) {
	a, err := x.search(ctx, x.dead(), object{"size": limit, "sort": []object{{"@timestamp": "desc"}}, "track_total_hits": true})
	if err != nil {
		return nil, 0, fmt.Errorf("%w: %w", logs.ErrAway, err)
	}
	if a.Hits.Total != nil {
		total = a.Hits.Total.Value
	}
	for _, h := range a.Hits.Hits {
		var d struct {
			Time     time.Time       `json:"@timestamp"`
			Reason   string          `json:"reason"`
			Document json.RawMessage `json:"document"`
		}
		if err := json.Unmarshal(h.Source, &d); err != nil {
			return nil, 0, fmt.Errorf("read dead letter %s: %w", h.ID, err)
		}
		letters = append(letters, logs.DeadLetter{Time: d.Time, Reason: d.Reason, Line: d.Document})
	}
	return letters, total, nil
}
