package builtins

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	"go.starlark.net/starlark"
	"go.starlark.net/syntax"

	"github.com/piper-build/piper/runtime/plan"
)

// An environment is what environment(...) returns, and, without a name, what
// host(), temp_dir(), venv() and container() return.
type environment struct {
	plan.Environment
	call syntax.Position
}

func (v *environment) String() string {
	if v.Name == "" {
		return v.Kind + "()"
	}
	return "environment(" + quote(v.Name) + ")"
}
func (v *environment) Type() string          { return "environment" }
func (v *environment) Freeze()               {}
func (v *environment) Truth() starlark.Bool  { return true }
func (v *environment) Hash() (uint32, error) { return 0, fmt.Errorf("unhashable: environment") }

// Attr implements starlark.HasAttrs.
func (v *environment) Attr(name string) (starlark.Value, error) {
	if name == "name" {
		return starlark.String(v.Name), nil
	}
	return nil, nil
}

// AttrNames implements starlark.HasAttrs.
func (v *environment) AttrNames() []string { return []string{"name"} }

func makeEnvironment(c *call) (starlark.Value, error) {
	const name, kind, requires, env, passEnv, doc = 0, 1, 2, 3, 4, 5
	v := &environment{call: c.site()}
	switch k := c.args[kind].(type) {
	case nil, starlark.NoneType:
		v.Kind = "host"
	case *environment:
		v.Environment = k.Environment
		if k.Name != "" {
			c.bad(kind, nil, "wrong-type", "kind is %s, want host(), temp_dir(), venv() or container()", k)
		}
	case starlark.String:
		c.badHint(kind, nil, "wrong-type", "write kind = "+string(k)+"()", "kind is a string, want host(), temp_dir(), venv() or container()")
	default:
		c.badType(kind, nil, "host(), temp_dir(), venv() or container()", k)
	}
	v.Name, v.Doc, v.Pos = c.str(name), c.str(doc), c.ev.position(v.call)
	v.Requires = c.requirements(requires)
	v.Env = c.settled(c.env(env, true), env)
	v.PassEnv = c.variables(passEnv)
	c.checkName(name, v.Name)
	if v.Name == "local" {
		c.bad(name, nil, "bad-name", `"local" stands for the environment that a pipeline chose itself`)
	}
	if had := c.ev.environment(v.Name); had != nil && v.Name != "" {
		if replace(c.ev, c.ev.environments, had, v) {
			return v, nil
		}
		c.bad(name, nil, "duplicate-name", "there are two environments named %s (the other is defined at %s)", quote(v.Name), positionText(had.Pos))
	} else {
		c.ev.environments = append(c.ev.environments, v)
	}
	return v, nil
}

func makeHost(c *call) (starlark.Value, error) {
	return &environment{Environment: plan.Environment{Kind: "host"}, call: c.site()}, nil
}

func makeTempDir(c *call) (starlark.Value, error) {
	const keep = 0
	return &environment{Environment: plan.Environment{Kind: "temp_dir", Keep: c.bool(keep)}, call: c.site()}, nil
}

func makeVenv(c *call) (starlark.Value, error) {
	const where, python, requirements = 0, 1, 2
	v := &environment{Environment: plan.Environment{Kind: "venv"}, call: c.site()}
	v.Path, v.Python = c.dir(where), c.str(python)
	if c.given(python) && v.Python == "" && c.wrong == 0 {
		c.bad(python, nil, "bad-value", "python is empty")
	}
	if v.Path == "" {
		v.Path = ".venv"
	}
	v.Requirements = c.strs(requirements)
	for n, s := range v.Requirements {
		if why := outside(s); why != "" {
			c.bad(requirements, []any{n}, "outside-tree", "%s %s", quote(s), why)
		}
	}
	return v, nil
}

func makeContainer(c *call) (starlark.Value, error) {
	const image, runtime, options = 0, 1, 2
	v := &environment{Environment: plan.Environment{Kind: "container"}, call: c.site()}
	v.Image, v.Runtime, v.Options = c.str(image), c.oneOf(runtime), c.strs(options)
	if c.args[image] != nil && c.wrong == 0 && (v.Image == "" || v.Image[0] == '-' || strings.ContainsAny(v.Image, " \t\n")) {
		c.bad(image, nil, "bad-value", "image %s is not the name of an image", quote(v.Image))
	}
	return v, nil
}

// environment returns argument i, an environment or the name of one. Given a
// name alone, the value is found when the plan is made.
func (c *call) environment(i int) (string, *environment) {
	v, ok := c.args[i].(*environment)
	if !ok {
		if _, isString := c.args[i].(starlark.String); !isString {
			c.badType(i, nil, "an environment or the name of one", c.args[i])
			return "", nil
		}
		return c.str(i), nil
	}
	if v.Name == "" {
		c.badHint(i, nil, "wrong-type", "name it: environment(name = ..., kind = "+v.Kind+"(...))", "environment is a kind, want an environment")
	}
	return v.Name, v
}

// environment returns the environment of that name, or nil.
func (e *Evaluation) environment(name string) *environment {
	for _, v := range e.environments {
		if v.Name == name {
			return v
		}
	}
	return nil
}

// place sets the environments of p: those that are used, by p and by nodes,
// sorted by name. replaced is the name of the one that stands in for the
// pipeline's, if there is such a one.
func (e *Evaluation) place(p *plan.Plan, pl *Pipeline, replaced string, nodes []*node) {
	used := make(map[string]*environment)
	use := func(name string, v *environment, made any, call syntax.Position) {
		if v == nil {
			v = used[name]
		}
		if v == nil {
			v = e.environment(name)
		}
		if v == nil {
			hint := fmt.Sprintf("define it: environment(name = %s, kind = ...)", quote(name))
			var names []string
			for _, known := range e.environments {
				names = append(names, known.Name)
			}
			if near, ok := plan.Nearest(name, names); ok {
				hint = fmt.Sprintf("did you mean %s (%s)?", quote(near), positionText(e.environment(near).Pos))
			}
			e.reportMade(made, Problem{Call: call, Param: "environment", Index: -1, Code: "unknown-environment",
				Message: fmt.Sprintf("environment %s is not defined", quote(name)), Hint: hint})
			return
		}
		used[name] = v
	}
	if replaced != "" {
		p.Environment = replaced
		if v := e.environment(replaced); v != nil {
			used[replaced] = v
		}
	} else if p.Environment != "" {
		use(p.Environment, pl.where, pl, pl.call)
	}
	for _, n := range nodes {
		if n.Step != nil && n.Step.Environment != "" {
			use(n.Step.Environment, n.rest().where, n, n.call)
		}
	}
	for _, name := range slices.Sorted(maps.Keys(used)) {
		p.Environments = append(p.Environments, used[name].Environment)
	}
}
