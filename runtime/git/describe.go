package git

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
	"sync"
)

// abbrev is how many digits of a hash Describe writes unless told otherwise.
// git's own choice grows with the number of objects, which a shallow clone has
// fewer of: 12 digits are the same everywhere, and enough for any repository.
const abbrev = 12

// Tag returns the tag that names HEAD exactly, annotated or not, or "". Of
// several it is the highest, v1.10 above v1.9 and v1.0 above v1.0-rc1.
func (r *Repo) Tag() (string, error) {
	return ask(r, "tag", func() (string, error) {
		h, err := r.head()
		if err != nil || h.commit == "" || !r.hasTags() {
			return "", err
		}
		out, err := r.git("for-each-ref", "--points-at="+h.commit, "--count=1",
			"--sort=-version:refname", "--format=%(refname:lstrip=2)", "refs/tags")
		if err != nil {
			return "", fmt.Errorf("find tag: %w", err)
		}
		return line(out), nil
	})
}

// Dirty reports whether a tracked file of the repository, inside the project
// or outside, differs from HEAD. Files that git does not track do not count.
func (r *Repo) Dirty() (bool, error) {
	if r.at != nil {
		return false, nil
	}
	return ask(r, "dirty", func() (bool, error) {
		out, err := r.git("status", "--porcelain", "-z", "--untracked-files=no", "--no-renames", "--ignore-submodules=untracked")
		if err != nil {
			return false, fmt.Errorf("look for changed files: %w", err)
		}
		return len(out) > 0, nil
	})
}

// Describe returns what git describe says of HEAD. Flags are its --tags, --all,
// --long, --always, --contains, --first-parent, --dirty[=MARK], --abbrev=N,
// --candidates=N, --match=GLOB and --exclude=GLOB; any other is an error.
// Hashes have 12 digits when there is no --abbrev. Dirty decides about the
// mark of --dirty.
func (r *Repo) Describe(flags ...string) (string, error) {
	return ask(r, "describe "+strings.Join(flags, "\x00"), func() (string, error) {
		command := []string{"describe", "--abbrev=" + strconv.Itoa(abbrev)}
		mark := ""
		for _, flag := range flags {
			if err := checkFlag(flag); err != nil {
				return "", fmt.Errorf("describe HEAD: %w", err)
			}
			switch name, value, given := strings.Cut(flag, "="); {
			case name != "--dirty":
				command = append(command, flag)
			case given:
				mark = value
			default:
				mark = "-dirty"
			}
		}
		commit, err := r.Commit()
		if err != nil {
			return "", fmt.Errorf("describe HEAD: %w", err)
		}
		if r.at != nil {
			command = append(command, commit)
		}
		if mark != "" {
			var beside sync.WaitGroup // two programs take the time of one
			beside.Go(func() { r.Dirty() })
			defer beside.Wait()
		}
		out, err := r.git(command...)
		if exitCode(err) == fatal && !slices.Contains(command, "--always") {
			if _, always := r.git(append(command, "--always")...); always == nil {
				err = ErrNoTag
			}
		}
		if err != nil {
			return "", fmt.Errorf("describe HEAD: %w", err)
		}
		if mark == "" {
			return line(out), nil
		}
		dirty, err := r.Dirty()
		if err != nil || !dirty {
			return line(out), err
		}
		return line(out) + mark, nil
	})
}

func checkFlag(flag string) error {
	name, value, given := strings.Cut(flag, "=")
	switch {
	case strings.ContainsAny(flag, "\x00\n"):
	case name == "--dirty":
		return nil
	case name == "--match" || name == "--exclude":
		if value != "" {
			return nil
		}
		return fmt.Errorf("flag %s needs a glob: %s=v*", name, name)
	case name == "--abbrev" || name == "--candidates":
		if n, err := strconv.Atoi(value); err == nil && n >= 0 && n <= 1000 {
			return nil
		}
		return fmt.Errorf("flag %s needs a number from 0 to 1000, not %q", name, value)
	case !given && slices.Contains([]string{"--tags", "--all", "--long", "--always", "--contains", "--first-parent"}, name):
		return nil
	}
	return fmt.Errorf("flag %q is not one that can be used here", flag)
}
