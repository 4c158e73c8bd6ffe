package main

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"os"
	"slices"
	"time"

	"github.com/piper-build/piper/runtime/build"
	"github.com/piper-build/piper/runtime/logs"
	"github.com/piper-build/piper/runtime/logs/archive"
	"github.com/piper-build/piper/runtime/logs/elastic"
	"github.com/piper-build/piper/runtime/logs/elastic/elastictest"
)

// An index is the Elasticsearch to which all agents bring what builds write.
type index struct {
	address elastic.Address
	server  *elastictest.Server
	dir     string
	kills   int
}

// newIndex starts a server. It is not below the directory of the soak: it is none of
// the processes that have to end.
func newIndex() (x *index, err error) {
	x = &index{}
	if x.dir, err = os.MkdirTemp("", "piper-index-"); err != nil {
		return x, err
	}
	if x.server, err = elastictest.Start(x.dir, nil); err != nil {
		return x, err
	}
	x.address, err = elastic.ParseURL(elastic.Scheme + x.server.URL() + "/soak")
	return x, err
}

// end ends the server, and removes all that it had.
func (x *index) end() {
	if x.server != nil {
		x.server.End()
	}
	os.RemoveAll(x.dir)
	elastictest.Clean()
}

// suffer has the server be killed and started again, every so often, until ctx is
// done, and once at least. It runs then.
func (x *index) suffer(ctx context.Context, random *rand.Rand, every time.Duration) error {
	for {
		select {
		case <-time.After(every):
		case <-ctx.Done():
			if x.kills > 0 {
				return nil
			}
		}
		x.server.Kill()
		x.kills++
		select {
		case <-time.After(time.Duration(random.Int64N(int64(every / 3)))):
		case <-ctx.Done():
		}
		if err := x.server.Start(); err != nil {
			return err
		}
	}
}

// indexPatience is how long agents may take to bring something of what was left: that
// of an agent that died they look for every ten minutes.
const indexPatience = 12 * time.Minute

// judge looks whether the index has each line that the store has, once and in order.
func (x *index) judge(ctx context.Context, f *fleet, all []seen, p *promise) error {
	at, err := elastic.Open(x.address, elastic.Options{})
	if err != nil {
		return err
	}
	defer at.Close()
	var ids []build.ID
	want := map[build.ID][]string{}
	for i := range all {
		lines, planned, err := storedLines(ctx, f, all[i].ID)
		if err != nil {
			return err
		}
		if id := build.ID(all[i].ID); planned {
			ids = append(ids, id)
			want[id] = lines
		}
	}
	began := time.Now()
	for last, most := began, 0; ; time.Sleep(time.Second) {
		there, err := finished(ctx, at, ids)
		if err == nil && len(there) == len(ids) {
			break
		}
		if len(there) > most {
			last, most = time.Now(), len(there)
		}
		if time.Since(last) > indexPatience {
			p.breach("of %d builds the index has all of %d, and nothing comes for %s (%v)", len(ids), most, indexPatience, err)
			break
		}
	}
	fmt.Printf("soak: Elasticsearch was killed %d times, and was waited for for %s\n", x.kills, time.Since(began).Round(time.Second))
	if err := at.Refresh(ctx); err != nil {
		return err
	}
	docs, err := x.documents(ctx)
	if err != nil {
		return err
	}
	const each = 50 // of whose builds one is searched for, which takes a while
	for i := range all {
		id := build.ID(all[i].ID)
		p.looked += len(want[id])
		differ(p, &all[i], "of documents", want[id], linesOf(docs[id]))
		delete(docs, id)
		if i%each > 0 {
			continue
		}
		found, err := indexedLines(ctx, at, id)
		if err != nil {
			return err
		}
		differ(p, &all[i], "that are found", want[id], found)
	}
	for id, left := range docs {
		p.breach("the index has %d lines of build %s, which there is not", len(left), id)
	}
	_, dead, err := at.DeadLetters(ctx, 1)
	if dead > 0 {
		p.breach("the index refused %d lines", dead)
	}
	return err
}

// differ says where what the index has of a build is not what the store has.
func differ(p *promise, b *seen, what string, want, got []string) {
	for i := range max(len(got), len(want)) {
		if i >= len(got) || i >= len(want) || got[i] != want[i] {
			p.breach("of build %d the store has %d lines, the index %d %s, and they differ in number %d", b.Number, len(want), len(got), what, i+1)
			return
		}
	}
}

