package runtime

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"strings"
	"unicode/utf8"
)

// What a step may leave in $PIPER_OUTPUT.
const (
	maxOutputs     = 256      // files
	maxOutputBytes = 64 << 10 // of one file
)

// collect takes what a step left in its output directory, and leaves the
// directory empty for the next one. A file is an output of its name; one
// trailing newline is not part of it.
func collect(dir string, leaks func(string) bool) (map[string]string, error) {
	entries, err := os.ReadDir(dir)
	if err == nil && len(entries) == 0 {
		return nil, nil
	}
	defer func() {
		os.RemoveAll(dir)
		os.Mkdir(dir, 0o700)
	}()
	if err != nil {
		return nil, fmt.Errorf("read $PIPER_OUTPUT: %w", err)
	}
	if len(entries) > maxOutputs {
		return nil, fmt.Errorf("$PIPER_OUTPUT holds %d files; at most %d are allowed", len(entries), maxOutputs)
	}
	root, err := os.OpenRoot(dir)
	if err != nil {
		return nil, fmt.Errorf("read $PIPER_OUTPUT: %w", err)
	}
	defer root.Close()
	outputs := make(map[string]string, len(entries))
	for _, entry := range entries {
		value, err := readOutput(root, entry)
		if err != nil {
			return nil, fmt.Errorf("output %q: %w", entry.Name(), err)
		}
		if leaks != nil && leaks(value) {
			return nil, fmt.Errorf("output %q holds a secret: outputs are kept in the clear; name the secret with secret(...) where it is needed", entry.Name())
		}
		outputs[entry.Name()] = value
	}
	return outputs, nil
}

func readOutput(root *os.Root, entry fs.DirEntry) (string, error) {
	if !entry.Type().IsRegular() {
		return "", errors.New("is not a regular file")
	}
	f, err := root.Open(entry.Name())
	if err != nil {
		return "", err
	}
	defer f.Close()
	data, err := io.ReadAll(io.LimitReader(f, maxOutputBytes+1))
	switch {
	case err != nil:
		return "", err
	case len(data) > maxOutputBytes:
		return "", fmt.Errorf("is larger than %d KiB", maxOutputBytes>>10)
	case !utf8.Valid(data):
		return "", errors.New("is not UTF-8")
	case strings.ContainsRune(string(data), 0):
		return "", errors.New("holds a NUL byte")
	}
	return strings.TrimSuffix(string(data), "\n"), nil
}
