package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"slices"
	"strings"

	"github.com/rogpeppe/go-internal/diff"

	"github.com/piper-build/piper/runtime/git"
	"github.com/piper-build/piper/runtime/plan"
	"github.com/piper-build/piper/starlark"
)

// A planDiff is a plan held against that of another commit. All but the files
// is the same for both: parameters, event, environment, and what git says.
type planDiff struct {
	Revision string `json:"revision"` // as it was given
	Commit   string `json:"commit"`   // that it names
	Note     string `json:"note,omitempty"`
	plan.Diff
}

// diffPlans evaluates the pipeline that args name in the working tree and in the
// tree of a revision.
func (a *app) diffPlans(ctx context.Context, p *project, q *question, args []string, rev string) (*planDiff, error) {
	if p.repo == nil {
		return nil, usagef("--diff %s: %s is in no git repository", rev, p.root)
	}
	r, err := a.request(p, q)
	if err != nil {
		return nil, err
	}
	if len(args) > 0 {
		r.Pipeline = args[0]
	}
	if len(args) > 1 {
		r.Environment = args[1]
	}
	tree, err := p.repo.Revision(rev)
	if err != nil {
		wrong := &usageError{message: "--diff: " + err.Error()}
		var advised interface{ Hint() string }
		if errors.As(err, &advised) {
			wrong.hint = advised.Hint()
		}
		return nil, wrong
	}
	d := &planDiff{Revision: rev, Commit: tree.Commit()}

	after, err := a.evaluate(ctx, r)
	gone := err
	switch {
	case err == nil:
		r.Pipeline = after.Plan.Pipeline
	case r.Pipeline == "" || !unknownPipeline(err):
		return nil, err
	}
	before, note, err := a.planAt(ctx, r, tree, rev)
	switch {
	case gone != nil && (err != nil || before.Plan == nil):
		return nil, gone // neither side has it
	case gone != nil:
		note = "the working tree has no pipeline " + r.Pipeline
	case err != nil:
		return nil, err
	}
	d.Note, d.Diff = note, plan.Compare(before.Plan, after.Plan)
	if before.Plan != nil && after.Plan != nil {
		d.Starts(starts(before.Catalog, r.Pipeline), starts(after.Catalog, r.Pipeline))
	}
	return d, nil
}

// starts returns the events that start a pipeline.
func starts(c plan.Catalog, name string) []plan.On {
	i := slices.IndexFunc(c.Pipelines, func(p plan.Pipeline) bool { return p.Name == name })
	if i < 0 {
		return nil // one that main(ctx) is
	}
	return c.Pipelines[i].On
}

func unknownPipeline(err error) bool {
	var wrong plan.Diagnostics
	return errors.As(err, &wrong) && wrong[0].Code == "unknown-pipeline"
}

// planAt evaluates a revision; it gives no plan, but a note, when there is none
// to have. Parameters that its pipeline did not have yet are left out.
func (a *app) planAt(ctx context.Context, r starlark.Request, tree *git.Revision, rev string) (result starlark.Result, note string, err error) {
	switch file, err := tree.Open(r.File); {
	case errors.Is(err, fs.ErrNotExist):
		return result, fmt.Sprintf("%s has no %s", rev, r.File), nil
	case err == nil:
		file.Close()
	}
	r.Tree, r.Print = tree, nil // what it prints is that of the working tree, or of no interest
	if len(r.Params) > 0 {
		all := r
		all.CatalogOnly, all.Params, all.Pipeline = true, nil, ""
		result, err = a.evaluator()(ctx, all)
		known := map[string]string{}
		for _, p := range result.Catalog.Pipelines {
			for _, param := range p.Params {
				if value, given := r.Params[param.Name]; given && p.Name == r.Pipeline {
					known[param.Name] = value
				}
			}
		}
		r.Params = known
	}
	if err == nil {
		result, err = a.evaluator()(ctx, r)
	}
	var wrong plan.Diagnostics
	switch {
	case unknownPipeline(err):
		return starlark.Result{}, fmt.Sprintf("%s has no pipeline %s", rev, r.Pipeline), nil
	case errors.As(err, &wrong):
		return result, "", atRevision(wrong, rev)
	case err != nil:
		return result, "", fmt.Errorf("%s: %w", rev, err)
	}
	return result, "", nil
}

// atRevision says of diagnostics that they are about files of a revision, as
// git writes that: "main:PIPER.star".
func atRevision(wrong plan.Diagnostics, rev string) plan.Diagnostics {
	wrong = slices.Clone(wrong)
	for i := range wrong {
		wrong[i].File = rev + ":" + wrong[i].File
		wrong[i].Stack = slices.Clone(wrong[i].Stack)
		for j := range wrong[i].Stack {
			wrong[i].Stack[j].Pos.File = rev + ":" + wrong[i].Stack[j].Pos.File
		}
	}
	return wrong
}

// writeDiff shows d: what is gained with a plus, what is lost with a minus, what
// has changed with a tilde.
func (a *app) writeDiff(to io.Writer, d *planDiff) error {
	w := newDiffWriter(a, to)
	fmt.Fprintf(w, "pipeline %s: %s (%.12s) and the working tree\n", d.Pipeline, d.Revision, d.Commit)
	if d.Note != "" {
		fmt.Fprintf(w, "%s\n", d.Note)
	}
	w.diff(d.Diff)
	return w.Flush()
}

type diffWriter struct {
	*bufio.Writer
	colored bool
}

func newDiffWriter(a *app, to io.Writer) *diffWriter {
	return &diffWriter{Writer: bufio.NewWriter(to), colored: a.colored(to)}
}

