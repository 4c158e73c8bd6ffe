package builtins

import (
	"context"
	"strings"

	"go.starlark.net/starlark"
	"go.starlark.net/starlarkstruct"
	"go.starlark.net/syntax"

	"github.com/piper-build/piper/runtime/plan"
)

// An Evaluation is the world that the words of one evaluation share. Fill the
// exported fields, then execute files with what Predeclared returns. It is used
// by one goroutine at a time.
type Evaluation struct {
	Event   plan.Event
	Piper   string                           // the version of this program
	Git     Git                              // nil: not a repository
	Tree    Tree                             // nil: an empty one
	Environ func(name string) (string, bool) // nil: nothing is set

	// Print is given what print writes. nil drops it.
	Print func(pos plan.Pos, message string)

	// Pos turns a position of the interpreter into one for people. Package
	// starlark moves a call's parenthesis back to the call's first character.
	// nil keeps line and column.
	Pos func(syntax.Position) plan.Pos

	// Looked is told of each thing that the words look at outside the source, and
	// whether Again can look at it once more. nil tells nobody.
	Looked func(in plan.Input, again bool)

	// Made is told how many parts of flows there are each time that a plan is
	// about to be made of them. nil tells nobody.
	Made func(parts int)

	// Bench is what the words of a test work with; nil takes these words away.
	Bench Bench

	// Alive is done once the evaluation is to end. A Bench works no longer than
	// that, and no word takes the end for an error like any other. Only the
	// words of a test need it.
	Alive context.Context

	// Seed makes the markers of this evaluation its own; a digest of the
	// source will do.
	Seed [8]byte

	// KeepStacks keeps the calls that led to each part of a flow, for what is
	// found out later about it. NeedsStacks tells when they are missed: to keep
	// them takes time, and most evaluations have nothing to tell.
	KeepStacks  bool
	NeedsStacks bool

	// MayRegister is true while the root file's top level runs. project and
	// pipeline are errors at any other time.
	MayRegister bool

	// Replace lets what is registered a second time take the place of the
	// first, as in a session; otherwise that is a problem.
	Replace bool

	planning     bool                // an impl was called
	names        starlark.StringDict // what Predeclared returned
	t            starlark.Value      // what a test is given
	project      *project
	pipelines    []*Pipeline
	environments []*environment

	thread   *starlark.Thread // the last one that asked for a secret or an output
	problems []Problem
	reports  int // of problems, known ones too: by the top level, and since Plan or Expand began
	seen     recorder
	top      *scope            // what the top level left; nil while it runs
	wrong    int               // how many reports the top level made
	late     recorder          // takes the place of seen while an expand runs
	expands  map[string]*scope // by the names of the expands that were found
	marked   []plan.Part       // what markers stand for
	free     []*call           // calls that ended, to be used again
	nodes    supply[node]
	asked    map[string]*node // the steps that an output was asked of, by name
	earlier  int              // how many nodes were made before the expand that runs
	steps    supply[plan.Step]
	plain    *plan.Step // what plainStep made last
	more     supply[more]
	stacks   map[any][]plan.Frame // by *node, *group, *environment and *Pipeline
	triggers int                  // how many were made
	flows    int                  // how many flows were flattened
	regexps  map[string]regexpOrError
}

// A Problem is something wrong that a builtin found. It says which argument of
// which call; where that stands in the source is for package starlark to find.
type Problem struct {
	Call  syntax.Position // the call's opening parenthesis
	Param string          // the parameter at fault; "" is the call itself
	Index int             // its place among positional arguments; -1 is none
	Path  []any           // inside the argument: an int for a list, a string for a dict's key
	Key   bool            // the keyword, or the key that Path ends with, is at fault, not the value

	Code    string
	Message string
	Hint    string
	Stack   []plan.Frame
}

// maxProblems is how many problems an evaluation reports before it gives up.
const maxProblems = 100

// report records a problem, once.
func (e *Evaluation) report(p Problem) {
	e.reports++
	for i := range e.problems {
		q := &e.problems[i]
		if q.Call == p.Call && q.Message == p.Message && q.Param == p.Param {
			return
		}
	}
	e.problems = append(e.problems, p)
}

// made notes that v is made by the call in which thread is.
func (c *call) made(v any) {
	if !c.ev.KeepStacks {
		return
	}
	if c.ev.stacks == nil {
		c.ev.stacks = make(map[any][]plan.Frame)
	}
	c.ev.stacks[v] = c.ev.stack(c.thread)
}

// reportMade records a problem of v, which was made before.
func (e *Evaluation) reportMade(v any, p Problem) {
	e.NeedsStacks = true
	p.Stack = e.stacks[v]
	e.report(p)
}

// whence says where v was made, and from where that was called.
func (e *Evaluation) whence(v any, pos plan.Pos) string {
	text := positionText(pos)
	if n := len(e.stacks[v]); n > 0 {
		text += ", called from " + positionText(e.stacks[v][n-1].Pos)
	}
	return text
}

// StackOf returns the calls that led to the one node that was made at pos, or
// nil when there are several.
func (e *Evaluation) StackOf(pos plan.Pos) []plan.Frame {
	var stack []plan.Frame
	found := 0
	for v, s := range e.stacks {
		if n, ok := v.(*node); ok && n.pos() == pos {
			stack = s
			found++
		}
	}
	if found != 1 {
		return nil
	}
	return stack
}

// Problems returns what was found so far, in the order in which it was found.
func (e *Evaluation) Problems() []Problem { return e.problems }

// position returns pos for people to read.
func (e *Evaluation) position(pos syntax.Position) plan.Pos {
	if e.Pos != nil {
		return e.Pos(pos)
	}
	return plan.Pos{File: pos.Filename(), Line: pos.Line, Column: pos.Col}
}

// A namespace is a module that says what it has when asked for what it has not.
type namespace struct{ starlarkstruct.Module }

// Attr implements starlark.HasAttrs.
func (n *namespace) Attr(name string) (starlark.Value, error) {
	if v := n.Members[name]; v != nil {
		return v, nil
	}
	return nil, noField(n.Name, name, n.AttrNames())
}

// Predeclared returns what every file can name: the functions, and the
// namespaces with their members. Call it before anything is executed.
func (e *Evaluation) Predeclared() starlark.StringDict {
	env := make(starlark.StringDict, 64)
	spaces := make(map[string]starlark.StringDict)
	table := words()
	for i := range table {
		b := &table[i]
		space := b.Namespace()
		switch {
		case space == "ctx" || strings.HasPrefix(space, "<") || b.TestOnly && e.Bench == nil:
			continue
		case b.Name == "struct": // it takes any keyword
			env["struct"] = starlark.NewBuiltin("struct", starlarkstruct.Make)
			continue
		case space == "":
			env[b.Name] = &function{b, e}
			continue
		}
		members := spaces[space]
		if members == nil {
			members = make(starlark.StringDict, 8)
			spaces[space] = members
			env[space] = &namespace{starlarkstruct.Module{Name: space, Members: members}}
		}
		name := b.Name[len(space)+1:]
		if b.Value {
			members[name] = constant(b.Name)
		} else {
			members[name] = &function{b, e}
		}
	}
	e.t = env["t"] // no file can name it: a test is given it
	delete(env, "t")
	e.names = env
	return env
}
