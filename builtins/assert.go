package builtins

import (
	"errors"
	"fmt"
	"regexp"
	"strings"

	"go.starlark.net/starlark"
	"go.starlark.net/syntax"
)

// The words of assert. One that does not hold ends the test.

// refuse ends the test: with the author's message first, if there is one.
func (c *call) refuse(format string, args ...any) (starlark.Value, error) {
	message := fmt.Sprintf(format, args...)
	for i := range c.Params {
		if c.Params[i].Name == "message" && c.given(i) {
			message = c.str(i) + ": " + message
		}
	}
	return nil, &Failure{c.Name + ": " + message}
}

func assertEq(c *call) (starlark.Value, error) {
	const got, want = 0, 1
	if c.wrong > 0 {
		return nil, ErrReported
	}
	switch same, err := starlark.Equal(c.args[got], c.args[want]); {
	case err != nil:
		return nil, err
	case same:
		return starlark.None, nil
	}
	a, b := c.ev.lines(c.args[got]), c.ev.lines(c.args[want])
	switch {
	case a == b:
		return c.refuse("got %s, %s; want %s, which looks the same", c.ev.Show(c.args[got]), typeName(c.args[got]), typeName(c.args[want]))
	case !strings.Contains(a+b, "\n"):
		return c.refuse("got %s, want %s", a, b)
	}
	return c.refuse("the values differ (-want +got)\n%s", diff(b, a))
}

func assertNe(c *call) (starlark.Value, error) {
	const got, other = 0, 1
	if c.wrong > 0 {
		return nil, ErrReported
	}
	switch same, err := starlark.Equal(c.args[got], c.args[other]); {
	case err != nil:
		return nil, err
	case same:
		return c.refuse("both are %s", c.ev.Show(c.args[got]))
	}
	return starlark.None, nil
}

func assertTruth(c *call) (starlark.Value, error) {
	if c.wrong > 0 {
		return nil, ErrReported
	}
	want := c.Name == "assert.true"
	if bool(c.args[0].Truth()) != want {
		return c.refuse("got %s", c.ev.Show(c.args[0]))
	}
	return starlark.None, nil
}

func assertLt(c *call) (starlark.Value, error) {
	const got, limit = 0, 1
	if c.wrong > 0 {
		return nil, ErrReported
	}
	switch less, err := starlark.Compare(syntax.LT, c.args[got], c.args[limit]); {
	case err != nil:
		return nil, err
	case !less:
		return c.refuse("%s is not less than %s", c.ev.Show(c.args[got]), c.ev.Show(c.args[limit]))
	}
	return starlark.None, nil
}

func assertContains(c *call) (starlark.Value, error) {
	const got, member = 0, 1
	if c.wrong > 0 {
		return nil, ErrReported
	}
	switch in, err := starlark.Binary(syntax.IN, c.args[member], c.args[got]); {
	case err != nil:
		return c.refuse("%s cannot hold %s", typeName(c.args[got]), typeName(c.args[member]))
	case !bool(in.Truth()):
		return c.refuse("no %s in %s", c.ev.Show(c.args[member]), c.ev.Show(c.args[got]))
	}
	return starlark.None, nil
}

func assertFails(c *call) (starlark.Value, error) {
	const function, pattern = 0, 1
	f, ok := c.args[function].(starlark.Callable)
	if !ok && c.args[function] != nil {
		c.badHint(function, nil, "wrong-type", `write lambda: t.plan("name")`, "function is %s, want a function", typeName(c.args[function]))
	}
	re, err := regexp.Compile(c.str(pattern))
	if err != nil {
		c.bad(pattern, nil, "bad-pattern", "pattern %s is not a regular expression: %s", quote(c.str(pattern)), strings.TrimPrefix(err.Error(), "error parsing regexp: "))
	}
	if c.wrong > 0 {
		return nil, ErrReported
	}
	// A word that is given something bad reports it and goes on, so what was
	// reported meanwhile is a failure too.
	before := len(c.ev.problems)
	_, err = starlark.Call(c.thread, f, nil, nil)
	if c.ev.Alive.Err() != nil {
		return nil, err // the test itself is to end
	}
	text := failureText(err)
	for _, p := range c.ev.problems[before:] {
		text = strings.TrimPrefix(text+"\n"+p.Message, "\n")
	}
	failed := err != nil || len(c.ev.problems) > before
	c.ev.problems = c.ev.problems[:before]
	switch {
	case !failed:
		return c.refuse("there was no error")
	case !re.MatchString(text):
		return c.refuse("the error %s does not match %s", c.ev.Show(starlark.String(text)), quote(c.str(pattern)))
	}
	return starlark.String(text), nil
}

// failureText is what an error says, without where.
func failureText(err error) string {
	var rejected *Rejection
	var failed *starlark.EvalError
	switch {
	case err == nil, errors.Is(err, ErrReported):
		return ""
	case errors.As(err, &rejected):
		var lines []string
		for _, d := range rejected.Found {
			lines = append(lines, d.Message)
		}
		return strings.Join(lines, "\n")
	case errors.As(err, &failed):
		return failed.Msg
	}
	return err.Error()
}
