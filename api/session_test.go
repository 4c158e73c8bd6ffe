package api_test

import (
	"bytes"
	"context"
	"crypto/sha256"
	"crypto/tls"
	"encoding/hex"
	"encoding/json"
	"errors"
	"log/slog"
	"net"
	"net/http"
	"net/http/cookiejar"
	"net/http/httptest"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/piper-build/piper/api"
	"github.com/piper-build/piper/api/client"
	"github.com/piper-build/piper/runtime/store"
)

// signIn signs in with a token, as a page does.
func (w *world) signIn(token string, header ...string) answered {
	w.t.Helper()
	body, err := json.Marshal(api.SignIn{Token: token})
	require.NoError(w.t, err)
	return w.do("POST", "/v1/session", string(body), append([]string{"Authorization", ""}, header...)...)
}

// cookie is what a browser holds that is signed in with a token.
func (w *world) cookie(token string) string {
	w.t.Helper()
	a := w.signIn(token)
	require.Equal(w.t, http.StatusOK, a.StatusCode, a.text)
	return a.Cookies()[0].Value
}

func TestSignIn(t *testing.T) {
	w := newWorld(t, func(s *api.Server) { s.Hosts = []string{"ci.example"} })
	token := w.token(store.Token{Name: "ann", Role: store.Trigger, Projects: []string{"sh*"}, Expires: at.Add(time.Hour)})
	for name, test := range map[string]struct {
		header []string
		want   string // the name of the cookie
	}{
		"this machine":        {nil, "__Host-piper"},
		"its address":         {[]string{"Host", "[::1]:7700"}, "__Host-piper"},
		"any loopback":        {[]string{"Host", "127.1.2.3:7700"}, "__Host-piper"},
		"elsewhere":           {[]string{"Host", "192.0.2.1:7700"}, "piper"},
		"a name":              {[]string{"Host", "ci.example"}, "piper"},
		"TLS before it":       {[]string{"Host", "ci.example", "Origin", "https://ci.example"}, "__Host-piper"},
		"none before it":      {[]string{"Host", "ci.example", "Origin", "http://ci.example"}, "piper"},
		"with a bad cookie":   {[]string{"Cookie", "__Host-piper=old"}, "__Host-piper"},
		"with a bad token":    {[]string{"Authorization", "Bearer old"}, "__Host-piper"},
		"from the address":    {[]string{"Sec-Fetch-Site", "none"}, "__Host-piper"},
		"from the page":       {[]string{"Sec-Fetch-Site", "same-origin", "Origin", "http://localhost"}, "__Host-piper"},
		"a liar of a forward": {[]string{"Host", "ci.example", "X-Forwarded-Proto", "https"}, "piper"},
	} {
		t.Run(name, func(t *testing.T) {
			a := w.signIn(token, test.header...)
			require.Equal(t, http.StatusOK, a.StatusCode, a.text)
			require.NotContains(t, a.text, token)
			var got api.Session
			require.NoError(t, json.Unmarshal([]byte(a.text), &got))
			require.Equal(t, api.Session{Name: "ann", Role: store.Trigger, Projects: []string{"sh*"}, Expires: at.Add(time.Hour)}, got)
			require.Len(t, a.Cookies(), 1)
			c := a.Cookies()[0]
			require.NotEqual(t, token, c.Value)
			require.Equal(t, []any{test.want, "/", "", true, test.want == "__Host-piper", http.SameSiteStrictMode, at.Add(time.Hour)},
				[]any{c.Name, c.Path, c.Domain, c.HttpOnly, c.Secure, c.SameSite, c.Expires})
		})
	}
	c := w.signIn(w.tokens[store.Read]).Cookies()[0]
	require.Equal(t, at.Add(30*24*time.Hour), c.Expires)
	for body, status := range map[string]int{``: 422, `{}`: 422, `{"token":""}`: 422, `{"token":"wrong"}`: 401, `{"token":7}`: 400, `{"token":"x","to":"/"}`: 400} {
		a := w.do("POST", "/v1/session", body, "Authorization", "")
		require.Equal(t, status, a.StatusCode, body)
		require.Empty(t, a.Cookies())
	}
	who, err := w.as(token).Session(t.Context())
	require.NoError(t, err)
	require.Equal(t, "ann", who.Name)
}