// diff writes what is not the same.
func (w *diffWriter) diff(d plan.Diff) {
	count := map[string]int{}
	for _, c := range d.Changes {
		count[c.Change]++
		w.change(c)
	}
	switch {
	case len(d.Changes) > 0:
		fmt.Fprintf(w, "\n%d gained, %d lost, %d changed\n", count["gained"], count["lost"], count["changed"])
	case d.Old == d.New:
		fmt.Fprintf(w, "no difference, %s\n", d.New)
	default:
		fmt.Fprintln(w, "no difference in what is done, only in what was read and where it is written")
	}
}

// line writes a line that begins with a sign.
func (w *diffWriter) line(indent, sign, text string) {
	if w.colored {
		color := map[string]string{"+": "32", "-": "31", "~": "33"}[sign]
		fmt.Fprintf(w, "%s\x1b[%sm%s %s\x1b[0m\n", indent, color, sign, text)
		return
	}
	fmt.Fprintf(w, "%s%s %s\n", indent, sign, text)
}

func (w *diffWriter) change(c plan.Change) {
	sign := map[string]string{"gained": "+", "lost": "-", "changed": "~"}[c.Change]
	title := c.Kind + " " + c.Name
	if c.Change == "changed" {
		w.line("", sign, title)
		w.fields(c.Fields)
		return
	}
	// What it is for stands beside its name; of what is lost that is enough.
	main := slices.IndexFunc(c.Fields, func(f plan.Field) bool {
		return slices.Contains([]string{"run", "pipeline", "prompt", "after", "kind", "value", "members"}, f.Name)
	})
	fields := c.Fields
	if main >= 0 {
		f := fields[main]
		text := fieldText(f.New)
		if c.Change == "lost" {
			text = fieldText(f.Old)
		}
		title += "  " + shortened(text, 60)
		fields = slices.Delete(slices.Clone(fields), main, main+1)
	}
	if c.Like != "" {
		title += fmt.Sprintf("  (the command of %s, which is lost: renamed?)", c.Like)
	}
	w.line("", sign, title)
	if c.Change == "gained" {
		w.fields(fields)
	}
}

// fields writes what has become of the parts of something, in columns.
func (w *diffWriter) fields(fields []plan.Field) {
	width := 0
	for _, f := range fields {
		width = max(width, len(f.Name))
	}
	for _, f := range fields {
		name := fmt.Sprintf("%-*s  ", width, f.Name)
		old, oldList := f.Old.([]any)
		new, newList := f.New.([]any)
		before, after := fieldText(f.Old), fieldText(f.New)
		switch {
		case (oldList || f.Old == nil) && (newList || f.New == nil) && f.Name != "run":
			left, came := without(old, new), without(new, old)
			for _, v := range left {
				w.line("    ", "-", name+fieldText(v))
			}
			for _, v := range came {
				w.line("    ", "+", name+fieldText(v))
			}
			if len(left)+len(came) == 0 {
				w.line("    ", "~", name+before+" → "+after)
			}
		case strings.Contains(before+after, "\n"):
			w.line("    ", "~", f.Name)
			w.script(before, after)
		case f.Old == nil:
			w.line("    ", "+", name+after)
		case f.New == nil:
			w.line("    ", "-", name+before)
		default:
			w.line("    ", "~", name+before+" → "+after)
		}
	}
}

// script writes what has become of a text of several lines.
func (w *diffWriter) script(before, after string) {
	lines := strings.Split(string(diff.Diff("", []byte(strings.Trim(before, "\n")+"\n"), "", []byte(strings.Trim(after, "\n")+"\n"))), "\n")
	for _, line := range lines[min(3, len(lines)):] { // behind the names of files
		switch {
		case strings.HasPrefix(line, "+"), strings.HasPrefix(line, "-"):
			w.line("        ", line[:1], line[1:])
		case strings.HasPrefix(line, " "):
			fmt.Fprintf(w, "        %s\n", strings.TrimRight(" "+line, " "))
		}
	}
}

// without returns the members of a that b does not have.
func without(a, b []any) []any {
	has := map[string]bool{}
	for _, v := range b {
		has[fieldText(v)] = true
	}
	return slices.DeleteFunc(slices.Clone(a), func(v any) bool { return has[fieldText(v)] })
}

// fieldText is a value of a plan's JSON for people.
func fieldText(v any) string {
	switch v := v.(type) {
	case nil:
		return ""
	case string:
		return v
	case []any:
		words := make([]string, len(v))
		for i, member := range v {
			words[i] = quoted(fieldText(member))
		}
		return strings.Join(words, " ")
	case map[string]any:
		if op, ok := v["op"].(string); ok {
			return requirementText(op, v)
		}
		if name, ok := v["secret"].(string); ok {
			return "<secret " + name + ">"
		}
		if output, ok := v["output"].(map[string]any); ok {
			return fmt.Sprintf("<%v of %v>", output["key"], output["step"])
		}
		var words []string // as on.push: its kind, and what else it says
		for _, name := range slices.Sorted(maps.Keys(v)) {
			if name == "kind" {
				words = slices.Insert(words, 0, fieldText(v[name]))
			} else {
				words = append(words, name+"="+fieldText(v[name]))
			}
		}
		return strings.Join(words, " ")
	}
	return fmt.Sprint(v)
}

// requirementText is a requirement as a PIPER.star writes it, without its
// reason: at_least(tools.go, 1.26).
func requirementText(op string, v map[string]any) string {
	var words []string
	if key, ok := v["key"].(string); ok {
		words = append(words, key)
	}
	for _, part := range []string{"values", "of"} {
		members, _ := v[part].([]any)
		for _, member := range members {
			words = append(words, fieldText(member))
		}
	}
	return op + "(" + strings.Join(words, ", ") + ")"
}
