// Package sqlite is the Store of one machine: a database file, and beside it
// the files that hold what steps wrote.
//
// All writes of a process go through one goroutine, which takes as many as wait
// and commits them together, so that a hundred claims cost one fsync. Reads have
// connections of their own and wait for nobody. Other processes may have the
// same file open: each transaction takes the write lock at its beginning, and
// what it decides on it reads under that lock.
//
// Of the output of steps the database holds only where it lies: the bytes go to
// logs/<build>/<fence> beside it before the transaction that tells of them
// commits. Beside such a file may lie its signature (see store.Signatures), a
// sixteenth to an eighth of its size, which may be deleted at any time. A full-text
// index of SQLite itself (FTS5, of trigrams) takes in some 3 MB/s, which is less than
// steps write.
package sqlite

import (
	"cmp"
	"context"
	"database/sql"
	"errors"
	"fmt"
	"net/url"
	"os"
	"path/filepath"
	"strconv"
	"sync"
	"time"

	"modernc.org/sqlite" // SQLite itself, without cgo
	codes "modernc.org/sqlite/lib"

	"github.com/piper-build/piper/runtime/store"
)

// ErrNewer says that a newer piper wrote the database.
var ErrNewer = errors.New("written by a newer piper")

// ErrDamaged says that the database file is not sound.
var ErrDamaged = errors.New("damaged")

// Options are how a store is opened. The zero Options are those of a store that
// others rely on.
type Options struct {
	// Relaxed leaves it to the system when what was acknowledged reaches the
	// disk. It survives this process however that ends, but not the machine: then
	// the newest may be missing, and the rest is sound. Little of the file is kept
	// in memory.
	Relaxed bool

	// Busy is how long a write waits for another process that has the file
	// locked, before it is in doubt and says why; 0 is 5 seconds.
	Busy time.Duration
}

// defaultBusy is longer than any write of ours, and shorter than agents wait for
// an answer.
const defaultBusy = 5 * time.Second

// A Store is an open database. It implements store.Store, store.Portable and
// store.Signatures.
type Store struct {
	path   string
	dir    string // of the log files
	reads  *reader
	writes *writer
	logs   *files
	watch  *watch
	life   context.Context // of what goes on in the background
	stop   context.CancelFunc
	done   sync.WaitGroup
}

var (
	_ store.Store      = (*Store)(nil)
	_ store.Portable   = (*Store)(nil)
	_ store.Signatures = (*Store)(nil)
)

// Open opens the database at path, and makes it if there is none, with all the
// directories above it. Nobody else may read what it makes.
func Open(ctx context.Context, path string, o Options) (s *Store, err error) {
	defer func() {
		if err != nil {
			err = fmt.Errorf("open store %s: %w", path, err)
		}
	}()
	path, err = filepath.Abs(path)
	if err != nil {
		return nil, err
	}
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		return nil, err
	}
	if err := create(path); err != nil {
		return nil, err
	}

	// Who opens the database after the last one that had it was killed reads
	// the write-ahead log anew, so it is kept short where that is to be expected.
	o.Busy = cmp.Or(o.Busy, defaultBusy)
	synchronous, checkpoint, cache := "FULL", 1000, "cache_size(-2000)" // KiB, for each connection
	if o.Relaxed {
		synchronous, checkpoint, cache = "NORMAL", 256, "cache_size(-64)"
	}
	db, err := open(path, o.Busy, "journal_mode(WAL)", "synchronous("+synchronous+")", fmt.Sprintf("wal_autocheckpoint(%d)", checkpoint), cache)
	if err != nil {
		return nil, err
	}
	db.SetMaxOpenConns(1)
	conn, err := prepared(ctx, db, o)
	// SQLite does not wait for every lock of who opens the file at the same time.
	for began := time.Now(); busy(err) && time.Since(began) < o.Busy && ctx.Err() == nil; {
		time.Sleep(10 * time.Millisecond)
		conn, err = prepared(ctx, db, o)
	}
	if err != nil {
		return nil, errors.Join(explained(err), db.Close())
	}
	reads, err := open(path, o.Busy, "query_only(1)", cache)
	if err != nil {
		return nil, errors.Join(err, conn.Close(), db.Close())
	}
	reads.SetMaxOpenConns(5) // one watches
	reads.SetMaxIdleConns(5)

	s = &Store{path: path, dir: filepath.Join(filepath.Dir(path), "logs"), reads: &reader{DB: reads, prepared: map[string]*sql.Stmt{}}, watch: &watch{}}
	s.logs = newFiles(s.dir, !o.Relaxed)
	s.life, s.stop = context.WithCancel(context.Background())
	s.writes = &writer{db: db, conn: conn, prepared: map[string]*sql.Stmt{}, requests: make(chan *request), over: make(chan struct{})}
	s.done.Go(func() { s.writes.run(s.life) })
	return s, nil
}

