package builtins

import (
	"fmt"
	"regexp"

	"go.starlark.net/starlark"

	"github.com/piper-build/piper/runtime/plan"
)

// A requirement is what facts.eq and its like return.
type requirement struct{ plan.Requirement }

func (r *requirement) String() string        { return "facts." + r.Op + "(...)" }
func (r *requirement) Type() string          { return "requirement" }
func (r *requirement) Freeze()               {}
func (r *requirement) Truth() starlark.Bool  { return true }
func (r *requirement) Hash() (uint32, error) { return 0, fmt.Errorf("unhashable: requirement") }

// makeFact is behind eq, one_of, at_least, has and matches.
func makeFact(c *call) (starlark.Value, error) {
	r := &requirement{plan.Requirement{Op: c.Name[len("facts."):]}}
	for i := range c.Params {
		if !c.given(i) {
			continue
		}
		switch c.Params[i].Name {
		case "key":
			r.Key = c.str(i)
			if c.wrong == 0 && badFact(r.Key) {
				c.badHint(i, nil, "bad-name", `such as "os", "arch", "tools.docker"`, "key %s is not the name of a fact", quote(r.Key))
			}
		case "values":
			r.Values = c.strs(i)
			if c.wrong == 0 && len(r.Values) == 0 {
				c.bad(i, nil, "bad-value", "values is empty")
			}
		case "value":
			r.Values = []string{c.fact(i)}
		case "version":
			r.Values = []string{c.str(i)}
			_, ok := parseVersion(r.Values[0])
			want, like := "a version", `such as "25.0"`
			if plan.Numeric(r.Key) {
				_, ok = plan.ParseAmount(r.Values[0])
				want, like = "a number", `such as "4", or "16GiB" of memory`
			}
			if !ok && c.wrong == 0 {
				c.badHint(i, nil, "bad-value", like, "version %s is not %s", quote(r.Values[0]), want)
			}
		case "pattern":
			r.Values = []string{c.str(i)}
			if _, err := regexp.Compile(r.Values[0]); err != nil {
				c.bad(i, nil, "bad-pattern", "pattern %s is not a regular expression", quote(r.Values[0]))
			}
		case "reason":
			r.Reason = c.str(i)
		}
	}
	return r, nil
}

// fact returns argument i as text: facts are compared as text.
func (c *call) fact(i int) string {
	switch v := c.args[i].(type) {
	case starlark.Bool:
		if v {
			return "true"
		}
		return "false"
	case starlark.Int:
		return v.String()
	}
	return c.str(i)
}

func badFact(key string) bool {
	return badName(key) != "" || key == ""
}

// makeCombined is behind all_of, any_of and not_.
func makeCombined(c *call) (starlark.Value, error) {
	r := &requirement{plan.Requirement{Op: c.Name[len("facts."):]}}
	if r.Op == "not_" {
		r.Op = "not"
		c.rest = starlark.Tuple{c.args[0]}
	}
	r.Reason = c.str(1)
	for n, v := range c.rest {
		if v == nil {
			continue // said by unpack
		}
		if of, ok := v.(*requirement); ok {
			r.Of = append(r.Of, of.Requirement)
			continue
		}
		c.report(Problem{Param: c.Params[0].Name, Index: n, Code: "wrong-type",
			Message: fmt.Sprintf("%s: argument %d is %s, want what facts.eq and its like return", c.Name, n+1, typeName(v))})
	}
	if len(c.rest) == 0 {
		c.report(Problem{Index: -1, Code: "missing-argument", Message: c.Name + " needs at least one condition"})
	}
	return r, nil
}

// requirements returns argument i, a list of what facts.eq and its like return.
func (c *call) requirements(i int) []plan.Requirement {
	if !c.given(i) {
		return nil
	}
	list, ok := elements(c.args[i])
	if !ok {
		hint := `write requires = [facts.has("tools.docker")]`
		c.badHint(i, nil, "wrong-type", hint, "requires is %s, want a list", typeName(c.args[i]))
		return nil
	}
	var out []plan.Requirement
	for n, v := range members(list) {
		r, ok := v.(*requirement)
		if !ok {
			c.badHint(i, []any{n}, "wrong-type", `write facts.has("tools.docker")`, "requires[%d] is %s, want what facts.eq and its like return", n, typeName(v))
			continue
		}
		out = append(out, r.Requirement)
	}
	return out
}
