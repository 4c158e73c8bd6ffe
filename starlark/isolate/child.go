package isolate

import (
	"bytes"
	"fmt"
	"io"
	"os"
	"runtime/debug"
	"slices"
	"strconv"
	"strings"

	"github.com/piper-build/piper/builtins"
	"github.com/piper-build/piper/runtime/plan"
	"github.com/piper-build/piper/starlark"
)

// childArg is the first argument of a child. The bytes of memory and the
// seconds of processor time that it may take are the others.
const childArg = "__evaluate"

// IsChild reports whether this process was started to evaluate. Then main
// calls ChildMain and nothing else.
func IsChild() bool { return len(os.Args) == 4 && os.Args[1] == childArg }

// ChildMain is the whole life of a child. It returns the exit code.
func ChildMain() int {
	memory, err := strconv.Atoi(os.Args[2])
	if err != nil {
		return 2
	}
	seconds, err := strconv.Atoi(os.Args[3])
	if err != nil {
		return 2
	}
	held, err := seal(memory, seconds)
	if err != nil {
		fmt.Fprintf(os.Stderr, "piper: %v\n", err)
		return 1
	}
	// Collecting garbage more and more often comes before running into the
	// limit, and early: the kernel counts what is only reserved too, and Go
	// reserves 64 MiB at a time.
	debug.SetMemoryLimit(int64(memory) / 2)
	debug.SetMaxStack(memory)
	c := &child{w: os.Stdout, r: newFrameReader(os.Stdin, maxParent)}
	if err := c.serve(held); err != nil {
		fmt.Fprintf(os.Stderr, "piper: %v\n", err)
		return 1
	}
	return 0
}

// A child is the evaluating end of a conversation. It does one thing at a time.
type child struct {
	w    io.Writer
	r    *frameReader
	file string // that is evaluated

	facts map[string]fact // of git, that this call has asked for

	expand     starlark.Expander // of the last evaluation
	session    *starlark.Session
	interrupts chan os.Signal // nil: nobody interrupts
}

// serve does what the parent asks for, until that has nothing more to ask.
func (c *child) serve(held Held) error {
	if err := writeFrame(c.w, hello, encode(held)); err != nil {
		return err
	}
	for {
		f, err := c.r.next()
		switch {
		case err == io.EOF:
			return nil
		case err == nil:
			err = c.do(f)
		}
		if err != nil {
			return fmt.Errorf("do what is asked for: %w", err)
		}
	}
}

// request is r with the parent behind all that it asks for.
func (c *child) request(r *request) starlark.Request {
	full := starlark.Request{
		Tree: remoteTree{c}, File: r.File, Source: r.Source,
		CatalogOnly: r.CatalogOnly, All: r.All, Pipeline: r.Pipeline, Params: asTexts(r.Params), Environment: r.Environment,
		Event: r.Event, Piper: r.Piper, Limits: r.Limits,
	}
	if !r.Read && full.Source == nil {
		full.Source = []byte{}
	}
	if r.Git {
		full.Git = remoteGit{c}
	}
	if r.Environ {
		full.Environ = func(name string) (string, bool) {
			said := c.ask(query{Ask: askEnviron, Name: name}, nil)
			return string(said.Text), said.Yes
		}
	}
	if r.Print {
		full.Print = func(pos plan.Pos, message string) {
			c.write(printed, encode(line{pos, message}))
		}
	}
	return full
}

// write writes a frame. A parent that does not read is gone, and so is the
// reason to live.
func (c *child) write(kind byte, payload []byte) {
	if err := writeFrame(c.w, kind, payload); err != nil {
		os.Exit(1)
	}
}

// ask asks the parent, and writes the data of its answer to into.
func (c *child) ask(q query, into *bytes.Buffer) reply {
	payload := encode(q)
	if len(payload) > maxPart || swells(payload) {
		return reply{Error: newFault(fmt.Errorf("is asked for with more than %d bytes", maxPart))}
	}
	c.write(question, payload)
	for {
		f, err := c.r.next()
		if err != nil {
			os.Exit(1) // likewise
		}
		if f.kind == data && into != nil {
			into.Write(f.payload)
			continue
		}
		var said reply
		if f.decode(answer, &said) != nil {
			os.Exit(1)
		}
		return said
	}
}

// list asks for a list of names, each of which ends with a NUL.
func (c *child) list(q query) ([]string, error) {
	var b bytes.Buffer
	if err := c.ask(q, &b).Error.err(); err != nil {
		return nil, err
	}
	return names(&b), nil
}

// names returns the names in a text, each of which ends with a NUL.
func names(b *bytes.Buffer) []string {
	list := strings.Split(b.String(), "\x00")
	return list[:len(list)-1]
}

// text asks for a text.
func (c *child) text(q query) (string, error) {
	said := c.ask(q, nil)
	return string(said.Text), said.Error.err()
}

// A remoteTree is the parent's tree.
type remoteTree struct{ *child }

var _ starlark.Tree = remoteTree{}

func (t remoteTree) Files() ([]string, error) { return t.list(query{Ask: askFiles}) }

func (t remoteTree) Open(name string) (io.ReadCloser, error) {
	var b bytes.Buffer
	if err := t.ask(query{Ask: askOpen, Name: name}, &b).Error.err(); err != nil {
		return nil, err
	}
	return io.NopCloser(&b), nil
}

func (t remoteTree) Names(dir string) ([]string, error) {
	return t.list(query{Ask: askNames, Name: dir})
}

// A remoteGit is the parent's repository. In one call it is asked each thing
// once: a file may ask for the commit in every step.
type remoteGit struct{ *child }

var _ builtins.Git = remoteGit{}

func (g remoteGit) Commit() (string, error) { return g.text(query{Ask: askCommit}) }
func (g remoteGit) Branch() (string, error) { return g.text(query{Ask: askBranch}) }
func (g remoteGit) Tag() (string, error)    { return g.text(query{Ask: askTag}) }

func (g remoteGit) Dirty() (bool, error) {
	f := g.fact(query{Ask: askDirty})
	return f.Yes, f.Error.err()
}

func (g remoteGit) Describe(flags ...string) (string, error) {
	return g.text(query{Ask: askDescribe, Flags: flags})
}

func (g remoteGit) Changed(base string) ([]string, error) {
	f := g.fact(query{Ask: askChanged, Name: base})
	return slices.Clone(f.list), f.Error.err()
}

func (g remoteGit) text(q query) (string, error) {
	f := g.fact(q)
	return string(f.Text), f.Error.err()
}

// A fact is what the parent has said of its repository.
type fact struct {
	reply
	list []string
}

// fact asks for what git says, once.
func (g remoteGit) fact(q query) fact {
	key := string(encode(q))
	f, known := g.facts[key]
	if known {
		return f
	}
	var b bytes.Buffer
	f.reply = g.ask(q, &b)
	f.list = names(&b)
	if g.facts == nil {
		g.facts = make(map[string]fact)
	}
	g.facts[key] = f
	return f
}
