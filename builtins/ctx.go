package builtins

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"go.starlark.net/starlark"

	"github.com/piper-build/piper/runtime/plan"
)

// errNoGit is the answer to every git fact outside a repository.
var errNoGit = errors.New("this is not a git repository")

// gitFact is behind the words of git. A fact that cannot be had is a problem.
func (c *call) gitFact(key string, read func(Git) (any, error)) starlark.Value {
	value, late := c.recall("git", key)
	if !late {
		err := errNoGit
		if c.ev.Git != nil {
			value, err = read(c.ev.Git)
		}
		if err != nil {
			c.noGit(err)
			return starlark.String("")
		}
		c.ev.saw("git", key, value)
	}
	if value == nil {
		return starlark.String("")
	}
	if list, ok := value.([]string); ok {
		return newList(list)
	}
	return toStarlark(value)
}

// noGit reports that git has no answer.
func (c *call) noGit(err error) {
	p := Problem{Index: -1, Code: "no-git", Message: fmt.Sprintf("%s: %v", c.Name, err)}
	var advised interface{ Hint() string }
	if errors.As(err, &advised) {
		p.Hint = advised.Hint()
	} else if err == errNoGit {
		p.Hint = "do not ask git here, or make it a repository: git init, and commit once"
	}
	c.report(p)
}

func gitCommit(c *call) (starlark.Value, error) {
	return c.gitFact("commit", func(g Git) (any, error) { return g.Commit() }), nil
}

func gitBranch(c *call) (starlark.Value, error) {
	return c.gitFact("branch", func(g Git) (any, error) { return g.Branch() }), nil
}

func gitTag(c *call) (starlark.Value, error) {
	return c.gitFact("tag", func(g Git) (any, error) { return g.Tag() }), nil
}

func gitDirty(c *call) (starlark.Value, error) {
	v := c.gitFact("dirty", func(g Git) (any, error) { return g.Dirty() })
	return v.Truth(), nil
}

func gitDescribe(c *call) (starlark.Value, error) {
	var flags []string
	for i := range c.Params {
		p := &c.Params[i]
		switch {
		case !c.given(i):
		case p.Name == "match":
			if s := c.str(i); s != "" {
				flags = append(flags, "--match="+s)
			}
		case p.Name == "abbrev":
			digits := c.int(i, 0, 40)
			if digits == 0 && slices.Contains(flags, "--long") {
				c.bad(i, nil, "bad-value", "abbrev is 0, which leaves nothing for long to show")
			}
			flags = append(flags, fmt.Sprintf("--abbrev=%d", digits))
		case c.bool(i):
			flags = append(flags, "--"+p.Name)
		}
	}
	if c.wrong > 0 {
		return starlark.String(""), nil
	}
	key := strings.Join(append([]string{"describe"}, flags...), " ")
	return c.gitFact(key, func(g Git) (any, error) { return g.Describe(flags...) }), nil
}

func gitChanged(c *call) (starlark.Value, error) {
	base := c.str(0)
	if c.wrong > 0 {
		return newList(nil), nil
	}
	if base == "" || base[0] == '-' || strings.ContainsAny(base, " \t\n") {
		c.bad(0, nil, "bad-value", "base %s is not a branch or a commit", quote(base))
		return newList(nil), nil
	}
	v := c.gitFact("changed "+base, func(g Git) (any, error) { return g.Changed(base) })
	if list, ok := v.(*starlark.List); ok {
		return list, nil
	}
	return newList(nil), nil
}

func osEnviron(c *call) (starlark.Value, error) {
	const name, fallback = 0, 1
	key := c.str(name)
	if c.wrong > 0 || c.args[name] == nil {
		return starlark.None, nil
	}
	switch {
	case key == "" || strings.ContainsAny(key, "=\x00"):
		c.bad(name, nil, "bad-name", "%s is not the name of an environment variable", quote(key))
		return starlark.None, nil
	case HoldsSecret(key):
		c.badHint(name, nil, "secret-misused", `give a secret to the step that needs it: env = {"TOKEN": secret("name")}`,
			"%s holds a secret, which a plan must not hold", quote(key))
		return starlark.None, nil
	}
	value, late := c.recall("environ", key)
	if !late {
		if c.ev.Environ != nil {
			if text, set := c.ev.Environ(key); set {
				value = text
			}
		}
		c.ev.saw("environ", key, value)
	}
	text, set := value.(string)
	if !set {
		if c.args[fallback] != nil {
			return c.args[fallback], nil
		}
		return starlark.None, nil
	}
	return starlark.String(text), nil
}

// HoldsSecret reports whether an environment variable is one that Piper keeps
// secrets in. No evaluation sees it.
func HoldsSecret(name string) bool {
	return name == "PIPER_TOKEN" || name == "PIPER_TOKEN_FILE" || strings.HasPrefix(name, "PIPER_SECRET_")
}

// A view is a value whose attributes are computed, and recorded, when they are
// read: ctx and its parts.
type view struct {
	name  string
	attrs []string
	read  func(name string) (starlark.Value, error)
}

