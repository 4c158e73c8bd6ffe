package main

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"github.com/piper-build/piper/builtins"
)

func (a *app) docCommand() *command {
	c := a.newCommand("doc", "[name] [flags]")
	c.ShortHelp = "Explain a word of the language of PIPER.star, or list them all."
	c.examples = `
piper doc             # every word
piper doc step        # one of them
piper doc git         # all that begin with "git."
piper doc --json      # for programs
`
	asJSON := c.FlagSet.Bool("json", false, "print a JSON array")
	c.max, c.args = 1, builtinWords
	c.Exec = func(ctx context.Context, args []string) error {
		picked, err := askedBuiltins(args)
		switch {
		case err != nil:
			return err
		case *asJSON:
			return a.printBuiltinsJSON(picked)
		}
		return a.printBuiltins(args, picked)
	}
	return c
}

// askedBuiltins returns the builtins that the arguments of doc name.
func askedBuiltins(args []string) ([]builtins.Builtin, error) {
	if len(args) == 0 {
		return builtins.Table(), nil
	}
	picked := pickBuiltins(args[0])
	if len(picked) == 0 {
		return nil, &usageError{
			message: fmt.Sprintf("no word %q in the language", args[0]),
			hint:    didYouMean(nearest(args[0], builtinNames()), `"piper doc" lists them`),
		}
	}
	return picked, nil
}

// printBuiltins explains what the arguments of doc name, or lists it.
func (a *app) printBuiltins(args []string, picked []builtins.Builtin) error {
	if len(args) > 0 && (picked[0].Name == args[0] || len(picked) == 1) {
		for i, b := range picked {
			if i > 0 {
				fmt.Fprintln(a.stdout)
			}
			if err := a.printBuiltin(b); err != nil {
				return err
			}
		}
		return nil
	}
	var rows [][]string
	for _, b := range picked {
		rows = append(rows, []string{b.Name, firstLine(b.Summary())})
	}
	return a.printTable(rows)
}

// pickBuiltins returns the builtin called name, or those of the namespace
// called name. Attributes such as <step>.output are found by either half, and
// without the brackets.
func pickBuiltins(name string) []builtins.Builtin {
	if b, ok := builtins.Lookup(name); ok {
		return []builtins.Builtin{b}
	}
	var picked []builtins.Builtin
	for _, b := range builtins.Table() {
		space := b.Namespace()
		of := strings.Trim(space, "<>")
		field := strings.TrimPrefix(b.Name, space+".")
		attribute := of != space && (field == name || of+"."+field == name)
		if of == name || attribute {
			picked = append(picked, b)
		}
	}
	return picked
}

// builtinNames returns what "piper doc" takes.
func builtinNames() []string {
	var names []string
	for _, b := range builtins.Table() {
		if space := b.Namespace(); space != "" && !strings.HasPrefix(space, "<") {
			names = append(names, space)
		}
		names = append(names, b.Name)
	}
	slices.Sort(names)
	return slices.Compact(names)
}

// printBuiltin shows one word: how it is written first.
func (a *app) printBuiltin(b builtins.Builtin) error {
	width := columns(a.stdout)
	fmt.Fprintln(a.stdout, wrapSignature(b.Signature(), width))
	fmt.Fprintf(a.stdout, "\n%s\n", wrap(b.Doc, width))
	if b.TestOnly {
		fmt.Fprint(a.stdout, "\nIn files of tests (*_test.star) only.\n")
	}
	if b.Example != "" {
		fmt.Fprint(a.stdout, "\nExample:\n")
		for line := range strings.Lines(strings.Trim(b.Example, "\n") + "\n") {
			fmt.Fprint(a.stdout, strings.TrimRight("  "+line, " \n")+"\n")
		}
	}
	if len(b.Params) > 0 {
		fmt.Fprint(a.stdout, "\nParameters:\n")
		var rows [][]string
		for _, p := range b.Params {
			doc := p.Doc
			if len(p.Choices) > 0 {
				doc = strings.TrimSpace(doc + " (" + strings.Join(p.Choices, ", ") + ")")
			}
			rows = append(rows, []string{"  " + p.Name, p.Type, doc})
		}
		if err := a.printTable(rows); err != nil {
			return err
		}
	}
	if b.Returns != "" && !b.Value {
		fmt.Fprintf(a.stdout, "\nReturns: %s\n", b.Returns)
	}
	return nil
}

func (a *app) printBuiltinsJSON(picked []builtins.Builtin) error {
	type param struct {
		Name     string   `json:"name"`
		Type     string   `json:"type"`
		Doc      string   `json:"doc,omitempty"`
		Default  string   `json:"default,omitempty"`
		Required bool     `json:"required,omitempty"`
		Choices  []string `json:"choices,omitempty"`
	}
	type word struct {
		Name      string  `json:"name"`
		Signature string  `json:"signature"`
		Doc       string  `json:"doc"`
		Params    []param `json:"params,omitempty"`
		Returns   string  `json:"returns,omitempty"`
		Example   string  `json:"example,omitempty"`
	}
	words := []word{}
	for _, b := range picked {
		w := word{Name: b.Name, Signature: b.Signature(), Doc: b.Doc, Returns: b.Returns, Example: b.Example}
		for _, p := range b.Params {
			w.Params = append(w.Params, param{p.Name, p.Type, p.Doc, p.Default, p.Required, p.Choices})
		}
		words = append(words, w)
	}
	return a.printJSON(words)
}
