package lint

import (
	"regexp/syntax"
	"slices"
	"strings"

	star "go.starlark.net/syntax"
)

// A value is what the interpreter of this package knows of a Starlark value:
// not what it is, but whose text may be in it.
type value struct {
	from  []*origin // whose text it holds as it is
	list  bool      // it is a list, and so no command for a shell
	elems []value   // of a list whose members are known, one by one
	loose []value   // members of a list, or values of a dict, that may be there

	fields map[string]value // of a dict, a struct or a module, as far as they are known
	fn     *function
	word   string           // a builtin, or an object of one: "step", "git", "ctx.event"
	text   *string          // of a string that is written down
	param  *parameter       // what param.string() and its like returned
	params map[string]value // of a ctx: the parameters of its pipeline; nil when they are not known

	size int // how many values it is made of, itself included; see bounded
}

// maxSize is how many values one is made of. Of larger ones it is known whose
// text they hold, and no longer where.
const maxSize = 500

// bounded is v, no larger than maxSize.
func (v value) bounded() value {
	v.size = 1
	for _, part := range v.elems {
		v.size += part.size
	}
	for _, part := range v.loose {
		v.size += part.size
	}
	for _, part := range v.fields {
		v.size += part.size
	}
	if v.size > maxSize {
		return value{from: v.all(), list: v.list, size: 1}
	}
	return v
}

// An origin is a place where a value that others choose comes in.
type origin struct {
	file  *file
	node  star.Expr
	text  string // how it is written: "ctx.event.branch"
	name  string // what an environment variable for it could be called
	param bool   // it is a parameter, which could have a pattern
}

// A function is a def or a lambda, with the variables around it.
type function struct {
	file   *file
	name   string
	params []star.Expr
	body   []star.Stmt // of a def
	result star.Expr   // of a lambda
	around *frame
	node   star.Node
}

// A parameter is a parameter of a pipeline.
type parameter struct {
	safe bool // nothing that a shell would obey can be in it
	list bool
}

// whole is a value without its parts: what is left of it in a string.
func (v value) whole() value { return value{from: v.all()} }

// all returns whose text is in v, wherever it may be.
func (v value) all() []*origin {
	all := v.from
	for _, parts := range [][]value{v.elems, v.loose} {
		for _, part := range parts {
			all = merge(all, part.all())
		}
	}
	for _, name := range sortedKeys(v.fields) {
		all = merge(all, v.fields[name].all())
	}
	return all
}

// member is any member of v.
func (v value) member() value {
	out := value{from: v.from}
	for _, parts := range [][]value{v.elems, v.loose} {
		for _, part := range parts {
			out = either(out, part)
		}
	}
	for _, name := range sortedKeys(v.fields) {
		out = either(out, v.fields[name])
	}
	return out
}

// either is a value that is one of two.
func either(a, b value) value {
	switch {
	case a.nothing():
		return b
	case b.nothing():
		return a
	}
	out := value{from: merge(a.from, b.from), list: a.list && b.list, fn: a.fn, word: a.word, param: a.param, params: a.params}
	out.loose = slices.Concat(a.elems, a.loose, b.elems, b.loose)
	if out.fn == nil {
		out.fn = b.fn
	}
	if out.word == "" {
		out.word = b.word
	}
	if len(a.fields)+len(b.fields) > 0 {
		out.fields = map[string]value{}
		for name, v := range a.fields {
			out.fields[name] = either(v, b.fields[name])
		}
		for name, v := range b.fields {
			if _, both := a.fields[name]; !both {
				out.fields[name] = v
			}
		}
	}
	return out.bounded()
}

// nothing reports whether nothing is known of v.
func (v value) nothing() bool {
	return v.from == nil && !v.list && v.elems == nil && v.loose == nil && v.fields == nil && v.fn == nil && v.word == "" && v.param == nil && v.params == nil
}

// merge returns the members of both lists, each once.
func merge(a, b []*origin) []*origin {
	for _, o := range b {
		if !slices.Contains(a, o) {
			a = append(a[:len(a):len(a)], o)
		}
	}
	return a
}

// sure reports whether a text that matches a regular expression can be put into
// a shell command: the expression holds all of it, and no character that means
// something to a shell.
func sure(pattern string) bool {
	re, err := syntax.Parse(pattern, syntax.Perl)
	if err != nil {
		return false
	}
	re = re.Simplify()
	return begins(re, syntax.OpBeginText, 0) && begins(re, syntax.OpEndText, -1) && plain(re)
}

// begins reports whether each way through re has op first; last with -1.
func begins(re *syntax.Regexp, op syntax.Op, at int) bool {
	switch re.Op {
	case op:
		return true
	case syntax.OpCapture:
		return begins(re.Sub[0], op, at)
	case syntax.OpConcat:
		if at < 0 {
			return begins(re.Sub[len(re.Sub)-1], op, at)
		}
		return begins(re.Sub[0], op, at)
	case syntax.OpAlternate:
		return !slices.ContainsFunc(re.Sub, func(sub *syntax.Regexp) bool { return !begins(sub, op, at) })
	}
	return false
}

// plain reports whether nothing that re matches means something to a shell.
func plain(re *syntax.Regexp) bool {
	switch re.Op {
	case syntax.OpAnyChar, syntax.OpAnyCharNotNL:
		return false
	case syntax.OpLiteral:
		return !strings.ContainsFunc(string(re.Rune), special)
	case syntax.OpCharClass:
		for i := 0; i < len(re.Rune); i += 2 {
			if re.Rune[i+1] > '~' && re.Rune[i] < 0x80 {
				return false
			}
			for r := re.Rune[i]; r <= re.Rune[i+1] && r < 0x80; r++ {
				if special(r) {
					return false
				}
			}
		}
	}
	return !slices.ContainsFunc(re.Sub, func(sub *syntax.Regexp) bool { return !plain(sub) })
}

// special reports whether a shell may take r for more than a letter.
func special(r rune) bool {
	return r <= ' ' || r == 0x7f || strings.ContainsRune("\"'`$\\&|;<>()*?[]{}#~!^", r)
}
