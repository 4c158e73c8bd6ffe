package sqlite

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"github.com/piper-build/piper/runtime/build"
	"github.com/piper-build/piper/runtime/store"
)

// The signature of a log file lies beside it, under its name and this. It begins
// with the size of the log file that it is of: chunks are written to the end of that
// before anybody can see them.
const signatureName = ".signature"

// isSignature reports whether a file beside a log file is its signature, or one that
// was not finished.
func isSignature(name string) bool { return strings.Contains(name, signatureName) }

// Signature implements store.Signatures.
func (s *Store) Signature(_ context.Context, id build.ID, fence int64) (io.ReadCloser, error) {
	path, err := s.logs.path(id, fence)
	if err != nil {
		return nil, err
	}
	f, err := os.Open(path + signatureName)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("signature of build %s: %w", id, store.ErrNotFound)
	} else if err != nil {
		return nil, err
	}
	var of [8]byte
	_, err = io.ReadFull(f, of[:])
	info, statErr := os.Stat(path)
	if err != nil || statErr != nil || info.Size() != int64(binary.LittleEndian.Uint64(of[:])) {
		f.Close()
		return nil, fmt.Errorf("signature of build %s, which is of another log: %w", id, store.ErrNotFound)
	}
	return f, nil
}

// A signature is one in the making.
type signature struct {
	*os.File
	logs *files
	path string
}

// Sign implements store.Signatures.
func (s *Store) Sign(ctx context.Context, id build.ID, fence int64) (store.Signature, error) {
	path, err := s.logs.path(id, fence)
	if err != nil {
		return nil, err
	}
	var end int64
	err = s.reads.QueryRowContext(ctx, "SELECT coalesce(max(place + size), 0) FROM chunks WHERE build = ? AND fence = ?", id, fence).Scan(&end)
	if err != nil {
		return nil, fmt.Errorf("sign log of build %s: %w", id, err)
	}
	info, err := os.Stat(path)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return nil, fmt.Errorf("sign log of build %s: %w", id, store.ErrNotFound)
	case err != nil:
		return nil, err
	case info.Size() != end: // somebody is writing, or died while he wrote
		return nil, fmt.Errorf("sign log of build %s: its file has %d bytes, and ends at %d", id, info.Size(), end)
	}
	s.logs.mu.Lock()
	defer s.logs.mu.Unlock()
	f, err := os.CreateTemp(filepath.Dir(path), filepath.Base(path)+signatureName+".*")
	if err != nil {
		return nil, err
	}
	made := &signature{f, s.logs, path + signatureName}
	if _, err := f.Write(binary.LittleEndian.AppendUint64(nil, uint64(end))); err != nil {
		return nil, errors.Join(err, made.Close())
	}
	return made, nil
}

// Keep implements store.Signature. It waits for no disk: a file that is not whole
// after the machine died is damaged like any other.
func (f *signature) Keep() error {
	f.logs.mu.Lock()
	defer f.logs.mu.Unlock()
	return os.Rename(f.Name(), f.path) // fails when the build was purged
}

// Close implements store.Signature.
func (f *signature) Close() error {
	err := f.File.Close()
	if removed := os.Remove(f.Name()); removed != nil && !errors.Is(removed, fs.ErrNotExist) {
		err = errors.Join(err, removed)
	}
	return err
}
