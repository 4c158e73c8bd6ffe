package plan

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math"
	"strconv"
	"unicode/utf8"
)

// ErrFormat says that a plan was written in another Format than this one.
var ErrFormat = errors.New("unknown plan format")

// Decode reads a plan's JSON, canonical or not. What it gives has a canonical
// text of its own, so a plan can be held against its digest by way of it.
//
// It refuses what would not come back as it was written: text that is not
// UTF-8, half of a surrogate pair, a parameter that is a fraction or does not
// fit an int64, another Format (ErrFormat). It does not validate.
func Decode(data []byte) (*Plan, error) {
	if err := checkText(data); err != nil {
		return nil, fmt.Errorf("decode plan: %w", err)
	}
	var p Plan
	err := decodeJSON(data, &p)
	if p.Format != Format {
		// Another format may well fail to decode: its number says more.
		var probe struct{ Format int }
		if json.Unmarshal(data, &probe) == nil {
			return nil, fmt.Errorf("decode plan: %w: it has format %d, this piper reads format %d", ErrFormat, probe.Format, Format)
		}
	}
	if err != nil {
		return nil, fmt.Errorf("decode plan: %w", err)
	}
	for name, v := range p.Params {
		if p.Params[name], err = paramValue(v); err != nil {
			return nil, fmt.Errorf("decode plan: parameter %q: %w", name, err)
		}
	}
	return &p, nil
}

// decodeJSON decodes one value and nothing after it, numbers as json.Number.
func decodeJSON(data []byte, v any) error {
	dec := json.NewDecoder(bytes.NewReader(data))
	dec.UseNumber()
	if err := dec.Decode(v); err != nil {
		return err
	}
	if _, err := dec.Token(); err != io.EOF {
		return errors.New("there is more after the end of the JSON value")
	}
	return nil
}

// paramValue turns what decodeJSON gives for a parameter into what a Param's
// value may be.
func paramValue(v any) (any, error) {
	switch v := v.(type) {
	case string, bool:
		return v, nil
	case json.Number:
		i, err := strconv.ParseInt(v.String(), 10, 64)
		if err != nil {
			return nil, fmt.Errorf("%s is no whole number from %d to %d", excerpt(v.String()), int64(math.MinInt64), int64(math.MaxInt64))
		}
		return i, nil
	case []any:
		list := make([]string, len(v))
		for i, member := range v {
			s, ok := member.(string)
			if !ok {
				return nil, fmt.Errorf("member %d of the list is no string", i+1)
			}
			list[i] = s
		}
		return list, nil
	default:
		return nil, errors.New("its value is no string, number, bool or list of strings")
	}
}

// UnmarshalJSON reads a parameter with its default as what Default promises.
func (p *Param) UnmarshalJSON(data []byte) error {
	type plain Param // without this method
	if err := decodeJSON(data, (*plain)(p)); err != nil || p.Default == nil {
		return err
	}
	v, err := paramValue(p.Default)
	if err != nil {
		return fmt.Errorf("default of parameter %q: %w", p.Name, err)
	}
	p.Default = v
	return nil
}

// checkText looks for what encoding/json would silently turn into U+FFFD.
func checkText(data []byte) error {
	if !utf8.Valid(data) {
		return errors.New("it is not UTF-8")
	}
	for rest := data; ; {
		i := bytes.IndexByte(rest, '\\')
		if i < 0 || i+1 >= len(rest) {
			return nil
		}
		unit, ok := escapedUnit(rest[i:])
		if !ok {
			rest = rest[i+2:] // some other escape
			continue
		}
		rest = rest[i+6:]
		if unit < 0xD800 || unit > 0xDFFF {
			continue
		}
		low, ok := escapedUnit(rest)
		if unit > 0xDBFF || !ok || low < 0xDC00 || low > 0xDFFF {
			return fmt.Errorf(`\u%04x is half of a surrogate pair`, unit)
		}
		rest = rest[6:]
	}
}

// escapedUnit returns the UTF-16 unit of the \uXXXX that b starts with.
func escapedUnit(b []byte) (uint64, bool) {
	if len(b) < 6 || b[0] != '\\' || b[1] != 'u' {
		return 0, false
	}
	unit, err := strconv.ParseUint(string(b[2:6]), 16, 16)
	return unit, err == nil
}
