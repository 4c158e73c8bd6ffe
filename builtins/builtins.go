// Package builtins holds the words of a PIPER.star: Starlark values in, plain
// data out.
//
// Each word is one entry of a table (Table): its parameters, what it returns,
// an example that a test runs, and the Go function behind it. The interpreter,
// `piper doc`, completion and this folder's README.md all read that table, so
// they cannot disagree.
//
// An Evaluation is the world of one evaluation. Its words register projects,
// pipelines and environments in it, ask it for files and git facts, and report
// what is wrong to it. A word never stops at a bad value: it reports a Problem,
// returns something of the right shape and goes on, so that one evaluation
// finds everything that can be found. Whatever a word looked at outside the
// source is recorded and ends up in the plan's inputs.
//
// The package knows nothing of source text. It says "parameter timeout of the
// call at this position"; package starlark turns that into a line and a caret.
package builtins

import (
	"slices"
	"strings"
	"sync"

	"go.starlark.net/starlark"
)

// A Builtin is one word of the language: a function, a constant, an attribute
// of ctx or of a step.
type Builtin struct {
	Name    string  // as it is written: "step", "fs.glob", "ctx.params", "<step>.output"
	Doc     string  // sentences; the first one is the summary
	Params  []Param // in positional order
	Value   bool    // read, not called
	Returns string  // the type of what it gives; "" is None
	Example string  // a file, or the body of one, that evaluates without a problem

	TestOnly bool // only files of tests have it; the example is the body of a test

	call func(*call) (starlark.Value, error)
}

// A Param is a parameter of a Builtin.
type Param struct {
	Name     string
	Type     string // in words: "string", "list of strings", "duration"
	Doc      string
	Default  string   // as it is written; "" when there is none to speak of
	Required bool     // must be given
	Rest     bool     // takes all positional arguments that are left
	Named    bool     // must be given by its name
	Choices  []string // the only strings it may be
}

// Namespace returns the part of b's name before the dot, or "".
func (b *Builtin) Namespace() string {
	space, _, ok := strings.Cut(b.Name, ".")
	if !ok {
		return ""
	}
	return space
}

// Summary returns the first sentence of b's doc.
func (b *Builtin) Summary() string {
	first, _, cut := strings.Cut(b.Doc, ". ")
	if cut {
		return first + "."
	}
	return first
}

// Signature returns how b is written, such as
// "retry(attempts, backoff = None, on = [])".
func (b *Builtin) Signature() string {
	if b.Value {
		return b.Name
	}
	var parts []string
	star := false
	for _, p := range b.Params {
		switch {
		case p.Rest:
			parts = append(parts, "*"+p.Name)
			star = true
			continue
		case p.Named && !star:
			parts = append(parts, "*")
			star = true
		}
		switch {
		case p.Required:
			parts = append(parts, p.Name)
		case p.Default != "":
			parts = append(parts, p.Name+" = "+p.Default)
		default:
			parts = append(parts, p.Name+" = None")
		}
	}
	return b.Name + "(" + strings.Join(parts, ", ") + ")"
}

// words is the table, in the order in which it is best read.
var words = sync.OnceValue(func() []Builtin {
	return slices.Concat(
		registerWords, flowWords, environmentWords, paramWords, onWords, factWords, valueWords,
		fsWords, gitWords, osWords, ctxWords,
		textWords, timeWords, mathWords,
		testWords, assertWords,
	)
})

// Table returns every builtin, in the order in which the documentation shows
// them. The caller must not change it.
func Table() []Builtin { return words() }

// Lookup returns the builtin of that name. An attribute that every step has is
// found as "<step>.output".
func Lookup(name string) (Builtin, bool) {
	if b := word(name); b != nil {
		return *b, true
	}
	return Builtin{}, false
}

func word(name string) *Builtin {
	table := words()
	for i := range table {
		if table[i].Name == name {
			return &table[i]
		}
	}
	return nil
}

// Names returns what a file can name without defining it: functions and
// namespaces, sorted. A file of tests has "assert" as well.
func Names() []string {
	var names []string
	for _, b := range words() {
		name := b.Name
		if space := b.Namespace(); space != "" {
			name = space
		}
		if name != "ctx" && !strings.HasPrefix(name, "<") && !b.TestOnly {
			names = append(names, name)
		}
	}
	slices.Sort(names)
	return slices.Compact(names)
}
