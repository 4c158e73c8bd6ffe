package elastic_test

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"log"
	"math/rand/v2"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/piper-build/piper/runtime/build"
	"github.com/piper-build/piper/runtime/logs"
	"github.com/piper-build/piper/runtime/logs/elastic"
	"github.com/piper-build/piper/runtime/logs/elastic/elastictest"
	"github.com/piper-build/piper/runtime/store"
)

var at = time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)

var output = logs.Output{Build: "b", Number: 7, Project: "shop", Pipeline: "build", Created: at, Fence: 1, Node: "unit", Attempt: 1}

// some are lines of an output, from a number on.
func some(first, n int) []logs.Line {
	lines := make([]logs.Line, n)
	for i := range lines {
		number := int64(first + i)
		lines[i] = logs.Line{Number: number, Begin: 20 * number, Arrival: at, Text: fmt.Appendf(nil, "line %013d.", number), Newline: true}
	}
	return lines
}

// request asks the server for what the package does not.
func request(t testing.TB, method, url, body string) string {
	t.Helper()
	r, err := http.NewRequestWithContext(t.Context(), method, url, strings.NewReader(body))
	require.NoError(t, err)
	r.Header.Set("Content-Type", "application/json")
	a, err := http.DefaultClient.Do(r)
	require.NoError(t, err)
	defer a.Body.Close()
	text, err := io.ReadAll(a.Body)
	require.NoError(t, err)
	require.Less(t, a.StatusCode, 300, "%s", text)
	return string(text)
}

// once expects the index to have each line of output up to n, and no line twice.
func once(t testing.TB, x *elastic.Index, n int) {
	t.Helper()
	// The shard of a stream that is new may have moved, or be starting again.
	require.Eventually(t, func() bool {
		return x.Refresh(t.Context()) == nil && x.Look(t.Context()) == nil && x.Health().Error == ""
	}, time.Minute, 10*time.Millisecond)
	got := map[int64]int{}
	total := int64(0)
	for cursor := ""; ; {
		page, err := x.Search(t.Context(), logs.Wide{Query: logs.Query{Text: "line "}}, cursor, 1000)
		require.NoError(t, err)
		total = page.Total
		for _, h := range page.Hits {
			require.Equal(t, fmt.Sprintf("line %013d.", h.Line.Number), string(h.Text))
			got[h.Line.Number]++
		}
		if cursor = page.Next; cursor == "" {
			break
		}
	}
	var missing, twice []int
	for number := 1; number <= n; number++ {
		switch got[int64(number)] {
		case 0:
			missing = append(missing, number)
		case 1:
		default:
			twice = append(twice, number)
		}
	}
	require.Empty(t, missing)
	require.Empty(t, twice)
	require.Equal(t, int64(n), total)
	require.Len(t, got, n)
}

// A stream goes on to another index now and then, and IDs hold within one.
func TestNoLineTwiceAcrossARollover(t *testing.T) {
	url := elastictest.URL(t)
	a := elastictest.Address(t, url)
	x := elastictest.Open(t, a)
	require.NoError(t, x.Append(t.Context(), output, some(1, 100), logs.Position{}))
	request(t, "POST", url+"/"+a.Stream+"/_rollover", "")
	had, err := x.Position(t.Context(), output)
	require.NoError(t, err)
	require.Equal(t, logs.Position{Number: 100, Begin: 2000}, had)
	require.NoError(t, x.Append(t.Context(), output, some(51, 100), had))
	once(t, x, 150)
	require.NoError(t, x.Finish(t.Context(), store.Build{ID: "b"}, 1))
	whole, err := x.Finished(t.Context(), []build.ID{"b", "c"})
	require.NoError(t, err)
	for end := time.Now().Add(time.Minute); !whole["b"] && time.Now().Before(end); { // it is found a little later
		whole, err = x.Finished(t.Context(), []build.ID{"b", "c"})
		require.NoError(t, err)
	}
	require.Equal(t, map[build.ID]bool{"b": true}, whole)
	require.NoError(t, x.Delete(t.Context(), "b"))
	require.NoError(t, x.Refresh(t.Context()))
	once(t, x, 0)
}

