package api

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"log/slog"
	"mime"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"runtime/debug"
	"slices"
	"strings"
	"time"
	"unicode"

	"github.com/piper-build/piper/runtime/logs"
	"github.com/piper-build/piper/runtime/store"
)

const (
	slowBody = 30 * time.Second // for a small body
	slowData = 10 * time.Minute // for a large one
	stalled  = 60 * time.Second // for a reader to take what was written
)

// A handler is what a Server answers with.
type handler struct {
	*Server
	as      *store.Token // who everybody is; nil asks for a token
	hub     *hub
	guesses guesses
	usuals  usuals
	past    past
	cross   *http.CrossOriginProtection
}

// Handler returns what answers for s. Whoever asks needs a token.
func (s *Server) Handler() http.Handler { return s.handler(nil) }

// HandlerAs returns a Handler that asks for no token: everybody is the bearer of
// t. It is for who is in the same process, and must not be listened with.
func (s *Server) HandlerAs(t store.Token) http.Handler { return s.handler(&t) }

func (s *Server) handler(as *store.Token) http.Handler {
	h := &handler{Server: s, as: as, cross: http.NewCrossOriginProtection()}
	h.usuals.Server = s
	h.past.Store = s.Store
	h.hub = newHub(h)
	found := router(h.serve, h.refuse)
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		defer h.recover(w, r)
		if r.ContentLength != 0 { // also of who is refused: what he has still to send is waited for
			http.NewResponseController(w).SetReadDeadline(time.Now().Add(slowBody)) // what cannot do that is in this process
		}
		header := w.Header()
		header.Set("X-Content-Type-Options", "nosniff")
		header.Set("Cache-Control", "no-store")
		header.Set("Content-Security-Policy", "default-src 'none'; frame-ancestors 'none'; sandbox")
		header.Set("Referrer-Policy", "no-referrer")
		if err := h.admit(r); err != nil {
			h.refuse(w, r, err)
			return
		}
		if h.ofPage(r) {
			http.NewResponseController(w).SetWriteDeadline(time.Now().Add(stalled))
			h.Page.ServeHTTP(w, r)
			return
		}
		found.ServeHTTP(w, r)
	})
}

// recover answers for a handler that panics.
func (h *handler) recover(w http.ResponseWriter, r *http.Request) {
	p := recover()
	if p == nil {
		return
	}
	if p == http.ErrAbortHandler {
		panic(p)
	}
	h.log().Error("request is not handled", "method", r.Method, "path", r.URL.Path, "panic", p, "stack", string(debug.Stack()))
	h.refuse(w, r, problem(http.StatusInternalServerError, "internal", "this is a bug in piper"))
}

// admit refuses what no route wants.
func (h *handler) admit(r *http.Request) error {
	if !h.called(r.Host) {
		return problem(http.StatusMisdirectedRequest, "unknown-host", "this server is not called "+quote(r.Host))
	}
	switch r.Method {
	case http.MethodGet, http.MethodHead, http.MethodPost, http.MethodPut, http.MethodDelete:
	default:
		return problem(http.StatusMethodNotAllowed, "method-not-allowed", "")
	}
	if !plainPath(r.URL, h.ofPage(r)) {
		return problem(http.StatusNotFound, "not-found", "there is nothing at "+quote(r.URL.EscapedPath()))
	}
	query, err := url.ParseQuery(r.URL.RawQuery)
	if err != nil && !h.ofPage(r) { // a person may have typed that
		return problem(http.StatusBadRequest, "bad-query", "the query cannot be read: "+err.Error())
	}
	for name := range query {
		if strings.Contains(strings.ToLower(name), "token") {
			return problem(http.StatusBadRequest, "token-in-query", "a token belongs into the header Authorization: this one is in logs by now, revoke it")
		}
	}
	if err := h.cross.Check(r); err != nil {
		return problem(http.StatusForbidden, "cross-origin", "this comes from another site's page")
	}
	return nil
}

// ofPage reports whether the page answers a request.
func (h *handler) ofPage(r *http.Request) bool {
	path := r.URL.Path
	ours := path == "/v1" || strings.HasPrefix(path, "/v1/") || path == "/healthz" || path == "/metrics" || path == "/openapi.yaml"
	return h.Page != nil && !ours && (r.Method == http.MethodGet || r.Method == http.MethodHead)
}

