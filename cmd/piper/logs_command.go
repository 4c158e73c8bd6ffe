package main

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"strconv"
	"strings"
	"time"

	"github.com/piper-build/piper/api"
	"github.com/piper-build/piper/api/client"
	"github.com/piper-build/piper/runtime/build"
	"github.com/piper-build/piper/runtime/logs"
	"github.com/piper-build/piper/runtime/logs/archive"
)

// A reading is one call of piper logs.
type reading struct {
	*app
	follow  bool
	step    string
	attempt int
	lines   string
	tail    int
	search  string
	errors  bool
	diff    bool
	against string
	regex   bool
	fold    bool
	raw     bool
	export  bool
	asJSON  bool
	told    bool // noticed

	// Of a search over builds.
	project, pipeline, since string
}

func (a *app) logsCommand() *command {
	c := a.newCommand("logs", "[BUILD] [flags]")
	c.ShortHelp = "Show what the steps of a build wrote."
	c.LongHelp = `Without --step it is that of every step that ran, each under its name. Line numbers
are those of the API and of the web page. Without BUILD, --search looks through all builds,
the newest first.`
	c.examples = `
piper logs 41                              # all of it
piper logs 41 --step unit -f               # and go on while it runs
piper logs 41 --step unit --lines 120:140
piper logs 41 --search 'connection refused'
piper logs 41 --errors                     # what matters of the steps that failed
piper logs 41 --diff                       # what is new since the pipeline last succeeded
piper logs --search 'connection refused' --project shop --since 72h
piper logs 41 --step unit --raw > unit.log # byte for byte
piper logs 41 --export > 41.jsonl          # all of it, for piper db import and other programs
`
	r := c.asksServer()
	g := &reading{app: a}
	c.FlagSet.BoolVar(&g.follow, "follow", false, "go on until the build has ended")
	c.letter("f", "follow")
	c.FlagSet.StringVar(&g.step, "step", "", "only what `STEP` wrote")
	c.lists["step"] = buildSteps
	c.FlagSet.IntVar(&g.attempt, "attempt", 0, "that of the `N`th attempt of the step; the newest, unless given")
	c.FlagSet.StringVar(&g.lines, "lines", "", "only the lines `FROM:TO`, counted from 1")
	c.FlagSet.IntVar(&g.tail, "tail", 0, "only the last `N` lines")
	c.FlagSet.StringVar(&g.search, "search", "", "only lines with `TEXT` in them, and how many there are")
	c.FlagSet.BoolVar(&g.errors, "errors", false, "only lines that look like errors, of the steps that failed or of STEP, and how many there are")
	c.FlagSet.BoolVar(&g.diff, "diff", false, "only lines that the last build of the pipeline which succeeded has nothing like, but for times, hashes and the like")
	c.FlagSet.StringVar(&g.against, "against", "", "have --diff look at `BUILD` in place of that")
	c.lists["against"] = buildWords
	c.FlagSet.BoolVar(&g.regex, "regex", false, "TEXT is a regular expression (RE2)")
	c.FlagSet.BoolVar(&g.fold, "ignore-case", false, "of TEXT, upper and lower case are the same")
	c.letter("i", "ignore-case")
	c.FlagSet.StringVar(&g.project, "project", "", "without BUILD: only builds of `PROJECT`")
	c.FlagSet.StringVar(&g.pipeline, "pipeline", "", "without BUILD: only builds of `PIPELINE` of the project")
	c.lists["project"] = builtWords(func(b api.Build) string { return b.Project })
	c.lists["pipeline"] = builtWords(func(b api.Build) string { return b.Pipeline })
	c.FlagSet.StringVar(&g.since, "since", "", "without BUILD: only builds that were made since `WHEN`, such as 72h (ago) or 2026-03-01")
	c.FlagSet.BoolVar(&g.raw, "raw", false, "byte for byte, as it was written")
	c.FlagSet.BoolVar(&g.export, "export", false, "all that a build wrote which has ended, as JSON objects, one a line, with digests")
	c.FlagSet.BoolVar(&g.asJSON, "json", false, "print JSON objects, one a line")
	c.max, c.args = 1, buildWords
	c.Exec = func(ctx context.Context, args []string) error {
		from, to, err := g.check()
		if err != nil {
			return err
		}
		if len(args) == 0 && g.search != "" {
			q, err := g.overBuilds()
			if err != nil {
				return err
			}
			return a.ask(ctx, r, func(s *client.Client) error { return g.findAll(ctx, s, q) })
		}
		ref, err := buildArg(c, args)
		if err != nil {
			return err
		}
		if g.project+g.pipeline+g.since != "" {
			return usagef("--project, --pipeline and --since are for a --search without BUILD")
		}
		return a.ask(ctx, r, func(s *client.Client) error {
			switch {
			case g.export:
				return g.exports(ctx, s, ref)
			case g.search != "" || g.errors:
				return g.find(ctx, s, ref)
			case g.diff:
				return g.differences(ctx, s, ref)
			case g.raw:
				return g.copy(ctx, s, ref)
			case g.step != "":
				return g.one(ctx, s, ref, api.LogQuery{Step: g.step, Attempt: g.attempt, From: from, To: to, Tail: int64(g.tail)})
			}
			return g.all(ctx, s, ref)
		})
	}
	return c
}

