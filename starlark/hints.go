package starlark

import (
	"strings"
	"unicode/utf8"
)

// Hints for those who come from Python. The parser and the interpreter have no
// kinds of errors, only texts, so here, and only here, texts are looked at.

// habit looks at a line that does not parse, for something that Python has and
// this language has not. It returns what to say of it, and the column where it
// stands; an empty message is no such thing.
func habit(line string, column int32) (message, hint string, at int32) {
	i := index(line, column)
	before, rest := line[:i], line[i:]
	if word := firstWord(rest); isReserved(word) && strings.HasPrefix(strings.TrimLeft(rest[len(word):], " "), "= ") {
		if word == "finally" && before != "" { // not a statement: the parameter of a step
			hint = `write run_on = "always"`
		}
		return word + " is a reserved word", hint, column
	}
	trimmed := strings.TrimLeft(line, " \t")
	indent := int32(len(line) - len(trimmed))
	switch word := trimmed[:len(firstWord(trimmed))]; word {
	case "import", "from":
		return "there is no " + word + " statement", `write load("//ci/lib.star", "name")`, indent + 1
	case "class":
		return "there are no classes", "write struct(field = value), or a function that returns one", indent + 1
	case "try", "except", "finally":
		return "there is no " + word + " statement", `errors cannot be caught: ask before, as with fs.exists or "x" in d`, indent + 1
	case "raise":
		return "there is no raise statement", `write fail("what is wrong")`, indent + 1
	case "with":
		return "there is no with statement", "a file of the tree is read by fs.read", indent + 1
	case "assert":
		return "there is no assert statement", `write: if not condition: fail("what is wrong")`, indent + 1
	case "while":
		return "there is no while loop", "write for i in range(n), with break", indent + 1
	case "del":
		return "there is no del statement", "write d.pop(key) for an entry of a dict", indent + 1
	case "yield", "async", "await", "global", "nonlocal":
		return "there is no " + word + " statement", "", indent + 1
	}
	previous := lastWord(strings.TrimRight(before, " "))
	switch {
	case strings.HasPrefix(rest, `"`) || strings.HasPrefix(rest, `'`):
		if prefix := lastWord(before); prefix == "f" || prefix == "F" || prefix == "rf" || prefix == "fr" {
			return "there are no f-strings", `write "%s" % name, or "{}".format(name)`, column - int32(len(prefix))
		}
	case firstWord(rest) == "is" || previous == "is":
		if previous == "is" {
			column -= int32(len(before) - strings.LastIndex(before, "is"))
		}
		return "there is no is operator", "write == or !=", column
	case strings.HasPrefix(rest, "**"):
		return "there is no ** operator", "write a product, 1 << n for a power of two, or math.pow", column
	case strings.HasPrefix(rest, ":="):
		return "there is no := operator", "write the assignment on a line of its own", column
	case strings.HasPrefix(rest, "@"):
		return "there are no decorators", "write f = decorate(f) after the function", column
	case strings.HasPrefix(rest, "&") && strings.HasSuffix(before, "&"):
		return "there is no && operator", "write and", column - 1
	case strings.HasPrefix(rest, "|") && strings.HasSuffix(before, "|"):
		return "there is no || operator", "write or", column - 1
	case strings.HasPrefix(rest, "!"):
		return "there is no ! operator", "write not", column
	case strings.HasPrefix(rest, "->") && strings.HasPrefix(trimmed, "def "):
		return "there are no type annotations", "leave the type out", column
	}
	return "", "", column
}

// isReserved reports whether no name can be word, though the language has no use
// for it.
func isReserved(word string) bool {
	switch word {
	case "as", "assert", "async", "await", "class", "del", "except", "finally", "from", "global",
		"import", "is", "nonlocal", "raise", "try", "while", "with", "yield":
		return true
	}
	return false
}

func firstWord(s string) string { return s[:len(s)-len(strings.TrimLeft(s, nameBytes))] }

func lastWord(s string) string { return s[len(strings.TrimRight(s, nameBytes)):] }

const nameBytes = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ_0123456789"

// foreign returns a hint for a name that is defined elsewhere, but not here.
func foreign(name string) string {
	switch name {
	case "ctx":
		return "ctx is what the function impl of a pipeline is given: def _build(ctx):"
	case "true", "false":
		return "write " + strings.ToUpper(name[:1]) + name[1:]
	case "null", "nil":
		return "write None"
	case "open", "read_file":
		return `write fs.read("path")`
	case "glob":
		return `write fs.glob("**/*.go")`
	case "sh", "exec", "run", "local", "subprocess":
		return `a command runs in a step: step("name", run = "...")`
	case "sum":
		return "add them up in a loop"
	case "input":
		return "a pipeline is given params"
	case "map", "filter":
		return "write a list: [f(x) for x in xs if condition]"
	case "isinstance":
		return `write type(x) == "string"`
	case "environ", "getenv", "env":
		return `write os.environ("NAME")`
	case "t":
		return "t is what a test is given; a function that it calls has to be given it, too"
	case "assert":
		return `assert is there in files that end with _test.star, when "piper test" runs them`
	case "help":
		return `"piper doc" explains the language; in piper repl, type :help`
	case "exit", "quit":
		return `fail("what is wrong") ends the evaluation; in piper repl, type :quit`
	}
	return ""
}

// refused puts what the resolver does not let pass on a line into plain words,
// and adds a hint.
func refused(message, line string) (said, hint string) {
	switch {
	case strings.Contains(message, "while loop"):
		return "there is no while loop", "write for i in range(n), with break"
	case strings.Contains(message, "may not follow *args") && strings.Contains(line, "parallel"):
		return message, "pass the list itself: parallel(xs, limit = 2)"
	case strings.Contains(message, "may not follow *args"):
		return message, "put it before the *"
	case strings.Contains(message, "load statement within"):
		return message, "load at the top of the file"
	case strings.Contains(message, "leading underscores"):
		return message, "a name that begins with _ belongs to its file"
	case strings.Contains(message, "return statement not within"):
		return message, "a pipeline returns its steps from the function impl"
	}
	return message, ""
}

// advise puts a message of the interpreter into a form for people, and adds a
// hint.
func advise(message string) (said, hint string) {
	message, near, suggested := strings.Cut(message, " (did you mean ")
	if suggested {
		hint = "did you mean " + strings.TrimSuffix(near, ")")
	}
	switch {
	case strings.Contains(message, "called recursively"):
		return message, "there is no recursion: write a loop"
	case strings.Contains(message, "frozen"):
		return message, "what a loaded file, the top level or an impl that has ended made cannot be changed later: make a copy, such as list(x) or dict(x)"
	case strings.HasPrefix(message, "unknown binary op: string + int"):
		return message, "write str(n), or use %"
	case strings.HasPrefix(message, "unknown binary op: string + "):
		return message, "write str(x), or use %"
	case strings.HasPrefix(message, "unhandled index operation ctx"):
		return message, "its fields are read with a dot, such as ctx.params.version"
	case strings.HasPrefix(message, "os has no ."):
		return message, `write os.environ("NAME", "default")`
	case strings.HasPrefix(message, "NoneType has no"):
		return message, "a function without return gives None"
	}
	if utf8.RuneCountInString(message) > 1000 {
		message = string([]rune(message)[:1000]) + "…"
	}
	return message, hint
}
