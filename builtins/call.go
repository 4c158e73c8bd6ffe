package builtins

import (
	"fmt"
	"iter"
	"slices"
	"strings"
	"time"

	startime "go.starlark.net/lib/time"
	"go.starlark.net/starlark"
	"go.starlark.net/syntax"

	"github.com/piper-build/piper/runtime/plan"
)

// A function is a Builtin of one evaluation, as a Starlark value.
type function struct {
	*Builtin
	ev *Evaluation
}

func (f *function) String() string        { return "<built-in function " + f.Builtin.Name + ">" }
func (f *function) Type() string          { return "builtin_function_or_method" }
func (f *function) Freeze()               {}
func (f *function) Truth() starlark.Bool  { return true }
func (f *function) Hash() (uint32, error) { return starlark.String(f.Builtin.Name).Hash() }
func (f *function) Name() string          { return f.Builtin.Name }

// CallInternal implements starlark.Callable.
func (f *function) CallInternal(thread *starlark.Thread, args starlark.Tuple, kwargs []starlark.Tuple) (starlark.Value, error) {
	return f.ev.invoke(f.Builtin, nil, thread, args, kwargs)
}

// maxParams is more than any builtin has; a test holds it.
const maxParams = 24

// A call is one call of a builtin: its arguments in the order of the table's
// parameters, nil where none was given.
type call struct {
	*Builtin
	ev     *Evaluation
	self   starlark.Value // of a method
	thread *starlark.Thread
	args   [maxParams]starlark.Value
	rest   starlark.Tuple // what a Rest parameter took
	wrong  int            // how many problems this call reported
}

// invoke puts the arguments in their places and calls b.
func (e *Evaluation) invoke(b *Builtin, self starlark.Value, thread *starlark.Thread, args starlark.Tuple, kwargs []starlark.Tuple) (starlark.Value, error) {
	var c *call
	if n := len(e.free); n > 0 {
		c, e.free = e.free[n-1], e.free[:n-1]
	} else {
		c = new(call)
	}
	c.Builtin, c.ev, c.self, c.thread, c.rest, c.wrong = b, e, self, thread, nil, 0
	clear(c.args[:len(b.Params)])
	c.unpack(args, kwargs)
	v, err := b.call(c)
	e.free = append(e.free, c)
	if len(e.problems) > maxProblems {
		return nil, ErrTooManyProblems
	}
	return v, err
}

// ErrTooManyProblems ends an evaluation that found more problems than anyone
// wants to read.
var ErrTooManyProblems = fmt.Errorf("more than %d problems; the first ones are shown", maxProblems)

// unpack fills c.args and c.rest. An argument that fits nowhere is reported and
// dropped.
func (c *call) unpack(args starlark.Tuple, kwargs []starlark.Tuple) {
	params := c.Params
	for i, arg := range args {
		if i < len(params) && params[i].Rest {
			c.rest = slices.Clone(args[i:]) // the interpreter uses its own again
			break
		}
		if i == len(params) || params[i].Named {
			c.report(Problem{Index: i, Code: "too-many-arguments",
				Message: fmt.Sprintf("%s takes at most %s, got %d", c.Name, count(positional(params), "positional argument"), len(args)),
				Hint:    c.positionHint(arg)})
			break
		}
		c.args[i] = arg
	}
	for _, kw := range kwargs {
		name := string(kw[0].(starlark.String))
		i := indexParam(params, name)
		switch {
		case i < 0:
			c.unknownKeyword(name)
		case c.args[i] != nil:
			c.report(Problem{Param: name, Index: -1, Key: true, Code: "duplicate-argument",
				Message: fmt.Sprintf("%s got two values for %s", c.Name, name)})
		default:
			c.args[i] = kw[1]
		}
	}
	for i := range params {
		if params[i].Required && c.args[i] == nil && !params[i].Rest {
			c.report(Problem{Index: -1, Code: "missing-argument",
				Message: fmt.Sprintf("%s needs %s", c.Name, params[i].Name),
				Hint:    "it is written " + c.usage()})
		}
	}
}

