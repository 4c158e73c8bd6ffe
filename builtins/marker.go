package builtins

import (
	"errors"
	"slices"
	"strconv"
	"strings"
	"unicode/utf8"

	"go.starlark.net/starlark"
	"go.starlark.net/syntax"

	"github.com/piper-build/piper/runtime/plan"
)

// Starlark's %, format and str ask a value for its text and cannot be refused.
// So the text of a secret or an output is a marker: a run of characters from
// the last private plane of Unicode, which nobody writes. Whoever takes a
// string looks for them. Each byte of a marker's characters, and so each piece
// of a marker, can be told from other text.
//
// A marker is: begin, the evaluation's seed, an index into its marked parts, end.
const (
	markerLead  = 0xF4 // the first byte of every character of the plane, in UTF-8
	markerBegin = '\U0010F000'
	markerEnd   = '\U0010F001'
	markerByte  = '\U0010F100' // and the 255 after it carry a byte each
	markerSize  = 4 * (1 + 8 + 4 + 1)
)

// marker returns the text of part.
func (e *Evaluation) marker(part plan.Part) string {
	i := slices.IndexFunc(e.marked, func(p plan.Part) bool { return samePart(p, part) })
	if i < 0 {
		i = len(e.marked)
		e.marked = append(e.marked, part)
	}
	var b strings.Builder
	b.Grow(markerSize)
	b.WriteRune(markerBegin)
	for _, c := range e.Seed {
		b.WriteRune(markerByte + rune(c))
	}
	for shift := 24; shift >= 0; shift -= 8 {
		b.WriteRune(markerByte + rune(i>>shift&0xff))
	}
	b.WriteRune(markerEnd)
	return b.String()
}

// unescapeMarkers returns s, the text of a list, a dict or the like, with the
// characters of markers as they are: such a text has them as escapes.
func unescapeMarkers(s string) string {
	const lead, size = `\U0010f`, len(`\U0010f000`)
	var b strings.Builder
	for {
		i := strings.Index(s, lead)
		if i < 0 || len(s) < i+size {
			return b.String() + s
		}
		b.WriteString(s[:i])
		if r, err := strconv.ParseUint(s[i+2:i+size], 16, 32); err == nil {
			b.WriteRune(rune(r))
		}
		s = s[i+size:]
	}
}

func samePart(a, b plan.Part) bool {
	if a.Output != nil && b.Output != nil {
		return *a.Output == *b.Output
	}
	return a == b
}

// A markedText is a string cut at its markers.
type markedText struct {
	parts     []plan.Part // none when there is no marker
	hasSecret bool
}

var (
	errNotUTF8 = errors.New("is not valid UTF-8")
	errNUL     = errors.New("holds a NUL character")
	errPiece   = errors.New("holds a piece of a secret or an output (or a character above U+100000, which piper keeps for itself)")
)

// isPlain reports whether s is ASCII without NUL, as nearly all strings are.
func isPlain(s string) bool {
	for i := range len(s) {
		if c := s[i]; c == 0 || c >= utf8.RuneSelf {
			return false
		}
	}
	return true
}

// unmark cuts s at its markers. It is an error when s is not text that a plan
// can hold.
func (e *Evaluation) unmark(s string) (markedText, error) {
	var out markedText
	if !utf8.ValidString(s) {
		if strings.IndexByte(s, markerLead) >= 0 {
			return out, errPiece
		}
		return out, errNotUTF8
	}
	if strings.IndexByte(s, 0) >= 0 {
		return out, errNUL
	}
	i := strings.IndexByte(s, markerLead)
	if i < 0 {
		return out, nil
	}
	for ; i >= 0; i = strings.IndexByte(s, markerLead) {
		part, ok := e.unmarkOne(s[i:])
		if !ok {
			return markedText{}, errPiece
		}
		if i > 0 {
			out.parts = append(out.parts, plan.Part{Literal: s[:i]})
		}
		out.parts = append(out.parts, part)
		out.hasSecret = out.hasSecret || part.Secret != ""
		s = s[i+markerSize:]
	}
	if s != "" {
		out.parts = append(out.parts, plan.Part{Literal: s})
	}
	return out, nil
}

