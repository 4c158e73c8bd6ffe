package client

import (
	"context"
	"errors"
	"io"
	"net/http"
	"sync"
)

// InProcess returns a Client of a handler in this process: no port, no
// connection. What the handler writes is read as it is written.
func InProcess(h http.Handler) *Client {
	return &Client{URL: "http://localhost", HTTP: &http.Client{Transport: within{h}}}
}

// within is a http.RoundTripper that calls a handler.
type within struct{ http.Handler }

// RoundTrip implements http.RoundTripper.
func (t within) RoundTrip(r *http.Request) (*http.Response, error) {
	ctx, gone := context.WithCancel(r.Context())
	body, pipe := io.Pipe()
	w := &writer{header: http.Header{}, pipe: pipe, begun: make(chan struct{})}
	served := r.Clone(ctx)
	served.RequestURI, served.RemoteAddr = r.URL.RequestURI(), "127.0.0.1:0"
	if served.Host == "" {
		served.Host = r.URL.Host
	}
	if served.Body == nil {
		served.Body = http.NoBody
	}
	go func() {
		defer gone()
		defer func() {
			err := error(nil)
			if p := recover(); p != nil {
				err = errors.New("the answer broke off")
			}
			w.WriteHeader(http.StatusOK) // when nothing was
			pipe.CloseWithError(err)
			served.Body.Close()
		}()
		t.ServeHTTP(w, served)
	}()
	select {
	case <-w.begun:
	case <-r.Context().Done():
		gone()
		body.Close()
		return nil, r.Context().Err()
	}
	return &http.Response{
		Status: http.StatusText(w.status), StatusCode: w.status, Proto: "HTTP/1.1", ProtoMajor: 1, ProtoMinor: 1,
		Header: w.sent, Body: &reader{body, gone}, ContentLength: -1, Request: r,
	}, nil
}

// reader ends the handler when nobody reads any more.
type reader struct {
	io.ReadCloser
	gone context.CancelFunc
}

func (r *reader) Close() error {
	r.gone()
	return r.ReadCloser.Close()
}

// writer is what the handler writes to.
type writer struct {
	header, sent http.Header
	status       int
	pipe         *io.PipeWriter
	once         sync.Once
	begun        chan struct{}
}

func (w *writer) Header() http.Header { return w.header }

func (w *writer) WriteHeader(status int) {
	w.once.Do(func() {
		w.status, w.sent = status, w.header.Clone()
		close(w.begun)
	})
}

func (w *writer) Write(p []byte) (int, error) {
	w.WriteHeader(http.StatusOK)
	return w.pipe.Write(p)
}

// Flush implements http.Flusher: everything is.
func (w *writer) Flush() { w.WriteHeader(http.StatusOK) }
