package lint

import (
	"cmp"
	"fmt"
	"maps"
	"path"
	"slices"
	"strings"

	"go.starlark.net/syntax"

	"github.com/piper-build/piper/runtime/plan"
)

// unquotedValues follows values that others choose from where they come in to
// the commands of steps, through variables, functions and loaded files.
func unquotedValues(p *project) {
	in := &interpreter{
		project: p, files: map[string]*frame{}, origins: map[syntax.Expr]*origin{},
		ran: map[syntax.Node]bool{},
	}
	for _, name := range sortedKeys(p.files) {
		f := p.files[name]
		if !f.asked || f.Source == nil {
			continue
		}
		in.flows, in.budget = nil, maxStatements
		fr := in.run(f)
		for _, flow := range in.flows {
			in.flow(fr, flow)
		}
		for _, stmt := range f.File.Stmts {
			// What nobody has called yet is called by somebody else, or is main.
			def, ok := stmt.(*syntax.DefStmt)
			if !ok || in.ran[def] {
				continue
			}
			if v := fr.get(variable(def.Name)); v.fn != nil {
				in.flow(fr, flow{impl: v.fn, ctx: "ctx"})
			}
		}
	}
}

// A flow is a function that returns the flow of a pipeline.
type flow struct {
	impl   *function
	params map[string]value // of the pipeline; nil when they are not known
	ctx    string           // the parameter that is the ctx; "" is the first one
}

// flow runs the function of a flow.
func (in *interpreter) flow(fr *frame, fl flow) {
	in.params = fl.params
	args := arguments{named: map[string]value{}}
	for i, param := range fl.impl.params {
		if pair, ok := param.(*syntax.BinaryExpr); ok {
			param = pair.X
		}
		if id, ok := param.(*syntax.Ident); ok && (fl.ctx == id.Name || fl.ctx == "" && i == 0) {
			args.named[id.Name] = value{word: "ctx", params: fl.params}
		}
	}
	in.invoke(fr, fl.impl, nil, args)
	in.params = nil
}

// pipeline notes what a pipeline takes, for when its impl runs.
func (in *interpreter) pipeline(args arguments) {
	impl, _ := args.get("impl", -1)
	params, given := args.get("params", -1)
	if impl.fn == nil {
		return
	}
	fl := flow{impl: impl.fn, params: params.fields}
	if given == nil {
		fl.params = map[string]value{}
	}
	in.flows = append(in.flows, fl)
}

// command looks at what a step is to run: a string is read by a shell, and so is
// what follows -c in a list that begins with a shell.
func (in *interpreter) command(fr *frame, run value, at syntax.Expr) {
	if !run.list {
		in.unsafe(fr, run.all(), at)
		return
	}
	script := 0
	for i, word := range run.elems {
		switch {
		case i == 0 && (word.text == nil || !isShell(*word.text)):
			return
		case script > 0 && i == script:
			in.unsafe(fr, word.all(), at)
			return
		case i > 0 && word.text != nil && strings.HasPrefix(*word.text, "-") && strings.HasSuffix(*word.text, "c"):
			script = i + 1
		}
	}
}

func isShell(program string) bool {
	switch path.Base(program) {
	case "sh", "bash", "dash", "zsh", "ksh", "ash":
		return true
	}
	return false
}

// unsafe reports values that come into a shell command as they are.
func (in *interpreter) unsafe(fr *frame, from []*origin, at syntax.Expr) {
	f, calls := fr.file, in.calls
	start, end := at.Span()
	for strings.HasPrefix(f.name, "@") && len(calls) > 0 && calls[len(calls)-1].at != nil {
		// Nobody edits the standard library: show who called it.
		c := calls[len(calls)-1]
		f, calls = c.in, calls[:len(calls)-1]
		start, end = c.at.Span()
	}
	for _, o := range from {
		where, _ := o.node.Span()
		place := ""
		if o.file != f || where.Line < start.Line || where.Line > end.Line {
			place = fmt.Sprintf(" (%s:%d:%d)", o.file.name, where.Line, where.Col)
		}
		name := variableName(o.name)
		hint := fmt.Sprintf(`pass it as env = {"%s": %s} and write "$%[1]s" in the command; or make run a list; or write shlex.quote(%[2]s)`, name, o.text)
		if o.param {
			hint += `; or give the parameter choices, or a pattern such as "^[a-z0-9.-]+$"`
		}
		d := f.Warn(start, end, f.check, o.text+place+" becomes a part of this shell command: who chooses it chooses what runs", hint)
		d.Stack = frames(calls)
		f.report(d)
	}
}

// variableName makes an environment variable's name of a name.
func variableName(name string) string {
	name = strings.Map(func(r rune) rune {
		if r == '_' || 'A' <= r && r <= 'Z' || '0' <= r && r <= '9' {
			return r
		}
		return '_'
	}, strings.ToUpper(name))
	return cmp.Or(strings.Trim(name, "_"), "VALUE")
}

// frames is calls as diagnostics have them.
func frames(calls []call) []plan.Frame {
	var stack []plan.Frame
	for _, c := range calls {
		if c.at != nil { // nil: by Piper
			from, _ := c.at.Span()
			stack = append(stack, plan.Frame{Name: c.fn.name, Pos: plan.Pos{File: c.in.name, Line: from.Line, Column: from.Col}})
		}
	}
	return stack
}

func sortedKeys[V any](m map[string]V) []string { return slices.Sorted(maps.Keys(m)) }
