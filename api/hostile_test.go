package api_test

import (
	"bufio"
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"os"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/piper-build/piper/api"
	"github.com/piper-build/piper/api/client"
	"github.com/piper-build/piper/runtime/store"
)

func TestRequestsThatAreNotMeantForUs(t *testing.T) {
	w := newWorld(t, func(s *api.Server) { s.Hosts = []string{"ci.example"} })
	token := w.tokens[store.Admin]
	for name, test := range map[string]struct {
		method, path, body string
		header             []string
		status             int
	}{
		"another host":     {"GET", "/healthz", "", []string{"Host", "evil.example"}, 421},
		"rebound":          {"GET", "/v1/builds", "", []string{"Host", "127.0.0.1.evil"}, 421},
		"no host":          {"GET", "/healthz", "", []string{"Host", " "}, 421},
		"our name":         {"GET", "/healthz", "", []string{"Host", "CI.example:7700"}, 200},
		"an address":       {"GET", "/healthz", "", []string{"Host", "[::1]:7700"}, 200},
		"a token in query": {"GET", "/v1/builds?token=" + token, "", nil, 400},
		"in another case":  {"GET", "/v1/builds?access_TOKEN=" + token, "", nil, 400},
		"another origin":   {"POST", "/v1/builds", `{"project":"shop"}`, []string{"Origin", "https://evil"}, 403},
		"another site":     {"POST", "/v1/builds", `{"project":"shop"}`, []string{"Sec-Fetch-Site", "cross-site"}, 403},
		"this site":        {"POST", "/v1/builds", `{"project":"shop"}`, []string{"Sec-Fetch-Site", "same-origin"}, 201},
		"reading":          {"GET", "/v1/builds", "", []string{"Sec-Fetch-Site", "cross-site"}, 200},
		"preflight":        {"OPTIONS", "/v1/builds", "", []string{"Origin", "https://evil", "Access-Control-Request-Method", "POST"}, 405},
		"a form":           {"POST", "/v1/builds", "project=shop", []string{"Content-Type", "application/x-www-form-urlencoded"}, 415},
		"multipart":        {"POST", "/v1/builds", "x", []string{"Content-Type", "multipart/form-data; boundary=x"}, 415},
		"text":             {"POST", "/v1/builds", `{"project":"shop"}`, []string{"Content-Type", "text/plain"}, 415},
		"no type":          {"POST", "/v1/builds", `{"project":"shop"}`, []string{"Content-Type", ""}, 415},
		"with a charset":   {"POST", "/v1/builds", `{"project":"shop"}`, []string{"Content-Type", "application/json; charset=utf-8"}, 201},
		"gzip":             {"POST", "/v1/builds", "x", []string{"Content-Encoding", "gzip"}, 415},
		"a body unasked":   {"GET", "/v1/builds", "x", nil, 400},
		"TRACE":            {"TRACE", "/v1/builds", "", nil, 405},
		"PROPFIND":         {"PROPFIND", "/v1/builds", "", nil, 405},
		"PATCH":            {"PATCH", "/v1/builds", "", nil, 405},
		"DELETE of a list": {"DELETE", "/v1/builds", "", nil, 405},
		"an override":      {"GET", "/v1/tokens/admin", "", []string{"X-HTTP-Method-Override", "DELETE"}, 405},
		"unknown":          {"GET", "/v2/builds", "", nil, 404},
		"pprof":            {"GET", "/debug/pprof/", "", nil, 404},
		"the root":         {"GET", "/", "", nil, 404},
		"two slashes":      {"GET", "//v1/builds", "", nil, 404},
		"a slash after":    {"GET", "/v1/builds/", "", nil, 404},
		"up":               {"GET", "/v1/builds/../tokens", "", nil, 404},
		"up, encoded":      {"GET", "/v1/builds/%2e%2e/tokens", "", nil, 404},
		"a slash, encoded": {"GET", "/v1%2fbuilds", "", nil, 404},
		"a matrix param":   {"GET", "/v1/builds;x=1", "", nil, 404},
		"a NUL":            {"GET", "/v1/builds/%00", "", nil, 404},
		"another case":     {"GET", "/V1/Builds", "", nil, 404},
		"look-alikes":      {"GET", "/v1/builds/%D1%96", "", nil, 404},
		"a cookie":         {"GET", "/v1/builds", "", []string{"Authorization", "", "Cookie", "token=" + token + "; session=" + token}, 401},
		"markup in a name": {"GET", "/v1/builds/%3Cimg%20src=x%20onerror=alert(1)%3E", "", nil, 404},
		"markup in a list": {"GET", "/v1/builds?state=%3C/script%3E%3Cscript%3E", "", nil, 400},
		"a long name":      {"GET", "/v1/builds/" + strings.Repeat("a", 60_000), "", nil, 404},
		"a redirect":       {"GET", "/healthz?next=//evil", "", nil, 200},
	} {
		t.Run(name, func(t *testing.T) {
			a := w.do(test.method, test.path, test.body, test.header...)
			require.Equal(t, test.status, a.StatusCode, a.text)
			for header := range a.Header {
				require.False(t, strings.HasPrefix(header, "Access-Control-"), header)
			}
			if test.status != 201 {
				require.Empty(t, a.Header.Get("Location"))
			}
			require.Equal(t, "nosniff", a.Header.Get("X-Content-Type-Options"))
			require.Contains(t, a.Header.Get("Content-Security-Policy"), "default-src 'none'")
			require.NotContains(t, a.text, token)
			require.NotContains(t, a.text, "<", "nothing in JSON is markup")
			if test.status >= 400 && test.method != "HEAD" {
				a.problem(t)
			}
		})
	}
}

