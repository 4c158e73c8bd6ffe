package rethinkdb

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync/atomic"
	"time"

	r "gopkg.in/rethinkdb/rethinkdb-go.v6"

	"github.com/piper-build/piper/runtime/store"
)

const (
	dialTimeout = 5 * time.Second
	// lastWord is how long a connection may take to say that it dropped a query
	// that nobody waits for any more. One that does not is dead.
	lastWord = 5 * time.Second
)

type counter struct{ n atomic.Uint64 }

func (c *counter) next() uint64 { return c.n.Add(1) }

// A link is one connection, made anew when it is broken. Any number of queries
// share it. The driver's own sessions are not used: their pool races when it
// connects again, they send writes twice, and nothing ends a query of theirs whose
// server is silent.
type link struct {
	*Store
	one  chan struct{} // held by who looks at conn
	conn *r.Connection // nil is none
	host int           // which of the hosts is tried first
}

func (s *Store) newLink() *link { return &link{Store: s, one: make(chan struct{}, 1)} }

// get returns the connection, or makes one.
func (l *link) get(ctx context.Context) (*r.Connection, error) {
	select {
	case l.one <- struct{}{}:
		defer func() { <-l.one }()
	case <-ctx.Done():
		return nil, ctx.Err()
	}
	if l.conn != nil {
		return l.conn, nil
	}
	var errs []error
	for range l.address.Hosts {
		host := l.address.Hosts[l.host%len(l.address.Hosts)]
		conn, err := l.dial(ctx, host)
		if err == nil {
			l.conn = conn
			return conn, nil
		}
		l.host++
		errs = append(errs, fmt.Errorf("%s: %w", host, err))
		if ctx.Err() != nil {
			break
		}
	}
	return nil, fmt.Errorf("%w: %w", errUnreachable, errors.Join(errs...))
}

var errUnreachable = errors.New("no server is reached")

// dial connects to one host. The driver waits for the greeting of a server
// without end.
func (l *link) dial(ctx context.Context, host string) (*r.Connection, error) {
	type result struct {
		conn *r.Connection
		err  error
	}
	dialed := make(chan result, 1)
	go func() {
		conn, err := r.NewConnection(host, &r.ConnectOpts{
			Database: l.address.Database, Username: l.address.User, Password: l.o.Password, TLSConfig: l.address.TLS,
			Timeout: dialTimeout, KeepAlivePeriod: 10 * time.Second, HandshakeVersion: r.HandshakeV1_0,
		})
		dialed <- result{conn, err}
	}()
	timer := time.NewTimer(dialTimeout)
	defer timer.Stop()
	late := errors.New("it does not answer")
	select {
	case made := <-dialed:
		return made.conn, made.err
	case <-ctx.Done():
		late = ctx.Err()
	case <-timer.C:
	}
	go func() {
		if made := <-dialed; made.err == nil {
			made.conn.Close()
		}
	}()
	return nil, late
}

// drop forgets a connection that is broken.
func (l *link) drop(conn *r.Connection) {
	l.one <- struct{}{}
	defer func() { <-l.one }()
	if l.conn == conn {
		l.conn = nil
	}
	conn.Close()
}

func (l *link) close() {
	l.one <- struct{}{}
	defer func() { <-l.one }()
	if l.conn != nil {
		l.conn.Close()
		l.conn = nil
	}
}

// An executor runs a term on one connection. The driver lets nobody else be an
// executor but who has one of its own inside; a mock is the one that needs no
// server.
type executor struct {
	*r.Mock
	conn *r.Connection
}

func (e executor) IsConnected() bool { return true }

func (e executor) Query(ctx context.Context, q r.Query) (*r.Cursor, error) {
	_, cursor, err := e.conn.Query(ctx, q)
	return cursor, err
}

// An answer is what came of a query: documents as JSON.
type answer struct {
	docs []json.RawMessage
	err  error
}

// ask runs a term and returns all that it gives. An error that is store.ErrInDoubt
// says that no answer came.
func (s *Store) ask(ctx context.Context, term r.Term) ([]json.RawMessage, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	limited, cancel := context.WithTimeout(ctx, s.o.Timeout)
	defer cancel()
	l := s.links[s.turn.next()%uint64(len(s.links))]
	conn, err := l.get(limited)
	if err != nil {
		return nil, doubtful(ctx, err)
	}
	answered := make(chan answer, 1)
	go func() { answered <- fetch(limited, s.executor(conn), term) }()
	select {
	case a := <-answered:
		if broken(a.err) {
			l.drop(conn)
		}
		return a.docs, doubtful(ctx, a.err)
	case <-limited.Done():
		go func() { // the connection itself may be what is silent
			select {
			case <-answered:
			case <-time.After(lastWord):
				l.drop(conn)
			}
		}()
		return nil, doubtful(ctx, fmt.Errorf("no answer: %w", limited.Err()))
	}
}

func (s *Store) executor(conn *r.Connection) executor {
	return executor{r.NewMock(r.ConnectOpts{Database: s.address.Database}), conn}
}

func fetch(ctx context.Context, e executor, term r.Term) (a answer) {
	cursor, err := term.Run(e, r.RunOpts{Context: ctx})
	if err != nil {
		return answer{err: err}
	}
	defer cursor.Close()
	for {
		doc, ok := cursor.NextResponse()
		if !ok {
			return answer{a.docs, cursor.Err()}
		}
		a.docs = append(a.docs, doc)
	}
}

