package elastic

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math/rand/v2"
	"net/http"
	"slices"
	"time"

	"github.com/elastic/go-elasticsearch/v8/esapi"

	"github.com/piper-build/piper/runtime/logs"
)

// What is sent at once, and how.
const (
	bulkDocuments = 5_000
	bulkBytes     = 2 << 20
	bulkAtOnce    = 2                // of one Append
	bulkTime      = 20 * time.Second // for the server to find room for it
	longestPause  = 30 * time.Second
)

// Append implements logs.Index.
func (x *Index) Append(ctx context.Context, o logs.Output, lines []logs.Line, had logs.Position) error {
	if err := x.persist(ctx, func() error { return x.prepare(ctx) }); err != nil {
		return err
	}
	w := newWriter(&o)
	sends := 0
	sent := make(chan error, bulkAtOnce)
	var failed error
	wait := func() {
		failed = errors.Join(failed, <-sent)
		sends--
	}
	for len(lines) > 0 && failed == nil {
		var documents []document
		doubt := false
		for size := 0; len(lines) > 0 && len(documents) < bulkDocuments && size < bulkBytes; lines = lines[1:] {
			d := w.document(&lines[0])
			documents = append(documents, d)
			size += len(d.body)
			doubt = doubt || had.Covers(lines[0])
		}
		if sends == bulkAtOnce {
			wait()
		}
		sends++
		go func() { sent <- x.deliver(ctx, documents, doubt) }()
	}
	for sends > 0 {
		wait()
	}
	return failed
}

// persist does what do does until that goes well, or ctx is done.
func (x *Index) persist(ctx context.Context, do func() error) error {
	for try := 0; ; try++ {
		err := do()
		if ctx.Err() == nil {
			x.saw(&x.stuck, err)
		}
		if err == nil {
			return nil
		}
		if !x.rest(ctx, try) {
			return fmt.Errorf("%w: %w", logs.ErrAway, err)
		}
	}
}

// rest waits before the next try: twice as long each time, and no two writers the
// same. It reports whether ctx was not done before.
func (x *Index) rest(ctx context.Context, try int) bool {
	d := min(x.o.pause<<min(try, 20), longestPause)
	timer := time.NewTimer(d/2 + rand.N(d/2+1))
	defer timer.Stop()
	select {
	case <-ctx.Done():
		return false
	case <-timer.C:
		return true
	}
}

// deliver sends documents until each of them is there, or among the dead letters.
// In doubt some of them may be there.
func (x *Index) deliver(ctx context.Context, documents []document, doubt bool) error {
	tried := false
	return x.persist(ctx, func() (err error) {
		if doubt {
			lacking, err := x.lacking(ctx, documents)
			if err != nil {
				return err
			}
			x.count(0, len(documents)-len(lacking), 0, 0)
			documents, doubt = lacking, false
		}
		if len(documents) == 0 {
			return nil
		}
		if tried {
			x.count(0, 0, len(documents), 0)
		}
		tried = true
		r, err := x.bulk(ctx, x.address.Stream, "create", documents)
		documents, doubt = r.left, r.doubt
		if len(r.dead) > 0 {
			if failed := x.bury(ctx, r.dead); failed != nil { // there is no time left
				for _, l := range r.dead {
					documents = append(documents, l.document)
				}
				err = errors.Join(err, failed)
			}
		}
		return err
	})
}

// A result is what became of a bulk.
type result struct {
	left  []document // to be sent again
	doubt bool       // some of these may be there
	dead  []letter
}

// A letter is a document that is refused.
type letter struct {
	document
	why cause
}

// An item is what became of one document.
type item struct {
	Status int    `json:"status"`
	Error  *cause `json:"error"`
}