// listening is a server on a port of its own.
func listening(t *testing.T, h http.Handler) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	ctx, stop := context.WithCancel(context.Background())
	done := make(chan error)
	go func() { done <- api.Serve(ctx, l, h, nil) }()
	t.Cleanup(func() { stop(); require.NoError(t, <-done) })
	return l.Addr().String()
}

// raw sends bytes as they stand, and returns the status that comes back.
func raw(t *testing.T, address, text string) int {
	t.Helper()
	conn, err := net.Dial("tcp", address)
	require.NoError(t, err)
	defer conn.Close()
	require.NoError(t, conn.SetDeadline(time.Now().Add(30*time.Second)))
	_, err = conn.Write([]byte(text))
	require.NoError(t, err)
	res, err := http.ReadResponse(bufio.NewReader(conn), nil)
	require.NoError(t, err)
	res.Body.Close()
	return res.StatusCode
}

func TestRequestsThatAreBroken(t *testing.T) {
	w := newWorld(t)
	address := listening(t, w.handler)
	post := "POST /v1/builds HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer " + w.tokens[store.Admin] + "\r\nContent-Type: application/json\r\n"
	for name, test := range map[string]struct {
		text   string
		status int
	}{
		"fine":                {"GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n", 200},
		"no host":             {"GET /healthz HTTP/1.1\r\n\r\n", 400},
		"two lengths":         {post + "Content-Length: 2\r\nContent-Length: 3\r\n\r\n{}x", 400},
		"length and chunks":   {post + "Content-Length: 2\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", 422}, // chunks count, and they hold nothing
		"another encoding":    {post + "Transfer-Encoding: identity, chunked\r\n\r\n0\r\n\r\n", 501},
		"a space in a name":   {"GET /healthz HTTP/1.1\r\nHost: localhost\r\nA b: c\r\n\r\n", 400},
		"a large header":      {"GET /healthz HTTP/1.1\r\nHost: localhost\r\nX: " + strings.Repeat("x", 1<<20) + "\r\n\r\n", 431},
		"many headers":        {"GET /healthz HTTP/1.1\r\nHost: localhost\r\n" + strings.Repeat("X: y\r\n", 20_000) + "\r\n", 431},
		"a body too long":     {post + "Content-Length: 2000000\r\n\r\n", 413},
		"a length that lies":  {post + "Content-Length: 2\r\n\r\n{\"project\":\"shop\"}", 400}, // two bytes are no JSON
		"endless chunks":      {post + "Transfer-Encoding: chunked\r\n\r\n" + strings.Repeat("10000\r\n"+strings.Repeat("x", 0x10000)+"\r\n", 17), 413},
		"CONNECT":             {"CONNECT localhost:22 HTTP/1.1\r\nHost: localhost:22\r\n\r\n", 405},
		"no such method":      {"BREW /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n", 405},
		"HTTP/2":              {"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", 421},                               // it names no host
		"a folded header":     {"GET /healthz HTTP/1.1\r\nHost: localhost\r\nX: a\r\n b\r\n\r\n", 200}, // RFC 9112 allows a server to take it for a space,
		"a folded length":     {post + "Content-Length:\r\n 2\r\n\r\n{}", 422},                         // which it then is everywhere
		"bare line feeds":     {"GET /healthz HTTP/1.1\nHost: localhost\n\n", 200},                     // and this for a line end
		"a bare return":       {"GET /healthz HTTP/1.1\r\nHost: localhost\r\nX: a\rb\r\n\r\n", 400},
		"a chunk cut short":   {post + "Transfer-Encoding: chunked\r\n\r\n2\n{}\n0\n\n", 400},
		"no HTTP":             {"\x16\x03\x01\x00\xa5\r\n\r\n", 400},
		"a NUL in a header":   {"GET /healthz HTTP/1.1\r\nHost: localhost\r\nX: a\x00b\r\n\r\n", 400},
		"a bad length":        {post + "Content-Length: -1\r\n\r\n", 400},
		"a bad chunk":         {post + "Transfer-Encoding: chunked\r\n\r\nzz\r\n\r\n", 400},
		"absolute, elsewhere": {"GET http://evil.example/healthz HTTP/1.1\r\nHost: localhost\r\n\r\n", 421},
	} {
		t.Run(name, func(t *testing.T) {
			require.Equal(t, test.status, raw(t, address, test.text))
		})
	}
}

