package builtins

import (
	"fmt"
	"math"
	"regexp"
	"slices"
	"strings"
	"time"

	"go.starlark.net/starlark"

	"github.com/piper-build/piper/runtime/plan"
)

// A paramValue is what param.string and its like return.
type paramValue struct{ plan.Param }

func (p *paramValue) String() string        { return "param." + p.Param.Type + "()" }
func (p *paramValue) Type() string          { return "param" }
func (p *paramValue) Freeze()               {}
func (p *paramValue) Truth() starlark.Bool  { return true }
func (p *paramValue) Hash() (uint32, error) { return 0, fmt.Errorf("unhashable: param") }

// makeParam is behind each of the param words. Which parameters a word has is
// the table's business, so they are found by their names.
func makeParam(c *call) (starlark.Value, error) {
	p := &paramValue{plan.Param{Type: c.Name[len("param."):]}}
	fallback := -1
	for i := range c.Params {
		if !c.given(i) {
			continue
		}
		switch c.Params[i].Name {
		case "doc":
			p.Doc = c.str(i)
		case "required":
			p.Required = c.bool(i)
		case "pattern":
			p.Pattern = c.str(i)
			if _, err := regexp.Compile(p.Pattern); err != nil {
				c.bad(i, nil, "bad-pattern", "pattern %s is not a regular expression: %v", quote(p.Pattern), strings.TrimPrefix(err.Error(), "error parsing regexp: "))
				p.Pattern = ""
			}
		case "choices":
			p.Choices = c.strs(i)
		case "default":
			fallback = i
		}
	}
	if c.wrong > 0 {
		return p, nil
	}
	if p.Param.Type == "enum" && len(p.Choices) == 0 {
		c.bad(indexParam(c.Params, "choices"), nil, "bad-value", "choices is empty")
		return p, nil
	}
	for n, choice := range p.Choices {
		if slices.Index(p.Choices, choice) < n {
			c.bad(indexParam(c.Params, "choices"), []any{n}, "bad-value", "choices holds %s twice", quote(choice))
		}
	}
	if fallback >= 0 {
		c.fallback(p, fallback)
	}
	return p, nil
}

// fallback sets p's default to argument i.
func (c *call) fallback(p *paramValue, i int) {
	var v any
	switch arg := c.args[i].(type) {
	case *starlark.List, starlark.Tuple:
		v = c.strs(i)
	case starlark.String:
		v = c.str(i)
	case starlark.Bool:
		v = bool(arg)
	case starlark.Int:
		n, exact := arg.Int64()
		if !exact {
			c.bad(i, nil, "out-of-range", "default is %s, want %d to %d", shorten(arg.String()), int64(math.MinInt64), int64(math.MaxInt64))
			return
		}
		v = n
	}
	if c.wrong > 0 {
		return
	}
	ok := false
	switch p.Param.Type {
	case "int":
		_, ok = v.(int64)
	case "bool":
		_, ok = v.(bool)
	case "list":
		_, ok = v.([]string)
	default:
		_, ok = v.(string)
	}
	if !ok {
		c.badType(i, nil, wanted(p.Param.Type), c.args[i])
		return
	}
	named := p.Param
	named.Name = "default" // it has no name of its own yet
	if err := named.Check(v); err != nil {
		c.bad(i, nil, "bad-value", "%v", err)
		return
	}
	if p.Required {
		c.bad(i, nil, "bad-value", "a parameter that is required has no use for a default")
		return
	}
	p.Default = v
}

func wanted(kind string) string {
	switch kind {
	case "int":
		return "an int"
	case "bool":
		return "True or False"
	case "list":
		return "a list of strings"
	}
	return "a string"
}

// toStarlark returns the value of a parameter, a string, a bool, an int64 or
// strings, for a file to see.
func toStarlark(v any) starlark.Value {
	switch v := v.(type) {
	case string:
		return starlark.String(v)
	case bool:
		return starlark.Bool(v)
	case int64:
		return starlark.MakeInt64(v)
	case []string:
		return stringList(v)
	}
	return starlark.None
}

// stringList returns list as a frozen Starlark list.
func stringList(list []string) *starlark.List {
	out := make([]starlark.Value, len(list))
	for i, s := range list {
		out[i] = starlark.String(s)
	}
	l := starlark.NewList(out)
	l.Freeze()
	return l
}

// params returns argument i, a dict of names to parameters.
func (c *call) params(i int) []plan.Param {
	if !c.given(i) {
		return nil
	}
	dict, ok := c.args[i].(*starlark.Dict)
	if !ok {
		c.badHint(i, nil, "wrong-type", `write params = {"version": param.string()}`, "params is %s, want a dict", typeName(c.args[i]))
		return nil
	}
	var out []plan.Param
	for key, v := range dict.Entries() {
		name, ok := c.key(i, key)
		if !ok {
			continue
		}
		if badParamName(string(name)) {
			c.report(Problem{Param: "params", Index: i, Path: []any{string(name)}, Key: true, Code: "bad-name",
				Message: fmt.Sprintf("%s is not the name of a parameter: letters, digits and _, not beginning with a digit", shorten(key.String()))})
			continue
		}
		p, ok := v.(*paramValue)
		if !ok {
			c.badHint(i, []any{string(name)}, "wrong-type", "write param.string(default = ...)", "params[%s] is %s, want what param.string and its like return", quote(string(name)), typeName(v))
			continue
		}
		param := p.Param
		param.Name = string(name)
		out = append(out, param)
	}
	return out
}

func badParamName(s string) bool {
	why := badVariable(s)
	return why != "" && !strings.HasPrefix(s, "PIPER") || len(s) > plan.MaxName
}

// An onValue is what on.push and its like return.
type onValue struct{ plan.On }