// broken reports whether an error is one of the connection.
func broken(err error) bool {
	return errors.As(err, new(r.RQLConnectionError)) || errors.Is(err, r.ErrConnectionClosed)
}

// A brief is an error of the server without the query, which the driver adds: that
// holds all that was to be written, and says anything.
type brief struct{ error }

func (b brief) Unwrap() error { return b.error }

func (b brief) Error() string {
	text, _, _ := strings.Cut(b.error.Error(), " in:\n")
	return text
}

// final are words of errors that stay, for all that their kinds may pass.
var final = []string{
	"does not exist", "is ambiguous",
	"It's impossible to have more replicas",
	"x509: ", "does not look like a TLS handshake", // of who answered
}

// doubtful is err as store.ErrInDoubt, unless it is an answer.
func doubtful(ctx context.Context, err error) error {
	if err == nil {
		return nil
	}
	err = brief{err}
	switch {
	case errors.As(err, new(r.RQLAuthError)):
		return fmt.Errorf("%w: is the password the one of this user?", err)
	case slices.ContainsFunc(final, func(words string) bool { return strings.Contains(err.Error(), words) }):
		return err
	case broken(err), errors.Is(err, errUnreachable), errors.Is(err, r.ErrQueryTimeout), errors.Is(err, context.Canceled), errors.Is(err, context.DeadlineExceeded),
		errors.As(err, new(r.RQLTimeoutError)), errors.As(err, new(r.RQLOpFailedError)), errors.As(err, new(r.RQLOpIndeterminateError)), errors.As(err, new(r.RQLAvailabilityError)),
		errors.As(err, new(r.RQLInternalError)): // which it calls a table without a quorum, now and then
		if cause := ctx.Err(); cause != nil && !errors.Is(err, cause) {
			err = fmt.Errorf("%w: %w", err, cause)
		}
		return fmt.Errorf("%w: %w", store.ErrInDoubt, err)
	}
	return err
}

// A written is what a write says of itself.
type written struct {
	Errors     int    `json:"errors"`
	FirstError string `json:"first_error"`
	Inserted   int    `json:"inserted"`
	Replaced   int    `json:"replaced"`
	Unchanged  int    `json:"unchanged"`
	Skipped    int    `json:"skipped"`
	Deleted    int    `json:"deleted"`
	Changes    []struct {
		New json.RawMessage `json:"new_val"`
	} `json:"changes"`
}

// write runs a term that writes. What a statement refuses with conflicting is
// store.ErrConflict.
func (s *Store) write(ctx context.Context, term r.Term) (w written, err error) {
	docs, err := s.ask(ctx, term)
	if err != nil {
		return w, err
	}
	if len(docs) != 1 {
		return w, fmt.Errorf("%w: %d answers to one write", store.ErrInDoubt, len(docs))
	}
	if err := json.Unmarshal(docs[0], &w); err != nil {
		return w, fmt.Errorf("%w: %w", store.ErrInDoubt, err)
	}
	switch {
	case w.Errors == 0:
		return w, nil
	case strings.Contains(w.FirstError, conflicting):
		return w, store.ErrConflict
	case strings.Contains(w.FirstError, "lost contact"), strings.Contains(w.FirstError, "not available"):
		return w, fmt.Errorf("%w: %s", store.ErrInDoubt, w.FirstError)
	}
	return w, errors.New(w.FirstError)
}

// conflicting is what a statement raises where another document is in the way.
const conflicting = "piper: another one is there"

// read is ask for what changes nothing: where a connection is found broken the next
// one is asked, as all of them are once a server was gone.
func (s *Store) read(ctx context.Context, term r.Term) (docs []json.RawMessage, err error) {
	for range len(s.links) + 1 {
		if docs, err = s.ask(ctx, term); !broken(err) || errors.Is(err, errUnreachable) {
			break
		}
	}
	return docs, err
}

// one reads a document. what and key name it in an error.
func one[T any](ctx context.Context, s *Store, what string, key any, term r.Term) (v T, err error) {
	docs, err := s.read(ctx, term)
	if err != nil {
		return v, fmt.Errorf("read %s %v: %w", what, key, err)
	}
	if len(docs) == 0 || string(docs[0]) == "null" {
		return v, fmt.Errorf("%s %v: %w", what, key, store.ErrNotFound)
	}
	if err := json.Unmarshal(docs[0], &v); err != nil {
		return v, fmt.Errorf("read %s %v: %w", what, key, err)
	}
	return v, nil
}

// many reads documents.
func many[T any](ctx context.Context, s *Store, term r.Term) (all []T, err error) {
	docs, err := s.read(ctx, term)
	if err != nil {
		return nil, err
	}
	for _, doc := range docs {
		var v T
		if err := json.Unmarshal(doc, &v); err != nil {
			return nil, err
		}
		all = append(all, v)
	}
	return all, nil
}

// document is v, as JSON that the server reads.
func document(v any) (r.Term, error) {
	text, err := json.Marshal(v)
	if err != nil {
		return r.Term{}, err
	}
	return r.JSON(string(text)), nil
}