// create makes the file of a database unless it is there. SQLite would make it
// as the umask says, and its companions alike.
func create(path string) error {
	f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return err
	}
	return f.Close()
}

// open returns the database with the pragmas that every connection needs.
func open(path string, busy time.Duration, pragmas ...string) (*sql.DB, error) {
	query := url.Values{"_txlock": {"immediate"}}
	for _, p := range append(pragmas, fmt.Sprintf("busy_timeout(%d)", busy.Milliseconds()), "foreign_keys(1)") {
		query.Add("_pragma", p)
	}
	return sql.Open("sqlite", (&url.URL{Scheme: "file", Opaque: (&url.URL{Path: path}).EscapedPath(), RawQuery: query.Encode()}).String())
}

// prepared is a connection to a file that is as it should be.
func prepared(ctx context.Context, db *sql.DB, o Options) (*sql.Conn, error) {
	conn, err := db.Conn(ctx)
	if err != nil {
		return nil, err
	}
	if err := prepare(ctx, conn, o); err != nil {
		return nil, errors.Join(err, conn.Close())
	}
	return conn, nil
}

// busy reports whether another process has a lock.
func busy(err error) bool {
	var e *sqlite.Error
	return errors.As(err, &e) && e.Code()&0xff == codes.SQLITE_BUSY
}

// prepare looks at the file, and brings its tables up to date.
func prepare(ctx context.Context, conn *sql.Conn, o Options) error {
	synchronous := "2"
	if o.Relaxed {
		synchronous = "1"
	}
	// The driver ignores a pragma that it does not understand.
	for pragma, want := range map[string]string{"journal_mode": "wal", "synchronous": synchronous} {
		var got string
		if err := conn.QueryRowContext(ctx, "PRAGMA "+pragma).Scan(&got); err != nil {
			return err
		}
		if got != want {
			return fmt.Errorf("%s is %s, want %s: does the file system support shared memory? (a network file system does not)", pragma, got, want)
		}
	}
	return migrate(ctx, conn)
}

// Check looks through the whole database, which takes time for all of it.
func (s *Store) Check(ctx context.Context) error {
	var verdict string
	if err := s.reads.QueryRowContext(ctx, "PRAGMA quick_check(1)").Scan(&verdict); err != nil {
		return fmt.Errorf("check store: %w", explained(err))
	}
	if verdict != "ok" {
		return fmt.Errorf("check store: %w: %s: restore a backup, or move the file away to start anew", ErrDamaged, verdict)
	}
	return nil
}

// explained says what to do about a file that is no sound database, or that
// another process does not let go of.
func explained(err error) error {
	var e *sqlite.Error
	if !errors.As(err, &e) {
		return err
	}
	switch e.Code() & 0xff {
	case codes.SQLITE_NOTADB, codes.SQLITE_CORRUPT:
		return fmt.Errorf("%w: %w: restore a backup, or move the file away to start anew", ErrDamaged, err)
	case codes.SQLITE_BUSY:
		return fmt.Errorf("another process keeps the file locked: let it end its write, or end it if it is stopped: %w", err)
	}
	return err
}

// migrate runs the migrations that the file has not seen. Another process may
// be at it too.
func migrate(ctx context.Context, conn *sql.Conn) error {
	version, err := tableVersion(ctx, conn)
	if err != nil || version == len(migrations) {
		return err
	}
	tx, err := conn.BeginTx(ctx, nil)
	if err != nil {
		return err
	}
	defer tx.Rollback()
	if version, err = tableVersion(ctx, tx); err != nil {
		return err
	}
	if version > len(migrations) {
		return fmt.Errorf("%w: its tables have version %d, this piper knows %d: use the newer one", ErrNewer, version, len(migrations))
	}
	for i, m := range migrations[version:] {
		if _, err := tx.ExecContext(ctx, m); err != nil {
			return fmt.Errorf("bring tables to version %d: %w", version+i+1, err)
		}
	}
	if _, err := tx.ExecContext(ctx, "PRAGMA user_version = "+strconv.Itoa(len(migrations))); err != nil {
		return err
	}
	return tx.Commit()
}

