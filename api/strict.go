package api

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"net/http"
	"reflect"
	"slices"
	"strings"
	"unicode/utf8"

	"github.com/piper-build/piper/runtime/plan"
)

// maxDepth is how deep JSON of a request may be nested.
const maxDepth = 32

// read takes the body, which is JSON, into v. No body is an empty object. What
// encoding/json would let pass is refused: a field twice, one that only differs
// in its case, one that v has not, what is not UTF-8, and anything after the end.
func (c *call) read(v any) error {
	data, err := io.ReadAll(c.r.Body)
	if err != nil {
		return bodyError(err)
	}
	if len(data) == 0 {
		return nil
	}
	if !utf8.Valid(data) {
		return problem(http.StatusBadRequest, "bad-json", "the body is not UTF-8")
	}
	s := strict{dec: json.NewDecoder(bytes.NewReader(data))}
	s.dec.UseNumber()
	if err := s.value(reflect.TypeOf(v), "", 0); err != nil {
		return err
	}
	if _, err := s.dec.Token(); err != io.EOF {
		return problem(http.StatusBadRequest, "bad-json", "the body goes on after its end")
	}
	if err := json.Unmarshal(data, v); err != nil {
		var wrong *json.UnmarshalTypeError
		if errors.As(err, &wrong) {
			return badField(wrong.Field, fmt.Sprintf("is a %s, which does not go into %s", wrong.Value, wrong.Type))
		}
		return problem(http.StatusBadRequest, "bad-json", err.Error())
	}
	return nil
}

// bodyError is why a body could not be read.
func bodyError(err error) error {
	var large *http.MaxBytesError
	if errors.As(err, &large) {
		return err
	}
	return problem(http.StatusBadRequest, "bad-body", "the body did not come whole")
}

// strict walks through JSON before it is decoded.
type strict struct{ dec *json.Decoder }

func (s *strict) value(t reflect.Type, at string, depth int) error {
	if depth > maxDepth {
		return problem(http.StatusBadRequest, "bad-json", "the body is nested too deep")
	}
	token, err := s.dec.Token()
	if err != nil {
		return problem(http.StatusBadRequest, "bad-json", "the body is not JSON: "+strings.TrimPrefix(err.Error(), "json: "))
	}
	switch token {
	case json.Delim('{'):
		return s.object(t, at, depth)
	case json.Delim('['):
		for s.dec.More() {
			if err := s.value(element(t), at, depth+1); err != nil {
				return err
			}
		}
		return s.end()
	}
	return nil
}

func (s *strict) object(t reflect.Type, at string, depth int) error {
	fields, known := fieldsOf(t)
	seen := map[string]bool{}
	for s.dec.More() {
		token, err := s.dec.Token()
		if err != nil {
			return problem(http.StatusBadRequest, "bad-json", "the body is not JSON: "+err.Error())
		}
		name := token.(string) // what else a key is the decoder refuses
		field := strings.TrimPrefix(at+"."+name, ".")
		inside := element(t)
		switch {
		case seen[name]:
			return badField(clip(field), "is there twice")
		case known:
			var ok bool
			if inside, ok = fields[name]; !ok {
				p := badField(clip(field), "is not known here")
				if near, ok := plan.Nearest(name, slices.Sorted(maps.Keys(fields))); ok {
					p.Errors[0].Hint = fmt.Sprintf("did you mean %q?", near)
				}
				return p
			}
		}
		seen[name] = true
		if err := s.value(inside, field, depth+1); err != nil {
			return err
		}
	}
	return s.end()
}

// end takes the bracket that closes.
func (s *strict) end() error {
	if _, err := s.dec.Token(); err != nil {
		return problem(http.StatusBadRequest, "bad-json", "the body is not JSON: "+err.Error())
	}
	return nil
}

// fieldsOf are the fields of a struct as JSON names them; false says that t is
// none, or has a JSON of its own.
func fieldsOf(t reflect.Type) (map[string]reflect.Type, bool) {
	for t != nil && t.Kind() == reflect.Pointer {
		t = t.Elem()
	}
	if t == nil || t.Kind() != reflect.Struct || reflect.PointerTo(t).Implements(reflect.TypeFor[json.Unmarshaler]()) {
		return nil, false
	}
	fields := map[string]reflect.Type{}
	for _, f := range reflect.VisibleFields(t) {
		if name, _, _ := strings.Cut(f.Tag.Get("json"), ","); f.IsExported() && name != "" && name != "-" {
			fields[name] = f.Type
		}
	}
	return fields, true
}

// element is what an array or a map holds; nil is anything.
func element(t reflect.Type) reflect.Type {
	for t != nil && t.Kind() == reflect.Pointer {
		t = t.Elem()
	}
	if t != nil && (t.Kind() == reflect.Map || t.Kind() == reflect.Slice) {
		return t.Elem()
	}
	return nil
}

func clip(s string) string {
	if len(s) > 100 {
		return s[:100] + "…"
	}
	return s
}
