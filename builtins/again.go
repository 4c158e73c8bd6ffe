package builtins

import (
	"fmt"
	"slices"
	"strings"
	"unicode/utf8"
)

// Again looks once more at what Looked was told of, and returns the digest of
// what is there now. Parameters are not known to it.
func (e *Evaluation) Again(kind, key string) (string, error) {
	words := strings.Split(key, " ")
	var value any
	var err error
	switch kind {
	case "environ":
		value = e.environ(key)
	case "event":
		value = e.eventValue(key)
	case "changes":
		value, err = e.changed(words[0], words[1:])
	case "git":
		value, err = e.gitAgain(words[0], words[1:])
	default:
		value, err = e.treeAgain(kind, key, words)
	}
	if err != nil {
		return "", err
	}
	if text, ok := value.([]byte); ok {
		return digest(text), nil
	}
	return digestOf(value), nil
}

// gitAgain asks for a fact of git.
func (e *Evaluation) gitAgain(word string, flags []string) (any, error) {
	if e.Git == nil {
		return nil, errNoGit
	}
	switch word {
	case "commit":
		return e.Git.Commit()
	case "branch":
		return e.Git.Branch()
	case "tag":
		return e.Git.Tag()
	case "dirty":
		return e.Git.Dirty()
	case "describe":
		return e.Git.Describe(flags...)
	case "changed":
		return e.Git.Changed(strings.Join(flags, " "))
	}
	return nil, fmt.Errorf("git has no fact %q", word)
}

// treeAgain looks at the tree. The text of a file is bytes.
func (e *Evaluation) treeAgain(kind, key string, words []string) (any, error) {
	files, err := e.files()
	if err != nil {
		return nil, err
	}
	switch kind {
	case "file":
		if _, found := slices.BinarySearch(files, key); !found {
			return nil, fmt.Errorf("%q is not a file of this tree", key)
		}
		data, err := e.Tree.Read(key)
		if err == nil && !utf8.Valid(data) {
			err = errNotUTF8
		}
		return data, err
	case "exists":
		return exists(files, key), nil
	case "is_dir":
		return isDir(files, key), nil
	case "walk":
		return walk(files, key), nil
	case "glob":
		var include, without []string
		for _, word := range words {
			if pattern, ok := strings.CutPrefix(word, "!"); ok {
				without = append(without, pattern)
			} else {
				include = append(include, word)
			}
		}
		return glob(files, include, without), nil
	}
	return nil, fmt.Errorf("nothing is looked at as %q", kind)
}