// check looks at what goes with what, and reads --lines.
func (g *reading) check() (from, to int64, err error) {
	switch {
	case g.export && (g.step != "" || g.tail != 0 || g.search != "" || g.errors || g.diff || g.follow || g.asJSON):
		return 0, 0, usagef("--export is all of a build: it goes with none of --step, --tail, --search, --errors, --diff, --follow and --json")
	case g.step == "" && (g.raw || g.lines != "" || g.attempt != 0):
		return 0, 0, usagef("--raw, --lines and --attempt are about one step: --step names it")
	case g.search == "" && (g.regex || g.fold):
		return 0, 0, usagef("--regex and --ignore-case are about --search")
	case g.search != "" && g.errors:
		return 0, 0, usagef("--errors and --search do not go together")
	case (g.search != "" || g.errors) && (g.raw || g.lines != "" || g.tail != 0):
		return 0, 0, usagef("--search and --errors are about all lines: they go with none of --raw, --lines and --tail")
	case g.raw && (g.lines != "" || g.tail != 0):
		return 0, 0, usagef("--raw is all that a step wrote: it goes with neither --lines nor --tail")
	case g.diff && (g.search != "" || g.errors || g.raw || g.follow || g.lines != "" || g.tail != 0):
		return 0, 0, usagef("--diff goes with neither --search, --errors, --raw, --follow, --lines nor --tail")
	case g.against != "" && !g.diff:
		return 0, 0, usagef("--against is about --diff")
	case g.follow && (g.raw || g.search != "" || g.errors || g.lines != ""):
		return 0, 0, usagef("--follow goes with neither --raw, --search, --errors nor --lines")
	}
	if g.lines == "" {
		return 0, 0, nil
	}
	first, last, ranged := strings.Cut(g.lines, ":")
	if from, err = lineNumber(first, 1); err == nil {
		to = from
		if ranged {
			to, err = lineNumber(last, 0)
		}
	}
	if err != nil || to != 0 && to < from {
		return 0, 0, usagef("--lines %q: want FROM:TO, such as 120:140", g.lines)
	}
	return from, to, nil
}

func lineNumber(s string, otherwise int64) (int64, error) {
	if s == "" {
		return otherwise, nil
	}
	n, err := strconv.ParseInt(s, 10, 64)
	if err == nil && n < 1 {
		err = strconv.ErrRange
	}
	return n, err
}

// noticed tells, once, what is to be known of a log that is not in it.
func (g *reading) noticed(notice string) {
	if notice != "" && !g.told {
		g.told = true
		fmt.Fprintln(g.stderr, "piper:", notice)
	}
}

// one shows the output of one step.
func (g *reading) one(ctx context.Context, s *client.Client, ref string, q api.LogQuery) error {
	if g.follow {
		for line, err := range s.Follow(g.patient(ctx), ref, q) {
			if err != nil {
				return err
			}
			if err := g.print(q.Step, "", line); err != nil {
				return err
			}
		}
		return nil
	}
	for {
		log, err := s.Log(ctx, ref, q)
		if err != nil {
			return err
		}
		g.noticed(log.Notice)
		for _, line := range log.Lines {
			if err := g.print(q.Step, "", line); err != nil {
				return err
			}
		}
		if q.Tail > 0 || len(log.Lines) == 0 || q.To > 0 && log.Next > q.To || log.Next > log.Total {
			return nil
		}
		q.From = log.Next
	}
}

// all shows the output of every step that ran.
func (g *reading) all(ctx context.Context, s *client.Client, ref string) error {
	b, err := s.Build(ctx, ref)
	if err != nil {
		return err
	}
	if g.follow {
		return g.app.follow(ctx, s, b, "plain", false)
	}
	width := 0
	for _, step := range b.Steps {
		width = max(width, len(step.Name))
	}
	for _, step := range b.Steps {
		if step.Attempt == 0 {
			continue
		}
		prefix := fmt.Sprintf("%-*s │ ", width, step.Name)
		q := api.LogQuery{Step: step.Name, Tail: int64(g.tail)}
		for {
			log, err := s.Log(ctx, ref, q)
			if err != nil {
				return err
			}
			g.noticed(log.Notice)
			for _, line := range log.Lines {
				if err := g.print(step.Name, prefix, line); err != nil {
					return err
				}
			}
			if q.Tail > 0 || len(log.Lines) == 0 || log.Next > log.Total {
				break
			}
			q.From = log.Next
		}
	}
	if len(b.Steps) == 0 && b.State == build.Queued {
		fmt.Fprintf(g.stderr, "piper: build %d has not begun: piper why %[1]d says why\n", b.Number)
	}
	return nil
}

