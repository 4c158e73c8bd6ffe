package api

import (
	"fmt"
	"net/http"
	"strconv"
	"strings"

	"github.com/piper-build/piper/runtime/plan"
)

// A Problem is why something was refused, as application/problem+json (RFC
// 9457). It is what every answer from 400 on is, and an error.
type Problem struct {
	Type        string           `json:"type"` // a word for programs: "urn:piper:problem:" and a Code
	Title       string           `json:"title"`
	Status      int              `json:"status"`
	Detail      string           `json:"detail,omitempty"`
	Errors      []FieldError     `json:"errors,omitempty"`
	Diagnostics plan.Diagnostics `json:"diagnostics,omitempty"` // of a PIPER.star that is at fault

	header map[string]string // to be sent with it
}

// A FieldError is what is wrong with one field of a request.
type FieldError struct {
	Field   string `json:"field"` // such as "params.version"
	Message string `json:"message"`
	Hint    string `json:"hint,omitempty"`
}

const problemType = "urn:piper:problem:"

func problem(status int, code, detail string) *Problem {
	return &Problem{Type: problemType + code, Title: http.StatusText(status), Status: status, Detail: detail}
}

// invalid is a request that makes no sense here.
func invalid(detail string, errs ...FieldError) *Problem {
	p := problem(http.StatusUnprocessableEntity, "invalid", detail)
	p.Errors = errs
	return p
}

// badField is a request that makes no sense anywhere.
func badField(field, message string) *Problem {
	p := problem(http.StatusBadRequest, "bad-request", "")
	p.Errors = []FieldError{{Field: field, Message: message}}
	return p
}

// with sends a header with p.
func (p *Problem) with(name, value string) *Problem {
	p.header = map[string]string{name: value}
	return p
}

// Code is the last word of the Type, such as "not-found".
func (p *Problem) Code() string { return strings.TrimPrefix(p.Type, problemType) }

// Error implements error.
func (p *Problem) Error() string {
	var parts []string
	if p.Detail != "" {
		parts = append(parts, p.Detail)
	}
	for _, e := range p.Errors {
		text := e.Field + ": " + e.Message
		if e.Hint != "" {
			text += " (" + e.Hint + ")"
		}
		parts = append(parts, text)
	}
	if len(p.Diagnostics) > 0 {
		parts = append(parts, p.Diagnostics.Error())
	}
	if len(parts) == 0 {
		return strings.ToLower(p.Title)
	}
	return strings.Join(parts, "; ")
}

// codeOf is the Code of a status that says everything.
func codeOf(status int) string {
	return strings.ReplaceAll(strings.ToLower(http.StatusText(status)), " ", "-")
}

// quote is text of a stranger, to be shown.
func quote(s string) string {
	if len(s) > 100 {
		s = s[:100] + "…"
	}
	return strconv.QuoteToASCII(s)
}

func bytesWord(n int64) string {
	if n >= 1<<20 && n%(1<<20) == 0 {
		return fmt.Sprintf("%d MiB", n>>20)
	}
	return fmt.Sprintf("%d bytes", n)
}
