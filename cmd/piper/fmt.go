package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"strings"

	"github.com/rogpeppe/go-internal/diff"

	"github.com/piper-build/piper/runtime/plan"
	"github.com/piper-build/piper/starlark/format"
)

// A formatted is what piper fmt did with one file, or would do.
type formatted struct {
	File        string           `json:"file"`
	Changed     bool             `json:"changed"`
	Diff        string           `json:"diff,omitempty"`
	Diagnostics plan.Diagnostics `json:"diagnostics,omitempty"` // why it was left as it is
}

func (a *app) fmtCommand() *command {
	c := a.newCommand("fmt", "[path...] [flags]")
	c.ShortHelp = "Format .star files."
	c.LongHelp = `Without a path it is every .star file of the project that git does not ignore; a
directory stands for those inside. "-" formats standard input to standard
output. Only the layout changes, and comments stay: a file that cannot be
formatted so is left as it is.

The exit code is 1 when --check finds a file that is not formatted, 2 when a
file has errors; the others are formatted even then.`
	c.examples = `
piper fmt                    # format, and print which files were not
piper fmt --check            # only print them
piper fmt --diff PIPER.star  # show what would change
piper fmt - <PIPER.star      # for an editor
`
	check := c.FlagSet.Bool("check", false, "write nothing; exit with 1 when a file is not formatted")
	showDiff := c.FlagSet.Bool("diff", false, "write nothing; show what would change")
	asJSON := c.FlagSet.Bool("json", false, "print a JSON array of files")
	c.max, c.args = -1, files
	c.Exec = func(ctx context.Context, args []string) error {
		var results []formatted
		var err error
		if len(args) == 1 && args[0] == "-" {
			results, err = a.formatInput(*check || *showDiff || *asJSON)
		} else {
			results, err = a.formatFiles(ctx, args, *check || *showDiff)
		}
		if err != nil {
			return err
		}
		return a.showFormatted(results, *check, *showDiff, *asJSON, args)
	}
	return c
}

// formatFiles formats the files that args name, and writes what has changed
// unless it is only to look.
func (a *app) formatFiles(ctx context.Context, args []string, look bool) ([]formatted, error) {
	tree, err := a.starFiles(ctx, args)
	if err != nil {
		return nil, err
	}
	defer tree.root.Close()
	results := []formatted{}
	for _, name := range tree.names {
		text, mode, err := tree.read(name)
		if err != nil {
			return nil, fmt.Errorf("format %s: %w", name, err)
		}
		result, text, err := formatText(name, text)
		if err != nil {
			return nil, err
		}
		if result.Changed && !look {
			if err := tree.write(name, text, mode); err != nil {
				var failed *fs.PathError
				if errors.As(err, &failed) {
					err = failed.Err
				}
				return nil, fmt.Errorf("write %s: %w", name, err)
			}
		}
		results = append(results, result)
	}
	return results, nil
}

// formatInput formats standard input, and writes it to standard output unless
// it is only to look.
func (a *app) formatInput(look bool) ([]formatted, error) {
	text, err := io.ReadAll(io.LimitReader(a.stdin, maxStarFile))
	if err != nil {
		return nil, fmt.Errorf("read standard input: %w", err)
	}
	result, text, err := formatText("<stdin>", text)
	if err == nil && !look && result.Diagnostics == nil {
		_, err = a.stdout.Write(text)
	}
	return []formatted{result}, err
}

// formatText formats one file. A file with errors stays what it is.
func formatText(name string, text []byte) (formatted, []byte, error) {
	result := formatted{File: name}
	after, err := format.Source(name, text)
	switch {
	case errors.As(err, &result.Diagnostics):
		return result, text, nil
	case err != nil:
		return result, text, err
	}
	if result.Changed = !bytes.Equal(text, after); result.Changed {
		all := diff.Diff(name, text, name+" (formatted)", after)
		_, hunks, _ := bytes.Cut(all, []byte("\n")) // its first line names both files once more
		result.Diff = string(hunks)
	}
	return result, after, nil
}

// showFormatted tells what was done, or would be.
func (a *app) showFormatted(results []formatted, check, showDiff, asJSON bool, args []string) error {
	var wrong plan.Diagnostics
	changed := 0
	for i := range results {
		r := &results[i]
		wrong = append(wrong, r.Diagnostics...)
		if r.Changed {
			changed++
		}
		switch {
		case !showDiff:
			if r.Changed && !asJSON && (r.File != "<stdin>" || check) {
				fmt.Fprintln(a.stdout, r.File)
			}
			r.Diff = ""
		case !asJSON:
			a.printDiff(r.Diff)
		}
	}
	if asJSON {
		if err := a.printJSON(results); err != nil {
			return err
		}
	}
	switch {
	case len(wrong) > 0 && asJSON:
		return exitStatus(exitUsage)
	case len(wrong) > 0:
		return wrong
	case check && changed > 0:
		if !asJSON && results[0].File != "<stdin>" {
			fmt.Fprintf(a.stderr, "hint: \"%s\" formats what is listed\n", strings.TrimSpace("piper fmt "+strings.Join(args, " ")))
		}
		return exitStatus(exitFailed)
	}
	return nil
}

// printDiff prints a unified diff, in colours where there are any.
func (a *app) printDiff(text string) {
	colored := a.colored(a.stdout)
	for line := range strings.Lines(text) {
		color := ""
		switch {
		case !colored:
		case strings.HasPrefix(line, "---"), strings.HasPrefix(line, "+++"):
			color = "1"
		case line[0] == '-':
			color = "31"
		case line[0] == '+':
			color = "32"
		case line[0] == '@':
			color = "36"
		}
		if color != "" {
			line = "\x1b[" + color + "m" + strings.TrimSuffix(line, "\n") + "\x1b[0m\n"
		}
		io.WriteString(a.stdout, line)
	}
}
