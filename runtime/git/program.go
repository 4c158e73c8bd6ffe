package git

import (
	"context"
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"

	"github.com/piper-build/piper/runtime/process"
)

// options go before every command. They win over the repository's own
// settings, which a step may have written.
var options = [...]string{"git", "--no-pager", "--no-replace-objects",
	"-c", "core.hooksPath=/dev/null",
	"-c", "core.fsmonitor=false",
	"-c", "core.untrackedCache=false",
	"-c", "core.quotePath=false",
	"-c", "diff.ignoreSubmodules=untracked",
	"-c", "diff.noprefix=false",
	"-c", "diff.orderFile=/dev/null",
	"-c", "versionsort.suffix=-", // v1.0-rc1 comes before v1.0
}

// fatal is git's exit status when it gives up, as when the repository belongs
// to somebody else.
const fatal = 128

// git runs one git command in the project's directory. The settings cost a
// program of their own, so they are asked for when they matter: to a list of
// files, and where git gives up without them.
func (r *Repo) git(command ...string) ([]byte, error) {
	if command[0] != "ls-files" {
		out, err := r.run(environment(), slices.Concat(options[:], command))
		if exitCode(err) != fatal {
			return out, err
		}
	}
	settings, err := r.settings()
	if err != nil {
		return nil, err
	}
	return r.run(environment(), slices.Concat(options[:], settings, command))
}

// settings returns the two settings of the user and the system that are kept:
// which directories are safe though they belong to somebody else, and which
// file lists what to ignore. git obeys the first nowhere but there.
func (r *Repo) settings() ([]string, error) {
	return ask(r, "settings", func() ([]string, error) {
		// A GIT_DIR that is not there keeps the repository's own settings out.
		env := append(environ(), "GIT_DIR="+os.DevNull+"/none")
		out, err := r.run(env, []string{"git", "config", "--null", "--type=path",
			"--get-regexp", `^(safe\.directory|core\.excludesfile)$`})
		if err != nil && exitCode(err) != 1 { // 1: there is none
			return nil, err
		}
		var settings []string
		for entry := range strings.SplitSeq(string(out), "\x00") {
			if key, value, ok := strings.Cut(entry, "\n"); ok {
				settings = append(settings, "-c", key+"="+value)
			}
		}
		return settings, nil
	})
}

func (r *Repo) run(env, argv []string) ([]byte, error) {
	ctx := r.Context
	if ctx == nil {
		ctx = context.Background()
	}
	output := r.Output
	if output == nil {
		output = process.Output
	}
	out, err := output(ctx, r.dir, env, argv...)
	var exit *process.ExitError
	if err == nil || errors.As(err, &exit) || ctx.Err() != nil || errors.Is(err, process.ErrOutput) {
		return out, err
	}
	return nil, fmt.Errorf("%w: %w", ErrNoProgram, err)
}

// environ is what every git program sees of this process's environment.
func environ() []string {
	env := []string{"LC_ALL=C", "GIT_OPTIONAL_LOCKS=0", "GIT_TERMINAL_PROMPT=0",
		"GIT_NO_LAZY_FETCH=1", "GIT_DISCOVERY_ACROSS_FILESYSTEM=1"}
	for _, name := range []string{"PATH", "HOME", "XDG_CONFIG_HOME", "TMPDIR", "SUDO_UID"} {
		if value, ok := os.LookupEnv(name); ok {
			env = append(env, name+"="+value)
		}
	}
	return env
}

// environment is environ without the settings of the system and the user.
func environment() []string {
	return append(environ(), "GIT_CONFIG_NOSYSTEM=1", "GIT_CONFIG_GLOBAL="+os.DevNull, "GIT_ATTR_NOSYSTEM=1")
}

// exitCode returns the status that git exited with, or -1.
func exitCode(err error) int {
	var exit *process.ExitError
	if errors.As(err, &exit) {
		return exit.Exit
	}
	return -1
}

// checkRevision refuses what git would take for an option, or for a set of
// revisions.
func checkRevision(rev string) error {
	if rev == "" || rev[0] == '-' || rev[0] == '^' || strings.ContainsAny(rev, "\x00\n") {
		return fmt.Errorf("%q is not a revision", rev)
	}
	return nil
}
