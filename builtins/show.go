package builtins

import (
	"fmt"
	"slices"
	"strings"

	"go.starlark.net/starlark"
	"go.starlark.net/starlarkstruct"

	"github.com/piper-build/piper/runtime/plan"
)

// showWidth is how many columns a value is written in, where it can be cut.
const showWidth = 80

// The bounds of what is written of a value.
type bounds struct {
	members int // of one list, dict or the like
	all     int // members in all
	depth   int // of lists within lists
	bytes   int // of one string
}

// What is written to be read, and what to be compared.
var (
	toRead    = bounds{members: 200, all: 2000, depth: 8, bytes: 2 << 10}
	toCompare = bounds{members: 1 << 16, all: 1 << 16, depth: 20, bytes: 256 << 10}
)

// Show returns v for people: the way it is written in a file, over several
// lines when it is long. A secret is its name, what is known only when the build
// runs stands in angle brackets, and what is very long is cut.
func (e *Evaluation) Show(v starlark.Value) string {
	return e.shown(v, shaper{bounds: toRead})
}

// lines is Show for what is to be compared line by line: all of v, unless that
// is more than anybody would read, a line of its own for each member and for each
// line of a text.
func (e *Evaluation) lines(v starlark.Value) string {
	text := e.shown(v, shaper{bounds: toCompare, apart: true})
	if len(text) > toCompare.bytes {
		text = strings.ToValidUTF8(text[:toCompare.bytes], "") + "…"
	}
	return text
}

func (e *Evaluation) shown(v starlark.Value, s shaper) string {
	var b strings.Builder
	s.ev = e
	f := s.value(v)
	f.write(&b, 0, s.apart)
	return Visible(b.String())
}

// A form is a value about to be written: a word, or members between brackets.
type form struct {
	label   string // what stands before it: "run = ", `"key": `
	word    string // all of it, when there are no brackets
	open    string
	members []form
	close   string
}

// flat writes f on one line.
func (f *form) flat(b *strings.Builder) {
	b.WriteString(f.label + f.word + f.open)
	for i := range f.members {
		if i > 0 {
			b.WriteString(", ")
		}
		f.members[i].flat(b)
	}
	b.WriteString(f.close)
}

// write writes f, which begins at a column, over as many lines as it needs.
// Members that are but words share lines, unless they are to stand apart.
func (f *form) write(b *strings.Builder, indent int, apart bool) {
	var line strings.Builder
	f.flat(&line)
	if text := line.String(); len(f.members) == 0 || indent+len(text) <= showWidth && !strings.Contains(text, "\n") {
		b.WriteString(strings.ReplaceAll(text, "\n", "\n"+strings.Repeat(" ", indent)))
		return
	}
	b.WriteString(f.label + f.open)
	inner := "\n" + strings.Repeat(" ", indent+4)
	column := showWidth
	for i := range f.members {
		m := &f.members[i]
		if !apart && m.label+m.open == "" && column+len(m.word) < showWidth {
			b.WriteByte(' ')
		} else {
			b.WriteString(inner)
			column = indent + 4
		}
		m.write(b, indent+4, apart)
		b.WriteByte(',')
		column += len(m.word) + 2
		if m.open != "" {
			column = showWidth
		}
	}
	b.WriteString("\n" + strings.Repeat(" ", indent) + strings.TrimPrefix(f.close, ","))
}

// A shaper makes forms of values.
type shaper struct {
	ev     *Evaluation
	bounds                  // what is left of them
	apart  bool             // a line for each line of a text, and for each member
	around []starlark.Value // the lists, dicts and the like that hold what is being shown
}