// Whatever takes JSON is as strict as everything else that does, says which field
// is wrong, and changes nothing.
func TestBodiesThatAreBroken(t *testing.T) {
	w := newWorld(t)
	ctx := t.Context()
	b := w.started(example())
	require.NoError(t, w.Join(ctx, store.Agent{ID: agent, Name: "a1", Slots: 1}))
	before := w.everything()
	for _, route := range []struct{ method, path, field string }{
		{"PUT", "/v1/projects/shop", "repo"}, {"PUT", "/v1/projects/new", "repo"}, {"POST", "/v1/builds", "project"}, {"POST", "/v1/builds/" + ref(b) + "/cancel", "reason"},
		{"POST", "/v1/builds/" + ref(b) + "/rerun", "from"}, {"POST", "/v1/builds/" + ref(b) + "/approve", "node"}, {"POST", "/v1/tokens", "name"}, {"POST", "/v1/gc", "project"}, {"POST", "/v1/session", "token"},
	} {
		for name, test := range map[string]struct {
			body, kind string
			status     int
			field      string
		}{
			"not JSON":      {`{"` + route.field + `":`, "", 400, ""},
			"unknown":       {`{"nosuch":1}`, "", 400, "nosuch"},
			"another type":  {`{"` + route.field + `":{"x":7}}`, "", 400, route.field},
			"a number":      {`{"` + route.field + `":7}`, "", 400, route.field},
			"twice":         {`{"` + route.field + `":null,"` + route.field + `":null}`, "", 400, route.field},
			"not an object": {`"x"`, "", 400, ""},
			"too large":     {`{` + strings.Repeat(" ", 1<<20-2) + `} `, "", 413, ""},
			"a form":        {route.field + "=x", "application/x-www-form-urlencoded", 415, ""},
			"text":          {`{}`, "text/plain", 415, ""},
		} {
			t.Run(route.method+" "+route.path+" "+name, func(t *testing.T) {
				kind := test.kind
				if kind == "" {
					kind = "application/json"
				}
				a := w.do(route.method, route.path, test.body, "Content-Type", kind)
				require.Equal(t, test.status, a.StatusCode, a.text)
				if p := a.problem(t); test.field != "" {
					require.Len(t, p.Errors, 1)
					require.True(t, strings.HasPrefix(p.Errors[0].Field, test.field), p.Errors[0].Field)
				}
			})
		}
	}
	require.Equal(t, before, w.everything())
	require.Equal(t, 422, w.do("POST", "/v1/builds", `{`+strings.Repeat(" ", 1<<20-2)+`}`).StatusCode, "1 MiB is not too large")
}