// bulk sends documents once. The error is why some are left.
func (x *Index) bulk(ctx context.Context, to, verb string, documents []document) (r result, err error) {
	var body bytes.Buffer
	for _, d := range documents {
		fmt.Fprintf(&body, "{%q:{\"_id\":%q}}\n", verb, d.id)
		body.Write(d.body)
		body.WriteByte('\n')
	}
	var answer struct {
		Items []map[string]item `json:"items"`
	}
	err = x.ask(ctx, esapi.BulkRequest{Index: to, Body: &body, Timeout: bulkTime, FilterPath: []string{"items.*.status", "items.*.error.type", "items.*.error.reason", "items.*.error.caused_by"}}, &answer)
	switch {
	case is(err, http.StatusRequestEntityTooLarge) && len(documents) > 1:
		half := len(documents) / 2
		first, err := x.bulk(ctx, to, verb, documents[:half])
		second, also := x.bulk(ctx, to, verb, documents[half:])
		return result{append(first.left, second.left...), first.doubt || second.doubt, append(first.dead, second.dead...)}, errors.Join(err, also)
	case is(err, http.StatusRequestEntityTooLarge):
		return result{dead: []letter{{documents[0], cause{Type: "too_large", Reason: err.Error()}}}}, nil
	case err != nil:
		var answered *refusal
		return result{left: documents, doubt: !errors.As(err, &answered) || answered.status >= 500}, err
	case len(answer.Items) != len(documents):
		return result{left: documents, doubt: true}, fmt.Errorf("%w: it tells of %d documents, and %d were sent", errUnanswered, len(answer.Items), len(documents))
	}
	sent, had := 0, 0
	for i, one := range answer.Items {
		it := one[verb]
		why := cause{}
		if it.Error != nil {
			why = *it.Error
		}
		switch {
		case it.Status >= 200 && it.Status < 300:
			sent++
		case it.Status == http.StatusConflict:
			had++
		case it.Status == http.StatusBadRequest, it.Status == http.StatusRequestEntityTooLarge:
			r.dead = append(r.dead, letter{documents[i], why})
		default: // it is too busy, full, locked, or not in its right mind
			r.left = append(r.left, documents[i])
			r.doubt = r.doubt || it.Status >= 500
			err = &refusal{it.Status, why}
		}
	}
	if to == x.address.Stream {
		x.count(sent, had, 0, 0)
	}
	return r, err
}

// bury puts documents among the dead letters, however long that takes.
func (x *Index) bury(ctx context.Context, letters []letter) error {
	dead := make([]document, len(letters))
	for i, l := range letters {
		var of struct {
			Build string `json:"build"`
		}
		err := json.Unmarshal(l.body, &of)
		if err == nil {
			dead[i].body, err = json.Marshal(object{"@timestamp": time.Now().UTC(), "reason": l.why.String(), "build": of.Build, "document": json.RawMessage(l.body)})
		}
		if err != nil {
			return fmt.Errorf("write a dead letter: %w", err) // no document is like that
		}
		dead[i].id = l.id
	}
	err := x.persist(ctx, func() error {
		r, err := x.bulk(ctx, x.dead(), "create", dead)
		dead = r.left
		for _, l := range r.dead {
			dead = append(dead, l.document)
			err = errors.Join(err, fmt.Errorf("a dead letter is refused, too: %s", l.why))
		}
		return err
	})
	if err == nil {
		x.count(0, 0, 0, len(letters))
	}
	return err
}

// lacking returns those documents that are in no index of the stream.
func (x *Index) lacking(ctx context.Context, documents []document) ([]document, error) {
	if err := x.Refresh(ctx); err != nil {
		return nil, err
	}
	ids := make([]string, len(documents))
	for i, d := range documents {
		ids[i] = d.id
	}
	there := map[string]bool{}
	for part := range slices.Chunk(ids, mostHits) {
		a, err := x.search(ctx, x.address.Stream, object{"size": mostHits, "_source": false, "query": object{"ids": object{"values": part}}, "track_total_hits": false})
		if err != nil {
			return nil, err
		}
		for _, h := range a.Hits.Hits {
			there[h.ID] = true
		}
	}
	return slices.DeleteFunc(slices.Clone(documents), func(d document) bool { return there[d.id] }), nil
}

// Refresh has all be found that was written.
func (x *Index) Refresh(ctx context.Context) error {
	return x.ask(ctx, esapi.IndicesRefreshRequest{Index: []string{x.address.Stream}, IgnoreUnavailable: esapi.BoolPtr(true)}, nil)
}
