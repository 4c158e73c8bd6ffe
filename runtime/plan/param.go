package plan

import (
	"errors"
	"fmt"
	"math"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"unicode/utf8"
)

// Parse returns the value that text stands for, as --param and a form give it,
// after Check. A bool is "true" or "false". A list is its members with commas
// in between, spaces around them dropped, or a JSON array of strings, which
// can say everything; the empty text is the empty list.
func (p Param) Parse(text string) (any, error) {
	v, err := p.parse(text)
	if err != nil {
		return nil, fmt.Errorf("parameter %q: %s %w", p.Name, excerpt(text), err)
	}
	if err := p.Check(v); err != nil {
		return nil, err
	}
	return v, nil
}

func (p Param) parse(text string) (any, error) {
	switch p.Type {
	case "int":
		i, err := strconv.ParseInt(strings.TrimSpace(text), 10, 64)
		switch {
		case errors.Is(err, strconv.ErrRange):
			return nil, fmt.Errorf("is no whole number from %d to %d", int64(math.MinInt64), int64(math.MaxInt64))
		case err != nil:
			return nil, errors.New("is no whole number")
		}
		return i, nil
	case "bool":
		b, err := strconv.ParseBool(strings.TrimSpace(text))
		if err != nil {
			return nil, errors.New("is neither true nor false")
		}
		return b, nil
	case "list":
		return parseList(text)
	default:
		return text, nil
	}
}

func parseList(text string) ([]string, error) {
	text = strings.TrimSpace(text)
	if text == "" {
		return []string{}, nil
	}
	if text[0] != '[' {
		list := strings.Split(text, ",")
		for i := range list {
			list[i] = strings.TrimSpace(list[i])
		}
		return list, nil
	}
	var array any
	if checkText([]byte(text)) == nil && decodeJSON([]byte(text), &array) == nil {
		if list, err := paramValue(array); err == nil {
			return list.([]string), nil // it begins with '[', so it is no other value
		}
	}
	return nil, errors.New(`is no list: want members with commas in between, or a JSON array of strings such as ["a", "b"]`)
}

// FormatParam returns the text that Parse reads as v, the value of a
// parameter. It gives "" for nil.
func FormatParam(v any) string {
	switch v := v.(type) {
	case nil:
		return ""
	case []string:
		plain := func(s string) bool {
			return s != "" && s == strings.TrimSpace(s) && !strings.Contains(s, ",")
		}
		text := strings.Join(v, ",")
		if text == "" && len(v) == 0 || text != "" && text[0] != '[' && !slices.ContainsFunc(v, func(s string) bool { return !plain(s) }) {
			return text
		}
		var e encoder
		array(&e, v, func(e *encoder, s *string) { e.string(*s) })
		return string(e.buf)
	default:
		return fmt.Sprint(v)
	}
}

// Check returns an error unless v is a value that p may have: of its type, and
// within its choices and its pattern. The error names the parameter, the value
// and what is allowed.
func (p Param) Check(v any) error {
	var texts []string
	ok := false
	switch p.Type {
	case "string", "enum":
		var s string
		s, ok = v.(string)
		texts = []string{s}
	case "int":
		var i int64
		i, ok = v.(int64)
		texts = []string{strconv.FormatInt(i, 10)}
	case "bool":
		_, ok = v.(bool)
	case "list":
		texts, ok = v.([]string)
	default:
		return fmt.Errorf("parameter %q has the unknown type %s", p.Name, excerpt(p.Type))
	}
	if !ok {
		return fmt.Errorf("parameter %q: %s is not of type %s", p.Name, excerpt(fmt.Sprint(v)), p.Type)
	}
	for _, s := range texts {
		if !utf8.ValidString(s) || strings.IndexByte(s, 0) >= 0 {
			return fmt.Errorf("parameter %q: %s holds a NUL byte or is not UTF-8", p.Name, excerpt(s))
		}
		if err := p.checkChoice(s); err != nil {
			return err
		}
	}
	return p.checkPattern(texts)
}

func (p Param) checkChoice(s string) error {
	if len(p.Choices) == 0 && p.Type != "enum" || slices.Contains(p.Choices, s) {
		return nil
	}
	hint := ""
	if near, ok := Nearest(s, p.Choices); ok {
		hint = fmt.Sprintf(" (did you mean %q?)", near)
	}
	return fmt.Errorf("parameter %q: %s is not one of %s%s", p.Name, excerpt(s), strings.Join(p.Choices, ", "), hint)
}

// checkPattern looks for the pattern in each text. Who means the whole of it
// writes ^ and $.
func (p Param) checkPattern(texts []string) error {
	if p.Pattern == "" || p.Type != "string" && p.Type != "list" {
		return nil
	}
	pattern, err := regexp.Compile(p.Pattern)
	if err != nil {
		return fmt.Errorf("parameter %q: its pattern is no regular expression: %w", p.Name, err)
	}
	for _, s := range texts {
		if !pattern.MatchString(s) {
			return fmt.Errorf("parameter %q: %s does not match the pattern %s", p.Name, excerpt(s), p.Pattern)
		}
	}
	return nil
}