func (s *shaper) value(v starlark.Value) form {
	switch v := v.(type) {
	case starlark.String:
		return s.string(string(v))
	case *secretValue:
		return literal(plan.Text{Parts: []plan.Part{{Secret: v.name}}})
	case *deferred:
		return literal(textOf(v.parts))
	case *view:
		return form{word: fields(v.name, v.attrs)}
	case *namespace:
		return form{word: fields(v.Name, v.AttrNames())}
	case *node:
		return showNode(v)
	case *environment:
		return showEnvironment(&v.Environment)
	case *requirement:
		return literal(v.Requirement)
	case *paramValue:
		return form{open: "param." + v.Param.Type + "(", close: ")"}.with("default", v.Default).with("required", v.Required).
			with("pattern", v.Pattern).with("choices", v.Choices).with("doc", v.Doc)
	case *retryValue:
		return literal(&v.Retry)
	case *onValue:
		f := form{open: "on." + v.Kind + "(", close: ")"}
		for _, tag := range v.Tags {
			f.members = append(f.members, literal(tag))
		}
		return f.with("branches", v.Branches).with("paths", v.Paths).with("schedule", v.Schedule).with("overlap", v.Overlap).
			with("catch_up", v.CatchUp).with("name", v.Name).with("pipeline", v.Pipeline).with("project", v.Project).with("state", v.State)
	}
	switch v := v.(type) {
	case *starlark.List:
		return s.list(v, "[", "]", v)
	case starlark.Tuple:
		if len(v) == 1 {
			return s.list(v, "(", ",)", v)
		}
		return s.list(v, "(", ")", v)
	case *starlark.Set:
		return s.list(v, "set([", "])", v)
	case *group:
		return s.list(v, v.kind()+"(", ")", starlark.Tuple(v.members)).with("name", v.name).with("limit", v.limit).with("fail_fast", v.failFast)
	case *starlark.Dict:
		return inside(s, v, "{", "}", v.Keys(), func(key starlark.Value) form {
			value, _, _ := v.Get(key)
			name, f := s.value(key), s.value(value)
			var label strings.Builder
			name.flat(&label)
			f.label = label.String() + ": "
			return f
		})
	case *starlarkstruct.Struct:
		return inside(s, v, "struct(", ")", v.AttrNames(), func(name string) form {
			field, _ := v.Attr(name)
			f := s.value(field)
			f.label = name + " = "
			return f
		})
	}
	return form{word: s.readable(unescapeMarkers(v.String()))}
}

// readable shortens text that is too long to be read.
func (s *shaper) readable(text string) string {
	if len(text) <= s.bytes {
		return text
	}
	return fmt.Sprintf("%s… (%d bytes)", strings.ToValidUTF8(text[:s.bytes], ""), len(text))
}

// fields is a value of which there is nothing to see but what it has.
func fields(name string, attrs []string) string {
	if len(attrs) == 0 {
		return "<" + name + ">"
	}
	return "<" + name + " with ." + strings.Join(attrs, " .") + ">"
}

// string quotes text; a marker in it is told as what it stands for.
func (s *shaper) string(text string) form {
	if marked, err := s.ev.unmark(text); err == nil && marked.parts != nil {
		return literal(plan.Text{Parts: marked.parts})
	}
	if s.apart && strings.Contains(text, "\n") {
		return form{word: `"""` + s.readable(text) + `"""`}
	}
	if len(text) > s.bytes {
		return form{word: fmt.Sprintf("%s… (%d bytes)", starlark.String(strings.ToValidUTF8(text[:s.bytes], "")), len(text))}
	}
	return literal(text)
}

func (s *shaper) list(v starlark.Value, open, close string, members starlark.Iterable) form {
	return inside(s, v, open, close, slices.Collect(starlark.Elements(members)), s.value)
}

// inside shows the members of v, as many as there is room for.
func inside[T any](s *shaper, v starlark.Value, open, close string, members []T, member func(T) form) form {
	if len(s.around) > s.depth || slices.ContainsFunc(s.around, func(a starlark.Value) bool { return same(a, v) }) {
		return form{word: open + "…" + close}
	}
	s.around = append(s.around, v)
	f := form{open: open, close: close}
	for i, m := range members {
		if i == s.members || s.all == 0 {
			f.members = append(f.members, form{word: fmt.Sprintf("… %d more", len(members)-i)})
			break
		}
		s.all--
		f.members = append(f.members, member(m))
	}
	s.around = s.around[:len(s.around)-1]
	return f
}

// same reports whether a and b are one value, which may hold itself.
func same(a, b starlark.Value) bool {
	if _, tuple := a.(starlark.Tuple); tuple {
		return false // it holds only what was there before it
	}
	return a == b
}

// with adds a keyword argument to the call that f is, unless it is nothing.
func (f form) with(name string, value any) form {
	if v := literal(value); value != "" && v.word+v.open != "" {
		v.label = name + " = "
		f.members = append(f.members, v)
	}
	return f
}

