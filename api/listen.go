package api

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"sync/atomic"
	"time"
)

const (
	maxConns  = 2048
	maxHeader = 64 << 10 // bytes
)

// Serve answers on l with h until ctx is done, and then lets what is under way
// end, for a few seconds; streams are broken off. It closes l. What is slow to
// say what it wants is hung up on, and so is whoever comes when there are 2048
// connections already.
func Serve(ctx context.Context, l net.Listener, h http.Handler, log *slog.Logger) error {
	if log == nil {
		log = slog.New(slog.DiscardHandler)
	}
	// Streams end when this does, or Shutdown would wait for them.
	requests, end := context.WithCancel(context.Background())
	defer end()
	s := &http.Server{
		Handler:           h,
		ReadHeaderTimeout: 5 * time.Second,
		IdleTimeout:       2 * time.Minute,
		MaxHeaderBytes:    maxHeader,
		BaseContext:       func(net.Listener) context.Context { return requests },
		ConnContext:       marked,
		ErrorLog:          slog.NewLogLogger(log.Handler(), slog.LevelDebug),
	}
	stopped := make(chan error, 1)
	release := context.AfterFunc(ctx, func() {
		end()
		last, cancel := context.WithTimeout(context.Background(), 5*time.Second)
		defer cancel()
		err := s.Shutdown(last)
		if err != nil {
			err = errors.Join(err, s.Close())
		}
		stopped <- err
	})
	err := s.Serve(&bounded{Listener: l, most: maxConns})
	if release() { // it was not ctx that ended it
		return fmt.Errorf("serve: %w", err)
	}
	if err := <-stopped; err != nil {
		return fmt.Errorf("stop serving: %w", err)
	}
	return nil
}

// overTLS is the key of what marks a request that came over TLS: http.Server does
// not see it through counted.
type overTLS struct{}

func marked(ctx context.Context, conn net.Conn) context.Context {
	if c, ok := conn.(*counted); ok {
		if _, ok := c.Conn.(*tls.Conn); ok {
			return context.WithValue(ctx, overTLS{}, true)
		}
	}
	return ctx
}

// bounded is a listener that hangs up on connections that are too many.
type bounded struct {
	net.Listener
	most int64
	open atomic.Int64
}

func (b *bounded) Accept() (net.Conn, error) {
	for {
		conn, err := b.Listener.Accept()
		if err != nil {
			return nil, err
		}
		if b.open.Add(1) <= b.most {
			return &counted{Conn: conn, of: b}, nil
		}
		b.open.Add(-1)
		conn.Close()
	}
}

// counted is one of the connections of a bounded listener.
type counted struct {
	net.Conn
	of     *bounded
	closed atomic.Bool
}

func (c *counted) Close() error {
	if !c.closed.Swap(true) {
		c.of.open.Add(-1)
	}
	return c.Conn.Close()
}