// called reports whether host, of a Host header, is this server: a name that it
// was given, or any address. A page that a foreign name leads here can pretend
// neither.
func (h *handler) called(host string) bool {
	name := hostName(host)
	if _, err := netip.ParseAddr(name); err == nil || strings.EqualFold(name, "localhost") {
		return true
	}
	return name != "" && slices.ContainsFunc(h.Hosts, func(own string) bool { return own == "*" || strings.EqualFold(own, name) })
}

// hostName is a Host header without the port.
func hostName(host string) string {
	if name, _, err := net.SplitHostPort(host); err == nil {
		return name
	}
	return strings.TrimSuffix(strings.TrimPrefix(host, "["), "]")
}

// plainPath reports whether the path is written in the one way that it can be; one
// of the page, which a person may have typed, whether no segment leads elsewhere.
func plainPath(u *url.URL, ofPage bool) bool {
	path := u.EscapedPath()
	if ofPage {
		path = u.Path
	}
	if path == "/" {
		return true
	}
	if !strings.HasPrefix(path, "/") {
		return false
	}
	for segment := range strings.SplitSeq(path[1:], "/") {
		odd := strings.IndexFunc(segment, func(r rune) bool {
			return (r < 'a' || r > 'z') && (r < 'A' || r > 'Z') && (r < '0' || r > '9') && !strings.ContainsRune("-_.~@", r)
		})
		if segment == "" || segment == "." || segment == ".." || odd >= 0 && !ofPage || strings.ContainsFunc(segment, unicode.IsControl) {
			return false
		}
	}
	return true
}

// serve answers a request to a route.
func (h *handler) serve(w http.ResponseWriter, r *http.Request, route *route, param func(string) string, from string) {
	c := &call{handler: h, ctx: r.Context(), w: w, r: r, param: param, query: r.URL.Query(), from: from, at: h.hub.place()}
	a, err := c.answer(route)
	if err != nil {
		h.refuse(w, r, err)
		return
	}
	if a == nil {
		return // it was streamed
	}
	a.write(w, r)
}

func (c *call) answer(route *route) (*answer, error) {
	if route.role != anyone {
		if err := c.authenticate(); err != nil {
			return nil, err
		}
		switch {
		case rank(c.token.Role) < rank(route.role):
			return nil, problem(http.StatusForbidden, "forbidden", "a token for "+string(c.token.Role)+" may not do this: it wants "+string(route.role))
		case route.whole && len(c.token.Projects) > 0:
			return nil, problem(http.StatusForbidden, "forbidden", "this wants a token that is good for every project")
		}
	}
	if err := c.open(route); err != nil {
		return nil, err
	}
	return route.handle(c)
}

// A call is one request on its way through a route.
type call struct {
	*handler
	ctx   context.Context
	w     http.ResponseWriter
	r     *http.Request
	param func(string) string // a segment of the path
	query url.Values
	from  string      // the address that it came from
	token store.Token // who asks
	at    place       // from where a stream tells what the answer does not have

	browser string // the hash of the cookie that said so; "" when a header did
}

// open looks at what is said of the body, and bounds it.
func (c *call) open(route *route) error {
	r := c.r
	if encoding := r.Header.Get("Content-Encoding"); encoding != "" && encoding != "identity" {
		return problem(http.StatusUnsupportedMediaType, "unsupported-encoding", "send the body as it is, not as "+quote(encoding))
	}
	limit, slow, types := int64(0), slowBody, []string(nil)
	switch route.body {
	case jsonBody:
		limit, types = maxJSON, []string{"application/json"}
	case patchBody:
		limit, slow, types = MaxPatch, slowData, []string{"application/octet-stream", "text/x-diff", "text/x-patch"}
	case hookBody:
		limit, slow, types = maxHook, slowData, []string{"application/json"}
	}
	if r.ContentLength > limit {
		return tooLarge(limit)
	}
	if r.ContentLength != 0 && limit > 0 {
		got, _, err := mime.ParseMediaType(r.Header.Get("Content-Type"))
		if err != nil || !slices.Contains(types, got) {
			return problem(http.StatusUnsupportedMediaType, "unsupported-type", "send "+strings.Join(types, " or ")+", and say so in Content-Type")
		}
	}
	if r.ContentLength != 0 {
		deadline := http.NewResponseController(c.w)
		deadline.SetReadDeadline(time.Now().Add(slow))
		r.Body = &patient{http.MaxBytesReader(c.w, r.Body, limit), deadline}
	}
	return nil
}

