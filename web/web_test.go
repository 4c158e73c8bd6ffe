package web

import (
	"bytes"
	"compress/gzip"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path"
	"regexp"
	"testing"

	"github.com/stretchr/testify/require"
)

func ask(method, path string, header ...string) *httptest.ResponseRecorder {
	r := httptest.NewRequest(method, path, nil)
	for i := 0; i < len(header); i += 2 {
		r.Header.Set(header[i], header[i+1])
	}
	w := httptest.NewRecorder()
	Handler().ServeHTTP(w, r)
	return w
}

func TestHandlerServesEachFile(t *testing.T) {
	entries, err := os.ReadDir("dist")
	require.NoError(t, err)
	for _, e := range entries {
		name := e.Name()
		kind := map[string]string{
			".html": "text/html; charset=utf-8",
			".js":   "text/javascript; charset=utf-8",
			".css":  "text/css; charset=utf-8",
			".svg":  "image/svg+xml",
		}[path.Ext(name)]
		require.NotEmpty(t, kind, name)
		want, err := os.ReadFile("dist/" + name)
		require.NoError(t, err)
		w := ask("GET", "/"+name)
		require.Equal(t, http.StatusOK, w.Code)
		require.Equal(t, kind, w.Header().Get("Content-Type"))
		require.Equal(t, "nosniff", w.Header().Get("X-Content-Type-Options"))
		require.Equal(t, "no-cache", w.Header().Get("Cache-Control"))
		require.Equal(t, "Accept-Encoding", w.Header().Get("Vary"))
		require.Empty(t, w.Header().Get("Content-Encoding"))
		require.Equal(t, string(want), w.Body.String())

		packed := ask("GET", "/"+name, "Accept-Encoding", "br, gzip")
		require.Equal(t, "gzip", packed.Header().Get("Content-Encoding"))
		require.Equal(t, kind, packed.Header().Get("Content-Type"))
		z, err := gzip.NewReader(packed.Body)
		require.NoError(t, err)
		got, err := io.ReadAll(z)
		require.NoError(t, err)
		require.Equal(t, string(want), string(got))
	}
}

func TestHandlerKnowsWhatABrowserHas(t *testing.T) {
	tags := map[string]bool{}
	for _, encoding := range []string{"", "gzip"} {
		tag := ask("GET", "/app.js", "Accept-Encoding", encoding).Header().Get("ETag")
		require.Regexp(t, `^"[^"]+"$`, tag)
		tags[tag] = true
		again := ask("GET", "/app.js", "Accept-Encoding", encoding, "If-None-Match", tag)
		require.Equal(t, http.StatusNotModified, again.Code)
		require.Empty(t, again.Body.Bytes())
		other := ask("GET", "/app.css", "Accept-Encoding", encoding, "If-None-Match", tag)
		require.Equal(t, http.StatusOK, other.Code)
	}
	require.Len(t, tags, 2, "other bytes, another tag")
}

func TestHandlerServesThePageAnywhere(t *testing.T) {
	index := ask("GET", "/").Body.String()
	require.Contains(t, index, `<script type="module" src="/app.js">`)
	for path, status := range map[string]int{
		"/builds/41/log?step=unit": 200, "/projects/shop": 200, "/index.html": 200,
		"/nothing.js": 404, "/dist/app.js": 404, "/..%2fweb.go": 404, "/debug/pprof": 404, "/v2/builds": 404,
	} {
		w := ask("GET", path)
		require.Equal(t, status, w.Code, path)
		require.Equal(t, index, w.Body.String(), path)
	}
}

func TestHandlerSaysWhatThePageAsksForFirst(t *testing.T) {
	const how = "; rel=preload; as=fetch; crossorigin"
	for address, want := range map[string][]string{
		"/":                  {"</v1/session>" + how, "</v1/builds?limit=50>" + how},
		"/builds/41":         {"</v1/session>" + how, "</v1/builds/41>" + how},
		"/?project=shop":     nil,
		"/builds/41?v=graph": nil,
		"/builds/4>1":        nil,
		"/builds/41/log":     nil,
		"/app.js":            nil,
	} {
		require.Equal(t, want, ask("GET", address).Header()["Link"], address)
	}
}

func TestHandlerLetsThePageLoadOnlyItsOwn(t *testing.T) {
	for _, path := range []string{"/", "/app.js", "/builds/1"} {
		header := ask("GET", path).Header()
		require.Regexp(t, `^default-src 'self'; `, header.Get("Content-Security-Policy"))
		require.NotContains(t, header.Get("Content-Security-Policy"), "unsafe")
		require.Contains(t, header.Get("Content-Security-Policy"), "frame-ancestors 'none'")
		require.Equal(t, "same-origin", header.Get("Referrer-Policy"))
	}
	require.NotRegexp(t, `<script>|<style|\sstyle=|\son\w+=`, ask("GET", "/").Body.String(), "the policy refuses what is inline")
}

func TestHandlerIsOnlyRead(t *testing.T) {
	head := ask("HEAD", "/app.js")
	require.Equal(t, http.StatusOK, head.Code)
	require.Empty(t, head.Body.Bytes())
	require.NotEmpty(t, head.Header().Get("Content-Length"))
	for _, method := range []string{"POST", "PUT", "DELETE", "OPTIONS"} {
		w := ask(method, "/")
		require.Equal(t, http.StatusMethodNotAllowed, w.Code, method)
		require.Equal(t, "GET, HEAD", w.Header().Get("Allow"))
		require.Equal(t, "the page can be read, and nothing else\n", w.Body.String())
	}
}

func TestAccepts(t *testing.T) {
	for encodings, want := range map[string]bool{
		"": false, "gzip": true, "br, gzip": true, "deflate,gzip;q=0.5": true, "gzip;q=1.0": true,
		"gzip;q=0": false, "gzip; q=0.0": false, "gzip;q=0.001": true, "xgzip": false, "identity": false,
	} {
		require.Equal(t, want, accepts(encodings), encodings)
	}
}

// P29: less than 60 KB over the wire in all, and nothing from elsewhere.
func TestDistIsSmallAndSelfContained(t *testing.T) {
	entries, err := os.ReadDir("dist")
	require.NoError(t, err)
	require.NotEmpty(t, entries)
	total := 0
	foreign := regexp.MustCompile(`https?://[\w.-]*`)
	for _, e := range entries {
		text, err := os.ReadFile("dist/" + e.Name())
		require.NoError(t, err)
		var packed bytes.Buffer
		z, _ := gzip.NewWriterLevel(&packed, gzip.BestCompression)
		_, err = z.Write(text)
		require.NoError(t, err)
		require.NoError(t, z.Close())
		total += packed.Len()
		for _, origin := range foreign.FindAllString(string(text), -1) {
			require.Equal(t, "http://www.w3.org", origin, "%s: the names of XML are the only origin", e.Name())
		}
	}
	require.Less(t, total, 60_000)
}
