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

// collect takes what a step left in its output directory. A file is an output
// of its name; one trailing newline is not part of it. It reports whether the
// directory is as it was, and can be another attempt's.
func collect(dir string, leaks func(string) bool) (outputs map[string]string, clean bool, err error) {
	entries, err := os.ReadDir(dir)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return nil, false, nil // the step wanted none
	case err != nil:
		return nil, false, fmt.Errorf("read $PIPER_OUTPUT: %w", err)
	case len(entries) == 0:
		return nil, true, nil
	case len(entries) > maxOutputs:
		return nil, false, fmt.Errorf("$PIPER_OUTPUT holds %d files; at most %d are allowed", len(entries), maxOutputs)
	}
	root, err := os.OpenRoot(dir)
	if err != nil {
		return nil, false, fmt.Errorf("read $PIPER_OUTPUT: %w", err)
	}
	defer root.Close()
	outputs = make(map[string]string, len(entries))
	for _, entry := range entries {
		value, err := readOutput(root, entry)
		if err != nil {
			return nil, false, fmt.Errorf("output %q: %w", entry.Name(), err)
		}
		if leaks != nil && (leaks(value) || leaks(entry.Name())) {
			return nil, false, fmt.Errorf("output %q holds a secret: outputs are kept in the clear; name the secret with secret(...) where it is needed", entry.Name())
		}
		outputs[entry.Name()] = value
	}
	return outputs, false, nil
}

func readOutput(root *os.Root, entry fs.DirEntry) (string, error) {
	switch {
	case !isOutput(entry.Name()):
		return "", errors.New("is no name for an output: it is made of letters, digits, '.', '_' and '-'")
	case !entry.Type().IsRegular():
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

// isOutput reports whether a file has a name that <step>.output can ask for.
func isOutput(name string) bool {
	for _, c := range []byte(name) {
		switch {
		case 'a' <= c && c <= 'z', 'A' <= c && c <= 'Z', '0' <= c && c <= '9', c == '.', c == '_', c == '-':
		default:
			return false
		}
	}
	return true
}
