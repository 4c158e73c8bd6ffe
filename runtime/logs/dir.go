package logs

import (
	"fmt"
	"os"
	"path"
	"strings"
	"time"
)

// A Dir is a Sink that keeps a file for each attempt, for a person to look at:
//
//	build.log         the first attempt of step "build"
//	build.2.log       its second
//	test/unit.log     step "test/unit"
//	v1.2.1.log        step "v1.2": its name ends like that of a second attempt
//
// A file that is there already is replaced. No name leads out of the
// directory, through a symbolic link neither, and no two attempts share a
// file, unless the file system takes upper for lower case.
type Dir struct {
	root *os.Root
}

// OpenDir makes a Dir of the directory dir, which is made when it is not there.
func OpenDir(dir string) (*Dir, error) {
	if err := os.MkdirAll(dir, 0o777); err != nil {
		return nil, fmt.Errorf("open log directory: %w", err)
	}
	root, err := os.OpenRoot(dir)
	if err != nil {
		return nil, fmt.Errorf("open log directory: %w", err)
	}
	return &Dir{root}, nil
}

// Open makes the file of an attempt.
func (d *Dir) Open(node string, attempt int) (Writer, error) {
	name := LogFile(node, attempt)
	if dir := path.Dir(name); dir != "." {
		if err := d.root.MkdirAll(dir, 0o777); err != nil {
			return nil, fmt.Errorf("make log directory: %w", err)
		}
	}
	f, err := d.root.OpenFile(name, os.O_WRONLY|os.O_CREATE|os.O_TRUNC, 0o666)
	if err != nil {
		return nil, fmt.Errorf("make log file: %w", err)
	}
	return dirWriter{f}, nil
}

// Close lets go of the directory.
func (d *Dir) Close() error { return d.root.Close() }

type dirWriter struct{ file *os.File }

func (w dirWriter) Write(_ time.Time, p []byte) error {
	if _, err := w.file.Write(p); err != nil {
		return fmt.Errorf("write log file: %w", err)
	}
	return nil
}

func (w dirWriter) Close() error {
	if err := w.file.Close(); err != nil {
		return fmt.Errorf("write log file: %w", err)
	}
	return nil
}

// LogFile returns the slash-separated path of an attempt's file in a Dir. It
// depends on nothing else, and differs for any two attempts.
func LogFile(node string, attempt int) string {
	parts := strings.Split(node, "/")
	last := len(parts) - 1
	for i, part := range parts {
		part = escapePart(part)
		if i < last && looksLikeFile(part) {
			part += ".d" // "a.log" may be the file of a step "a"
		}
		parts[i] = part
	}
	name := strings.Join(parts, "/")
	if attempt != 1 || looksLikeAttempt(parts[last]) {
		name = fmt.Sprintf("%s.%d", name, attempt)
	}
	return name + ".log"
}

// escapePart writes what is not a letter, a digit or one of "._-" as '%' and
// two hexadecimal digits, and so the dots of "." and "..". The empty part, of
// which no file can have the name, becomes "%".
func escapePart(part string) string {
	if part == "" {
		return "%"
	}
	dots := part == "." || part == ".."
	var b strings.Builder
	for i := range len(part) {
		c := part[i]
		switch {
		case 'a' <= c && c <= 'z', 'A' <= c && c <= 'Z', '0' <= c && c <= '9', c == '_', c == '-', c == '.' && !dots:
			b.WriteByte(c)
		default:
			fmt.Fprintf(&b, "%%%02X", c)
		}
	}
	return b.String()
}

// looksLikeFile reports whether part ends in ".log" and any number of ".d".
func looksLikeFile(part string) bool {
	for strings.HasSuffix(part, ".d") {
		part = strings.TrimSuffix(part, ".d")
	}
	return strings.HasSuffix(part, ".log")
}

// looksLikeAttempt reports whether part ends in a dot and digits.
func looksLikeAttempt(part string) bool {
	stem := strings.TrimRight(part, "0123456789")
	return stem != part && strings.HasSuffix(stem, ".")
}
