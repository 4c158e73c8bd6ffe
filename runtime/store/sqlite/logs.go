package sqlite

import (
	"bytes"
	"context"
	"crypto/sha256"
	"database/sql"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"sync"

	"github.com/piper-build/piper/runtime/build"
	"github.com/piper-build/piper/runtime/store"
)

// files are the logs as files: one for each fence of a build, into which the
// chunks of all its nodes go as they come. A file that was being written when
// its process died may have bytes at its end that no row tells of; they are
// never read.
type files struct {
	dir string

	mu   sync.Mutex
	open map[string]*os.File
}

// maxOpen bounds the files that are kept open for writing.
const maxOpen = 64

func newFiles(dir string) *files { return &files{dir: dir, open: map[string]*os.File{}} }

// path is where the bytes of one fence of a build lie. An ID that is no plain
// file name never was a build's.
func (f *files) path(id build.ID, fence int64) (string, error) {
	name := string(id)
	if !filepath.IsLocal(name) || filepath.Base(name) != name {
		return "", fmt.Errorf("log of build %q: that is no build's id", name)
	}
	return filepath.Join(f.dir, name, strconv.FormatInt(fence, 10)), nil
}

// append writes p at the end of a file and returns where it stands and the file.
func (f *files) append(id build.ID, fence int64, p []byte) (place int64, file *os.File, err error) {
	path, err := f.path(id, fence)
	if err != nil {
		return 0, nil, err
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	file = f.open[path]
	if file == nil {
		if len(f.open) >= maxOpen {
			if err := f.close(); err != nil {
				return 0, nil, err
			}
		}
		if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
			return 0, nil, err
		}
		if file, err = os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_APPEND, 0o600); err != nil {
			return 0, nil, err
		}
		f.open[path] = file
	}
	if _, err := file.Write(p); err != nil {
		return 0, nil, err
	}
	// Where the write ended, whoever else appends to the file.
	end, err := file.Seek(0, 1)
	return end - int64(len(p)), file, err
}

// close closes all files.
func (f *files) close() (err error) {
	for path, file := range f.open {
		err = errors.Join(err, file.Sync(), file.Close())
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
	digest      []byte
}

const columns = "seq, line, lines, start, cut, times, place, size, digest"

func (r *row) scan(rows interface{ Scan(...any) error }) error {
	var times []byte
	if err := rows.Scan(&r.Key.Seq, &r.Line, &r.Lines, &r.Offset, &r.Cut, &times, &r.place, &r.size, &r.digest); err != nil {
		return err
	}
	return json.Unmarshal(times, &r.Times)
}

// same reports whether the row tells of c.
func (r *row) same(c *store.Chunk, digest []byte) bool {
	return r.Line == c.Line && r.Lines == c.Lines && r.Offset == c.Offset && r.Cut == c.Cut &&
		r.size == int64(len(c.Data)) && bytes.Equal(r.digest, digest)
}

// AppendChunks implements store.Logs.
func (s *Store) AppendChunks(ctx context.Context, chunks []store.Chunk) error {
	written := map[*os.File]bool{}
	err := s.writes.send(&request{ctx: ctx,
		do: func(ctx context.Context, tx *sql.Tx) error {
			var fresh []*store.Chunk
			var digests [][]byte
			for i := range chunks {
				c := &chunks[i]
				sum := sha256.Sum256(c.Data)
				k := c.Key
				var had row
				err := had.scan(tx.QueryRowContext(ctx, "SELECT "+columns+" FROM chunks WHERE build = ? AND fence = ? AND node = ? AND attempt = ? AND seq = ?",
					k.Build, k.Fence, k.Node, k.Attempt, k.Seq))
				switch {
				case errors.Is(err, sql.ErrNoRows):
					fresh, digests = append(fresh, c), append(digests, sum[:])
				case err != nil:
					return err
				case !had.same(c, sum[:]):
					return fmt.Errorf("append log chunk %v: another one is there: %w", k, store.ErrConflict)
				}
			}
			for i, c := range fresh {
				place, file, err := s.logs.append(c.Key.Build, c.Key.Fence, c.Data)
				if err != nil {
					return fmt.Errorf("append log chunk: %w", err)
				}
				written[file] = true
				times, err := json.Marshal(c.Times)
				if err != nil {
					return err
				}
				k := c.Key
				if _, err := tx.ExecContext(ctx, "INSERT INTO chunks VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)", k.Build, k.Fence, k.Node, k.Attempt, k.Seq,
					c.Line, c.Lines, c.Offset, c.Cut, times, place, len(c.Data), digests[i]); err != nil {
					return err
				}
			}
			return nil
		},
		sync: func() error {
			for file := range written {
				if err := file.Sync(); err != nil && !errors.Is(err, os.ErrClosed) { // it was synced before it was closed
					return fmt.Errorf("append log chunk: %w", err)
				}
			}
			return nil
		},
	})
	for i := range chunks {
		if err == nil && (i == 0 || chunks[i].Key.Build != chunks[i-1].Key.Build) {
			s.watch.tell(chunks[i].Key.Build)
		}
	}
	return err
}

// Chunks implements store.Logs.
func (s *Store) Chunks(ctx context.Context, key store.ChunkKey, limit int) (found []store.Chunk, err error) {
	rows, err := s.reads.QueryContext(ctx, "SELECT "+columns+" FROM chunks WHERE build = ? AND fence = ? AND node = ? AND attempt = ? AND seq >= ? ORDER BY seq LIMIT ?",
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
				return nil, fmt.Errorf("log of build %s: its file is gone: %w", key.Build, err)
			} else if err != nil {
				return nil, err
			}
			defer file.Close()
		}
		r.Data = make([]byte, r.size)
		if _, err := file.ReadAt(r.Data, r.place); err != nil {
			return nil, fmt.Errorf("log of build %s: %w", key.Build, err)
		}
		found = append(found, r.Chunk)
	}
	return found, rows.Err()
}

// ChunkAt implements store.Logs.
func (s *Store) ChunkAt(ctx context.Context, key store.ChunkKey, line int64) (seq int64, err error) {
	// The last chunk that begins at the line or before it is the one, unless it
	// ends before.
	const of = " FROM chunks WHERE build = ?1 AND fence = ?2 AND node = ?3 AND attempt = ?4"
	err = s.reads.QueryRowContext(ctx, `SELECT coalesce(
		(SELECT min(seq)`+of+` AND (line + lines > ?5 OR line = ?5 AND size > 0)),
		(SELECT max(seq) + 1`+of+`), 0)`, key.Build, key.Fence, key.Node, key.Attempt, line).Scan(&seq)
	return seq, err
}

// Purge implements store.Purger.
func (s *Store) Purge(ctx context.Context, id build.ID) error {
	err := s.writes.do(ctx, func(ctx context.Context, tx *sql.Tx) error {
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
