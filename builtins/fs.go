package builtins

import (
	"errors"
	"fmt"
	"path"
	"slices"
	"strings"
	"unicode/utf8"

	"github.com/bmatcuk/doublestar/v4"
	"go.starlark.net/starlark"

	"github.com/piper-build/piper/runtime/plan"
)

// A Tree is what fs sees of the tree that is built. Paths are slash-separated
// and relative to its root.
type Tree interface {
	// Files returns every file there is, sorted.
	Files() ([]string, error)

	// Read returns a file's bytes. A path that leaves the tree, and one that
	// is no regular file, is an error.
	Read(name string) ([]byte, error)
}

// ErrNoTree is what the words of fs return when there is no tree.
var ErrNoTree = errors.New("there is no tree to look at")

// files returns the files of the tree.
func (e *Evaluation) files() ([]string, error) {
	if e.Tree == nil {
		return nil, ErrNoTree
	}
	return e.Tree.Files()
}

// treePath returns argument i, a cleaned path inside the tree.
func (c *call) treePath(i int) (string, bool) {
	s := c.str(i)
	if c.wrong > 0 || c.args[i] == nil {
		return "", false
	}
	if why := outside(s); why != "" {
		c.bad(i, nil, "outside-tree", "%s %s", quote(s), why)
		return "", false
	}
	return path.Clean(s), true
}

func fsRead(c *call) (starlark.Value, error) {
	name, ok := c.treePath(0)
	if !ok {
		return starlark.String(""), nil
	}
	if seen, late := c.recall("file", name); late {
		text, _ := seen.(string)
		return starlark.String(text), nil
	}
	files, err := c.ev.files()
	if err != nil {
		return nil, err
	}
	if _, found := slices.BinarySearch(files, name); !found {
		hint := ""
		if near, ok := plan.Nearest(name, files); ok {
			hint = fmt.Sprintf("did you mean %s?", quote(near))
		}
		c.badHint(0, nil, "no-such-file", hint, "%s is not a file of this tree (files that git ignores are not)", quote(name))
		return starlark.String(""), nil
	}
	data, err := c.ev.Tree.Read(name)
	if err == nil && !utf8.Valid(data) {
		err = errNotUTF8
	}
	if err != nil {
		c.bad(0, nil, "unreadable-file", "%s: %v", quote(name), err)
		return starlark.String(""), nil
	}
	text := string(data)
	c.ev.record(read{"file", name}, sight{digest: digest(data), value: text})
	return starlark.String(text), nil
}

func fsExists(c *call) (starlark.Value, error) {
	name, ok := c.treePath(0)
	if !ok {
		return starlark.False, nil
	}
	if seen, late := c.recall("exists", name); late {
		return starlark.Bool(seen == true), nil
	}
	files, err := c.ev.files()
	if err != nil {
		return nil, err
	}
	found := exists(files, name)
	c.ev.saw("exists", name, found)
	return starlark.Bool(found), nil
}

func fsIsDir(c *call) (starlark.Value, error) {
	name, ok := c.treePath(0)
	if !ok {
		return starlark.False, nil
	}
	if seen, late := c.recall("is_dir", name); late {
		return starlark.Bool(seen == true), nil
	}
	files, err := c.ev.files()
	if err != nil {
		return nil, err
	}
	found := isDir(files, name)
	c.ev.saw("is_dir", name, found)
	return starlark.Bool(found), nil
}

// exists reports whether the sorted list has a file of that name, or below it.
func exists(files []string, name string) bool {
	_, found := slices.BinarySearch(files, name)
	return found || isDir(files, name)
}

// isDir reports whether a file of the sorted list stands below name.
func isDir(files []string, name string) bool {
	if name == "." {
		return true
	}
	prefix := name + "/"
	i, _ := slices.BinarySearch(files, prefix)
	return i < len(files) && strings.HasPrefix(files[i], prefix)
}

func fsWalk(c *call) (starlark.Value, error) {
	name, ok := c.treePath(0)
	if c.args[0] == nil {
		name, ok = ".", true
	}
	if !ok {
		return stringList(nil), nil
	}
	if seen, late := c.recall("walk", name); late {
		list, _ := seen.([]string)
		return newList(list), nil
	}
	files, err := c.ev.files()
	if err != nil {
		return nil, err
	}
	found := walk(files, name)
	c.ev.saw("walk", name, found)
	return newList(found), nil
}