// print writes a line the way it is safe to show.
func (g *reading) print(step, prefix string, line api.Line) error {
	if g.asJSON {
		return g.encode(struct {
			Step string `json:"step"`
			api.Line
		}{step, line})
	}
	_, err := fmt.Fprintf(g.stdout, "%s%s\n", prefix, logs.Sanitize([]byte(line.Text)))
	return err
}

// encode writes a JSON object on a line.
func (g *reading) encode(v any) error {
	e := json.NewEncoder(g.stdout)
	e.SetEscapeHTML(false)
	return e.Encode(v)
}

// copy writes the output of one step as it is.
func (g *reading) copy(ctx context.Context, s *client.Client, ref string) (err error) {
	in, err := s.RawLog(ctx, ref, api.LogQuery{Step: g.step, Attempt: g.attempt})
	if err != nil {
		return err
	}
	defer in.Close()
	_, err = io.Copy(g.stdout, in)
	return err
}

// exports writes all that a build wrote, and sees that it came whole.
func (g *reading) exports(ctx context.Context, s *client.Client, ref string) error {
	in, err := s.ExportLog(ctx, ref)
	if err != nil {
		return err
	}
	defer in.Close()
	h, sum, err := archive.Check(ctx, io.TeeReader(in, g.stdout))
	if err != nil {
		return fmt.Errorf("export build %s: %w", ref, err)
	}
	fmt.Fprintf(g.stderr, "piper: build %d wrote %s\n", h.Build.Number, sum)
	return nil
}

// find shows the lines that match, and says how many there are.
func (g *reading) find(ctx context.Context, s *client.Client, ref string) error {
	q := api.SearchQuery{Text: g.search, Errors: g.errors, Fold: g.fold, Step: g.step, Attempt: g.attempt, Limit: 1000}
	if g.regex {
		q.Text, q.Regex = "", g.search
	}
	found, err := s.SearchLog(ctx, ref, q)
	if err != nil {
		return err
	}
	for _, hit := range found.Hits {
		if err := g.print(hit.Step, fmt.Sprintf("%s:%d: ", hit.Step, hit.Number), hit.Line); err != nil {
			return err
		}
	}
	switch {
	case !g.errors:
		fmt.Fprintf(g.stderr, "piper: %s in %s", counted(int(found.Matches), "match"), counted(int(found.Lines), "line"))
	case found.Lines == 1:
		fmt.Fprint(g.stderr, "piper: 1 line looks like an error")
	default:
		fmt.Fprintf(g.stderr, "piper: %d lines look like errors", found.Lines)
	}
	if int64(len(found.Hits)) < found.Lines {
		fmt.Fprintf(g.stderr, ", the first %d shown", len(found.Hits))
	}
	fmt.Fprintln(g.stderr)
	if found.Matches == 0 {
		return exitStatus(exitFailed)
	}
	return nil
}

// differences shows what is new in what a build wrote.
func (g *reading) differences(ctx context.Context, s *client.Client, ref string) error {
	diff, err := s.DiffLog(ctx, ref, api.DiffQuery{Against: g.against, Step: g.step, Attempt: g.attempt})
	if err != nil {
		return err
	}
	if g.asJSON {
		return g.encode(diff)
	}
	return g.showDiff(diff)
}

// showDiff prints what is new, and says which steps cannot be held against the base,
// or not in whole.
func (g *reading) showDiff(diff api.LogDiff) error {
	fresh, steps := int64(0), 0
	for _, step := range diff.Steps {
		if step.New == 0 {
			continue
		}
		fresh += step.New
		steps++
		last := int64(0) // the line that was shown before
		for _, hit := range step.Hits {
			for _, around := range []struct {
				mark  string
				lines []api.Line
			}{{"  ", hit.Before}, {"+ ", []api.Line{hit.Line}}, {"  ", hit.After}} {
				for _, line := range around.lines {
					if last > 0 && line.Number > last+1 {
						fmt.Fprintln(g.stdout, "  ...")
					}
					last = line.Number
					if err := g.print(step.Step, fmt.Sprintf("%s%s:%d: ", around.mark, step.Step, line.Number), line); err != nil {
						return err
					}
				}
			}
		}
		if more := step.New - int64(len(step.Hits)); more > 0 {
			fmt.Fprintf(g.stdout, "  ... and %d more of %s\n", more, step.Step)
		}
	}
	fmt.Fprintf(g.stderr, "piper: %s of %s new since build %d\n", counted(int(fresh), "line"), counted(steps, "step"), diff.Base.Number)
	for _, step := range diff.Steps {
		switch {
		case step.Capped && step.New > 0:
			fmt.Fprintf(g.stderr, "piper: %s wrote so much there that its end was not looked at: there may be less that is new\n", step.Step)
		case !step.Base && step.New > 0:
			fmt.Fprintf(g.stderr, "piper: %s wrote nothing there\n", step.Step)
		}
	}
	return nil
}

