package plan

import "strings"

// A Text is a string that may be known only when the build runs. It is either
// Literal, or, when Parts is not empty, the parts in a row.
//
// In JSON a literal is a string, a single part is an object {"secret": name}
// or {"output": {"step": name, "key": key}}, and several parts are an array of
// strings and such objects.
type Text struct {
	Literal string
	Parts   []Part
}

// A Part is a piece of a Text. Exactly one of its fields is set; Literal may
// be the empty string when neither of the others is.
type Part struct {
	Literal string
	Secret  string // the name of a secret; only ever the whole of an Env value
	Output  *Output
}

// An Output names a value that a step writes while it runs.
type Output struct {
	Step string `json:"step"`
	Key  string `json:"key"`
}

// Lit returns s as a Text.
func Lit(s string) Text { return Text{Literal: s} }

// Known reports whether t does not wait for the run.
func (t Text) Known() bool { return len(t.Parts) == 0 }

// Words is t for people, with what is not known yet in angle brackets.
func (t Text) Words() string {
	if t.Known() {
		return t.Literal
	}
	var b strings.Builder
	for _, part := range t.Parts {
		switch {
		case part.Secret != "":
			b.WriteString("<secret " + part.Secret + ">")
		case part.Output != nil:
			b.WriteString("<" + part.Output.Step + ".output " + part.Output.Key + ">")
		default:
			b.WriteString(part.Literal)
		}
	}
	return b.String()
}

// An Env is a set of named values, sorted by name. In JSON it is an object.
type Env []Var

// A Var is one named value of an Env.
type Var struct {
	Name  string
	Value Text
}