// positionHint says how to write an argument that has no name, and needs one.
func (c *call) positionHint(arg starlark.Value) string {
	if c.Name == "pipeline" {
		switch v := arg.(type) {
		case *starlark.List, starlark.Tuple:
			return "write steps = [...], or impl = lambda ctx: [...]"
		case *starlark.Function:
			return "write impl = " + v.Name()
		}
	}
	return "it is written " + c.usage()
}

func (c *call) unknownKeyword(name string) {
	p := Problem{Param: name, Index: -1, Key: true, Code: "unknown-argument",
		Message: fmt.Sprintf("%s has no parameter %s", c.Name, quote(name))}
	names := make([]string, 0, len(c.Params))
	for _, param := range c.Params {
		if !param.Rest {
			names = append(names, param.Name)
		}
	}
	if near, ok := plan.Nearest(name, names); ok {
		p.Hint = fmt.Sprintf("did you mean %s?", near)
	} else if len(names) > 0 {
		p.Hint = c.Name + " takes " + strings.Join(names, ", ")
	}
	switch {
	case c.Name == "step" && (name == "finally" || name == "always"):
		p.Hint = `write run_on = "always"`
	case c.Name == "step" && (name == "cmd" || name == "command" || name == "script"):
		p.Hint = "write run = ..."
	case c.Name == "step" && (name == "needs" || name == "deps"):
		p.Hint = "write depends_on = [...]"
	}
	c.report(p)
}

// usage returns the shortest way to write b: what it must be given.
func (b *Builtin) usage() string {
	var parts []string
	for _, p := range b.Params {
		switch {
		case p.Required && p.Named:
			parts = append(parts, p.Name+" = ...")
		case p.Required:
			parts = append(parts, p.Name)
		case p.Rest:
			parts = append(parts, "*"+p.Name)
		}
	}
	if len(parts) < len(b.Params) {
		parts = append(parts, "...")
	}
	return b.Name + "(" + strings.Join(parts, ", ") + ")"
}

func indexParam(params []Param, name string) int {
	for i := range params {
		if params[i].Name == name && !params[i].Rest {
			return i
		}
	}
	return -1
}

func positional(params []Param) int {
	n := 0
	for _, p := range params {
		if !p.Named && !p.Rest {
			n++
		}
	}
	return n
}

// site is where the user wrote the call: the innermost frame in a file of the
// tree, or, when the standard library runs by itself, in that.
func (c *call) site() syntax.Position { return site(c.thread, 1) }

// site looks at the frames of a thread from depth on.
func site(thread *starlark.Thread, depth int) syntax.Position {
	var inner syntax.Position
	for ; depth < thread.CallStackDepth(); depth++ {
		pos := thread.DebugFrame(depth).Position()
		switch name := pos.Filename(); {
		case name == "<builtin>":
			continue
		case name[0] != '@':
			return pos
		case inner.Line == 0:
			inner = pos
		}
	}
	return inner
}

// report completes p with where this call stands and records it.
func (c *call) report(p Problem) {
	c.wrong++
	p.Call = c.site()
	p.Stack = c.ev.stack(c.thread)
	c.ev.report(p)
}

// bad reports that argument i, or what stands at path inside it, is wrong.
func (c *call) bad(i int, path []any, code, format string, args ...any) {
	c.badHint(i, path, code, "", format, args...)
}

func (c *call) badHint(i int, path []any, code, hint, format string, args ...any) {
	c.report(Problem{Param: c.Params[i].Name, Index: i, Path: path, Code: code, Hint: hint,
		Message: c.Name + ": " + fmt.Sprintf(format, args...)})
}

// badType reports that argument i, or what stands at path inside it, is of the
// wrong type.
func (c *call) badType(i int, path []any, want string, got starlark.Value) {
	c.badHint(i, path, "wrong-type", typeHint(want, got), "%s is %s, want %s",
		describe(c.Params[i].Name, path), typeName(got), want)
}

