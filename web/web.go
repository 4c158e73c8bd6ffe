// Package web is the page: files that a browser runs, and the handler that
// serves them. Whatever the page shows and does goes through the HTTP API.
//
// The files in dist are made from src by "npm run build" and committed, so that
// building Piper needs no Node. README.md says how it is cut.
package web

import (
	"bytes"
	"compress/gzip"
	"crypto/sha256"
	"embed"
	"encoding/hex"
	"io/fs"
	"net/http"
	"path"
	"regexp"
	"slices"
	"strings"
	"sync"
	"time"
)

//go:embed dist
var dist embed.FS

// policy lets the page use what comes with it, and nothing else.
const policy = "default-src 'self'; base-uri 'none'; form-action 'self'; frame-ancestors 'none'; object-src 'none'"

// aBuild is the page's path of one.
var aBuild = regexp.MustCompile(`^/builds/[0-9]+$`)

// early is what the page asks the API for before all else, at the addresses where
// most come to it: a browser can ask while it reads the script. It is used only if
// src asks for just that.
func early(address string) []string {
	switch {
	case address == "/":
		return []string{"/v1/session", "/v1/builds?limit=50"}
	case aBuild.MatchString(address):
		return []string{"/v1/session", "/v1" + address}
	}
	return nil
}

// A file is one of dist, ready to be sent.
type file struct {
	kind   string
	tag    string
	plain  []byte
	packed []byte // with gzip
}

// files are made when the first is asked for.
var files = sync.OnceValue(func() map[string]*file {
	made := map[string]*file{}
	entries, err := fs.ReadDir(dist, "dist")
	if err != nil {
		panic(err) // it is embedded
	}
	for _, e := range entries {
		plain, err := fs.ReadFile(dist, "dist/"+e.Name())
		if err != nil {
			panic(err)
		}
		var packed bytes.Buffer
		z, _ := gzip.NewWriterLevel(&packed, gzip.BestCompression)
		z.Write(plain)
		z.Close()
		sum := sha256.Sum256(plain)
		made["/"+e.Name()] = &file{kinds[path.Ext(e.Name())], `"` + hex.EncodeToString(sum[:12]) + `"`, plain, packed.Bytes()}
	}
	return made
})

// kinds are those of all files. The machine is not asked, which may say otherwise.
var kinds = map[string]string{
	".css":  "text/css; charset=utf-8",
	".html": "text/html; charset=utf-8",
	".js":   "text/javascript; charset=utf-8",
	".svg":  "image/svg+xml",
}

// places are the first segments of the page's own paths, as src/route.ts has them.
var places = []string{"", "builds", "projects", "agents", "search", "signin"}

// Handler serves the page. A path that is no file is a place in the page, which
// finds its way itself, and says so when it knows no such place.
func Handler() http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Method != http.MethodGet && r.Method != http.MethodHead {
			w.Header().Set("Allow", "GET, HEAD")
			http.Error(w, "the page can be read, and nothing else", http.StatusMethodNotAllowed)
			return
		}
		f := files()[r.URL.Path]
		if f == nil {
			f = files()["/index.html"]
		}
		header := w.Header()
		header.Set("Content-Security-Policy", policy)
		header.Set("X-Content-Type-Options", "nosniff")
		header.Set("Referrer-Policy", "same-origin")
		header.Set("Cache-Control", "no-cache") // ask whether it is still this one
		header.Set("Content-Type", f.kind)
		header.Set("Vary", "Accept-Encoding")
		for _, ask := range early(r.URL.String()) {
			header.Add("Link", "<"+ask+">; rel=preload; as=fetch; crossorigin")
		}
		body, tag := f.plain, f.tag
		if accepts(r.Header.Get("Accept-Encoding")) {
			header.Set("Content-Encoding", "gzip")
			body, tag = f.packed, strings.TrimSuffix(f.tag, `"`)+`-gzip"`
		}
		header.Set("ETag", tag)
		if first, _, _ := strings.Cut(r.URL.Path[1:], "/"); files()[r.URL.Path] == nil && !slices.Contains(places, first) {
			w.WriteHeader(http.StatusNotFound)
			w.Write(body)
			return
		}
		http.ServeContent(w, r, "", time.Time{}, bytes.NewReader(body))
	})
}

// accepts reports whether gzip can be sent to who accepts encodings.
func accepts(encodings string) bool {
	for one := range strings.SplitSeq(encodings, ",") {
		name, quality, _ := strings.Cut(one, ";")
		if strings.TrimSpace(name) == "gzip" {
			return !strings.HasPrefix(strings.ReplaceAll(quality, " ", ""), "q=0") || strings.ContainsAny(quality, "123456789")
		}
	}
	return false
}
