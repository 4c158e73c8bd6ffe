package isolate

import (
	"context"
	"errors"
	"fmt"
	"io"
	"path"
	"slices"
	"strings"
	"sync"

	"github.com/piper-build/piper/builtins"
	"github.com/piper-build/piper/starlark"
	"github.com/piper-build/piper/starlark/test"
)

// A library answers the questions that a child has in one call, as far as an
// honest one would ask them. An empty one answers none.
type library struct {
	tree    starlark.Tree
	request *starlark.Request
	job     *test.Job // nil outside of tests
	asked   int
	dear    int // questions
	files   func() ([]string, error)
	given   int // bytes
}

func newLibrary(r *starlark.Request) *library { return &library{tree: r.Tree, request: r} }

// What one evaluation may ask for. It takes several times the memory of a
// child to keep so much.
const (
	maxQuestions = 200_000
	maxGiven     = 1 << 30
	maxDear      = 1000 // those that list files, or may start a program
)

var (
	errClosed = errors.New("is not read any more: the evaluation is over")
	errHidden = errors.New("git ignores it, and only a .star file may be read all the same")
	errGit    = errors.New("is in .git")
	errAsked  = fmt.Errorf("%w: it asks for too much", errFrame)
)

// answer answers a question on w. The error is that the child is no longer
// itself, or no longer there.
func (l *library) answer(w io.Writer, f frame) error {
	var q query
	if swells(f.payload) {
		return errAsked
	}
	if err := f.decode(question, &q); err != nil {
		return err
	}
	l.asked++
	if q.Ask != askOpen && q.Ask != askEnviron && q.Ask != askMeets {
		l.dear++
	}
	if l.asked > maxQuestions || l.dear > maxDear || l.given > maxGiven {
		return errAsked
	}
	var said reply
	var err error
	out := &dataWriter{to: w}
	switch q.Ask {
	case askFiles:
		var files []string
		if files, err = l.list(); err == nil {
			err = out.list(files)
		}
	case askOpen:
		err = l.open(out, q.Name)
	case askNames:
		err = l.names(out, q.Name)
	case askEnviron:
		var value string
		value, said.Yes = l.environ(q.Name)
		said.Text = []byte(value)
	case askGolden, askMeets:
		said, err = l.test(q)
	default:
		said, err = l.git(out, q)
	}
	l.given += out.written + len(said.Text)
	if out.broken != nil {
		return out.broken
	}
	if errors.Is(err, errFrame) {
		return err
	}
	said.Error = newFault(err)
	return writeFrame(w, answer, encode(said))
}

// list returns what fs sees. It is asked for once.
func (l *library) list() ([]string, error) {
	if l.tree == nil {
		return nil, errClosed
	}
	if l.files == nil {
		l.files = sync.OnceValues(l.tree.Files)
	}
	return l.files()
}

// open sends a file: at most one byte more than anybody reads.
func (l *library) open(out *dataWriter, name string) error {
	switch {
	case l.tree == nil:
		return errClosed
	case inGit(name):
		return errGit
	}
	f, err := l.tree.Open(name)
	if err != nil {
		return err
	}
	defer f.Close()
	if err := l.mayRead(name); err != nil {
		return err
	}
	most := max(starlark.MaxRead, l.request.Limits.Source) + 1
	return out.copy(io.LimitReader(f, int64(most)))
}

// mayRead: an honest evaluation reads what fs sees, and loads Starlark. What
// git ignores may hold secrets.
func (l *library) mayRead(name string) error {
	if path.Ext(name) == ".star" || name == l.request.File {
		return nil
	}
	files, err := l.list()
	if err != nil {
		return err
	}
	if _, found := slices.BinarySearch(files, name); !found {
		return errHidden
	}
	return nil
}

// inGit reports whether a path leads into a .git, on any file system.
func inGit(name string) bool {
	return slices.ContainsFunc(strings.Split(name, "/"), func(part string) bool { return strings.EqualFold(part, ".git") })
}

// names sends what else could be loaded from a directory.
func (l *library) names(out *dataWriter, dir string) error {
	switch {
	case l.tree == nil:
		return errClosed
	case inGit(dir):
		return errGit
	}
	names, err := l.tree.Names(dir)
	if err != nil {
		return err
	}
	return out.list(slices.DeleteFunc(names, func(name string) bool { return path.Ext(name) != ".star" }))
}

func (l *library) environ(name string) (string, bool) {
	if l.tree == nil || l.request.Environ == nil || builtins.HoldsSecret(name) {
		return "", false
	}
	return l.request.Environ(name)
}

// test answers what only the test of a pipeline may ask.
func (l *library) test(q query) (said reply, err error) {
	switch {
	case l.job == nil:
		return said, errFrame
	case q.Ask == askMeets && l.job.Meets == nil:
		return said, errFrame
	case q.Ask == askMeets:
		return said, l.job.Meets(context.Background(), q.Facts, q.Requires)
	}
	want, err := l.job.Golden(q.Name, string(q.Text))
	said.Text = []byte(want)
	return said, err
}

func (l *library) git(out *dataWriter, q query) (said reply, err error) {
	switch {
	case l.tree == nil:
		return said, errClosed
	case l.request.Git == nil:
		return said, errFrame
	}
	git := l.request.Git
	var text string
	switch q.Ask {
	case askCommit:
		text, err = git.Commit()
	case askBranch:
		text, err = git.Branch()
	case askTag:
		text, err = git.Tag()
	case askDescribe:
		text, err = git.Describe(q.Flags...)
	case askDirty:
		said.Yes, err = git.Dirty()
	case askChanged:
		var changed []string
		if changed, err = git.Changed(q.Name); err == nil {
			err = out.list(changed)
		}
	default:
		err = errFrame
	}
	said.Text = []byte(text)
	return said, err
}

// A dataWriter writes an answer in data frames.
type dataWriter struct {
	to      io.Writer
	buf     []byte
	written int
	broken  error // the child does not read any more
}

func (w *dataWriter) flush() {
	if w.broken == nil && len(w.buf) > 0 {
		w.broken = writeFrame(w.to, data, w.buf)
	}
	w.written += len(w.buf)
	w.buf = w.buf[:0]
}

// list writes a list of names, each with a NUL behind it.
func (w *dataWriter) list(names []string) error {
	for _, name := range names {
		if w.written+len(name) > maxParent/2 {
			return fmt.Errorf("the names of the files take more than %d bytes", maxParent/2)
		}
		w.buf = append(append(w.buf, name...), 0)
		if len(w.buf) >= maxChunk/2 {
			w.flush()
		}
		if w.broken != nil {
			return nil
		}
	}
	w.flush()
	return nil
}

// copy writes all that r has.
func (w *dataWriter) copy(r io.Reader) error {
	w.buf = make([]byte, maxChunk)
	for w.broken == nil {
		n, err := io.ReadFull(r, w.buf[:maxChunk])
		w.buf = w.buf[:n]
		w.flush()
		switch {
		case err == io.EOF || err == io.ErrUnexpectedEOF:
			return nil
		case err != nil:
			return err
		}
	}
	return nil
}