// unmarkOne returns the part whose marker s begins with.
func (e *Evaluation) unmarkOne(s string) (plan.Part, bool) {
	if len(s) < markerSize {
		return plan.Part{}, false
	}
	runes := []rune(s[:markerSize])
	if len(runes) != markerSize/4 || runes[0] != markerBegin || runes[len(runes)-1] != markerEnd {
		return plan.Part{}, false
	}
	for i, c := range e.Seed {
		if runes[1+i] != markerByte+rune(c) {
			return plan.Part{}, false
		}
	}
	index := 0
	for _, r := range runes[9:13] {
		if r < markerByte || r > markerByte+0xff {
			return plan.Part{}, false
		}
		index = index<<8 | int(r-markerByte)
	}
	if index >= len(e.marked) {
		return plan.Part{}, false
	}
	return e.marked[index], true
}

// A secretValue is what secret("name") returns.
type secretValue struct {
	name string
	ev   *Evaluation
}

func (s *secretValue) String() string        { return s.ev.marker(plan.Part{Secret: s.name}) }
func (s *secretValue) Type() string          { return "secret" }
func (s *secretValue) Freeze()               {}
func (s *secretValue) Truth() starlark.Bool  { return s.ev.condition("a secret") }
func (s *secretValue) Hash() (uint32, error) { return 0, errors.New("a secret cannot be a key") }

// CompareSameType implements starlark.Comparable by refusing.
func (s *secretValue) CompareSameType(syntax.Token, starlark.Value, int) (bool, error) {
	return false, errors.New("a secret cannot be compared: its value is known only when the build runs")
}

// Binary implements starlark.HasBinary by refusing.
func (s *secretValue) Binary(op syntax.Token, _ starlark.Value, _ starlark.Side) (starlark.Value, error) {
	return nil, errors.New(`a secret cannot be part of a string; give it to a step whole: env = {"TOKEN": secret("name")}`)
}

// A deferred is a string that is known only when the build runs: an output of a
// step, or text around some.
type deferred struct {
	parts []plan.Part
	ev    *Evaluation
}

func (d *deferred) String() string {
	var b strings.Builder
	for _, p := range d.parts {
		if p.Output == nil {
			b.WriteString(p.Literal)
		} else {
			b.WriteString(d.ev.marker(p))
		}
	}
	return b.String()
}

func (d *deferred) Type() string          { return "output" }
func (d *deferred) Freeze()               {}
func (d *deferred) Truth() starlark.Bool  { return d.ev.condition("an output") }
func (d *deferred) Hash() (uint32, error) { return 0, errors.New("an output cannot be a key") }

// CompareSameType implements starlark.Comparable by refusing.
func (d *deferred) CompareSameType(syntax.Token, starlark.Value, int) (bool, error) {
	return false, errors.New("an output cannot be compared: its value is known only when the build runs")
}

// Binary implements starlark.HasBinary: an output and a string make a longer
// deferred string.
func (d *deferred) Binary(op syntax.Token, other starlark.Value, side starlark.Side) (starlark.Value, error) {
	if op != syntax.PLUS {
		return nil, nil
	}
	var more []plan.Part
	switch other := other.(type) {
	case *deferred:
		more = other.parts
	case starlark.String:
		text, err := d.ev.unmark(string(other))
		switch {
		case err != nil:
			return nil, err
		case text.hasSecret:
			return nil, errors.New("a secret cannot be part of a string")
		case text.parts != nil:
			more = text.parts
		default:
			more = []plan.Part{{Literal: string(other)}}
		}
	default:
		return nil, nil
	}
	if side == starlark.Left {
		return &deferred{slices.Concat(d.parts, more), d.ev}, nil
	}
	return &deferred{slices.Concat(more, d.parts), d.ev}, nil
}

// textOf makes a Text of parts, in its shortest form.
func textOf(parts []plan.Part) plan.Text {
	var out []plan.Part
	for _, p := range parts {
		literal := p.Output == nil && p.Secret == ""
		if literal && p.Literal == "" {
			continue
		}
		if last := len(out) - 1; literal && last >= 0 && out[last].Output == nil && out[last].Secret == "" {
			out[last].Literal += p.Literal
			continue
		}
		out = append(out, p)
	}
	if len(out) == 0 {
		return plan.Text{}
	}
	if len(out) == 1 && out[0].Output == nil && out[0].Secret == "" {
		return plan.Lit(out[0].Literal)
	}
	return plan.Text{Parts: out}
}