// Bad tokens of a form, a cookie and a header are counted together.
func TestGuessesOfSessions(t *testing.T) {
	w := newWorld(t)
	for i := range 20 {
		guess := func() answered { return w.signIn("wrong") }
		if i%2 == 0 {
			guess = func() answered {
				return w.do("GET", "/v1/session", "", "Authorization", "", "Cookie", "__Host-piper=wrong")
			}
		}
		require.Equal(t, http.StatusUnauthorized, guess().StatusCode)
	}
	a := w.signIn("wrong")
	require.Equal(t, http.StatusTooManyRequests, a.StatusCode)
	require.NotEmpty(t, a.Header.Get("Retry-After"))
	require.Equal(t, http.StatusOK, w.signIn(w.tokens[store.Read]).StatusCode, "a good token is never refused")
}

func TestCookies(t *testing.T) {
	w := newWorld(t, func(s *api.Server) { s.Hosts = []string{"ci.example"} })
	good := w.cookie(w.tokens[store.Read])
	gone := w.cookie(w.token(store.Token{Name: "gone", Role: store.Admin}))
	require.NoError(t, w.RevokeToken(t.Context(), "gone"))
	out := w.cookie(w.tokens[store.Read])
	require.Equal(t, http.StatusNoContent, w.do("DELETE", "/v1/session", "", "Authorization", "", "Cookie", "__Host-piper="+out).StatusCode)
	sum := sha256.Sum256([]byte(w.tokens[store.Read]))
	old := w.token(store.Token{Name: "browser/old", Role: store.Read, Of: hex.EncodeToString(sum[:]), Expires: at})
	for name, test := range map[string]struct {
		cookie, host string
		status       int
		cleared      string
	}{
		"good":                 {"__Host-piper=" + good, "", 200, ""},
		"good, elsewhere":      {"piper=" + good, "ci.example", 200, ""},
		"good, TLS before it":  {"__Host-piper=" + good, "ci.example", 200, ""},
		"the safe one counts":  {"piper=" + old + "; __Host-piper=" + good, "ci.example", 200, ""},
		"without __Host-":      {"piper=" + good, "", 401, ""},
		"another case":         {"__host-piper=" + good, "", 401, ""},
		"another name":         {"token=" + good + "; session=" + good, "", 401, ""},
		"two of them":          {"__Host-piper=" + good + "; __Host-piper=" + good, "", 401, "__Host-piper"},
		"empty":                {"__Host-piper=", "", 401, "__Host-piper"},
		"revoked":              {"__Host-piper=" + gone, "", 401, "__Host-piper"},
		"expired":              {"__Host-piper=" + old, "", 401, "__Host-piper"},
		"expired, elsewhere":   {"piper=" + old, "ci.example", 401, "piper"},
		"signed out":           {"__Host-piper=" + out, "", 401, "__Host-piper"},
		"a token":              {"__Host-piper=" + w.tokens[store.Read], "", 401, "__Host-piper"},
		"one byte":             {"__Host-piper=" + good[:len(good)-1] + "!", "", 401, "__Host-piper"},
		"a hash":               {"__Host-piper=" + strings.Repeat("0", 64), "", 401, "__Host-piper"},
		"bad before, good now": {"__Host-piper=" + old + "; piper=" + good, "ci.example", 401, "__Host-piper"},
	} {
		t.Run(name, func(t *testing.T) {
			header := []string{"Authorization", "", "Cookie", test.cookie}
			if test.host != "" {
				header = append(header, "Host", test.host)
			}
			a := w.do("GET", "/v1/session", "", header...)
			require.Equal(t, test.status, a.StatusCode, a.text)
			if test.cleared == "" {
				require.Empty(t, a.Cookies())
				return
			}
			require.Len(t, a.Cookies(), 1)
			c := a.Cookies()[0]
			require.Equal(t, []any{test.cleared, "", -1, "/", test.cleared == "__Host-piper"}, []any{c.Name, c.Value, c.MaxAge, c.Path, c.Secure})
		})
	}
	a := w.do("GET", "/v1/session", "", "Authorization", "Bearer wrong", "Cookie", "__Host-piper="+good)
	require.Equal(t, http.StatusUnauthorized, a.StatusCode, "the header counts")
	require.Empty(t, a.Cookies(), "and the cookie is good")

	a = w.do("GET", "/v1/session", "", "Authorization", "Bearer "+good)
	require.Equal(t, http.StatusUnauthorized, a.StatusCode, "what a cookie holds is none for a header")
	require.Equal(t, http.StatusUnauthorized, w.signIn(good).StatusCode, "and nobody signs in with it")

	a = w.do("DELETE", "/v1/session", "", "Authorization", "")
	require.Equal(t, http.StatusNoContent, a.StatusCode)
	require.Empty(t, a.Cookies())
	a = w.do("DELETE", "/v1/session", "", "Authorization", "", "Cookie", "__Host-piper=wrong; piper=wrong")
	require.Equal(t, http.StatusNoContent, a.StatusCode)
	require.Len(t, a.Cookies(), 2)
}