// finished asks for some builds at a time which of them the index has all of.
func finished(ctx context.Context, x *elastic.Index, ids []build.ID) (map[build.ID]bool, error) {
	all := map[build.ID]bool{}
	for len(ids) > 0 {
		n := min(len(ids), 100)
		some, err := x.Finished(ctx, ids[:n])
		if err != nil {
			return all, err
		}
		for id := range some {
			all[id] = true
		}
		ids = ids[n:]
	}
	return all, nil
}

func lineWords(step string, attempt int, line int64, text string) string {
	return fmt.Sprintf("%s %d %d %s", step, attempt, line, text)
}

// storedLines are those that the store has of a build, if that was planned.
func storedLines(ctx context.Context, f *fleet, id string) (lines []string, planned bool, err error) {
	var text []byte
	_, err = f.call(ctx, http.MethodGet, "/v1/builds/"+id+"/log/export", "", nil, &text)
	if errors.Is(err, errRefused) {
		return nil, false, nil
	}
	if err != nil {
		return nil, false, err
	}
	if _, _, err := archive.Check(ctx, bytes.NewReader(text)); err != nil {
		return nil, true, err
	}
	for record := range bytes.Lines(text) {
		var l archive.Line
		if err := json.Unmarshal(record, &l); err != nil {
			return nil, true, err
		}
		if l.Kind == "line" {
			lines = append(lines, lineWords(l.Step, l.Attempt, l.Line, string(l.Bytes())))
		}
	}
	return lines, true, nil
}

// A lineDocument is a document of a line.
type lineDocument struct {
	Build   build.ID
	Order   int
	Begin   int64
	Step    string
	Attempt int
	Line    int64
	Text    string // none of what is built here is anything but UTF-8
}

// linesOf are lines in the order that is written into them.
func linesOf(docs []lineDocument) (lines []string) {
	slices.SortFunc(docs, func(a, b lineDocument) int { return cmp.Or(a.Order-b.Order, cmp.Compare(a.Begin, b.Begin)) })
	for _, d := range docs {
		lines = append(lines, lineWords(d.Step, d.Attempt, d.Line, d.Text))
	}
	return lines
}

// documents reads all that Elasticsearch has of lines, past the index and its search.
func (x *index) documents(ctx context.Context) (all map[build.ID][]lineDocument, err error) {
	var pit struct{ ID string }
	if err := x.call(ctx, http.MethodPost, "/soak/_pit?keep_alive=5m", map[string]any{}, &pit); err != nil {
		return nil, err
	}
	all = map[build.ID][]lineDocument{}
	ask := map[string]any{"size": 10_000, "track_total_hits": false,
		"pit":   map[string]any{"id": pit.ID, "keep_alive": "5m"},
		"query": map[string]any{"exists": map[string]any{"field": "line"}},
		"sort":  "_shard_doc"}
	for {
		var page struct {
			Hits struct {
				Hits []struct {
					Source lineDocument    `json:"_source"`
					Sort   json.RawMessage `json:"sort"`
				}
			}
		}
		err := x.call(ctx, http.MethodPost, "/_search", ask, &page)
		if err != nil || len(page.Hits.Hits) == 0 {
			return all, err
		}
		for _, h := range page.Hits.Hits {
			all[h.Source.Build] = append(all[h.Source.Build], h.Source)
			ask["search_after"] = h.Sort
		}
	}
}

// call asks the server.
func (x *index) call(ctx context.Context, method, path string, body, answer any) error {
	data, err := json.Marshal(body)
	if err != nil {
		return err
	}
	r, err := http.NewRequestWithContext(ctx, method, x.server.URL()+path, bytes.NewReader(data))
	if err != nil {
		return err
	}
	r.Header.Set("Content-Type", "application/json")
	a, err := http.DefaultClient.Do(r)
	if err != nil {
		return err
	}
	defer a.Body.Close()
	if a.StatusCode != http.StatusOK {
		text, _ := io.ReadAll(io.LimitReader(a.Body, 1<<10))
		return fmt.Errorf("%s %s: %s: %s", method, path, a.Status, text)
	}
	return json.NewDecoder(a.Body).Decode(answer)
}

// indexedLines are those that the index has of a build, in its order. None of what
// is built here prints an empty one.
func indexedLines(ctx context.Context, x *elastic.Index, id build.ID) (lines []string, err error) {
	for cursor := ""; ; {
		page, err := x.Search(ctx, logs.Wide{Query: logs.Query{Regex: "."}, Build: id}, cursor, 1000)
		if err != nil {
			return nil, err
		}
		for _, h := range page.Hits {
			lines = append(lines, lineWords(h.Node, h.Attempt, h.Line.Number, string(h.Text)))
		}
		if cursor = page.Next; cursor == "" {
			return lines, nil
		}
	}
}
