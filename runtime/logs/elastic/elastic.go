// Package elastic is an index of logs in Elasticsearch 8: a data stream with a
// document for each line.
//
// A document has the bytes of its line exactly, and an ID that follows from where
// the line stands. It is created, never overwritten: when an answer is lost the
// same is sent again, and what was there already says so. That holds within one
// index of the stream, and a stream goes on to another one now and then; so what
// may be there from before is looked for in all of them first.
//
// What the server is too busy for, or has no room for, is sent again for as long
// as it takes, each item by itself. What it never would take, as a mapping of
// somebody else's does not fit, is kept whole in an index beside the stream, the
// dead letters.
//
// There is no queue but the store, which has all lines anyway: a few MiB of them
// are in memory, and how far an output has come is asked of the stream itself. So
// whoever goes on, here or elsewhere, needs nothing of whoever began.
package elastic

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"sync"
	"time"

	"github.com/elastic/elastic-transport-go/v8/elastictransport"
	"github.com/elastic/go-elasticsearch/v8/esapi"

	"github.com/piper-build/piper/runtime/logs"
)

// Options are how an index is opened.
type Options struct {
	Password string // of Address.User
	APIKey   string // in place of user and password: as Elasticsearch encodes it

	pause time.Duration // before the first thing is sent again; 0 is a default
}

const (
	answerTime = 30 * time.Second // for a server to begin an answer
	lookEvery  = 5 * time.Second
	lookTime   = 4 * time.Second
)

// An Index is a data stream in Elasticsearch. It implements logs.Index.
type Index struct {
	address   Address
	o         Options
	transport esapi.Transport

	life context.Context
	stop context.CancelFunc
	done sync.WaitGroup

	preparing chan struct{} // a lock that a context can give up on
	prepared  bool          // its

	mu     sync.Mutex // guards what follows
	health logs.Health
	away   string // why nothing can be found
	stuck  string // why nothing is taken
}

var _ logs.Index = (*Index)(nil)

// Open returns the index at an address. It waits for nothing: a server that is
// away is waited for by what is asked of it.
func Open(a Address, o Options) (*Index, error) {
	if o.pause == 0 {
		o.pause = 100 * time.Millisecond
	}
	options := []elastictransport.Option{
		elastictransport.WithURLs(a.Nodes...),
		elastictransport.WithDisableRetry(), // what is in doubt is looked for first
		elastictransport.WithTransport(&http.Transport{
			Proxy:                 http.ProxyFromEnvironment,
			DialContext:           (&net.Dialer{Timeout: 5 * time.Second}).DialContext,
			TLSClientConfig:       a.TLS,
			ResponseHeaderTimeout: answerTime,
			MaxIdleConnsPerHost:   4,
			IdleConnTimeout:       time.Minute,
		}),
	}
	switch {
	case o.APIKey != "":
		options = append(options, elastictransport.WithAPIKey(o.APIKey))
	case a.User != "":
		options = append(options, elastictransport.WithBasicAuth(a.User, o.Password))
	}
	transport, err := elastictransport.NewClient(options...)
	if err != nil {
		return nil, fmt.Errorf("open %s: %w", a, err)
	}
	x := &Index{address: a, o: o, transport: transport, preparing: make(chan struct{}, 1)}
	x.health = logs.Health{Name: "Elasticsearch", Since: time.Now()}
	x.life, x.stop = context.WithCancel(context.Background())
	x.done.Go(x.watch)
	return x, nil
}

// Close ends what goes on in the background.
func (x *Index) Close() error {
	x.stop()
	x.done.Wait()
	return nil
}

// Keeps implements logs.Index.
func (x *Index) Keeps() time.Duration { return x.address.Keeps }

// String is the URL of the index, without what is secret.
func (x *Index) String() string { return x.address.String() }

// watch looks again and again whether anything can be found.
func (x *Index) watch() {
	tick := time.NewTicker(lookEvery)
	defer tick.Stop()
	for {
		ctx, cancel := context.WithTimeout(x.life, lookTime)
		err := x.Look(ctx)
		cancel()
		if x.life.Err() != nil {
			return
		}
		x.saw(&x.away, err)
		select {
		case <-tick.C:
		case <-x.life.Done():
			return
		}
	}
}