// Browsers are no tokens for people to look at, and those that are of no use any
// more are forgotten when somebody signs in.
func TestBrowsersAreForgotten(t *testing.T) {
	w := newWorld(t)
	now := at
	w.server.Now = func() time.Time { return now }
	kept := func() (n int) {
		tokens, err := w.Tokens(t.Context())
		require.NoError(t, err)
		for _, token := range tokens {
			if token.Of != "" {
				n++
			}
		}
		return n
	}
	w.cookie(w.token(store.Token{Name: "gone", Role: store.Read}))
	w.cookie(w.tokens[store.Read])
	require.Equal(t, 2, kept())
	told, err := w.admin.Tokens(t.Context())
	require.NoError(t, err)
	require.Len(t, told, 4)

	require.NoError(t, w.RevokeToken(t.Context(), "gone"))
	w.cookie(w.tokens[store.Read])
	require.Equal(t, 2, kept(), "that of a revoked token is forgotten")
	now = now.Add(30 * 24 * time.Hour)
	w.cookie(w.tokens[store.Read])
	require.Equal(t, 1, kept(), "those that are over are forgotten")

	first := w.cookie(w.tokens[store.Read])
	for range 100 {
		now = now.Add(time.Second)
		w.cookie(w.tokens[store.Read])
	}
	require.Equal(t, 100, kept())
	a := w.do("GET", "/v1/session", "", "Authorization", "", "Cookie", "__Host-piper="+first)
	require.Equal(t, http.StatusUnauthorized, a.StatusCode, "the one that came first is signed out")
}

// A page of another site does nothing with the cookie that the browser may send
// for it, and reading has no effects.
func TestCookiesOfOtherSites(t *testing.T) {
	w := newWorld(t)
	b := w.started(example())
	cookie := "__Host-piper=" + w.cookie(w.tokens[store.Admin])
	before := w.everything()
	for _, from := range [][]string{
		{"Origin", "https://evil.example"}, {"Origin", "null"}, {"Origin", "http://localhost:8000"}, {"Sec-Fetch-Site", "cross-site"}, {"Sec-Fetch-Site", "same-site"},
		{"Sec-Fetch-Site", "cross-site", "Origin", "http://localhost"}, {"Sec-Fetch-Site", "evil"},
	} {
		for _, route := range []struct{ method, path, body string }{
			{"POST", "/v1/session", `{"token":"` + w.tokens[store.Read] + `"}`}, {"DELETE", "/v1/session", ""}, {"POST", "/v1/builds", `{"project":"shop"}`},
			{"POST", "/v1/builds/" + ref(b) + "/cancel", ""}, {"DELETE", "/v1/projects/shop", ""}, {"POST", "/v1/tokens", `{"name":"x","role":"admin"}`},
		} {
			a := w.do(route.method, route.path, route.body, append([]string{"Authorization", "", "Cookie", cookie}, from...)...)
			require.Equal(t, http.StatusForbidden, a.StatusCode, "%v %v", from, route)
			require.Equal(t, "cross-origin", ptr(a.problem(t)).Code())
			require.Empty(t, a.Cookies())
		}
		for _, path := range []string{"/v1/session", "/v1/builds", "/v1/builds/" + ref(b), "/v1/tokens", "/metrics"} {
			a := w.do("GET", path, "", append([]string{"Authorization", "", "Cookie", cookie}, from...)...)
			require.Equal(t, http.StatusOK, a.StatusCode)
			require.Empty(t, a.Cookies())
			require.Empty(t, a.Header.Get("Access-Control-Allow-Origin"))
		}
	}
	require.Equal(t, before, w.everything())
	require.Equal(t, http.StatusCreated, w.do("POST", "/v1/builds", `{"project":"shop"}`, "Authorization", "", "Cookie", cookie, "Origin", "http://localhost").StatusCode)
}

