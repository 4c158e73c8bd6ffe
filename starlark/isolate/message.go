package isolate

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"

	"github.com/piper-build/piper/runtime/plan"
	"github.com/piper-build/piper/starlark"
)

// The payloads of frames are JSON, but for data frames.

// A request is a starlark.Request without what cannot be sent. What is only
// said to be there is asked for by questions.
type request struct {
	File        string            `json:"file"`
	Source      []byte            `json:"source,omitempty"`
	Read        bool              `json:"read,omitempty"` // the source is to be read
	CatalogOnly bool              `json:"catalog_only,omitempty"`
	All         bool              `json:"all,omitempty"`
	Pipeline    string            `json:"pipeline,omitempty"`
	Params      map[string][]byte `json:"params,omitempty"` // bytes, where the text may be no UTF-8
	Environment string            `json:"environment,omitempty"`
	Event       plan.Event        `json:"event"`
	Piper       string            `json:"piper,omitempty"`
	Git         bool              `json:"git,omitempty"`
	Environ     bool              `json:"environ,omitempty"`
	Print       bool              `json:"print,omitempty"`
	Limits      starlark.Limits   `json:"limits"`
	Test        *trial            `json:"test,omitempty"` // when a test is to be run
}

// newRequest is r as far as it can be sent.
func newRequest(r *starlark.Request) request {
	return request{
		File: r.File, Source: r.Source, Read: r.Source == nil,
		CatalogOnly: r.CatalogOnly, All: r.All, Pipeline: r.Pipeline, Params: asBytes(r.Params), Environment: r.Environment,
		Event: r.Event, Piper: r.Piper, Limits: r.Limits,
		Git: r.Git != nil, Environ: r.Environ != nil, Print: r.Print != nil,
	}
}

// A trial is what is said of a test beyond the request: a test.Job.
type trial struct {
	Name    string            `json:"name"`
	Limits  starlark.Limits   `json:"limits"`
	Meets   bool              `json:"meets,omitempty"`
	Covers  bool              `json:"covers,omitempty"`
	Covered map[string][]byte `json:"covered,omitempty"` // of a starlark.Coverage, its Sums
}

// An input is what a session is asked: a method of starlark.Session, and its
// arguments.
type input struct {
	Do          string            `json:"do"` // one of the words below
	Text        []byte            `json:"text,omitempty"`
	Line        int               `json:"line,omitempty"`
	Pipeline    string            `json:"pipeline,omitempty"`
	Params      map[string][]byte `json:"params,omitempty"`
	Environment string            `json:"environment,omitempty"`
}

// What a session can be asked. What answers to a name with a star is Names or
// a text, and nothing is evaluated for it.
const (
	doReload   = "reload"
	doLoad     = "load"
	doRun      = "run"
	doType     = "type"
	doPlan     = "plan"
	doPlanFlow = "plan_flow"
	doCatalog  = "catalog" // *
	doNames    = "names"   // *
	doAttrs    = "attrs"   // *
	doParams   = "params"  // *
	doFiles    = "files"   // *
	doDoc      = "doc"     // *
	doWord     = "word"    // *
)

// A query is a question of the child.
type query struct {
	Ask      string             `json:"ask"` // one of the words below
	Name     string             `json:"name,omitempty"`
	Flags    []string           `json:"flags,omitempty"`
	Text     []byte             `json:"text,omitempty"`
	Facts    map[string]string  `json:"facts,omitempty"`
	Requires []plan.Requirement `json:"requires,omitempty"`
}

// What can be asked for. The answer to a name with a star is a list or a text
// in data frames; what else there is to say stands in the reply at its end.
const (
	askFiles    = "files" // *
	askOpen     = "open"  // * Name
	askNames    = "names" // * Name
	askEnviron  = "environ"
	askCommit   = "commit"
	askBranch   = "branch"
	askTag      = "tag"
	askDirty    = "dirty"
	askDescribe = "describe" // Flags
	askChanged  = "changed"  // * Name
	askGolden   = "golden"   // Name, Text
	askMeets    = "meets"    // Facts, Requires
)

