package starlark

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"io/fs"
	"path"
	"slices"
	"strings"
	"unicode/utf8"

	"go.starlark.net/starlark"
	"go.starlark.net/syntax"

	"github.com/piper-build/piper/builtins"
	"github.com/piper-build/piper/runtime/plan"
	"github.com/piper-build/piper/stdlib"
)

// A source is one file of an evaluation.
type source struct {
	name    string // for people, and for the interpreter: "ci/go.star", "@piper//go.star"
	text    []byte
	sum     [sha256.Size]byte
	lines   []int // where each line begins; filled when first asked for
	program *starlark.Program
	loads   []loading
	globals starlark.StringDict // after it was executed, frozen

	file  *syntax.File               // filled when first asked for
	calls map[place]*syntax.CallExpr // by their opening parentheses; likewise
}

// A loading is one load statement.
type loading struct {
	label string
	pos   syntax.Position // of the label
	from  *source         // nil when it could not be had
}

// A place is a line and a column, in characters.
type place struct{ line, column int32 }

// digest returns the source's digest as a plan writes it.
func (s *source) digest() string { return "sha256:" + hex.EncodeToString(s.sum[:]) }

// standard reports whether s comes with piper.
func (s *source) standard() bool { return strings.HasPrefix(s.name, "@") }

// line returns a line of the source, without its end.
func (s *source) line(n int32) string { return string(s.bytes(n)) }

func (s *source) bytes(n int32) []byte {
	if s.lines == nil {
		s.lines = append(make([]int, 0, 1+bytes.Count(s.text, []byte("\n"))), 0)
		for i := 0; ; {
			j := bytes.IndexByte(s.text[i:], '\n')
			if j < 0 {
				break
			}
			i += j + 1
			s.lines = append(s.lines, i)
		}
	}
	if n < 1 || int(n) > len(s.lines) {
		return nil
	}
	start, end := s.lines[n-1], len(s.text)
	if int(n) < len(s.lines) {
		end = s.lines[n] - 1
	}
	return bytes.TrimSuffix(s.text[start:end], []byte("\r"))
}

// maxLabel is how many bytes a label may have.
const maxLabel = 500

// resolveLabel returns the name of the file that label, written in the file
// from, stands for.
func resolveLabel(label, from string) (name, problem, hint string) {
	const forms = `write "//dir/file.star" from the root, "./file.star" from this file, "@piper//file.star" for the standard library`
	for _, c := range label {
		if c < ' ' || c == '\\' || c == 0x7f || c == utf8.RuneError {
			return "", "the label holds a character that no path has here", forms
		}
	}
	space, rest, ok := strings.Cut(label, "//")
	switch {
	case len(label) > maxLabel:
		return "", fmt.Sprintf("the label is longer than %d bytes", maxLabel), forms
	case ok && space == "" || ok && space == "@piper":
		name = rest
	case ok && strings.HasPrefix(space, "@"):
		return "", "modules are not available in this version of piper", "copy the file into the tree and load it from there"
	case ok && strings.HasSuffix(space, ":"):
		return "", "a file is not loaded from an address", "copy the file into the tree and load it from there"
	case strings.HasPrefix(label, "./"):
		dir := path.Dir(strings.TrimPrefix(from, "@piper//"))
		name = path.Join(dir, label)
		if rest := label[2:]; !fs.ValidPath(rest) || rest == "." {
			return "", fmt.Sprintf("%q is not a path below this file's directory", label), `a label has no ".." and no empty part; "//" begins at the root`
		}
		if strings.HasPrefix(from, "@piper//") {
			space = "@piper"
		}
	case strings.HasPrefix(label, "/"):
		return "", fmt.Sprintf("%q is an absolute path", label), fmt.Sprintf("from the root of the tree it is %q", "//"+strings.TrimLeft(label, "/"))
	case strings.HasPrefix(label, "../"):
		return "", fmt.Sprintf("%q leaves this file's directory", label), `begin at the root of the tree: "//dir/file.star"`
	case strings.HasPrefix(label, ":"):
		return "", fmt.Sprintf("%q is not a label", label), fmt.Sprintf("did you mean %q?", "./"+label[1:])
	default:
		return "", fmt.Sprintf("%q is not a label", label), fmt.Sprintf("did you mean %q or %q?", "./"+label, "//"+label)
	}
	switch {
	case !fs.ValidPath(name) || name == ".":
		return "", fmt.Sprintf("%q leaves the tree, or is not a path", label), `a label has no ".." and no empty part`
	case space == "@piper":
		return "@piper//" + name, "", ""
	case name == ".git" || strings.HasPrefix(name, ".git/"):
		return "", "nothing is loaded from .git", ""
	}
	return name, "", ""
}

// read returns the text of the named file.
func (l *loader) read(name string) ([]byte, error) {
	if inside, ok := strings.CutPrefix(name, "@piper//"); ok {
		data, err := stdlib.Files.ReadFile(inside)
		if err != nil {
			return nil, reason(err)
		}
		return data, nil
	}
	return l.tree.read(name, l.limits.Source)
}

// near returns the file beside name that name is most likely a typing error
// of, as a label.
func (l *loader) near(name string) (string, bool) {
	inside, standard := strings.CutPrefix(name, "@piper//")
	dir, list := path.Dir(inside), l.tree.Names
	if standard {
		list = standardNames
	}
	all, err := list(dir)
	if err != nil {
		return "", false
	}
	names := slices.DeleteFunc(all, func(name string) bool {
		return path.Ext(name) != ".star" || path.Join(dir, name) == l.main // that would be a cycle
	})
	found, ok := plan.Nearest(path.Base(inside), names)
	label := path.Join(dir, found)
	if standard {
		return "@piper//" + label, ok
	}
	return "//" + label, ok
}

// standardNames is Names of the standard library.
func standardNames(dir string) ([]string, error) { return fileNames(stdlib.Files, dir) }

// unreadable says what is wrong with text as a source, and where.
func unreadable(text []byte) (at int, problem, hint string) {
	if bytes.HasPrefix(text, []byte("\xEF\xBB\xBF")) {
		return 0, "the file begins with a byte order mark", "save it as UTF-8 without one"
	}
	if bytes.HasPrefix(text, []byte("\xFF\xFE")) || bytes.HasPrefix(text, []byte("\xFE\xFF")) {
		return 0, "the file is UTF-16", "save it as UTF-8"
	}
	if !utf8.Valid(text) {
		for i := 0; i < len(text); {
			r, size := utf8.DecodeRune(text[i:])
			if r == utf8.RuneError && size == 1 {
				return i, "the file is not UTF-8", "save it as UTF-8"
			}
			i += size
		}
	}
	if i := bytes.IndexByte(text, 0); i >= 0 {
		return i, "the file holds a NUL byte", "it is no source file"
	}
	if i := loneReturn(text); i >= 0 {
		return i, "the file holds a carriage return that ends no line", "end lines with a line feed, with or without a carriage return before it"
	}
	if i := builtins.FirstBidi(text); i >= 0 {
		return i, "the file holds a character that changes the direction of text", `what is read must be what runs; in a string write it as an escape such as "\u202E"`
	}
	return -1, "", ""
}

// loneReturn returns the index of the first carriage return that no line feed
// follows, or -1. A terminal would write over the line.
func loneReturn(text []byte) int {
	for i := 0; ; i++ {
		next := bytes.IndexByte(text[i:], '\r')
		if next < 0 {
			return -1
		}
		if i += next; i+1 == len(text) || text[i+1] != '\n' {
			return i
		}
	}
}