func typeHint(want string, got starlark.Value) string {
	_, isList := got.(*starlark.List)
	str, isString := got.(starlark.String)
	_, isCall := got.(starlark.Callable)
	switch {
	case strings.HasPrefix(want, "a list") && isString:
		return fmt.Sprintf("write [%s]", quote(string(str)))
	case want == "a string" && isList:
		return `join the list: " ".join(...)`
	case want == "a string" && !isCall:
		if _, isInt := got.(starlark.Int); isInt {
			return fmt.Sprintf("write %s", quote(got.String()))
		}
	case isCall:
		return "call it: " + got.(starlark.Callable).Name() + "(...)"
	}
	return ""
}

// describe names a parameter and the way to a value inside it: env["A"].
func describe(param string, path []any) string {
	var b strings.Builder
	b.WriteString(param)
	for _, p := range path {
		switch p := p.(type) {
		case int:
			fmt.Fprintf(&b, "[%d]", p)
		case string:
			fmt.Fprintf(&b, "[%s]", quote(p))
		}
	}
	return b.String()
}

// typeName names the type of v the way a sentence does.
func typeName(v starlark.Value) string {
	switch v.(type) {
	case starlark.NoneType:
		return "None"
	case *secretValue:
		return "a secret"
	case *deferred:
		return "an output, which is known only when the build runs"
	}
	switch name := v.Type(); {
	case name == "builtin_function_or_method":
		return "a builtin function"
	case strings.ContainsRune("aeio", rune(name[0])):
		return "an " + name
	default:
		return "a " + name
	}
}

// given reports whether argument i was given and is not None.
func (c *call) given(i int) bool {
	return c.args[i] != nil && c.args[i] != starlark.None
}

// givenFrom reports whether argument i, or one after it, was given and is not
// None.
func (c *call) givenFrom(i int) bool {
	for ; i < len(c.Params); i++ {
		if c.given(i) {
			return true
		}
	}
	return false
}

// str returns argument i as a string that is known now; "" when it is absent
// or wrong.
func (c *call) str(i int) string {
	if !c.given(i) {
		return ""
	}
	s, _ := c.plain(i, nil, c.args[i])
	return s
}

// plain returns v as a string that is known now and that a plan can hold.
func (c *call) plain(i int, path []any, v starlark.Value) (string, bool) {
	s, ok := v.(starlark.String)
	if !ok {
		if _, ok := v.(*secretValue); ok {
			c.secretMisused(i, path)
		} else {
			c.badType(i, path, "a string", v)
		}
		return "", false
	}
	if isPlain(string(s)) {
		return string(s), true
	}
	return c.unusual(i, path, string(s))
}

// unusual looks at a string that holds more than printable ASCII.
func (c *call) unusual(i int, path []any, s string) (string, bool) {
	text, err := c.ev.unmark(s)
	switch {
	case err != nil:
		c.bad(i, path, "bad-value", "%s %v", describe(c.Params[i].Name, path), err)
	case text.hasSecret:
		c.secretMisused(i, path)
	case len(text.parts) > 0:
		c.bad(i, path, "not-known-yet", "%s holds an output, which is known only when the build runs", describe(c.Params[i].Name, path))
	default:
		return s, true
	}
	return "", false
}

func (c *call) secretMisused(i int, path []any) {
	c.badHint(i, path, "secret-misused", `give it to a step whole: env = {"TOKEN": secret("name")}`,
		"%s must not hold a secret", describe(c.Params[i].Name, path))
}

// oneOf returns argument i, which must be one of the table's choices.
func (c *call) oneOf(i int) string {
	s := c.str(i)
	choices := c.Params[i].Choices
	if s == "" && !c.given(i) || slices.Contains(choices, s) {
		return s
	}
	if _, ok := c.args[i].(starlark.String); ok {
		hint := ""
		if near, ok := plan.Nearest(s, choices); ok {
			hint = fmt.Sprintf("did you mean %s?", quote(near))
		}
		c.badHint(i, nil, "bad-value", hint, "%s is %s, want one of %s", c.Params[i].Name, quote(s), strings.Join(quoteAll(choices), ", "))
	}
	return ""
}