// A fault is what a proxy does to a bulk.
type fault int

const (
	none      fault = iota
	busy            // 429
	broken          // 503
	gateway         // 502, after it was done
	silent          // the connection ends after it was done
	cut             // the answer ends in its midst
	someBusy        // some items are done, the others are 429
	odd             // an answer that tells of fewer items
	tooLarge        // 413, for more than 50 documents
	locked          // 403
	faultKind       // how many there are
)

// A proxy stands before a server, and has its bulks fail.
type proxy struct {
	*httptest.Server
	mu     sync.Mutex
	faults func() fault
	others func() bool // whether anything but a bulk fails; nil never does
}

func newProxy(t testing.TB, to string, faults func() fault) *proxy {
	target, err := url.Parse(to)
	require.NoError(t, err)
	p := &proxy{faults: faults}
	forward := httputil.NewSingleHostReverseProxy(target)
	forward.ErrorLog = log.New(io.Discard, "", 0)
	p.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		bulk := strings.HasSuffix(r.URL.Path, "/_bulk")
		if !bulk && p.others == nil {
			forward.ServeHTTP(w, r)
			return
		}
		p.mu.Lock()
		if !bulk {
			broken := p.others()
			p.mu.Unlock()
			if broken {
				http.Error(w, `{"status":503}`, http.StatusServiceUnavailable)
			} else {
				forward.ServeHTTP(w, r)
			}
			return
		}
		f := p.faults()
		p.mu.Unlock()
		p.bulk(w, r, forward, f)
	}))
	t.Cleanup(p.Close)
	return p
}

func (p *proxy) bulk(w http.ResponseWriter, r *http.Request, forward http.Handler, f fault) {
	body, err := io.ReadAll(r.Body)
	if err != nil {
		return
	}
	pairs := bytes.SplitAfter(body, []byte("\n"))
	pairs = pairs[:len(pairs)-1]
	done := func(lines [][]byte) *httptest.ResponseRecorder {
		r := r.Clone(r.Context())
		r.Header.Set("Accept-Encoding", "identity") // the answer is looked into
		sent := bytes.Join(lines, nil)
		r.Body, r.ContentLength = io.NopCloser(bytes.NewReader(sent)), int64(len(sent))
		answer := httptest.NewRecorder()
		forward.ServeHTTP(answer, r)
		return answer
	}
	copyOf := func(a *httptest.ResponseRecorder, body []byte) {
		w.Header().Set("Content-Type", "application/json")
		w.WriteHeader(a.Code)
		w.Write(body)
	}
	switch f {
	case busy:
		http.Error(w, `{"error":{"type":"es_rejected_execution_exception","reason":"busy"},"status":429}`, http.StatusTooManyRequests)
	case broken:
		http.Error(w, `{"status":503}`, http.StatusServiceUnavailable)
	case locked:
		http.Error(w, `{"error":{"type":"cluster_block_exception","reason":"read-only"}}`, http.StatusForbidden)
	case gateway:
		done(pairs)
		http.Error(w, "bad gateway", http.StatusBadGateway)
	case silent:
		done(pairs)
		panic(http.ErrAbortHandler)
	case cut:
		a := done(pairs)
		copyOf(a, a.Body.Bytes()[:a.Body.Len()/2])
	case odd:
		copyOf(done(pairs), []byte(`{"items":[{"create":{"status":201}}]}`))
	case tooLarge:
		if len(pairs) > 100 {
			http.Error(w, "", http.StatusRequestEntityTooLarge)
			return
		}
		a := done(pairs)
		copyOf(a, a.Body.Bytes())
	case someBusy:
		var kept [][]byte
		for i := 0; i < len(pairs); i += 4 {
			kept = append(kept, pairs[i], pairs[i+1])
		}
		a := done(kept)
		var answer struct {
			Items []json.RawMessage `json:"items"`
		}
		if json.Unmarshal(a.Body.Bytes(), &answer) != nil || a.Code != 200 {
			copyOf(a, a.Body.Bytes())
			return
		}
		var items []json.RawMessage
		for i := 0; i < len(pairs)/2; i++ {
			if i%2 == 0 {
				items = append(items, answer.Items[i/2])
			} else {
				items = append(items, json.RawMessage(`{"create":{"status":429,"error":{"type":"es_rejected_execution_exception","reason":"busy"}}}`))
			}
		}
		text, _ := json.Marshal(map[string]any{"items": items})
		copyOf(a, text)
	default:
		a := done(pairs)
		copyOf(a, a.Body.Bytes())
	}
}

