package plan

import (
	"bytes"
	"cmp"
	"encoding/json"
	"fmt"
	"slices"
	"strconv"
	"strings"
)

// The JSON of the small types. What they write here is what canonical.go
// writes; only the order of keys is left to encoding/json.

// MarshalJSON returns t as a string, an object or an array.
func (t Text) MarshalJSON() ([]byte, error) {
	var e encoder
	e.text(t)
	return e.buf, nil
}

// UnmarshalJSON reads what MarshalJSON writes.
func (t *Text) UnmarshalJSON(data []byte) error {
	*t = Text{}
	switch data = bytes.TrimSpace(data); {
	case len(data) > 0 && data[0] == '"':
		return json.Unmarshal(data, &t.Literal)
	case len(data) > 0 && data[0] == '[':
		if err := json.Unmarshal(data, &t.Parts); err != nil {
			return err
		}
		if len(t.Parts) == 0 {
			return fmt.Errorf("a text of no parts: write \"\"")
		}
		return nil
	default:
		t.Parts = make([]Part, 1)
		return json.Unmarshal(data, &t.Parts[0])
	}
}

// MarshalJSON returns p as a string or an object.
func (p Part) MarshalJSON() ([]byte, error) {
	var e encoder
	e.part(p)
	return e.buf, nil
}

// UnmarshalJSON reads what MarshalJSON writes.
func (p *Part) UnmarshalJSON(data []byte) error {
	*p = Part{}
	if data = bytes.TrimSpace(data); len(data) > 0 && data[0] == '"' {
		return json.Unmarshal(data, &p.Literal)
	}
	var object struct {
		Secret *string `json:"secret"`
		Output *Output `json:"output"`
	}
	if err := json.Unmarshal(data, &object); err != nil {
		return err
	}
	switch {
	case object.Secret != nil && object.Output == nil && *object.Secret != "":
		p.Secret = *object.Secret
	case object.Output != nil && object.Secret == nil:
		p.Output = object.Output
	default:
		return fmt.Errorf(`%s is no text: want a string, {"secret": name} or {"output": {"step": name, "key": key}}`, excerpt(string(data)))
	}
	return nil
}

// MarshalJSON returns e as an object with its keys in order.
func (e Env) MarshalJSON() ([]byte, error) {
	var enc encoder
	enc.env(e)
	return enc.buf, nil
}

// UnmarshalJSON reads an object and sorts it by name. A name that comes twice
// is an error.
func (e *Env) UnmarshalJSON(data []byte) error {
	*e = nil
	dec := json.NewDecoder(bytes.NewReader(data))
	if open, err := dec.Token(); err != nil || open != json.Delim('{') {
		return fmt.Errorf("%s is no set of named values: want an object", excerpt(string(data)))
	}
	for dec.More() {
		name, err := dec.Token()
		if err != nil {
			return err
		}
		v := Var{Name: name.(string)} // the key of an object is always one
		if err := dec.Decode(&v.Value); err != nil {
			return fmt.Errorf("%s: %w", v.Name, err)
		}
		*e = append(*e, v)
	}
	*e = e.sorted()
	for i := 1; i < len(*e); i++ {
		if name := (*e)[i].Name; name == (*e)[i-1].Name {
			return fmt.Errorf("%q is named twice", name)
		}
	}
	return nil
}

// sorted returns e in order, e itself when it already is.
func (e Env) sorted() Env {
	byName := func(a, b Var) int { return cmp.Compare(a.Name, b.Name) }
	if slices.IsSortedFunc(e, byName) {
		return e
	}
	e = slices.Clone(e)
	slices.SortStableFunc(e, byName)
	return e
}

// String returns "file:line:column" as far as they are known.
func (p Pos) String() string {
	switch {
	case p.Line == 0:
		return p.File
	case p.Column == 0:
		return p.File + ":" + strconv.Itoa(int(p.Line))
	default:
		return string(p.append(nil))
	}
}

func (p Pos) append(dst []byte) []byte {
	dst = append(dst, p.File...)
	dst = append(dst, ':')
	dst = strconv.AppendInt(dst, int64(p.Line), 10)
	dst = append(dst, ':')
	return strconv.AppendInt(dst, int64(p.Column), 10)
}

// MarshalText returns "file:line:column", and "" for no place.
func (p Pos) MarshalText() ([]byte, error) {
	if p == (Pos{}) {
		return nil, nil
	}
	return p.append(nil), nil
}

// UnmarshalText reads what MarshalText writes.
func (p *Pos) UnmarshalText(text []byte) error {
	*p = Pos{}
	if len(text) == 0 {
		return nil
	}
	rest, column, ok := cutLast(string(text))
	file, line, ok2 := cutLast(rest)
	l, err := strconv.ParseInt(line, 10, 32)
	c, err2 := strconv.ParseInt(column, 10, 32)
	if !ok || !ok2 || err != nil || err2 != nil || l < 0 || c < 0 {
		return fmt.Errorf("%s is no place in a file: want file:line:column", excerpt(string(text)))
	}
	*p = Pos{File: file, Line: int32(l), Column: int32(c)}
	return nil
}

func cutLast(s string) (before, after string, ok bool) {
	i := strings.LastIndexByte(s, ':')
	if i < 0 {
		return s, "", false
	}
	return s[:i], s[i+1:], true
}

// excerpt quotes what is worth repeating of a bad value.
func excerpt(s string) string {
	const most = 60
	if len(s) > most {
		return strconv.Quote(strings.ToValidUTF8(s[:most], "")) + "…"
	}
	return strconv.Quote(s)
}
