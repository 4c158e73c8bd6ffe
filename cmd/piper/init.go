package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"github.com/piper-build/piper/runtime/git"
)

func (a *app) initCommand() *command {
	c := a.newCommand("init", "[flags]")
	c.ShortHelp = "Write a PIPER.star for this repository, as a start."
	c.LongHelp = `Looks at go.mod, package.json, pyproject.toml, requirements.txt, the targets of
the Makefile and *.sh, and writes a small PIPER.star that runs as it is. A file
that is there already is never touched.`
	c.examples = `
piper init
piper init --print   # to standard output
`
	toStdout := c.FlagSet.Bool("print", false, "print what would be written, and write nothing")
	asJSON := c.FlagSet.Bool("json", false, "print a JSON object that says what was written")
	c.Exec = func(ctx context.Context, args []string) error {
		s := &scaffold{dir: a.dir, name: plainName(filepath.Base(a.dir))}
		if repo, err := git.Open(a.dir); err == nil {
			commit, err := repo.Commit()
			s.versioned = err == nil && commit != ""
		}
		if err := s.look(); err != nil {
			return err
		}
		if *toStdout {
			_, err := fmt.Fprint(a.stdout, s.source())
			return err
		}
		file := filepath.Join(a.dir, pipelineFile)
		if err := writeNew(file, s.source()); errors.Is(err, fs.ErrExist) {
			return &usageError{message: fmt.Sprintf("%s is there already", file), hint: `"piper init --print" shows what would be written`}
		} else if err != nil {
			return fmt.Errorf("write %s: %w", file, err)
		}
		if above, ok := (&app{dir: filepath.Dir(a.dir)}).findRoot(); ok && !exists(filepath.Join(a.dir, ".git")) {
			fmt.Fprintf(a.stderr, "piper: in this directory it takes the place of the one in %s\n", above)
		}
		names := []string{}
		for _, part := range s.parts {
			for _, step := range part.steps {
				names = append(names, step.name)
			}
		}
		if *asJSON {
			return a.printJSON(map[string]any{"file": file, "pipeline": "build", "steps": names})
		}
		fmt.Fprintf(a.stdout, "wrote %s: pipeline build with %s\n", pipelineFile, strings.Join(names, ", "))
		fmt.Fprintf(a.stderr, "run it with \"piper exec\", look at it with \"piper plan\"\n")
		return nil
	}
	return c
}

// writeNew writes a file that must not be there yet, all of it or nothing.
func writeNew(file, content string) error {
	f, err := os.OpenFile(file, os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o666)
	if err != nil {
		return err
	}
	_, err = f.WriteString(content)
	if err = errors.Join(err, f.Close()); err != nil {
		return errors.Join(err, os.Remove(file))
	}
	return nil
}

// plainName is s in the letters that the name of a project may have.
func plainName(s string) string {
	name := strings.Map(func(r rune) rune {
		switch {
		case 'a' <= r && r <= 'z', 'A' <= r && r <= 'Z', '0' <= r && r <= '9', r == '.', r == '_', r == '-':
			return r
		}
		return '-'
	}, s)
	if name = strings.Trim(name, "-._"); name == "" {
		return "project"
	}
	return name
}
