// Package starlark turns a repository's PIPER.star into a plan.
//
// It shares its name with go.starlark.net's package, which it imports plainly,
// and exposes none of its types, so that no other package needs both; but to the
// packages below this one, which read files and run nothing (Source).
package starlark

import (
	"context"
	"time"

	"github.com/piper-build/piper/builtins"
	"github.com/piper-build/piper/runtime/plan"
)

// An Evaluator turns files into a catalog and a plan. Evaluate is the one that
// works in this process.
//
// When what the user wrote is at fault the error is a plan.Diagnostics with
// every problem that could be found; any other error is the machine's. The
// Result is filled as far as it could be even then.
type Evaluator func(ctx context.Context, r Request) (Result, error)

// A Request says what to evaluate.
type Request struct {
	Root   string // the tree's directory, absolute
	Tree   Tree   // is read instead of Root and Files, unless it is nil
	File   string // below Root; "" is PIPER.star
	Source []byte // the text of File when it is not to be read from the tree; nil reads it

	CatalogOnly bool              // stop after the top level
	All         bool              // look at every pipeline that is Complete with Params, each with those that it has, and return no plan
	Pipeline    string            // "" is "build", or the only one there is
	Params      map[string]string // as text
	Environment string            // replaces the pipeline's; "" and "local" keep it
	Event       plan.Event

	Piper   string                             // the version of this program
	Git     builtins.Git                       // nil: not a repository
	Files   func() ([]string, error)           // what fs sees of Root, slash-separated; nil is every file but .git
	Environ func(name string) (string, bool)   // what os.environ sees; nil is nothing
	Print   func(pos plan.Pos, message string) // what print writes; nil drops it

	Limits Limits

	Coverage *Coverage // notes what runs; nil notes nothing

	Cache string // a directory for what large files were compiled to, and what was found in them, of this user alone; "" keeps none
}

// Limits bounds an evaluation. A zero field is its default.
type Limits struct {
	Steps  uint64        // instructions of the interpreter; 10 million
	Time   time.Duration // 5 s
	Output int           // bytes printed; 1 MiB
	Nodes  int           // of a plan; plan.MaxNodes
	Source int           // bytes of one file; 1 MiB
	Memory int           // bytes, of evaluations in a process of their own; 256 MiB
}

// A Result is what an evaluation gave.
type Result struct {
	Catalog  plan.Catalog
	Plan     *plan.Plan // nil when CatalogOnly or All, or when there was an error
	Warnings plan.Diagnostics

	// Expand runs the function of an expand; nil when the plan has none. It
	// works until the ctx that the evaluation was given is done.
	Expand Expander
}

// An Expander runs the impl of the plan's expand node of that name, which is
// given the outputs of the node that it stood after. It sees what the
// evaluation saw: the tree is not read again, so the same outputs give the same
// nodes however late it is asked, and on whichever machine. What it finds may
// hold expands too. The error is as an Evaluator's.
type Expander func(ctx context.Context, node string, outputs map[string]string) (plan.Expansion, error)