func (o *onValue) String() string        { return "on." + o.Kind + "()" }
func (o *onValue) Type() string          { return "on" }
func (o *onValue) Freeze()               {}
func (o *onValue) Truth() starlark.Bool  { return true }
func (o *onValue) Hash() (uint32, error) { return 0, fmt.Errorf("unhashable: on") }

// makeOn is behind each of the on words.
func makeOn(c *call) (starlark.Value, error) {
	o := &onValue{plan.On{Kind: c.Name[len("on."):]}}
	for i := range c.Params {
		if c.Params[i].Rest {
			o.Tags = c.restStrings(i)
			continue
		}
		if !c.given(i) {
			continue
		}
		switch c.Params[i].Name {
		case "branches":
			o.Branches = c.globs(i)
		case "paths":
			o.Paths = c.globs(i)
		case "schedule":
			o.Schedule = c.str(i)
			if c.wrong == 0 {
				if why := badSchedule(o.Schedule); why != "" {
					c.badHint(i, nil, "bad-value", `minute hour day month weekday, such as "30 4 * * 1-5"`, "schedule %s %s", quote(o.Schedule), why)
				}
			}
		case "overlap":
			o.Overlap = c.oneOf(i)
		case "catch_up":
			o.CatchUp = c.oneOf(i)
		case "name":
			o.Name = c.str(i)
			c.checkName(i, o.Name)
		case "pipeline":
			o.Pipeline = c.str(i)
			c.checkName(i, o.Pipeline)
		case "project":
			o.Project = c.str(i)
		case "state":
			o.State = c.oneOf(i)
		}
	}
	return o, nil
}

// restStrings returns the positional arguments from i on, globs.
func (c *call) restStrings(i int) []string {
	var out []string
	for n, v := range c.rest {
		s, ok := v.(starlark.String)
		if !ok {
			c.report(Problem{Param: c.Params[i].Name, Index: i + n, Code: "wrong-type",
				Message: fmt.Sprintf("%s: argument %d is %s, want a string", c.Name, i+n+1, typeName(v))})
			continue
		}
		if s, ok := c.plain(i, nil, s); ok {
			out = append(out, s)
		}
	}
	return out
}

// on returns argument i, a list of what on.push and its like return.
func (c *call) on(i int) []plan.On {
	if !c.given(i) {
		return nil
	}
	list, ok := elements(c.args[i])
	if !ok {
		c.badHint(i, nil, "wrong-type", "write on = [on.push()]", "on is %s, want a list", typeName(c.args[i]))
		return nil
	}
	var out []plan.On
	for n, v := range members(list) {
		o, ok := v.(*onValue)
		if !ok {
			c.badHint(i, []any{n}, "wrong-type", "write on.push(), on.tag(...), on.cron(...)", "on[%d] is %s, want what on.push and its like return", n, typeName(v))
			continue
		}
		out = append(out, o.On)
	}
	return out
}

// badSchedule says why s is not five fields of a crontab.
func badSchedule(s string) string {
	fields := strings.Fields(s)
	if len(fields) != 5 {
		return "has " + count(len(fields), "field") + ", want 5"
	}
	const day, month, weekday = 2, 3, 4
	bounds := [5][2]int{{0, 59}, {0, 23}, {1, 31}, {1, 12}, {0, 7}}
	var holds [5][60]bool
	for i, field := range fields {
		for part := range strings.SplitSeq(field, ",") {
			first, last, step, ok := cronPart(part, bounds[i][0], bounds[i][1], i)
			if !ok {
				return "holds " + quote(part) + ", which does not fit its place"
			}
			for ; first <= last; first += step {
				holds[i][first] = true
			}
		}
	}
	if fields[weekday] != "*" {
		return "" // a weekday will do
	}
	for m := range 13 {
		days := time.Date(2000, time.Month(m)+1, 0, 0, 0, 0, 0, time.UTC).Day() // a leap year
		if holds[month][m] && slices.Contains(holds[day][:days+1], true) {
			return ""
		}
	}
	return "names a day that none of its months has"
}

// cronPart reads one part of a crontab's field: *, n, n-m, each with an optional
// /step. Months and weekdays may be written by their names.
func cronPart(s string, low, high, field int) (first, last, step int, ok bool) {
	s, every, stepped := strings.Cut(s, "/")
	step = 1
	if stepped {
		if step, ok = number(every); !ok || step < 1 || step > high {
			return 0, 0, 0, false
		}
	}
	if s == "*" {
		return low, high, step, true
	}
	value := func(s string) (int, bool) {
		var names []string
		switch field {
		case 3:
			names = []string{"", "jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec"}
		case 4:
			names = []string{"sun", "mon", "tue", "wed", "thu", "fri", "sat"}
		}
		if i := slices.Index(names, strings.ToLower(s)); i >= 0 && s != "" {
			return i, true
		}
		n, ok := number(s)
		return n, ok && low <= n && n <= high
	}
	from, to, isRange := strings.Cut(s, "-")
	if first, ok = value(from); !ok {
		return 0, 0, 0, false
	}
	switch {
	case isRange:
		last, ok = value(to)
	case stepped:
		last = high
	default:
		last = first
	}
	return first, last, step, ok && first <= last
}

func number(s string) (int, bool) {
	n := 0
	for i := range len(s) {
		if s[i] < '0' || s[i] > '9' || len(s) > 4 {
			return 0, false
		}
		n = n*10 + int(s[i]-'0')
	}
	return n, s != ""
}

// Zero returns what a parameter is that was not given and has no default.
func Zero(p plan.Param) any {
	switch p.Type {
	case "int":
		return int64(0)
	case "bool":
		return false
	case "list":
		return []string{}
	case "enum":
		if len(p.Choices) > 0 {
			return p.Choices[0]
		}
	}
	return ""
}
