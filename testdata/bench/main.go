// Command bench holds Piper against other programs that do the same work, one
// figure after the other, and prints a table of ratios.
//
//	go run ./testdata/bench [flags]      from the top of the repository
//
// A figure is a trial: some sides, each a command line, run in turn, round
// after round. A row of the table is made of the pairs of samples that two
// sides of a trial gave in the same round. Each file has one part:
//
//	figures.go   what is measured, and what is wanted of it
//	workload.go  the same steps written for each program
//	trial.go     running the sides of a trial in turn
//	program.go   finding, installing and building the programs
//	table.go     rows, the table, the README
//
// README.md says what each figure means. Nothing here is a test: the exit code
// is 0 once everything was measured, whatever the ratios say.
package main

import (
	"errors"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
)

func main() {
	if err := run(os.Args[1:]); err != nil && !errors.Is(err, flag.ErrHelp) {
		fmt.Fprintln(os.Stderr, "bench:", err)
		os.Exit(2)
	}
}

// A bench is one run of this program.
type bench struct {
	rounds   int
	scale    float64
	cpu      bool           // hold processor time against each other, not time
	only     *regexp.Regexp // of a figure's name; nil is every figure
	dir      string         // where the trials are, one directory each
	programs *programs
}

func run(args []string) error {
	flags := flag.NewFlagSet("bench", flag.ContinueOnError)
	rounds := flags.Int("rounds", 7, "run the sides of a trial in turn `N` times")
	scale := flags.Float64("scale", 1, "multiply every size by `FACTOR`, for a quick look")
	cpu := flags.Bool("cpu", false, "hold processor time against each other instead of time, for a look on a busy machine")
	only := flags.String("only", "", "measure only the figures whose whole name matches `REGEXP`, such as 'P1|P9'")
	keep := flags.Bool("keep", false, "leave the trials' directory behind")
	readme := flags.String("write", "", "put the table into `FILE`, between its two bench markers")
	if err := flags.Parse(args); err != nil {
		return err
	}
	switch {
	case flags.NArg() > 0:
		return fmt.Errorf("unexpected argument %q", flags.Arg(0))
	case *rounds < 1 || *scale <= 0:
		return errors.New("-rounds and -scale must be more than nothing")
	case *readme != "" && (*scale != 1 || *cpu || *only != "" || *rounds < 7):
		return errors.New("-write wants the time of all figures, whole, of at least 7 rounds")
	}
	b := &bench{rounds: *rounds, scale: *scale, cpu: *cpu}
	if *only != "" {
		var err error
		if b.only, err = regexp.Compile("^(?:" + *only + ")$"); err != nil {
			return fmt.Errorf("read -only: %w", err)
		}
	}
	if _, err := os.Stat(filepath.Join(source, "main.go")); err != nil {
		return errors.New("run it from the top of the repository: go run ./testdata/bench")
	}

	var err error
	if b.dir, err = os.MkdirTemp("", "piper-bench-"); err != nil {
		return fmt.Errorf("make a directory: %w", err)
	}
	if *keep {
		fmt.Fprintln(os.Stderr, "bench: trials are in", b.dir)
	} else {
		defer os.RemoveAll(b.dir)
	}
	if b.programs, err = newPrograms(filepath.Join(b.dir, "bin")); err != nil {
		return err
	}

	if piper := b.programs.piper(); piper.missing != nil {
		return fmt.Errorf("build piper: %w", piper.missing)
	}

	var rows []row
	for _, f := range figures {
		if !b.wants(f.names...) {
			continue
		}
		measured, err := b.try(f, *keep)
		if err != nil {
			return fmt.Errorf("measure %v: %w", f.names, err)
		}
		rows = append(rows, measured...)
	}
	text := b.facts() + "\n\n" + table(rows)
	fmt.Print(text)
	if *readme != "" {
		return writeInto(*readme, text)
	}
	return nil
}

// wants reports whether one of the figures names is to be measured.
func (b *bench) wants(names ...string) bool {
	for _, name := range names {
		if b.only == nil || b.only.MatchString(name) {
			return true
		}
	}
	return false
}