// Whatever goes wrong with a bulk, each line is there once in the end.
func TestEachLineOnceWhateverFails(t *testing.T) {
	server := elastictest.URL(t)
	for f := busy; f < faultKind; f++ {
		t.Run(fmt.Sprint("fault ", int(f)), func(t *testing.T) {
			n := 0
			p := newProxy(t, server, func() fault {
				if n++; n%2 == 1 || f == tooLarge {
					return f
				}
				return none
			})
			x := elastictest.Open(t, elastictest.Address(t, p.URL))
			require.NoError(t, x.Append(t.Context(), output, some(1, 300), logs.Position{}))
			switch h := x.Health(); f {
			case tooLarge:
			case busy, broken, locked, someBusy:
				require.NotZero(t, h.Retried)
			default:
				require.NotZero(t, h.Had)
			}
			require.Equal(t, int64(300), x.Health().Sent+x.Health().Had)
			once(t, x, 300)
		})
	}
	t.Run("at random", func(t *testing.T) {
		seed := rand.Uint64()
		t.Logf("seed %d", seed)
		r := rand.New(rand.NewPCG(seed, 1))
		p := newProxy(t, server, func() fault { return fault(r.IntN(2)) * fault(r.IntN(int(faultKind))) })
		a := elastictest.Address(t, p.URL)
		var calm atomic.Bool
		p.others = func() bool { return !calm.Load() && r.IntN(3) == 0 }
		x := elastictest.Open(t, a)
		s := store.NewMemory()
		lines := 25_000
		b := written(t, s, lines)
		// Now and then whoever ships is killed, and another one goes on.
		for tries := 0; ; tries++ {
			ctx, cancel := context.WithTimeout(t.Context(), time.Duration(200+r.IntN(2000))*time.Millisecond)
			if tries > 20 {
				ctx = t.Context()
			}
			err := logs.ShipBuild(ctx, s, x, b)
			killed := ctx.Err() != nil
			cancel()
			if err == nil {
				break
			}
			if !killed { // then it may be the store that was asked
				require.ErrorIs(t, err, logs.ErrAway)
			}
		}
		calm.Store(true)
		require.Eventually(t, func() bool { return x.Health().Error == "" }, time.Minute, 10*time.Millisecond)
		once(t, x, lines)
	})
}

// written is a build that ended, whose one step wrote lines.
func written(t testing.TB, s store.Store, lines int) store.Build {
	t.Helper()
	ctx := t.Context()
	b, err := s.Enqueue(ctx, store.NewBuild("b", 7, store.Request{Project: "shop", Pipeline: "build"}, at))
	require.NoError(t, err)
	for _, c := range []store.Change{
		store.Claim{Agent: "a", Nonce: "n", Max: 3, At: at}, store.Planned{Agent: "a", Fence: 1, Plan: "sha256:x", Total: 1},
		store.Complete{Agent: "a", Fence: 1, State: build.Success, At: at},
	} {
		b, err = s.Change(ctx, b.ID, c)
		require.NoError(t, err)
	}
	require.NoError(t, s.AppendEvents(ctx, store.EventKey{Build: b.ID, Fence: 1, Seq: 1}, []build.Event{{Seq: 1, Kind: build.AttemptStarted, Node: "unit", Attempt: 1}}))
	key := store.ChunkKey{Build: b.ID, Fence: 1, Node: "unit", Attempt: 1}
	for number := 1; number <= lines; key.Seq++ {
		c := store.Chunk{Key: key, Line: int64(number - 1), Offset: int64(20 * (number - 1)), Times: []store.Stamp{{At: at}}}
		for ; len(c.Data) < 60_000 && number <= lines; number++ {
			c.Data = fmt.Appendf(c.Data, "line %013d.\n", number)
			c.Lines++
		}
		require.NoError(t, s.AppendChunks(ctx, []store.Chunk{c}))
	}
	return b
}

