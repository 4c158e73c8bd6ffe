package builtins

import (
	"crypto/md5"
	"crypto/sha1"
	"crypto/sha256"
	"crypto/sha512"
	"encoding/hex"
	"errors"
	"fmt"
	"regexp"
	"strings"

	starjson "go.starlark.net/lib/json"
	starmath "go.starlark.net/lib/math"
	"go.starlark.net/starlark"
)

// upstream calls the function of the same name in go.starlark.net's json or
// math. What it is given and what it gives must be known now.
func upstream(c *call) (starlark.Value, error) {
	space, name, _ := strings.Cut(c.Name, ".")
	module := starjson.Module
	if space == "math" {
		module = starmath.Module
	}
	var args starlark.Tuple
	var kwargs []starlark.Tuple
	for i := range c.Params {
		switch v := c.args[i]; {
		case v == nil:
		case c.Params[i].Named:
			kwargs = append(kwargs, starlark.Tuple{starlark.String(c.Params[i].Name), v})
		default:
			args = append(args, v)
		}
		if s, ok := c.args[i].(starlark.String); ok {
			if _, ok := c.plain(i, nil, s); !ok {
				return starlark.String(""), nil
			}
		}
	}
	if c.wrong > 0 {
		return starlark.None, nil
	}
	v, err := starlark.Call(c.thread, module.Members[name], args, kwargs)
	if err != nil {
		var failed *starlark.EvalError
		if errors.As(err, &failed) {
			err = errors.New(failed.Msg)
		}
		return nil, err
	}
	if s, ok := v.(starlark.String); ok && !isPlain(string(s)) {
		if text, err := c.ev.unmark(string(s)); err != nil || text.parts != nil {
			c.badHint(0, nil, "not-known-yet", "give it to a step in env", "%s is given a secret or an output, whose value is known only when the build runs", c.Name)
			return starlark.String(""), nil
		}
	}
	return v, nil
}

func hashText(c *call) (starlark.Value, error) {
	s := c.str(0)
	if c.wrong > 0 {
		return starlark.String(""), nil
	}
	var sum []byte
	switch c.Name {
	case "hash.md5":
		h := md5.Sum([]byte(s))
		sum = h[:]
	case "hash.sha1":
		h := sha1.Sum([]byte(s))
		sum = h[:]
	case "hash.sha256":
		h := sha256.Sum256([]byte(s))
		sum = h[:]
	default:
		h := sha512.Sum512([]byte(s))
		sum = h[:]
	}
	return starlark.String(hex.EncodeToString(sum)), nil
}

// A regexpOrError is a compiled pattern.
type regexpOrError struct {
	*regexp.Regexp
	err error
}

// compiled returns argument 0 as a pattern, or nil when it is none.
func (c *call) compiled() *regexp.Regexp {
	pattern := c.str(0)
	if c.wrong > 0 {
		return nil
	}
	re, ok := c.ev.regexps[pattern]
	if !ok {
		re.Regexp, re.err = regexp.Compile(pattern)
		if c.ev.regexps == nil {
			c.ev.regexps = make(map[string]regexpOrError)
		}
		c.ev.regexps[pattern] = re
	}
	if re.err != nil {
		c.bad(0, nil, "bad-pattern", "pattern %s is not a regular expression: %s", quote(pattern), strings.TrimPrefix(re.err.Error(), "error parsing regexp: "))
		return nil
	}
	return re.Regexp
}

func reSearch(c *call) (starlark.Value, error) {
	re, text := c.compiled(), c.str(1)
	if re == nil || c.wrong > 0 {
		return starlark.None, nil
	}
	found := re.FindStringSubmatchIndex(text)
	if found == nil || c.Name == "re.match" && found[0] != 0 {
		return starlark.None, nil
	}
	groups := make(starlark.Tuple, len(found)/2)
	for i := range groups {
		groups[i] = starlark.None
		if found[2*i] >= 0 {
			groups[i] = starlark.String(text[found[2*i]:found[2*i+1]])
		}
	}
	return groups, nil
}

func reFindall(c *call) (starlark.Value, error) {
	re, text := c.compiled(), c.str(1)
	if re == nil || c.wrong > 0 {
		return newList(nil), nil
	}
	return newList(re.FindAllString(text, -1)), nil
}

func reSplit(c *call) (starlark.Value, error) {
	re, text := c.compiled(), c.str(1)
	if re == nil || c.wrong > 0 {
		return newList(nil), nil
	}
	return newList(re.Split(text, -1)), nil
}

func reSub(c *call) (starlark.Value, error) {
	re, with, text := c.compiled(), c.str(1), c.str(2)
	if re == nil || c.wrong > 0 {
		return starlark.String(""), nil
	}
	// \1 as in Python; a $ stands for itself.
	var template strings.Builder
	for i := 0; i < len(with); i++ {
		switch {
		case with[i] == '$':
			template.WriteString("$$")
		case with[i] == '\\' && i+1 < len(with) && with[i+1] >= '0' && with[i+1] <= '9':
			i++
			fmt.Fprintf(&template, "${%c}", with[i])
		default:
			template.WriteByte(with[i])
		}
	}
	return starlark.String(re.ReplaceAllString(text, template.String())), nil
}