// A browser that is signed in over TLS sends the cookie back, until it signs out.
func TestSessionOverTLS(t *testing.T) {
	w := newWorld(t, func(s *api.Server) { s.Hosts, s.Now = []string{"ci.example"}, time.Now })
	known := httptest.NewTLSServer(nil) // for its certificate
	defer known.Close()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	ctx, stop := context.WithCancel(context.Background())
	done := make(chan error)
	go func() {
		done <- api.Serve(ctx, tls.NewListener(l, &tls.Config{Certificates: known.TLS.Certificates}), w.handler, nil)
	}()
	defer func() { stop(); require.NoError(t, <-done) }()
	browser := known.Client()
	defer browser.CloseIdleConnections()
	browser.Jar, err = cookiejar.New(nil)
	require.NoError(t, err)
	ask := func(method, body string) *http.Response {
		r, err := http.NewRequestWithContext(t.Context(), method, "https://"+l.Addr().String()+"/v1/session", strings.NewReader(body))
		require.NoError(t, err)
		r.Host = "ci.example"
		r.Header.Set("Content-Type", "application/json")
		res, err := browser.Do(r)
		require.NoError(t, err)
		require.NoError(t, res.Body.Close())
		return res
	}
	require.Equal(t, http.StatusUnauthorized, ask("GET", "").StatusCode)
	signed := ask("POST", `{"token":"`+w.tokens[store.Read]+`"}`)
	require.Equal(t, http.StatusOK, signed.StatusCode)
	require.Equal(t, "__Host-piper", signed.Cookies()[0].Name)
	require.Equal(t, http.StatusOK, ask("GET", "").StatusCode)
	require.Equal(t, http.StatusNoContent, ask("DELETE", "").StatusCode)
	require.Equal(t, http.StatusUnauthorized, ask("GET", "").StatusCode)

	require.Equal(t, http.StatusOK, ask("POST", `{"token":"`+w.tokens[store.Read]+`"}`).StatusCode)
	require.NoError(t, w.RevokeToken(t.Context(), "read"))
	revoked := ask("GET", "")
	require.Equal(t, http.StatusUnauthorized, revoked.StatusCode)
	require.Equal(t, -1, revoked.Cookies()[0].MaxAge)
	jar, _ := http.NewRequest("GET", "https://"+l.Addr().String(), nil)
	require.Empty(t, browser.Jar.Cookies(jar.URL))
}

// A stream that a cookie opened ends when its token is revoked.
func TestStreamEndsWithItsCookie(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		c := client.InProcess(w.handler)
		c.HTTP.Transport = &with{c.HTTP.Transport, "Cookie", "__Host-piper=" + w.cookie(w.token(store.Token{Name: "short", Role: store.Read}))}
		ended := make(chan error)
		go func() {
			for _, err := range c.Watch(t.Context(), "", "builds") {
				if err != nil {
					ended <- err
					return
				}
			}
		}()
		synctest.Wait()
		began := time.Now()
		require.NoError(t, w.RevokeToken(t.Context(), "short"))
		var p *api.Problem
		require.ErrorAs(t, <-ended, &p)
		require.Equal(t, http.StatusUnauthorized, p.Status)
		require.LessOrEqual(t, time.Since(began), 5*time.Second)
	})
}

// with is a transport that sets a header.
type with struct {
	http.RoundTripper
	name, value string
}

func (t *with) RoundTrip(r *http.Request) (*http.Response, error) {
	r = r.Clone(r.Context())
	r.Header.Set(t.name, t.value)
	return t.RoundTripper.RoundTrip(r)
}

// Whatever becomes of a request, no token of it is in the server's log.
func TestNoTokenIsLogged(t *testing.T) {
	var logged bytes.Buffer
	failing := &away{Memory: store.NewMemory()}
	w := newWorld(t, func(s *api.Server) {
		s.Log = slog.New(slog.NewTextHandler(&logged, &slog.HandlerOptions{Level: slog.LevelDebug}))
		s.Page = http.HandlerFunc(func(http.ResponseWriter, *http.Request) { panic("a bug") })
		s.Store = failing
	})
	token := w.tokens[store.Admin]
	for _, err := range []error{nil, errors.New("gone")} {
		failing.err = err
		w.signIn(token)
		w.signIn(token + "x")
		for _, header := range [][]string{{"Authorization", "Bearer " + token}, {"Authorization", "", "Cookie", "__Host-piper=" + token}, {"Authorization", "", "Cookie", "__Host-piper=" + token + "x"}} {
			for _, path := range []string{"/", "/v1/session", "/v1/builds", "/v1/session?token=" + token, "/v1/" + token + "?a=%zz"} {
				a := w.do("GET", path, "", header...)
				require.NotContains(t, a.text, token)
			}
		}
	}
	require.Contains(t, logged.String(), "a bug")
	require.Contains(t, logged.String(), "gone")
	require.NotContains(t, logged.String(), token)
	require.NotContains(t, logged.String(), "Host-piper")
}