// A reply ends an answer.
type reply struct {
	Text  []byte `json:"text,omitempty"`
	Yes   bool   `json:"yes,omitempty"`
	Error *fault `json:"error,omitempty"`
}

// A fault is an error that was sent: what evaluation asks of errors, and no
// more.
type fault struct {
	Text    string `json:"text"`
	Advice  string `json:"advice,omitempty"`
	Missing bool   `json:"missing,omitempty"` // it is fs.ErrNotExist
}

// newFault makes err ready to be sent; nil stays nil.
func newFault(err error) *fault {
	if err == nil {
		return nil
	}
	f := &fault{Text: err.Error(), Missing: errors.Is(err, fs.ErrNotExist)}
	var advised interface{ Hint() string }
	if errors.As(err, &advised) {
		f.Advice = advised.Hint()
	}
	return f
}

// err is what f was before it was sent.
func (f *fault) err() error {
	if f == nil {
		return nil
	}
	return f
}

func (f *fault) Error() string { return f.Text }

// Hint says what to do.
func (f *fault) Hint() string { return f.Advice }

// Is makes f the error that it was.
func (f *fault) Is(target error) bool { return f.Missing && target == fs.ErrNotExist }

// A line is one call of print.
type line struct {
	Pos     plan.Pos `json:"pos"`
	Message string   `json:"message"`
}

// A piece is a part of a result. The lists of all pieces, one after the other,
// are those of the result; what is no list stands in the first.
type piece struct {
	Catalog   *plan.Catalog   `json:"catalog,omitempty"`
	Plan      json.RawMessage `json:"plan,omitempty"`  // for plan.Decode
	Nodes     int             `json:"nodes,omitempty"` // how many the plan has, in its first part
	Expansion *plan.Expansion `json:"expansion,omitempty"`
	Value     *value          `json:"value,omitempty"`
	Names     []string        `json:"names,omitempty"`
	Tests     []starlark.Test `json:"tests,omitempty"`
	Ran       *ran            `json:"ran,omitempty"`
	Warnings  []remark        `json:"warnings,omitempty"`
	Problems  []remark        `json:"problems,omitempty"`
}

// A value is a starlark.Value.
type value struct {
	Text []byte `json:"text,omitempty"`
	Type string `json:"type,omitempty"`
}

// A ran is what of a file a test has run: one of the Marks of a
// starlark.Coverage.
type ran struct {
	File  string `json:"file"`
	Marks []byte `json:"marks"`
}

// A remark is a diagnostic. One line of the source may have many, and may be
// long.
type remark struct {
	plan.Diagnostic
	Excerpt []byte `json:"excerpt,omitempty"` // stands in for the diagnostic's
	Again   bool   `json:"again,omitempty"`   // its excerpt is that of the one before
}

// An ending is what there is to say of a result when all of it has been sent.
type ending struct {
	Digest  string `json:"digest,omitempty"`  // of the plan; "" when there is none
	Expands bool   `json:"expands,omitempty"` // the result has an Expander
	Wrong   bool   `json:"wrong,omitempty"`   // the problems are the error
	Failure string `json:"failure,omitempty"` // any other error
}

// A growth is a call of an Expander.
type growth struct {
	Node    string            `json:"node"`
	Outputs map[string][]byte `json:"outputs,omitempty"`
}

// encode is json.Marshal of what always can be.
func encode(v any) []byte {
	b, err := json.Marshal(v)
	if err != nil {
		panic(fmt.Errorf("encode %T: %w", v, err))
	}
	return b
}

// asBytes and asTexts keep texts as they are, which JSON does not do with what
// is no UTF-8.
func asBytes(texts map[string]string) map[string][]byte {
	m := make(map[string][]byte, len(texts))
	for k, v := range texts {
		m[k] = []byte(v)
	}
	return m
}

func asTexts(bytes map[string][]byte) map[string]string {
	m := make(map[string]string, len(bytes))
	for k, v := range bytes {
		m[k] = string(v)
	}
	return m
}