func tableVersion(ctx context.Context, q querier) (version int, err error) {
	err = q.QueryRowContext(ctx, "PRAGMA user_version").Scan(&version)
	return version, err
}

// migrations take the tables from each version to the next. What has been
// released never changes.
//
// A table of documents holds each as JSON, and beside it the columns that an
// index needs. The indexes of builds leave out what was collected, so that a
// page costs the same however much there once was.
var migrations = []string{`
CREATE TABLE counter (value INTEGER NOT NULL);
INSERT INTO counter VALUES (0);

CREATE TABLE builds (
	number    INTEGER PRIMARY KEY,
	id        TEXT NOT NULL UNIQUE,
	state     TEXT NOT NULL,
	project   TEXT NOT NULL,
	pipeline  TEXT NOT NULL,
	owner     TEXT NOT NULL,
	choice    TEXT NOT NULL,
	parent    TEXT NOT NULL,
	priority  INTEGER NOT NULL,
	pending   INTEGER NOT NULL,
	collected INTEGER NOT NULL,
	doc       TEXT NOT NULL
);
CREATE INDEX builds_newest   ON builds (number) WHERE collected = 0;
CREATE INDEX builds_project  ON builds (project, number) WHERE collected = 0;
CREATE INDEX builds_pipeline ON builds (project, pipeline, number) WHERE collected = 0;
CREATE INDEX builds_state    ON builds (state, number) WHERE collected = 0;
CREATE INDEX builds_parent   ON builds (parent, number) WHERE collected = 0 AND parent <> '';
CREATE INDEX builds_queue    ON builds (priority DESC, number) WHERE state = 'queued';
CREATE INDEX builds_choice   ON builds (choice, priority DESC, number) WHERE state = 'queued';
CREATE INDEX builds_running  ON builds (owner, number) WHERE state = 'running';
CREATE INDEX builds_pending  ON builds (number) WHERE pending > 0;

CREATE TABLE blobs (digest TEXT PRIMARY KEY, data BLOB NOT NULL) WITHOUT ROWID;

CREATE TABLE events (
	build TEXT NOT NULL,
	fence INTEGER NOT NULL,
	seq   INTEGER NOT NULL,
	count INTEGER NOT NULL,
	doc   TEXT NOT NULL,
	PRIMARY KEY (build, fence, seq)
) WITHOUT ROWID;

CREATE TABLE chunks (
	build   TEXT NOT NULL,
	fence   INTEGER NOT NULL,
	node    TEXT NOT NULL,
	attempt INTEGER NOT NULL,
	seq     INTEGER NOT NULL,
	line    INTEGER NOT NULL,
	lines   INTEGER NOT NULL,
	start   INTEGER NOT NULL,
	cut     INTEGER NOT NULL,
	times   BLOB NOT NULL,
	place   INTEGER NOT NULL,
	size    INTEGER NOT NULL,
	PRIMARY KEY (build, fence, node, attempt, seq)
) WITHOUT ROWID;

CREATE TABLE groups   (key TEXT PRIMARY KEY, doc TEXT NOT NULL) WITHOUT ROWID;
CREATE TABLE agents   (id TEXT PRIMARY KEY, doc TEXT NOT NULL) WITHOUT ROWID;
CREATE TABLE projects (name TEXT PRIMARY KEY, doc TEXT NOT NULL) WITHOUT ROWID;
CREATE TABLE tokens   (hash TEXT PRIMARY KEY, name TEXT NOT NULL UNIQUE, doc TEXT NOT NULL) WITHOUT ROWID;
`}

// Close ends what goes on in the background. What was acknowledged is kept.
func (s *Store) Close() error {
	s.stop()
	s.done.Wait()
	return errors.Join(s.logs.Close(), s.reads.Close(), s.writes.Close())
}
