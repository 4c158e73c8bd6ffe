package secret

import (
	"errors"
	"fmt"
	"path"
	"slices"
	"strings"
)

// ErrNotGranted says that a secret is not for this build.
var ErrNotGranted = errors.New("secret not granted")

// A Build is what Grants look at.
type Build struct {
	Project string
	Event   string // the kind of event that it came of: push, tag, manual, …
	Fork    bool   // the change is of somebody who may not write to the repository
}

// A Grant gives secrets to builds. A name is a glob, as path.Match has them but
// that a * goes over slashes, too.
type Grant struct {
	Projects []string // globs
	Events   []string // kinds of events, or "*"
	Names    []string // globs of secrets
}

// Grants give what any of them gives, and nothing else.
type Grants []Grant

// Check reports whether a build may have the secret called name. The error is an
// ErrNotGranted that says what would have to be otherwise. A build of a fork may
// have none, whatever is granted.
func (g Grants) Check(b Build, name string) error {
	if b.Fork {
		return fmt.Errorf("%w: %q: builds of forks are given none", ErrNotGranted, name)
	}
	var events []string
	for _, grant := range g {
		if !matches(grant.Projects, b.Project) || !matches(grant.Names, name) {
			continue
		}
		if slices.Contains(grant.Events, b.Event) || slices.Contains(grant.Events, "*") {
			return nil
		}
		events = append(events, grant.Events...)
	}
	if len(events) > 0 {
		slices.Sort(events)
		return fmt.Errorf("%w: %q is for builds of %s by %s, and this one is by %s", ErrNotGranted, name, b.Project, strings.Join(slices.Compact(events), " or "), b.Event)
	}
	return fmt.Errorf("%w: %q is not for builds of %s", ErrNotGranted, name, b.Project)
}

// Source is from for one build. It does not ask for what is not granted, so that
// nobody learns whether it is there.
func (g Grants) Source(b Build, from Source) Source {
	return func(name string) (string, error) {
		if err := CheckName(name); err != nil {
			return "", err
		}
		if err := g.Check(b, name); err != nil {
			return "", err
		}
		return from(name)
	}
}

// CheckGlob reports whether a glob is one.
func CheckGlob(glob string) error {
	if glob == "" {
		return errors.New("a name is empty")
	}
	if _, err := path.Match(flat(glob), ""); err != nil {
		return fmt.Errorf("%q is not a glob", glob)
	}
	return nil
}

func matches(globs []string, name string) bool {
	return slices.ContainsFunc(globs, func(glob string) bool {
		ok, err := path.Match(flat(glob), flat(name))
		return err == nil && ok
	})
}

// flat has no slashes, which a * would end at. No name holds a NUL.
func flat(s string) string { return strings.ReplaceAll(s, "/", "\x00") }
