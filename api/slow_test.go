package api_test

import (
	"bufio"
	"context"
	"io"
	"net"
	"net/http"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/piper-build/piper/api"
	"github.com/piper-build/piper/runtime/build"
	"github.com/piper-build/piper/runtime/store"
)

// pipes is a listener whose connections are in memory, so that time is the test's.
type pipes chan net.Conn

func (p pipes) Accept() (net.Conn, error) {
	if conn, ok := <-p; ok {
		return conn, nil
	}
	return nil, net.ErrClosed
}
func (p pipes) Close() error   { close(p); return nil }
func (p pipes) Addr() net.Addr { return &net.UnixAddr{Name: "memory"} }

// slowly has somebody connected to a server who says and takes what he wants when
// he wants, in time that passes by itself.
func slowly(t *testing.T, do func(t *testing.T, w *world, conn net.Conn)) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, func(s *api.Server) { s.Now = nil })
		l := make(pipes)
		ctx, stop := context.WithCancel(t.Context())
		done := make(chan error)
		go func() { done <- api.Serve(ctx, l, w.handler, nil) }()
		conn, accepted := net.Pipe()
		l <- accepted
		do(t, w, conn)
		conn.Close()
		stop()
		require.NoError(t, <-done)
	})
}

// hungUp is how long it takes until the server hangs up; what it says before is
// read.
func hungUp(t *testing.T, conn net.Conn) time.Duration {
	t.Helper()
	began := time.Now()
	_, err := io.ReadAll(conn)
	require.NoError(t, err)
	return time.Since(began)
}

// Who says slowly what he wants is hung up on: a header must be there after 5 s, a
// small body after 30, however steadily they come.
func TestSlowRequests(t *testing.T) {
	dribble := func(conn net.Conn, text string) {
		for i := range text {
			if _, err := conn.Write([]byte(text[i : i+1])); err != nil {
				return
			}
			time.Sleep(time.Second)
		}
	}
	const long = 1000
	slowly(t, func(t *testing.T, w *world, conn net.Conn) {
		var speaking sync.WaitGroup
		speaking.Go(func() {
			dribble(conn, "GET /healthz HTTP/1.1\r\nHost: localhost\r\nX: "+strings.Repeat("x", long))
		})
		require.Equal(t, 5*time.Second, hungUp(t, conn))
		speaking.Wait()
	})
	for _, role := range []store.Role{store.Admin, ""} { // also of who is refused
		slowly(t, func(t *testing.T, w *world, conn net.Conn) {
			var speaking sync.WaitGroup
			speaking.Go(func() {
				io.WriteString(conn, "POST /v1/builds HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer "+w.tokens[role]+
					"\r\nContent-Type: application/json\r\nContent-Length: 1000\r\n\r\n")
				dribble(conn, strings.Repeat(" ", long))
			})
			began := time.Now()
			res, err := http.ReadResponse(bufio.NewReader(conn), nil)
			require.NoError(t, err)
			require.Equal(t, map[store.Role]int{store.Admin: 400, "": 401}[role], res.StatusCode)
			require.Equal(t, 30*time.Second, time.Since(began))
			conn.Close()
			speaking.Wait()
			list, _, err := w.List(t.Context(), store.Filter{}, "", 1)
			require.NoError(t, err)
			require.Empty(t, list)
		})
	}
	slowly(t, func(t *testing.T, w *world, conn net.Conn) {
		require.Equal(t, 5*time.Second, hungUp(t, conn), "nothing at all is a slow header")
	})
}

// Whoever asks for a stream and takes nothing of it is hung up on after 60 s.
func TestSlowReaders(t *testing.T) {
	for name, path := range map[string]string{"events": "/v1/events?topics=builds,build:1", "follow": "/v1/builds/1/log?step=unit&follow=true", "raw": "/v1/builds/1/log/raw?step=unit"} {
		t.Run(name, func(t *testing.T) {
			slowly(t, func(t *testing.T, w *world, conn net.Conn) {
				b := w.logged(strings.Repeat("line\n", 10_000))
				for seq := int64(7); seq < 1000; seq++ {
					w.happens(b.ID, 1, seq, build.Event{Kind: build.CancelRequested})
				}
				_, err := io.WriteString(conn, "GET "+path+" HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer "+w.tokens[store.Read]+"\r\n\r\n")
				require.NoError(t, err)
				time.Sleep(61 * time.Second)
				synctest.Wait()
				_, err = io.Copy(io.Discard, conn)
				require.NoError(t, err, "it is the server who hung up")
				require.Contains(t, w.do("GET", "/metrics", "").text, "piper_streams 0\n")
			})
		})
	}
}
