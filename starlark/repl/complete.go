package repl

import (
	"context"
	"slices"
	"strings"
	"time"
)

// patience is how long completing a line may take.
const patience = time.Second

// keywords are the words of the language that begin or join something.
func keywords() []string {
	return []string{"and", "break", "continue", "def", "elif", "else", "for", "if", "in", "lambda", "load", "not", "or", "pass", "return"}
}

// Complete returns what may stand in the place of the end of before, the text
// in front of the cursor: head is what stays of it.
func (r *REPL) Complete(before string) (head string, found []string) {
	begun := r.begun
	if begun == nil {
		begun = &scan{}
	}
	if strings.HasPrefix(before, ":") && !begun.open() {
		return r.completeCommand(before)
	}
	if strings.TrimSpace(before) == "" && begun.open() {
		return before, []string{"    "}
	}
	return r.completeWord(begun, before)
}

func (r *REPL) completeCommand(before string) (head string, found []string) {
	name, args, ok := strings.Cut(before[1:], " ")
	if !ok {
		for _, c := range r.Commands {
			found = append(found, ":"+c.Name+" ")
		}
		return "", beginning(before, found)
	}
	c, err := r.command(name)
	if err != nil {
		return before, nil
	}
	if c.Complete == nil {
		rest := strings.TrimLeft(args, " ")
		head, found = r.completeWord(&scan{}, rest)
		return before[:len(before)-len(rest)] + head, found
	}
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	word := args[strings.LastIndex(args, " ")+1:]
	return before[:len(before)-len(word)], beginning(word, c.Complete(ctx, word))
}

// completeWord completes a name, an attribute or the name of an argument, after
// what begun has seen.
func (r *REPL) completeWord(begun *scan, before string) (head string, found []string) {
	path := trailingPath(before)
	start := before[:len(before)-len(path)]
	now := begun.clone()
	now.walk(start)
	if now.quote != "" {
		return before, nil
	}
	if dot := strings.LastIndex(path, "."); dot >= 0 {
		return start + path[:dot+1], beginning(path[dot+1:], hidden(r.Session.Attrs(path[:dot]), path[dot+1:]))
	}
	if n := len(now.brackets); n > 0 && now.brackets[n-1].callee != "" && newArgument(start) {
		call := now.brackets[n-1]
		for _, name := range r.Session.Params(call.callee) {
			if !slices.Contains(call.given, name) {
				found = append(found, name+" = ")
			}
		}
	}
	names := slices.Concat(r.Session.Names(), keywords())
	slices.Sort(names)
	found = append(found, hidden(names, path)...)
	return start, beginning(path, found)
}

// newArgument reports whether an argument begins after text, which stands in
// the brackets of a call.
func newArgument(text string) bool {
	text = strings.TrimSpace(text)
	return text == "" || strings.HasSuffix(text, "(") || strings.HasSuffix(text, ",")
}

// beginning returns those of list that begin with word.
func beginning(word string, list []string) []string {
	return slices.DeleteFunc(slices.Clone(list), func(s string) bool { return !strings.HasPrefix(s, word) })
}

// hidden returns list without what begins with _, which is offered only to who
// has begun to type it.
func hidden(list []string, word string) []string {
	if strings.HasPrefix(word, "_") {
		return list
	}
	return slices.DeleteFunc(slices.Clone(list), func(s string) bool { return strings.HasPrefix(s, "_") })
}

// starFiles returns the files of the tree that can be loaded.
func (r *REPL) starFiles(_ context.Context, word string) []string {
	return r.Session.Files(word)
}