// Look looks whether the stream can be searched, all of it.
func (x *Index) Look(ctx context.Context) error {
	_, err := x.search(ctx, x.address.Stream, map[string]any{"size": 0, "terminate_after": 1, "track_total_hits": false})
	return err
}

// saw notes what came of trying something, by what it says of the index.
func (x *Index) saw(what *string, err error) {
	x.mu.Lock()
	defer x.mu.Unlock()
	before := x.wrong()
	if *what = ""; err != nil {
		*what = err.Error()
	}
	if (before == "") != (x.wrong() == "") {
		x.health.Since = time.Now()
	}
}

func (x *Index) wrong() string {
	if x.away != "" {
		return x.away
	}
	return x.stuck
}

// Health implements logs.Index.
func (x *Index) Health() logs.Health {
	x.mu.Lock()
	defer x.mu.Unlock()
	h := x.health
	h.Error = x.wrong()
	return h
}

// count adds to what Health tells.
func (x *Index) count(sent, had, retried, dead int) {
	x.mu.Lock()
	defer x.mu.Unlock()
	x.health.Sent += int64(sent)
	x.health.Had += int64(had)
	x.health.Retried += int64(retried)
	x.health.Dead += int64(dead)
}

// A refusal is an answer that is not what was asked for.
type refusal struct {
	status int
	cause
}

// A cause is why, in the server's words.
type cause struct {
	Type   string `json:"type"`
	Reason string `json:"reason"`
	By     *cause `json:"caused_by"`
}

func (c cause) String() string {
	text := strings.Trim(c.Type+": "+c.Reason, ": ")
	if c.By != nil {
		text += ": " + c.By.String()
	}
	return text
}

func (r *refusal) Error() string {
	if text := r.cause.String(); text != "" {
		return fmt.Sprintf("Elasticsearch says %d: %s", r.status, text)
	}
	return fmt.Sprintf("Elasticsearch says %d", r.status)
}

// errUnanswered says that no answer came: what was asked for may have happened.
var errUnanswered = errors.New("no answer from Elasticsearch")

// mostAnswer bounds an answer: hits are lines of 64 KiB at most, which JSON may
// need six times the room for.
const mostAnswer = 256 << 20

// A request is one of package esapi.
type request interface {
	Do(ctx context.Context, t esapi.Transport) (*esapi.Response, error)
}

// ask asks, and decodes the answer into what to points to; nil is that it does not
// matter.
func (x *Index) ask(ctx context.Context, r request, to any) error {
	response, err := r.Do(ctx, x.transport)
	if err != nil {
		return fmt.Errorf("%w: %w", errUnanswered, err)
	}
	defer response.Body.Close()
	body, err := io.ReadAll(io.LimitReader(response.Body, mostAnswer))
	switch {
	case err != nil:
		return fmt.Errorf("%w: %w", errUnanswered, err)
	case response.IsError():
		return refused(response.StatusCode, body)
	case to == nil:
		return nil
	}
	if err := json.Unmarshal(body, to); err != nil {
		return fmt.Errorf("%w: what came is no answer: %w", errUnanswered, err)
	}
	return nil
}

func refused(status int, body []byte) *refusal {
	r := &refusal{status: status}
	var answer struct {
		Error struct {
			cause
			Root []cause `json:"root_cause"`
		} `json:"error"`
	}
	if json.Unmarshal(body, &answer) == nil {
		r.cause = answer.Error.cause
		if len(answer.Error.Root) > 0 && r.By == nil && answer.Error.Root[0].Reason != r.Reason {
			r.By = &answer.Error.Root[0]
		}
	}
	return r
}

// is reports whether err is an answer with such a status.
func is(err error, status int) bool {
	var r *refusal
	return errors.As(err, &r) && r.status == status
}

// encode is v as JSON; it is made of what can be.
func encode(v any) *bytes.Reader {
	data, err := json.Marshal(v)
	if err != nil {
		panic(fmt.Sprintf("elastic: a request that is not JSON: %v", err))
	}
	return bytes.NewReader(data)
}