// patient ends a deadline of reading once the body is there: then the connection
// is listened to until the answer is, however long that takes. One that fails keeps
// its deadline, or what is left of it would be waited for without end.
type patient struct {
	io.ReadCloser
	deadline *http.ResponseController
}

func (p *patient) Read(b []byte) (int, error) {
	n, err := p.ReadCloser.Read(b)
	if err == io.EOF {
		p.deadline.SetReadDeadline(time.Time{})
	}
	return n, err
}

func tooLarge(limit int64) error {
	if limit == 0 {
		return problem(http.StatusBadRequest, "unexpected-body", "this takes no body")
	}
	return problem(http.StatusRequestEntityTooLarge, "too-large", "at most "+bytesWord(limit)+" are taken")
}

// An answer is what a route gives.
type answer struct {
	status int // 0 is 200
	header http.Header
	value  any    // as JSON
	text   []byte // in place of value
	kind   string // of text
}

func ok(value any) (*answer, error) { return &answer{value: value}, nil }

func (a *answer) with(name, value string) *answer {
	if a.header == nil {
		a.header = http.Header{}
	}
	a.header.Set(name, value)
	return a
}

// from says from where a stream goes on for whoever has the answer.
func (a *answer) from(at place) *answer { return a.with("X-Event-ID", at.String()) }

func (a *answer) write(w http.ResponseWriter, r *http.Request) {
	for name, values := range a.header {
		w.Header()[name] = values
	}
	if a.status == 0 {
		a.status = http.StatusOK
	}
	text, kind := a.text, a.kind
	if a.value != nil {
		kind = "application/json"
		var err error
		if text, err = json.Marshal(a.value); err != nil {
			panic(err) // it is one of our own types
		}
		text = append(text, '\n')
	}
	if kind != "" {
		w.Header().Set("Content-Type", kind)
	}
	http.NewResponseController(w).SetWriteDeadline(time.Now().Add(stalled))
	w.WriteHeader(a.status)
	w.Write(text)
}

// refuse answers with an error.
func (h *handler) refuse(w http.ResponseWriter, r *http.Request, err error) {
	p := h.explain(r, err)
	if p.Status == http.StatusUnauthorized {
		w.Header().Set("WWW-Authenticate", `Bearer realm="piper"`)
	}
	for name, value := range p.header {
		w.Header().Set(name, value)
	}
	text, err := json.Marshal(p)
	if err != nil {
		panic(err) // it is one of our own types
	}
	w.Header().Set("Content-Type", "application/problem+json")
	http.NewResponseController(w).SetWriteDeadline(time.Now().Add(stalled))
	w.WriteHeader(p.Status)
	w.Write(append(text, '\n'))
}

// explain is err as whoever asked is told it.
func (h *handler) explain(r *http.Request, err error) *Problem {
	var p *Problem
	var large *http.MaxBytesError
	switch {
	case errors.As(err, &p):
		return p
	case errors.As(err, &large):
		errors.As(tooLarge(large.Limit), &p)
		return p
	case errors.Is(err, store.ErrNotFound):
		return problem(http.StatusNotFound, "not-found", err.Error())
	case errors.Is(err, store.ErrConflict), errors.Is(err, store.ErrFenced):
		return problem(http.StatusConflict, "conflict", err.Error())
	case errors.Is(err, store.ErrFull):
		h.log().Error("request failed", "method", r.Method, "path", r.URL.Path, "error", err)
		return problem(http.StatusInsufficientStorage, "store-full", "the disk of the store is full: nothing was kept, and what is there can be read")
	case errors.Is(err, logs.ErrAway):
		h.log().Error("request failed", "method", r.Method, "path", r.URL.Path, "error", err)
		return problem(http.StatusServiceUnavailable, "index-away", err.Error()).with("Retry-After", "10")
	case errors.Is(err, store.ErrCursor):
		return problem(http.StatusBadRequest, "bad-cursor", err.Error())
	}
	if r.Context().Err() == nil {
		h.log().Error("request failed", "method", r.Method, "path", r.URL.Path, "error", err)
	}
	return problem(http.StatusServiceUnavailable, "unavailable", "the store does not answer: try again").with("Retry-After", "2")
}

func (s *Server) now() time.Time {
	if s.Now != nil {
		return s.Now().UTC().Truncate(time.Millisecond)
	}
	return time.Now().UTC().Truncate(time.Millisecond)
}

func (s *Server) log() *slog.Logger {
	if s.Log != nil {
		return s.Log
	}
	return slog.New(slog.DiscardHandler)
}