// What does not fit a mapping is kept beside the stream, and all else goes on.
func TestDeadLetters(t *testing.T) {
	url := elastictest.URL(t)
	a := elastictest.Address(t, url)
	request(t, "PUT", url+"/_index_template/odd-"+a.Stream, `{"index_patterns":["`+a.Stream+`"],"priority":900,"data_stream":{},
		"template":{"settings":{"number_of_replicas":0},"mappings":{"properties":{"step":{"type":"keyword"},"begin":{"type":"byte"}}}}}`)
	x := elastictest.Open(t, a)
	letters, total, err := x.DeadLetters(t.Context(), 10)
	require.NoError(t, err)
	require.Zero(t, total)
	require.Empty(t, letters)
	lines := some(1, 10) // those that begin at 128 or later do not fit
	require.NoError(t, x.Append(t.Context(), output, lines, logs.Position{}))
	require.NoError(t, x.Append(t.Context(), output, lines, logs.Position{}), "those, too, are there once")
	request(t, "POST", url+"/"+a.Stream+"*/_refresh", "")
	letters, total, err = x.DeadLetters(t.Context(), 2)
	require.NoError(t, err)
	require.Equal(t, int64(4), total)
	require.Len(t, letters, 2)
	require.Contains(t, letters[0].Reason, "byte")
	require.Contains(t, string(letters[0].Line), `"text":"line 00000000000`)
	require.Equal(t, int64(8), x.Health().Dead, "as often as they were sent")
	require.Equal(t, int64(6), x.Health().Sent)
	require.Empty(t, x.Health().Error, "it works")
	require.NoError(t, x.Delete(t.Context(), output.Build))
	request(t, "POST", url+"/"+a.Stream+"*/_refresh", "")
	_, total, err = x.DeadLetters(t.Context(), 2)
	require.NoError(t, err)
	require.Zero(t, total)
}

// Nor is a dead letter lost when those beside it, or it itself, have to wait.
func TestDeadLettersAmongOthers(t *testing.T) {
	server := elastictest.URL(t)
	n := 0
	p := newProxy(t, server, func() fault { n++; return []fault{none, someBusy, none, busy, silent}[n%5] })
	a := elastictest.Address(t, p.URL)
	request(t, "PUT", server+"/_index_template/odd-"+a.Stream, `{"index_patterns":["`+a.Stream+`"],"priority":900,"data_stream":{},
		"template":{"settings":{"number_of_replicas":0},"mappings":{"properties":{"begin":{"type":"byte"}}}}}`)
	x := elastictest.Open(t, a)
	require.NoError(t, x.Append(t.Context(), output, some(1, 10), logs.Position{}))
	request(t, "POST", server+"/"+a.Stream+"*/_refresh", "")
	_, total, err := x.DeadLetters(t.Context(), 1)
	require.NoError(t, err)
	require.Equal(t, int64(4), total)
	var count struct{ Count int }
	require.NoError(t, json.Unmarshal([]byte(request(t, "GET", server+"/"+a.Stream+"/_count", "")), &count))
	require.Equal(t, 6, count.Count)
}

// A node that is down is passed over.
func TestOneOfSeveralNodesIsDown(t *testing.T) {
	server := elastictest.URL(t)
	down := httptest.NewServer(nil)
	down.Close()
	a := elastictest.Address(t, down.URL+","+strings.TrimPrefix(server, "http://"))
	x := elastictest.Open(t, a)
	require.NoError(t, x.Append(t.Context(), output, some(1, 10), logs.Position{}))
	require.Eventually(t, func() bool { return x.Health().Error == "" }, time.Minute, 10*time.Millisecond)
	once(t, x, 10)
}