// literal returns how a value of a plan is written: the empty form when it is
// the zero one, but for a string, which is quoted all the same.
func literal(v any) form {
	switch v := v.(type) {
	case string:
		return form{word: starlark.String(v).String()}
	case plan.Text:
		if v.Known() {
			return literal(v.Literal)
		}
		return form{word: unknown(v.Parts)}
	case bool:
		if v {
			return form{word: "True"}
		}
	case int, int64:
		if fmt.Sprint(v) != "0" {
			return form{word: fmt.Sprint(v)}
		}
	case plan.Duration:
		if v != 0 {
			return literal(v.String())
		}
	case []string:
		return literals("[", v, "]")
	case []plan.Text:
		return literals("[", v, "]")
	case []plan.Requirement:
		return literals("[", v, "]")
	case plan.Env:
		f := form{open: "{", close: "}"}
		for _, entry := range v {
			value := literal(entry.Value)
			value.label = literal(entry.Name).word + ": "
			f.members = append(f.members, value)
		}
		if len(v) > 0 {
			return f
		}
	case plan.Requirement:
		name := strings.Replace(v.Op, "not", "not_", 1)
		f := form{open: "facts." + name + "(", close: ")"}
		if v.Key != "" {
			f.members = append(f.members, literal(v.Key))
		}
		if v.Op == "one_of" {
			f.members = append(f.members, literal(v.Values))
		} else {
			f.members = append(f.members, literals("", v.Values, "").members...)
		}
		f.members = append(f.members, literals("", v.Of, "").members...)
		return f.with("reason", v.Reason)
	case plan.Ready:
		f := form{open: "ready.run(", close: ")", members: []form{literal(v.Script)}}
		switch {
		case v.Argv != nil:
			f.members[0] = literal(v.Argv)
		case v.Port != 0:
			f.open, f.members[0] = "ready.port(", literal(v.Port)
		case v.Log != "":
			f.open, f.members[0] = "ready.log(", literal(v.Log)
		case v.Script == "":
			return form{}
		}
		return f
	case *plan.Retry:
		if v != nil {
			return form{open: "retry(", close: ")"}.with("attempts", v.Attempts).with("backoff", v.Backoff).with("on", v.On)
		}
	}
	return form{}
}

func literals[T any](open string, list []T, close string) form {
	if len(list) == 0 {
		return form{}
	}
	f := form{open: open, close: close}
	for _, v := range list {
		f.members = append(f.members, literal(v))
	}
	return f
}

// unknown is a text with parts that are known only when the build runs.
func unknown(parts []plan.Part) string {
	words := make([]string, len(parts))
	for i, part := range parts {
		switch {
		case part.Secret != "":
			words[i] = "secret(" + quote(part.Secret) + ")"
		case part.Output != nil:
			words[i] = fmt.Sprintf("<output %s of %s>", part.Output.Key, part.Output.Step)
		default:
			words[i] = literal(part.Literal).word
		}
	}
	return strings.Join(words, " + ")
}

// showNode shows what step and its like returned.
func showNode(n *node) form {
	f := form{open: "step(", close: ")", members: []form{literal(n.Name)}}
	m := n.rest()
	switch {
	case m.Trigger != nil:
		t := m.Trigger
		f.open, f.members[0] = "trigger(", literal(t.Pipeline)
		if n.Name != t.Pipeline {
			f = f.with("name", n.Name)
		}
		f = f.with("project", t.Project).with("ref", t.Ref).with("params", t.Params).with("wait", t.Wait)
	case m.Approve != nil:
		f.open = "approve("
		f = f.with("prompt", m.Approve.Prompt)
	case m.Expand != nil:
		f = form{open: "expand(", close: ")", members: []form{literal(m.Expand.After)}}
		if impl := m.impl; impl != nil {
			f.members = append(f.members, form{word: impl.Name()})
		}
		f = f.with("name", n.Name).with("services", m.Expand.Services)
	case n.Step != nil:
		t := n.Step
		f = f.with("run", t.Script).with("run", t.Argv)
		if t.Service != nil {
			f.open = "service("
			f = f.with("ready", t.Service.Ready).with("ready_timeout", t.Service.ReadyTimeout)
		}
		f = f.with("doc", t.Doc).with("shell", t.Shell).with("dir", t.Dir).
			with("env", t.Env).with("pass_env", t.PassEnv).with("environment", t.Environment).with("requires", t.Requires).
			with("timeout", t.Timeout).with("grace", t.Grace).with("retry", t.Retry).with("concurrency", t.Concurrency).
			with("once", t.Once).with("tty", t.TTY).with("services", t.Services).with("inputs", t.Inputs).with("outputs", t.Outputs)
	}
	var before []string
	for _, v := range m.dependsOn {
		switch v := v.(type) {
		case *node:
			before = append(before, v.Name)
		case *group:
			before = append(before, v.name)
		case starlark.String:
			before = append(before, string(v))
		}
	}
	return f.with("depends_on", before).with("run_on", string(m.RunOn)).with("allow_failure", m.AllowFailure)
}

// showEnvironment shows what environment, or host and its like, returned.
func showEnvironment(v *plan.Environment) form {
	kind := form{open: v.Kind + "(", close: ")"}.with("keep", v.Keep).with("path", v.Path).with("python", v.Python).
		with("requirements", v.Requirements).with("image", v.Image).with("runtime", v.Runtime).with("options", v.Options)
	if v.Name == "" {
		return kind
	}
	f := form{open: "environment(", close: ")", members: []form{literal(v.Name)}}
	kind.label = "kind = "
	f.members = append(f.members, kind)
	return f.with("requires", v.Requires).with("env", v.Env).with("pass_env", v.PassEnv).with("doc", v.Doc)
}