// mostFound is how many matches are shown of a search over builds.
const mostFound = 1000

// overBuilds is what to look for in all builds.
func (g *reading) overBuilds() (q api.LogsQuery, err error) {
	switch {
	case g.attempt != 0 || g.raw || g.lines != "" || g.tail != 0:
		return q, usagef("--attempt, --raw, --lines and --tail are about one build")
	case g.pipeline != "" && g.project == "":
		return q, usagef("--pipeline is one of a project: --project names it")
	}
	q = api.LogsQuery{Text: g.search, Fold: g.fold, Project: g.project, Pipeline: g.pipeline, Step: g.step}
	if g.regex {
		q.Text, q.Regex = "", g.search
	}
	if g.since != "" {
		q.Since, err = moment(g.since, time.Now())
	}
	return q, err
}

// moment reads a time: how long before now, a day, or a day and time.
func moment(s string, now time.Time) (time.Time, error) {
	if ago, err := time.ParseDuration(s); err == nil && ago >= 0 {
		return now.Add(-ago), nil
	}
	for _, layout := range []string{time.DateOnly, time.DateTime, time.RFC3339} {
		if t, err := time.ParseInLocation(layout, s, time.Local); err == nil {
			return t, nil
		}
	}
	return time.Time{}, usagef("--since %q: want how long ago, such as 72h, or a day, such as 2026-03-01", s)
}

// findAll shows the lines of all builds that match, as they are found.
func (g *reading) findAll(ctx context.Context, s *client.Client, q api.LogsQuery) error {
	var sum api.FoundLogs
	shown, cursor := 0, ""
	for first := true; first || cursor != "" && shown < mostFound; first = false {
		q.Limit = mostFound - shown
		found, next, err := s.SearchLogs(ctx, q, cursor)
		if err != nil {
			return err
		}
		for _, hit := range found.Hits {
			if err := g.printMatch(hit); err != nil {
				return err
			}
		}
		shown += len(found.Hits)
		sum.Matches += found.Matches
		sum.Lines += found.Lines
		if first {
			sum.Index, sum.Total, sum.FellBack = found.Index, found.Total, found.FellBack
		}
		cursor = next
	}
	if sum.FellBack != "" {
		fmt.Fprintf(g.stderr, "piper: the store was read: %s\n", sum.FellBack)
	}
	switch {
	case sum.Total != nil && *sum.Total == 1:
		fmt.Fprintf(g.stderr, "piper: 1 line matches in all, as %s knows", sum.Index)
	case sum.Total != nil:
		fmt.Fprintf(g.stderr, "piper: %d lines match in all, as %s knows", *sum.Total, sum.Index)
		if more := *sum.Total - int64(shown); more > 0 {
			fmt.Fprintf(g.stderr, "; the first %d are shown", shown)
		}
		cursor = ""
	case sum.Index != "":
		fmt.Fprintf(g.stderr, "piper: %s, as %s knows", counted(int(sum.Matches), "match"), sum.Index)
	default:
		fmt.Fprintf(g.stderr, "piper: %s in %s looked at", counted(int(sum.Matches), "match"), counted(int(sum.Lines), "line"))
	}
	if cursor != "" {
		fmt.Fprint(g.stderr, "; there is more to look at: --project, --step or --since narrow it")
	}
	if sum.Index != "" && sum.Matches == 0 {
		fmt.Fprint(g.stderr, "; what was written in the last seconds may not be there yet")
	}
	fmt.Fprintln(g.stderr)
	if sum.Matches == 0 {
		return exitStatus(exitFailed)
	}
	return nil
}

func (g *reading) printMatch(hit api.BuildMatch) error {
	if g.asJSON {
		return g.encode(hit)
	}
	return g.print(hit.Step, fmt.Sprintf("%d %s:%d: ", hit.BuildNumber, hit.Step, hit.Number), hit.Line)
}