func (v *view) String() string        { return "<" + v.name + ">" }
func (v *view) Type() string          { return v.name }
func (v *view) Freeze()               {}
func (v *view) Truth() starlark.Bool  { return true }
func (v *view) Hash() (uint32, error) { return 0, fmt.Errorf("unhashable: %s", v.name) }

// Attr implements starlark.HasAttrs.
func (v *view) Attr(name string) (starlark.Value, error) {
	if !slices.Contains(v.attrs, name) {
		return nil, noField(v.name, name, v.attrs)
	}
	return v.read(name)
}

// noField is the error of a field that is not there.
func noField(of, name string, fields []string) error {
	if len(fields) == 0 {
		return starlark.NoSuchAttrError(fmt.Sprintf("%s has no .%s; it has none", of, name))
	}
	return starlark.NoSuchAttrError(fmt.Sprintf("%s has no .%s; it has .%s", of, name, strings.Join(fields, ", .")))
}

// AttrNames implements starlark.HasAttrs.
func (v *view) AttrNames() []string { return v.attrs }

// context returns the ctx that an impl is given.
func (e *Evaluation) context(params map[string]any) starlark.Value {
	names := make([]string, 0, len(params))
	for name := range params {
		names = append(names, name)
	}
	slices.Sort(names)
	event := &view{"ctx.event", eventFields, e.eventField}
	return &view{"ctx", []string{"changes", "event", "git", "params", "project", "version"}, func(name string) (starlark.Value, error) {
		switch name {
		case "event":
			return event, nil
		case "params":
			return &view{"ctx.params", names, func(name string) (starlark.Value, error) {
				e.saw("param", name, params[name])
				return toStarlark(params[name]), nil
			}}, nil
		case "git":
			return e.names["git"], nil
		case "changes":
			return &view{"ctx.changes", []string{"include", "only"}, func(name string) (starlark.Value, error) {
				return &function{word("ctx.changes." + name), e}, nil
			}}, nil
		case "version":
			return starlark.String(e.projectNow().Version), nil
		}
		return &view{"ctx.project", []string{"name", "version"}, func(name string) (starlark.Value, error) {
			if name == "name" {
				return starlark.String(e.projectNow().Name), nil
			}
			return starlark.String(e.projectNow().Version), nil
		}}, nil
	}}
}

func (e *Evaluation) projectNow() plan.Project {
	if e.project == nil {
		return plan.Project{}
	}
	return e.project.Project
}

var eventFields = []string{"author", "base", "branch", "commit", "kind", "number", "payload", "tag", "time", "title"}

// eventField reads one field of ctx.event.
func (e *Evaluation) eventField(name string) (starlark.Value, error) {
	v := &e.Event
	text := map[string]*string{
		"author": &v.Author, "base": &v.Base, "branch": &v.Branch, "commit": &v.Commit,
		"payload": &v.Payload, "tag": &v.Tag, "title": &v.Title,
	}
	switch name {
	case "kind":
		kind := v.Kind
		if kind == "" {
			kind = "manual"
		}
		e.saw("event", name, kind)
		return starlark.String(kind), nil
	case "number":
		e.saw("event", name, v.Number)
		return starlark.MakeInt(v.Number), nil
	case "time":
		return e.now(), nil
	}
	e.saw("event", name, *text[name])
	return starlark.String(*text[name]), nil
}

// now returns the event's time, and records that it was looked at.
func (e *Evaluation) now() starlark.Value {
	e.saw("event", "time", e.Event.Time.UTC().Format(time.RFC3339Nano))
	return moment(e.Event.Time.UTC())
}

func changesInclude(c *call) (starlark.Value, error) {
	return c.changes("include", func(globs, changed []string) bool {
		return slices.ContainsFunc(changed, func(f string) bool { return matchAny(globs, f) })
	})
}

func changesOnly(c *call) (starlark.Value, error) {
	return c.changes("only", func(globs, changed []string) bool {
		return len(changed) > 0 && !slices.ContainsFunc(changed, func(f string) bool { return !matchAny(globs, f) })
	})
}

// changes answers a question about the files that the event changed. An event
// without a base has nothing to compare with: then everything may have changed.
func (c *call) changes(word string, ask func(globs, changed []string) bool) (starlark.Value, error) {
	globs := c.restStrings(0)
	for n, s := range globs {
		if why := badGlob(s); why != "" {
			c.report(Problem{Param: "globs", Index: n, Code: "bad-glob", Message: fmt.Sprintf("%s: %s %s", c.Name, quote(s), why)})
		}
	}
	if len(c.rest) == 0 {
		c.report(Problem{Index: -1, Code: "missing-argument", Message: c.Name + " needs a pattern"})
	}
	if c.wrong > 0 {
		return starlark.True, nil
	}
	key := word + " " + strings.Join(globs, " ")
	answer := word == "include"
	if base := c.ev.Event.Base; base != "" {
		if seen, late := c.recall("changes", key); late {
			return starlark.Bool(seen == true), nil
		}
		var changed []string
		err := errNoGit
		if c.ev.Git != nil {
			changed, err = c.ev.Git.Changed(base)
		}
		if err != nil {
			c.noGit(err)
			return starlark.True, nil
		}
		answer = ask(globs, changed)
	}
	c.ev.saw("changes", key, answer)
	return starlark.Bool(answer), nil
}