// condition reports that a value which is not known was asked whether it is
// true: such a question has no other way to fail.
func (e *Evaluation) condition(what string) starlark.Bool {
	e.report(Problem{Call: site(e.thread, 0), Index: -1, Code: "secret-misused", Stack: e.stack(e.thread),
		Message: what + " is no condition: its value is known only when the build runs",
		Hint:    "look at it in the step's script; to ask whether one was given, write x != None"})
	return true
}

// text returns v as a Text. Only where secret is true may it be a secret.
func (c *call) text(i int, path []any, v starlark.Value, secret bool) (plan.Text, bool) {
	switch v := v.(type) {
	case starlark.String:
		if isPlain(string(v)) {
			return plan.Lit(string(v)), true
		}
		text, err := c.ev.unmark(string(v))
		if err != nil || text.hasSecret || text.parts == nil {
			s, ok := c.unusual(i, path, string(v))
			return plan.Lit(s), ok
		}
		return textOf(text.parts), true
	case *deferred:
		return textOf(v.parts), true
	case *secretValue:
		if secret {
			return plan.Text{Parts: []plan.Part{{Secret: v.name}}}, true
		}
		c.secretMisused(i, path)
	default:
		c.badType(i, path, "a string", v)
	}
	return plan.Text{}, false
}

// env returns argument i, a dict of names to texts.
func (c *call) env(i int, secret bool) plan.Env {
	if !c.given(i) {
		return nil
	}
	dict, ok := c.args[i].(*starlark.Dict)
	if !ok {
		c.badType(i, nil, "a dict of strings", c.args[i])
		return nil
	}
	if dict.Len() == 0 {
		return nil
	}
	out := make(plan.Env, 0, dict.Len())
	for key, v := range dict.Entries() {
		name, ok := c.key(i, key)
		if !ok {
			continue
		}
		if why := badVariable(string(name)); why != "" {
			c.report(Problem{Param: c.Params[i].Name, Index: i, Path: []any{string(name)}, Key: true, Code: "bad-name",
				Message: c.Name + ": " + quote(string(name)) + " " + why})
			continue
		}
		if s, ok := v.(starlark.String); ok && isPlain(string(s)) {
			out = append(out, plan.Var{Name: string(name), Value: plan.Lit(string(s))})
		} else if text, ok := c.text(i, []any{string(name)}, v, secret); ok {
			out = append(out, plan.Var{Name: string(name), Value: text})
		}
	}
	sortEnv(out)
	return out
}

// key returns a key of argument i, a dict, as a string that is known now.
func (c *call) key(i int, key starlark.Value) (starlark.String, bool) {
	name, ok := key.(starlark.String)
	if !ok {
		c.bad(i, nil, "wrong-type", "a key of %s is %s, want a string", c.Params[i].Name, typeName(key))
	} else if strings.IndexByte(string(name), markerLead) >= 0 {
		_, ok = c.unusual(i, nil, string(name))
	}
	return name, ok
}

// settled returns env, argument i, which holds before any step has run: so an
// output in it is reported.
func (c *call) settled(env plan.Env, i int) plan.Env {
	for _, v := range env {
		for _, part := range v.Value.Parts {
			if part.Output != nil {
				c.badHint(i, []any{v.Name}, "not-known-yet", "use it in the env of the step that needs it",
					"%s holds an output, which is known only when the build runs", describe(c.Params[i].Name, []any{v.Name}))
			}
		}
	}
	return env
}

// badVariable says why name cannot be an environment variable that a file sets.
func badVariable(name string) string {
	for i := range len(name) {
		c := name[i]
		if c != '_' && (c|0x20 < 'a' || c|0x20 > 'z') && (i == 0 || c < '0' || c > '9') {
			return "is not a name for an environment variable: letters, digits and _, not beginning with a digit"
		}
	}
	switch {
	case name == "":
		return "is not a name for an environment variable"
	case name == "PIPER" || strings.HasPrefix(name, "PIPER_"):
		return "belongs to piper, which sets it itself"
	}
	return ""
}

func sortEnv(env plan.Env) {
	if len(env) < 2 {
		return
	}
	slices.SortFunc(env, func(a, b plan.Var) int { return strings.Compare(a.Name, b.Name) })
}
