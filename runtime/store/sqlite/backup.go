package sqlite

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/piper-build/piper/runtime/build"
)

// Backup writes what the store keeps now into the directory dir, which must be
// empty or not there: a database of the same name as this one's, and the log
// files that it tells of. It is restored by moving it to where the store was.
// The store goes on meanwhile. Nobody else may read what it makes. When it
// fails, what it wrote so far is removed.
func (s *Store) Backup(ctx context.Context, dir string) (err error) {
	defer func() {
		if err != nil {
			err = fmt.Errorf("back up store to %s: %w", dir, err)
		}
	}()
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return err
	}
	there, err := os.ReadDir(dir)
	if err != nil {
		return err
	}
	if len(there) > 0 {
		return fmt.Errorf("it holds %s: name a directory that is empty or not there", there[0].Name())
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, os.RemoveAll(dir))
		}
	}()
	path := filepath.Join(dir, filepath.Base(s.path))
	if err := create(path); err != nil {
		return err
	}
	// A connection of its own: those for reads may write nothing, not even
	// elsewhere. It is a copy of one moment, without what is in free pages.
	from, err := open(s.path, defaultBusy)
	if err != nil {
		return err
	}
	if _, err := from.ExecContext(ctx, "VACUUM INTO ?", path); err != nil {
		return errors.Join(err, from.Close())
	}
	if err := from.Close(); err != nil {
		return err
	}
	copied, err := open(path, defaultBusy)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, copied.Close()) }()
	return copyLogs(ctx, copied, s.dir, filepath.Join(dir, "logs"))
}

// copyLogs copies the log files that db tells of, a build at a time. Those of a
// build that was purged since the copy of the database was made are gone; then
// the copy forgets them, too.
func copyLogs(ctx context.Context, db *sql.DB, from, to string) error {
	rows, err := db.QueryContext(ctx, "SELECT DISTINCT build FROM chunks")
	if err != nil {
		return err
	}
	var ids []build.ID
	for rows.Next() {
		var id build.ID
		if err := rows.Scan(&id); err != nil {
			return errors.Join(err, rows.Close())
		}
		ids = append(ids, id)
	}
	if err := rows.Err(); err != nil {
		return err
	}
	for _, id := range ids {
		if err := ctx.Err(); err != nil {
			return err
		}
		err := copyDir(filepath.Join(from, string(id)), filepath.Join(to, string(id)))
		if errors.Is(err, fs.ErrNotExist) {
			if err := os.RemoveAll(filepath.Join(to, string(id))); err != nil {
				return err
			}
			_, err = db.ExecContext(ctx, "DELETE FROM chunks WHERE build = ?", id)
			if err != nil {
				return err
			}
			continue
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// copyDir copies the files of a directory that has no directories, but for
// signatures.
func copyDir(from, to string) error {
	entries, err := os.ReadDir(from)
	if err != nil {
		return err
	}
	if err := os.MkdirAll(to, 0o700); err != nil {
		return err
	}
	for _, e := range entries {
		if isSignature(e.Name()) {
			continue
		}
		if err := copyFile(filepath.Join(from, e.Name()), filepath.Join(to, e.Name())); err != nil {
			return err
		}
	}
	return nil
}

func copyFile(from, to string) (err error) {
	in, err := os.Open(from)
	if err != nil {
		return err
	}
	defer in.Close()
	out, err := os.OpenFile(to, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, out.Close()) }()
	if _, err := io.Copy(out, in); err != nil {
		return err
	}
	return out.Sync()
}
