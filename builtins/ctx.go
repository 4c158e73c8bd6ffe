package builtins

import (
	"cmp"
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
func (c *call) gitFact(read func(Git) (any, error), words ...string) starlark.Value {
	value, late := c.recall("git", strings.Join(words, " "))
	if !late {
		err := errNoGit
		if c.ev.Git != nil {
			value, err = read(c.ev.Git)
		}
		if err != nil {
			c.noGit(err)
			return starlark.String("")
		}
		c.ev.sawOf("git", words, value)
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
	return c.gitFact(func(g Git) (any, error) { return g.Commit() }, "commit"), nil
}

func gitBranch(c *call) (starlark.Value, error) {
	return c.gitFact(func(g Git) (any, error) { return g.Branch() }, "branch"), nil
}

func gitTag(c *call) (starlark.Value, error) {
	return c.gitFact(func(g Git) (any, error) { return g.Tag() }, "tag"), nil
}

func gitDirty(c *call) (starlark.Value, error) {
	v := c.gitFact(func(g Git) (any, error) { return g.Dirty() }, "dirty")
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
	return c.gitFact(func(g Git) (any, error) { return g.Describe(flags...) }, append([]string{"describe"}, flags...)...), nil
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
	v := c.gitFact(func(g Git) (any, error) { return g.Changed(base) }, "changed", base)
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
		value = c.ev.environ(key)
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

// environ returns an environment variable, or nil.
func (e *Evaluation) environ(name string) any {
	if e.Environ != nil {
		if text, set := e.Environ(name); set {
			return text
		}
	}
	return nil
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
	if name == "time" {
		return e.now(), nil
	}
	value := e.eventValue(name)
	e.saw("event", name, value)
	return toStarlark(value), nil
}

// eventValue returns a field of the event: a string, or the number.
func (e *Evaluation) eventValue(name string) any {
	v := &e.Event
	switch name {
	case "author":
		return v.Author
	case "base":
		return v.Base
	case "branch":
		return v.Branch
	case "commit":
		return v.Commit
	case "kind":
		return cmp.Or(v.Kind, "manual")
	case "number":
		return int64(v.Number)
	case "payload":
		return v.Payload
	case "tag":
		return v.Tag
	case "time":
		return v.Time.UTC().Format(time.RFC3339Nano)
	default:
		return v.Title
	}
}

// now returns the event's time, and records that it was looked at.
func (e *Evaluation) now() starlark.Value {
	e.saw("event", "time", e.eventValue("time"))
	return moment(e.Event.Time.UTC())
}

func changesInclude(c *call) (starlark.Value, error) { return c.changes("include") }
func changesOnly(c *call) (starlark.Value, error)    { return c.changes("only") }

// changes answers a question about the files that the event changed.
func (c *call) changes(word string) (starlark.Value, error) {
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
	words := append([]string{word}, globs...)
	if c.ev.Event.Base != "" {
		if seen, late := c.recall("changes", strings.Join(words, " ")); late {
			return starlark.Bool(seen == true), nil
		}
	}
	answer, err := c.ev.changed(word, globs)
	if err != nil {
		c.noGit(err)
		return starlark.True, nil
	}
	c.ev.sawOf("changes", words, answer)
	return starlark.Bool(answer), nil
}

// changed reports whether the event changed a file that globs match, or, when
// word is "only", no other files than such. An event without a base has nothing
// to compare with: then everything may have changed.
func (e *Evaluation) changed(word string, globs []string) (bool, error) {
	if e.Event.Base == "" {
		return word == "include", nil
	}
	if e.Git == nil {
		return false, errNoGit
	}
	changed, err := e.Git.Changed(e.Event.Base)
	if err != nil {
		return false, err
	}
	if word == "include" {
		return slices.ContainsFunc(changed, func(f string) bool { return matchAny(globs, f) }), nil
	}
	return len(changed) > 0 && !slices.ContainsFunc(changed, func(f string) bool { return !matchAny(globs, f) }), nil
}
