package api

import (
	"fmt"
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
}

// A FieldError is what is wrong with one field of a request.
type FieldError struct {
	Field   string `json:"field"` // such as "params.version"
	Message string `json:"message"`
	Hint    string `json:"hint,omitempty"`
}

// Error implements error.
func (p *Problem) Error() string {
	text := p.Detail
	if text == "" {
		text = strings.ToLower(p.Title)
	}
	for _, e := range p.Errors {
		text += fmt.Sprintf("; %s %s", e.Field, e.Message)
		if e.Hint != "" {
			text += " (" + e.Hint + ")"
		}
	}
	return text
}

// Code is the last word of the Type, such as "not-found".
func (p *Problem) Code() string { return strings.TrimPrefix(p.Type, problemType) }

const problemType = "urn:piper:problem:"
