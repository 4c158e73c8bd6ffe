package sqlite

import (
	"bytes"
	"context"
	"database/sql"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"sync"
	"time"

	"github.com/piper-build/piper/runtime/build"
	"github.com/piper-build/piper/runtime/store"
)

// files are the logs as files: one for each fence of a build, into which the
// chunks of all its nodes go as they come. A file that was being written when
// its process died may have bytes at its end that no row tells of; they are
// never read.
type files struct {
	dir    string
	synced bool // before what tells of them is committed

	mu   sync.Mutex
	open map[string]*os.File
}

// maxOpen bounds the files that are kept open for writing.
const maxOpen = 64

func newFiles(dir string, synced bool) *files {
	return &files{dir: dir, synced: synced, open: map[string]*os.File{}}
}

// path is where the bytes of one fence of a build lie. An ID that is no plain
// file name never was a build's.
func (f *files) path(id build.ID, fence int64) (string, error) {
	name := string(id)
	if !filepath.IsLocal(name) || filepath.Base(name) != name {
		return "", fmt.Errorf("log of build %q: that is no build's id", name)
	}
	return filepath.Join(f.dir, name, strconv.FormatInt(fence, 10)), nil
}

// file returns the file of one fence of a build, and where it ends. Only who
// holds the write lock of the database may write to it.
func (f *files) file(id build.ID, fence int64) (file *os.File, end int64, err error) {
	path, err := f.path(id, fence)
	if err != nil {
		return nil, 0, err
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	file = f.open[path]
	if file == nil {
		if len(f.open) >= maxOpen {
			if err := f.close(); err != nil {
				return nil, 0, err
			}
		}
		if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
			return nil, 0, err
		}
		if file, err = os.OpenFile(path, os.O_RDWR|os.O_CREATE, 0o600); err != nil {
			return nil, 0, err
		}
		f.open[path] = file
	}
	end, err = file.Seek(0, io.SeekEnd)
	return file, end, err
}

// close closes all files.
func (f *files) close() (err error) {
	for path, file := range f.open {
		if f.synced {
			err = errors.Join(err, file.Sync())
		}
		err = errors.Join(err, file.Close())
		delete(f.open, path)
	}
	return err
}

// Close closes all files.
func (f *files) Close() error {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.close()
}

