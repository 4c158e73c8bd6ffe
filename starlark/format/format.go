// Package format lays out the text of a .star file in the one way there is.
//
// The layout is that of Bazel's buildifier for general Starlark. Only the
// layout changes: before it gives a text back, Source reads it again, and the
// syntax tree and the comments have to be those of the text it was given. So a
// formatted file means what it meant, whatever the printer may do.
package format

import (
	"bytes"
	"errors"
	"fmt"
	"slices"

	"github.com/bazelbuild/buildtools/build"

	"github.com/piper-build/piper/runtime/plan"
	"github.com/piper-build/piper/starlark"
)

// rounds is how often a text is printed until it no longer changes. The printer
// needs a second round at times, where a comment has moved.
const rounds = 8

// Source returns text, the file called name, formatted. Formatting the result
// again changes nothing. An error is a plan.Diagnostics: the text is no
// Starlark, or it is some that cannot be formatted.
func Source(name string, text []byte) ([]byte, error) {
	text = bytes.ReplaceAll(text, []byte("\r\n"), []byte("\n"))
	before, wrong := starlark.ReadSource(name, text)
	if len(wrong) > 0 {
		return nil, wrong
	}
	unable := func(why string) error {
		return plan.Diagnostics{{File: name, Severity: "error", Code: "cannot-format", Message: "this file cannot be formatted: " + why, Hint: "it was left as it is"}}
	}
	last, show := hideBytes(string(text), before.File)
	for range rounds {
		printed, err := layOut(last)
		if err != nil {
			return nil, unable(err.Error())
		}
		if printed != last {
			last = printed
			continue
		}
		result := []byte(show(printed))
		after, wrong := starlark.ReadSource(name, result)
		switch {
		case len(wrong) > 0:
			return nil, unable("the result would not be read: " + wrong[0].Message)
		case !slices.Equal(meaning(before.File), meaning(after.File)):
			return nil, unable("the result would mean something else")
		case !slices.Equal(comments(before.File), comments(after.File)):
			return nil, unable("a comment would be lost")
		}
		return result, nil
	}
	return nil, unable("the result would not stay as it is when formatted again")
}

// layOut prints text once.
func layOut(text string) (printed string, err error) {
	defer func() { // the printer gives up so on what it does not know
		if r := recover(); r != nil {
			err = fmt.Errorf("%v", r)
		}
	}()
	file, err := build.ParseDefault("", []byte(text))
	var bad build.ParseError
	switch {
	case errors.As(err, &bad):
		return "", fmt.Errorf("line %d: %s", bad.Pos.Line, bad.Message)
	case err != nil:
		return "", err
	}
	layout := build.Rewriter{RewriteSet: []string{"formatdocstrings"}}
	return string(build.FormatWithRewriter(&layout, file)), nil
}