// everything is all that a request could have changed.
func (w *world) everything() []any {
	w.t.Helper()
	ctx := w.t.Context()
	builds, _, err := w.List(ctx, store.Filter{}, "", 100)
	require.NoError(w.t, err)
	projects, err := w.Projects(ctx)
	require.NoError(w.t, err)
	agents, err := w.Agents(ctx)
	require.NoError(w.t, err)
	tokens, err := w.Tokens(ctx)
	require.NoError(w.t, err)
	return []any{builds, projects, agents, tokens}
}

// Over a real connection, who says slowly what he wants is hung up on.
func TestSlowHeader(t *testing.T) {
	w := newWorld(t)
	conn, err := net.Dial("tcp", listening(t, w.handler))
	require.NoError(t, err)
	defer conn.Close()
	_, err = conn.Write([]byte("GET /healthz HT"))
	require.NoError(t, err)
	require.NoError(t, conn.SetReadDeadline(time.Now().Add(time.Minute)))
	_, err = io.ReadAll(conn)
	require.NoError(t, err, "it is the server who hangs up")
}

// Past 2048 connections others are hung up on, and those that are there go on.
func TestManyConnections(t *testing.T) {
	w := newWorld(t)
	address := listening(t, w.handler)
	first := &client.Client{URL: "http://" + address, Token: w.tokens[store.Read], HTTP: &http.Client{Transport: &http.Transport{}}}
	defer first.HTTP.CloseIdleConnections()
	_, err := first.Version(t.Context())
	require.NoError(t, err)
	var conns []net.Conn
	defer func() {
		for _, c := range conns {
			c.Close()
		}
	}()
	refused := 0
	for range 2200 {
		conn, err := net.Dial("tcp", address)
		require.NoError(t, err)
		conns = append(conns, conn)
	}
	for _, conn := range conns[2100:] {
		require.NoError(t, conn.SetReadDeadline(time.Now().Add(4*time.Second)))
		if _, err := conn.Read(make([]byte, 1)); err != nil && !errors.Is(err, os.ErrDeadlineExceeded) {
			refused++
		}
	}
	require.Equal(t, 100, refused)
	_, err = first.Version(t.Context())
	require.NoError(t, err)
}

// A handler that panics is answered for, and says nothing of what is inside.
func TestPanics(t *testing.T) {
	w := newWorld(t)
	w.server.Store = nil
	a := w.do("GET", "/v1/builds", "")
	require.Equal(t, http.StatusInternalServerError, a.StatusCode)
	require.NotContains(t, a.text, "nil pointer")
}

// A server that is told to stop lets streams go, and waits for what is short.
func TestServeStops(t *testing.T) {
	w := newWorld(t)
	l, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	ctx, stop := context.WithCancel(t.Context())
	done := make(chan error)
	go func() { done <- api.Serve(ctx, l, w.handler, nil) }()
	c := &client.Client{URL: "http://" + l.Addr().String(), Token: w.tokens[store.Read]}
	var all sync.WaitGroup
	watching, leave := context.WithCancel(t.Context())
	all.Go(func() {
		for range c.Watch(watching, "", "builds") {
		}
	})
	w.listening(1)
	stop()
	require.NoError(t, <-done)
	leave()
	all.Wait()

	closed, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	closed.Close()
	require.ErrorContains(t, api.Serve(t.Context(), closed, w.handler, nil), "serve:")
}
