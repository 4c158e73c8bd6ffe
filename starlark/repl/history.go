package repl

import (
	"os"
	"path/filepath"
	"strings"
	"unicode/utf8"

	"github.com/peterh/liner"
)

// A history is a file of lines, the newest last, that only its owner may read.
// It is a comfort: where it cannot be read or written, there is none.
type history struct{ path string }

// read returns the newest lines, and forgets the others when they are many.
func (h *history) read() []string {
	if h.path == "" {
		return nil
	}
	data, err := os.ReadFile(h.path)
	if err != nil {
		return nil
	}
	var lines []string
	for line := range strings.Lines(string(data)) {
		if line = strings.TrimSuffix(line, "\n"); line != "" && utf8.ValidString(line) {
			lines = append(lines, line)
		}
	}
	const most = liner.HistoryLimit
	if len(lines) > 2*most {
		lines = lines[len(lines)-most:]
		h.replace(strings.Join(lines, "\n") + "\n")
	}
	return lines[max(0, len(lines)-most):]
}

// add writes a line to the file, at once: what ends a session is not always
// its end.
func (h *history) add(line string) {
	if h.path == "" || os.MkdirAll(filepath.Dir(h.path), 0o700) != nil {
		return
	}
	f, err := os.OpenFile(h.path, os.O_APPEND|os.O_CREATE|os.O_WRONLY, 0o600)
	if err != nil {
		return
	}
	defer f.Close()
	if f.Chmod(0o600) == nil { // it may have been made by somebody with other habits
		f.WriteString(line + "\n")
	}
}

// replace writes the file anew.
func (h *history) replace(text string) {
	f, err := os.CreateTemp(filepath.Dir(h.path), ".history-*")
	if err != nil {
		return
	}
	_, err = f.WriteString(text)
	if closed := f.Close(); err == nil {
		err = closed
	}
	if err == nil {
		err = os.Rename(f.Name(), h.path)
	}
	if err != nil {
		os.Remove(f.Name())
	}
}