// away is a store that does not know its tokens for a while.
type away struct {
	*store.Memory
	err error
}

func (a *away) Token(ctx context.Context, hash string) (store.Token, error) {
	if a.err != nil {
		return store.Token{}, a.err
	}
	return a.Memory.Token(ctx, hash)
}

// The page is answered for what is not the API's, with headers of its own.
func TestPage(t *testing.T) {
	const policy = "default-src 'self'"
	w := newWorld(t, func(s *api.Server) {
		s.Page = http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if r.URL.Path == "/bug" {
				panic("a bug")
			}
			w.Header().Set("Content-Security-Policy", policy)
			w.Header().Set("Content-Type", "text/html; charset=utf-8")
			w.Write([]byte("<!doctype html>"))
		})
	})
	for name, test := range map[string]struct {
		method, path, host string
		status             int
		page               bool
	}{
		"the root":          {"GET", "/", "", 200, true},
		"a file":            {"GET", "/app.js", "", 200, true},
		"a view":            {"GET", "/builds/41?view=graph", "", 200, true},
		"a head":            {"HEAD", "/builds", "", 200, true},
		"a log":             {"GET", "/builds/41/log?step=a%2Fb%3A%25%20%C3%BC&attempt=1", "", 200, true},
		"as it was typed":   {"GET", "/search?q=100%&x=a;b", "", 200, true},
		"markup":            {"GET", "/projects/%3Cimg%20src=x%3E", "", 200, true},
		"what none can be":  {"GET", "/nothing;x=1", "", 200, true},
		"beside the API":    {"GET", "/v2/builds", "", 200, true},
		"another case":      {"GET", "/V1/builds", "", 200, true},
		"a write":           {"POST", "/builds", "", 404, false},
		"a deletion":        {"DELETE", "/", "", 404, false},
		"the API's root":    {"GET", "/v1", "", 404, false},
		"not of the API":    {"GET", "/v1/nosuch", "", 404, false},
		"of the API":        {"GET", "/v1/builds", "", 401, false},
		"the API, encoded":  {"GET", "/v1%2fbuilds", "", 404, false},
		"spelled otherwise": {"GET", "/%761/builds", "", 404, false},
		"a matrix param":    {"GET", "/v1/builds;x=1", "", 404, false},
		"two slashes":       {"GET", "//v1/builds", "", 404, false},
		"up":                {"GET", "/builds/../v1/builds", "", 404, false},
		"up, encoded":       {"GET", "/builds/%2e%2e/v1/builds", "", 404, false},
		"a NUL":             {"GET", "/builds/%00", "", 404, false},
		"health":            {"GET", "/healthz", "", 200, false},
		"metrics":           {"GET", "/metrics", "", 401, false},
		"openapi.yaml":      {"GET", "/openapi.yaml", "", 401, false},
		"another host":      {"GET", "/", "evil.example", 421, false},
		"no host":           {"GET", "/", " ", 421, false},
		"a token in query":  {"GET", "/signin?token=x", "", 400, false},
		"a page with a bug": {"GET", "/bug", "", 500, false},
	} {
		t.Run(name, func(t *testing.T) {
			r, err := http.NewRequest(test.method, "http://localhost"+test.path, nil)
			require.NoError(t, err)
			if test.host != "" {
				r.Host = test.host
			}
			got := httptest.NewRecorder()
			w.handler.ServeHTTP(got, r)
			require.Equal(t, test.status, got.Code)
			require.Equal(t, "nosniff", got.Header().Get("X-Content-Type-Options"))
			require.Equal(t, "no-referrer", got.Header().Get("Referrer-Policy"))
			if test.page {
				require.Equal(t, policy, got.Header().Get("Content-Security-Policy"))
			} else {
				require.Contains(t, got.Header().Get("Content-Security-Policy"), "default-src 'none'")
				require.NotContains(t, got.Body.String(), "<")
			}
		})
	}
}