// walk returns those of files that are called name, or stand below it.
func walk(files []string, name string) []string {
	found := []string{}
	for _, f := range files {
		if name == "." || f == name || strings.HasPrefix(f, name+"/") {
			found = append(found, f)
		}
	}
	return found
}

func fsGlob(c *call) (starlark.Value, error) {
	const patterns, exclude = 0, 1
	var include []string
	for n, v := range c.rest {
		if _, isList := elements(v); isList {
			c.report(Problem{Param: "patterns", Index: n, Code: "wrong-type", Hint: "spread the list: fs.glob(*patterns)",
				Message: fmt.Sprintf("fs.glob: argument %d is %s, want a string", n+1, typeName(v))})
			continue
		}
		if s, ok := c.plain(patterns, nil, v); ok {
			if why := badGlob(s); why != "" {
				c.report(Problem{Param: "patterns", Index: n, Code: "bad-glob", Message: fmt.Sprintf("fs.glob: %s %s", quote(s), why)})
				continue
			}
			include = append(include, s)
		}
	}
	without := c.globs(exclude)
	if len(c.rest) == 0 {
		c.report(Problem{Index: -1, Code: "missing-argument", Message: "fs.glob needs a pattern", Hint: `write fs.glob("**/*.go")`})
	}
	words := slices.Clone(include)
	for _, s := range without {
		words = append(words, "!"+s)
	}
	if seen, late := c.recall("glob", strings.Join(words, " ")); late {
		list, _ := seen.([]string)
		return newList(list), nil
	}
	files, err := c.ev.files()
	if err != nil {
		return nil, err
	}
	found := glob(files, include, without)
	c.ev.sawOf("glob", words, found)
	return newList(found), nil
}

// glob returns those of files that one of include matches, and none of without.
func glob(files, include, without []string) []string {
	found := []string{}
	for _, f := range files {
		if matchAny(include, f) && !matchAny(without, f) {
			found = append(found, f)
		}
	}
	return found
}

// newList returns a list that the file may change.
func newList(list []string) *starlark.List {
	out := make([]starlark.Value, len(list))
	for i, s := range list {
		out[i] = starlark.String(s)
	}
	return starlark.NewList(out)
}

// matchAny reports whether one of patterns, which are good, matches name.
func matchAny(patterns []string, name string) bool {
	for _, p := range patterns {
		if doublestar.MatchUnvalidated(p, name) {
			return true
		}
	}
	return false
}

// maxGlob bounds a pattern: its bytes, its stars and its alternatives, which a
// match may have to try in each combination.
const (
	maxGlob      = 1000
	maxGlobStars = 16
	maxGlobAlts  = 8
)

// badGlob says why s is not a pattern that stays in the tree.
func badGlob(s string) string {
	switch {
	case s == "":
		return "is empty"
	case len(s) > maxGlob || strings.Count(s, "*") > maxGlobStars || strings.Count(s, "{") > maxGlobAlts:
		return fmt.Sprintf("is too long a pattern: at most %d bytes, %d stars and %d alternatives in braces", maxGlob, maxGlobStars, maxGlobAlts)
	case strings.HasPrefix(s, "/"):
		return "is absolute"
	case strings.HasPrefix(s, "!"):
		return "begins with !, and a pattern cannot take away what another one matches"
	case strings.Contains(s, "..") && slices.Contains(strings.FieldsFunc(s, func(r rune) bool { return r == '/' || r == '{' || r == '}' || r == ',' }), ".."):
		return "leaves the tree"
	case strings.ContainsAny(s, `[{\`) && !doublestar.ValidatePattern(s):
		return "is not a pattern"
	case strings.HasPrefix(s, "./") || strings.Contains(s, "//") || strings.HasSuffix(s, "/"):
		return "matches no file: paths have no ./ before, no / after and no // between"
	}
	return ""
}

// globs returns argument i, a list of patterns.
func (c *call) globs(i int) []string {
	list := c.strs(i)
	good := list[:0]
	for n, s := range list {
		if why := badGlob(s); why != "" {
			c.bad(i, []any{n}, "bad-glob", "%s %s", quote(s), why)
		} else {
			good = append(good, s)
		}
	}
	return good
}
