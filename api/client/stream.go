package client

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"iter"
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/piper-build/piper/api"
)

// LogTopic is the topic of how much a step has written, for Watch.
func LogTopic(ref, step string) string { return "log:" + ref + ":" + url.QueryEscape(step) }

// Watch yields what happens in the topics "builds", "build:ID", "agents",
// "projects" and those of LogTopic. A connection that breaks is made again, and nothing is missed or
// doubled by that; Retrying, if it is set in ctx by WithRetrying, is told. It ends
// with an error that the server gives, unless that is that its store is away, or
// when ctx is done, which is no error.
//
// after is the ID of the message to go on after; "" is from now on, for the topic
// of a build from its beginning. Who wants to keep a list up to date begins to
// watch before he lists.
func (c *Client) Watch(ctx context.Context, after string, topics ...string) iter.Seq2[api.Message, error] {
	query := values("topics", strings.Join(topics, ","))
	return func(yield func(api.Message, error) bool) {
		err := c.stream(ctx, "/v1/events", query, after, func(m api.Message) bool { return yield(m, nil) })
		if err != nil && ctx.Err() == nil {
			yield(api.Message{}, err)
		}
	}
}

// Follow yields the lines of a step's output as they come, until the attempt has
// ended, as Watch does. Of q it takes Step, Attempt, Fence, From and Tail.
func (c *Client) Follow(ctx context.Context, ref string, q api.LogQuery) iter.Seq2[api.Line, error] {
	query := logValues(api.LogQuery{Step: q.Step, Attempt: q.Attempt, Fence: q.Fence, From: q.From, Tail: q.Tail})
	query.Set("follow", "true")
	return func(yield func(api.Line, error) bool) {
		var bad error
		err := c.stream(ctx, path("builds", ref, "log"), query, "", func(m api.Message) bool {
			if m.Kind != "line" {
				return m.Kind != "end"
			}
			var line api.Line
			if bad = json.Unmarshal(m.Data, &line); bad != nil {
				return false
			}
			return yield(line, nil)
		})
		if err = errors.Join(err, bad); err != nil && ctx.Err() == nil {
			yield(api.Line{}, err)
		}
	}
}

// retrying is the key of WithRetrying.
type retrying struct{}

// WithRetrying has streams and Insist call f when their connection broke, or the
// server's store is away, and it is tried again: with the error, and with nil once
// it is there.
func WithRetrying(ctx context.Context, f func(error)) context.Context {
	return context.WithValue(ctx, retrying{}, f)
}

func teller(ctx context.Context) func(error) {
	if tell, _ := ctx.Value(retrying{}).(func(error)); tell != nil {
		return tell
	}
	return func(error) {}
}

// How long is waited before something is tried again.
const (
	firstPause   = 100 * time.Millisecond
	longestPause = 5 * time.Second
)

// Away reports whether err is that a server's store does not answer. It will, later.
func Away(err error) bool {
	var refused *api.Problem
	return errors.As(err, &refused) && refused.Status == http.StatusServiceUnavailable
}

// answered reports whether err is what a server has to say.
func answered(err error) bool { return errors.As(err, new(*api.Problem)) && !Away(err) }

// Insist calls ask, which may be called twice, until it has an answer: a connection
// that breaks is none, and neither is that the store is away. It is for who watches
// something beside a stream, which goes on then, too.
func Insist[T any](ctx context.Context, ask func() (T, error)) (T, error) {
	tell := teller(ctx)
	for pause := firstPause; ; pause = min(2*pause, longestPause) {
		v, err := ask()
		if err == nil && pause > firstPause {
			tell(nil)
		}
		if err == nil || answered(err) || ctx.Err() != nil {
			return v, err
		}
		tell(err)
		select {
		case <-ctx.Done():
			return v, err
		case <-time.After(pause):
		}
	}
}

// stream gives each message to take, until that returns false.
func (c *Client) stream(ctx context.Context, path string, query url.Values, after string, take func(api.Message) bool) error {
	tell := teller(ctx)
	broken := false
	for pause := firstPause; ; pause = min(2*pause, longestPause) {
		res, err := c.send(ctx, http.MethodGet, path, query, nil, "Accept", "text/event-stream", "Last-Event-ID", after)
		if err != nil && answered(err) {
			return err
		}
		if err == nil {
			if broken {
				broken = false
				tell(nil)
			}
			var done bool
			done, err = read(res.Body, &after, take)
			res.Body.Close()
			if done {
				return nil
			}
			pause = firstPause
		} else if !broken && after == "" && !Away(err) {
			return err // it never was there
		}
		if ctx.Err() != nil {
			return ctx.Err()
		}
		broken = true
		tell(err)
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(pause):
		}
	}
}

// read takes server-sent events from r, and keeps the newest ID in last. It has
// done when take wants no more.
func read(r io.Reader, last *string, take func(api.Message) bool) (done bool, err error) {
	lines := bufio.NewReaderSize(r, 64<<10)
	var m api.Message
	for {
		line, err := lines.ReadString('\n')
		if err != nil { // what is not ended by an empty line has not come
			return false, fmt.Errorf("the connection broke: %w", err)
		}
		line = strings.TrimSuffix(strings.TrimSuffix(line, "\n"), "\r")
		if line == "" {
			if m.ID != "" {
				*last = m.ID
			}
			if m.Data != nil && !take(m) {
				if m.Kind == "end" { // nothing comes after it, and the connection can be used again
					io.Copy(io.Discard, lines)
				}
				return true, nil
			}
			m = api.Message{}
			continue
		}
		field, value, _ := strings.Cut(line, ":")
		value = strings.TrimPrefix(value, " ")
		switch field {
		case "event":
			m.Kind = value
		case "id":
			m.ID = value
		case "data":
			m.Data = append(m.Data, value...)
		}
	}
}