// strs returns argument i, a list of strings.
func (c *call) strs(i int) []string {
	if !c.given(i) {
		return nil
	}
	list, ok := elements(c.args[i])
	if !ok {
		c.badType(i, nil, "a list of strings", c.args[i])
		return nil
	}
	out := make([]string, 0, list.Len())
	for n, v := range members(list) {
		if s, ok := v.(starlark.String); ok && isPlain(string(s)) {
			out = append(out, string(s))
		} else if s, ok := c.plain(i, []any{n}, v); ok {
			out = append(out, s)
		}
	}
	return out
}

// bool returns argument i; false when it is absent or wrong.
func (c *call) bool(i int) bool {
	if !c.given(i) {
		return false
	}
	b, ok := c.args[i].(starlark.Bool)
	if !ok {
		c.badType(i, nil, "True or False", c.args[i])
	}
	return bool(b)
}

// int returns argument i, between low and high; 0 when it is absent or wrong.
func (c *call) int(i int, low, high int) int {
	if !c.given(i) {
		return 0
	}
	v, ok := c.args[i].(starlark.Int)
	if !ok {
		c.badType(i, nil, "an int", c.args[i])
		return 0
	}
	n, exact := v.Int64()
	if !exact || n < int64(low) || n > int64(high) {
		c.bad(i, nil, "out-of-range", "%s is %s, want %d to %d", c.Params[i].Name, shorten(v.String()), low, high)
		return 0
	}
	return int(n)
}

// maxDuration is the longest duration a plan holds.
const maxDuration = 365 * 24 * time.Hour

// duration returns argument i, "1m30s" or a time value; 0 when it is absent or
// wrong.
func (c *call) duration(i int) plan.Duration {
	if !c.given(i) {
		return 0
	}
	const hint = `write "90s", "1h30m" or 10 * time.minute`
	const most = plan.Duration(maxDuration)
	var d time.Duration
	switch v := c.args[i].(type) {
	case startime.Duration:
		d = time.Duration(v)
	case starlark.String:
		s, ok := c.plain(i, nil, v)
		if !ok {
			return 0
		}
		var err error
		if d, err = time.ParseDuration(s); err != nil {
			c.badHint(i, nil, "bad-duration", hint, "%s is %s, which is not a duration", c.Params[i].Name, quote(s))
			return 0
		}
	default:
		c.badHint(i, nil, "wrong-type", hint, "%s is %s, want a duration", c.Params[i].Name, typeName(v))
		return 0
	}
	if d <= 0 || d > maxDuration {
		c.badHint(i, nil, "out-of-range", hint, "%s is %s, want more than 0s and at most %s", c.Params[i].Name, plan.Duration(d), most)
		return 0
	}
	return plan.Duration(d)
}

// elements returns v as a list or a tuple.
func elements(v starlark.Value) (starlark.Indexable, bool) {
	switch v := v.(type) {
	case *starlark.List:
		return v, true
	case starlark.Tuple:
		return v, true
	}
	return nil, false
}

// members ranges over a list or a tuple.
func members(list starlark.Indexable) iter.Seq2[int, starlark.Value] {
	return func(yield func(int, starlark.Value) bool) {
		for i := range list.Len() {
			if !yield(i, list.Index(i)) {
				return
			}
		}
	}
}

// stack returns the calls that led to where thread is, when there is more than
// the top level to tell.
func (e *Evaluation) stack(thread *starlark.Thread) []plan.Frame {
	return e.Frames(thread.CallStack())
}

// Frames returns the calls of a stack that led to the user's innermost place,
// outermost first. Calls inside the standard library are not among them.
func (e *Evaluation) Frames(calls starlark.CallStack) []plan.Frame {
	var frames []plan.Frame
	own := 0 // how many led to the innermost place in the user's files
	for _, fr := range calls {
		name := fr.Pos.Filename()
		if name == "<builtin>" || fr.Pos.Line == 0 {
			continue
		}
		if name[0] != '@' || own == len(frames) {
			own = len(frames)
		}
		called := fr.Name
		if called == "<toplevel>" {
			called = "top level"
		}
		frames = append(frames, plan.Frame{Name: called, Pos: e.position(fr.Pos)})
	}
	if own == 0 {
		return nil
	}
	return frames[:own]
}
