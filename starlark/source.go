package starlark

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"slices"
	"strings"
	"syscall"
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

// A tree reads files below a root. Nothing leaves it: not by the words of a
// path, not through a symbolic link.
type tree struct {
	root  *os.Root
	list  func() ([]string, error)
	files []string // of list, once it was asked
	known bool
}

// Files implements builtins.Tree.
func (t *tree) Files() ([]string, error) {
	if t.known {
		return t.files, nil
	}
	list := t.list
	if list == nil {
		list = t.walk
	}
	files, err := list()
	if err != nil {
		return nil, fmt.Errorf("list the files of the tree: %w", err)
	}
	t.files, t.known = files, true
	return files, nil
}

// maxRead is how many bytes fs.read returns at most.
const maxRead = 8 << 20

// Read implements builtins.Tree.
func (t *tree) Read(name string) ([]byte, error) {
	data, err := t.read(name, maxRead)
	if errors.Is(err, errTooLarge) {
		return nil, fmt.Errorf("has more than %d bytes", maxRead)
	}
	return data, err
}

// walk lists every regular file and symbolic link but those of .git.
func (t *tree) walk() ([]string, error) {
	var files []string
	err := fs.WalkDir(t.root.FS(), ".", func(name string, d fs.DirEntry, err error) error {
		switch {
		case err != nil && name == ".":
			return err
		case err != nil:
			return nil // a directory that cannot be read has no files to see
		case d.Name() == ".git":
			if d.IsDir() {
				return fs.SkipDir
			}
			return nil
		case d.Type().IsRegular() || d.Type()&fs.ModeSymlink != 0:
			files = append(files, name)
		}
		return nil
	})
	// WalkDir sorts each directory; the whole is to be sorted as paths are.
	slices.Sort(files)
	return files, err
}

var (
	errTooLarge = errors.New("is too large")
	errOutside  = errors.New("it leads out of the tree")
)

// escapes reports whether err, a reason, is that a path leaves the tree. Package
// os does not export its error, so another one is made to compare with.
func (t *tree) escapes(err error) bool {
	_, outside := t.root.Lstat("..")
	return err == reason(outside)
}

// read returns a regular file's bytes, at most limit of them.
func (t *tree) read(name string, limit int) ([]byte, error) {
	// Without O_NONBLOCK a FIFO would hold us until someone writes to it.
	f, err := t.root.OpenFile(name, os.O_RDONLY|syscall.O_NONBLOCK, 0)
	if err != nil {
		if err = reason(err); t.escapes(err) {
			err = errOutside
		}
		return nil, err
	}
	defer f.Close()
	info, err := f.Stat()
	switch {
	case err != nil:
		return nil, reason(err)
	case info.IsDir():
		return nil, errors.New("is a directory")
	case !info.Mode().IsRegular():
		return nil, errors.New("is not a regular file")
	case info.Size() > int64(limit):
		return nil, errTooLarge
	}
	data := make([]byte, 0, info.Size()+1)
	for {
		n, err := f.Read(data[len(data):cap(data)])
		data = data[:len(data)+n]
		switch {
		case err == io.EOF:
			return data, nil
		case err != nil:
			return nil, reason(err)
		case len(data) > limit:
			return nil, errTooLarge
		case len(data) == cap(data):
			data = append(data, 0)[:len(data)]
		}
	}
}

// reason drops the operation and the path from an error of package os: the
// message around it has them.
func reason(err error) error {
	var failed *fs.PathError
	if errors.As(err, &failed) {
		if errors.Is(failed.Err, fs.ErrNotExist) {
			return fs.ErrNotExist
		}
		return failed.Err
	}
	return err
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
	var files fs.FS = stdlib.Files
	inside, standard := strings.CutPrefix(name, "@piper//")
	if !standard {
		files = l.tree.root.FS()
	}
	entries, err := fs.ReadDir(files, path.Dir(inside))
	if err != nil {
		return "", false
	}
	var names []string
	for _, e := range entries {
		label := path.Join(path.Dir(inside), e.Name())
		if !e.IsDir() && path.Ext(e.Name()) == ".star" && label != l.main { // that would be a cycle
			names = append(names, e.Name())
		}
	}
	found, ok := plan.Nearest(path.Base(inside), names)
	label := path.Join(path.Dir(inside), found)
	if standard {
		return "@piper//" + label, ok
	}
	return "//" + label, ok
}

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