// remove deletes the files of a build.
func (f *files) remove(id build.ID) error {
	path, err := f.path(id, 0)
	if err != nil {
		return err
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	dir := filepath.Dir(path)
	for path, file := range f.open {
		if filepath.Dir(path) == dir {
			file.Close()
			delete(f.open, path)
		}
	}
	return os.RemoveAll(dir)
}

// A row is a chunk as the database has it.
type row struct {
	store.Chunk
	place, size int64
}

const (
	columns = "seq, line, lines, start, cut, times, place, size"
	ofChunk = " FROM chunks WHERE build = ? AND fence = ? AND node = ? AND attempt = ? AND seq "
)

func (r *row) scan(rows interface{ Scan(...any) error }) error {
	var times []byte
	if err := rows.Scan(&r.Key.Seq, &r.Line, &r.Lines, &r.Offset, &r.Cut, &times, &r.place, &r.size); err != nil {
		return err
	}
	var err error
	r.Times, err = decodeTimes(times)
	return err
}

// read reads the bytes of r from its file.
func (r *row) read(file *os.File) error {
	r.Data = make([]byte, r.size)
	_, err := file.ReadAt(r.Data, r.place)
	return err
}

// same reports whether r is c.
func (r *row) same(c *store.Chunk) bool {
	return r.Line == c.Line && r.Lines == c.Lines && r.Offset == c.Offset && r.Cut == c.Cut && bytes.Equal(r.Data, c.Data) &&
		slices.EqualFunc(r.Times, c.Times, func(a, b store.Stamp) bool { return a.Offset == b.Offset && a.At.Equal(b.At) })
}

// encodeTimes packs stamps: the milliseconds and the offset that each is after
// the one before it.
func encodeTimes(times []store.Stamp) []byte {
	b := []byte{} // nil would be NULL
	var at, offset int64
	for _, t := range times {
		ms := t.At.UnixMilli()
		b = binary.AppendVarint(b, ms-at)
		b = binary.AppendVarint(b, int64(t.Offset)-offset)
		at, offset = ms, int64(t.Offset)
	}
	return b
}

func decodeTimes(b []byte) (times []store.Stamp, err error) {
	var at, offset int64
	for len(b) > 0 {
		later, n := binary.Varint(b)
		further, m := binary.Varint(b[max(n, 0):])
		if n <= 0 || m <= 0 {
			return nil, errors.New("times of a log chunk that make no sense")
		}
		b = b[n+m:]
		at, offset = at+later, offset+further
		times = append(times, store.Stamp{Offset: int32(offset), At: time.UnixMilli(at).UTC()})
	}
	return times, nil
}

// AppendChunks implements store.Logs.
func (s *Store) AppendChunks(ctx context.Context, chunks []store.Chunk) error {
	var written []*os.File
	err := s.writes.send(&request{ctx: ctx,
		do: func(ctx context.Context, tx *transaction) (err error) {
			written = written[:0]
			for rest := chunks; len(rest) > 0; {
				n := 1
				for n < len(rest) && rest[n].Key.Build == rest[0].Key.Build && rest[n].Key.Fence == rest[0].Key.Fence {
					n++
				}
				file, err := s.appendTo(ctx, tx, rest[:n])
				if err != nil {
					return fmt.Errorf("append log chunk: %w", err)
				}
				written, rest = append(written, file), rest[n:]
			}
			return nil
		},
		sync: func() error {
			if !s.logs.synced {
				return nil
			}
			for _, file := range written {
				if err := file.Sync(); err != nil && !errors.Is(err, os.ErrClosed) { // it was synced before it was closed
					return fmt.Errorf("append log chunk: %w", err)
				}
			}
			return nil
		},
	})
	for i := range chunks {
		if err == nil && (i == 0 || chunks[i].Key.Build != chunks[i-1].Key.Build) {
			s.watch.Tell(store.Hint{Build: chunks[i].Key.Build})
		}
	}
	return err
}

// appendTo appends chunks of one fence: their rows, and then their bytes at the
// end of its file. Those that are there already are left.
func (s *Store) appendTo(ctx context.Context, tx *transaction, chunks []store.Chunk) (*os.File, error) {
	file, end, err := s.logs.file(chunks[0].Key.Build, chunks[0].Key.Fence)
	if err != nil {
		return nil, err
	}
	begin, data := end, make([][]byte, 0, len(chunks))
	for i := range chunks {
		c := &chunks[i]
		k := c.Key
		result, err := tx.ExecContext(ctx, "INSERT INTO chunks VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?) ON CONFLICT DO NOTHING",
			k.Build, k.Fence, k.Node, k.Attempt, k.Seq, c.Line, c.Lines, c.Offset, c.Cut, encodeTimes(c.Times), end, len(c.Data))
		if err != nil {
			return nil, err
		}
		if n, err := result.RowsAffected(); err != nil {
			return nil, err
		} else if n > 0 {
			data = append(data, c.Data)
			end += int64(len(c.Data))
			continue
		}
		var had row
		err = had.scan(tx.QueryRowContext(ctx, "SELECT "+columns+ofChunk+"= ?", k.Build, k.Fence, k.Node, k.Attempt, k.Seq))
		if err == nil {
			err = had.read(file)
		}
		if err != nil {
			return nil, err
		}
		if !had.same(c) {
			return nil, undo{fmt.Errorf("%v: another one is there: %w", k, store.ErrConflict)}
		}
	}
	for _, p := range data {
		if _, err := file.WriteAt(p, begin); err != nil {
			return nil, err
		}
		begin += int64(len(p))
	}
	return file, nil
}

// Chunks implements store.Logs.
func (s *Store) Chunks(ctx context.Context, key store.ChunkKey, limit int) (found []store.Chunk, err error) {
	rows, err := s.reads.QueryContext(ctx, "SELECT "+columns+ofChunk+">= ? ORDER BY seq"+atMost,
		key.Build, key.Fence, key.Node, key.Attempt, key.Seq, limit)
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	path, err := s.logs.path(key.Build, key.Fence)
	if err != nil {
		return nil, err
	}
	var file *os.File
	for rows.Next() {
		r := row{Chunk: store.Chunk{Key: key}}
		if err := r.scan(rows); err != nil {
			return nil, err
		}
		if r.Key.Seq != key.Seq+int64(len(found)) {
			break // a gap
		}
		if file == nil {
			if file, err = os.Open(path); errors.Is(err, fs.ErrNotExist) {
				rows.Close()
				return nil, s.missing(ctx, key.Build)
			} else if err != nil {
				return nil, err
			}
			defer file.Close()
		}
		if err := r.read(file); err != nil {
			return nil, fmt.Errorf("log of build %s: %w", key.Build, err)
		}
		found = append(found, r.Chunk)
	}
	return found, rows.Err()
}

// missing is the error about a log file that is not there: none when the build was
// purged after its rows had been found.
func (s *Store) missing(ctx context.Context, id build.ID) error {
	var rows int64
	if err := s.reads.QueryRowContext(ctx, "SELECT count(*) FROM chunks WHERE build = ?", id).Scan(&rows); err != nil {
		return err
	}
	if rows > 0 {
		return fmt.Errorf("log of build %s: its file is gone", id)
	}
	return nil
}

// ChunkAt implements store.Logs. Lines only grow with seq, so it looks for the
// chunk as one looks for a word in a dictionary.
func (s *Store) ChunkAt(ctx context.Context, key store.ChunkKey, line int64) (seq int64, err error) {
	err = s.reads.QueryRowContext(ctx, "SELECT coalesce(max(seq) + 1, 0)"+ofChunk+">= 0", key.Build, key.Fence, key.Node, key.Attempt).Scan(&seq)
	if err != nil || seq == 0 {
		return 0, err
	}
	for low, high := int64(0), seq; low < high; {
		middle := low + (high-low)/2
		var at, first, lines, size int64
		err := s.reads.QueryRowContext(ctx, "SELECT seq, line, lines, size"+ofChunk+">= ? ORDER BY seq LIMIT 1",
			key.Build, key.Fence, key.Node, key.Attempt, middle).Scan(&at, &first, &lines, &size)
		if errors.Is(err, sql.ErrNoRows) {
			return 0, nil // it was purged meanwhile
		}
		if err != nil {
			return 0, err
		}
		if first+lines > line || first == line && size > 0 {
			seq, high = at, middle
		} else {
			low = at + 1
		}
	}
	return seq, nil
}

// Purge implements store.Purger.
func (s *Store) Purge(ctx context.Context, id build.ID) error {
	err := s.writes.do(ctx, func(ctx context.Context, tx *transaction) error {
		for _, table := range []string{"events", "chunks"} {
			if _, err := tx.ExecContext(ctx, "DELETE FROM "+table+" WHERE build = ?", id); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		return err
	}
	return s.logs.remove(id)
}
