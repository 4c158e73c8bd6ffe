package main

import (
	"context"
	"flag"
	"fmt"
	"io"
	"slices"
	"strings"

	"github.com/piper-build/piper/api/client"
	"github.com/piper-build/piper/runtime/plan"
)

// A lister says what may stand where the cursor is.
type lister func(ctx context.Context, l *line) []candidate

// A candidate is one answer of a lister.
type candidate struct{ value, doc string }

// A line is a command line as far as it has been typed.
type line struct {
	*app
	command   *command
	args      []string // arguments before the word
	word      string   // what there is of the word at the cursor
	directive int
}

// What a shell is to do with the candidates, as Cobra's protocol numbers it.
const (
	noSpace         = 2
	noFiles         = 4
	onlyDirectories = 16
)

// completeCommand answers the completion scripts, in Cobra's protocol: its
// arguments are the words after "piper" up to the cursor, the last of which
// may be empty. It prints a line for each candidate, with its doc after a tab,
// and then a colon and what to do with them. Whatever goes wrong, it is silent.
func (a *app) completeCommand() *command {
	c := a.newCommand("__complete", "words...")
	c.ShortHelp = "Answer a shell's completion script."
	c.max, c.raw = -1, true
	c.Exec = func(ctx context.Context, args []string) error {
		ctx, cancel := context.WithTimeout(ctx, a.patience)
		defer cancel()
		if len(args) == 0 {
			args = []string{""}
		}
		quiet := *a
		quiet.stderr = io.Discard
		l := &line{app: &quiet, word: args[len(args)-1], directive: noFiles}
		for _, found := range l.complete(ctx, args[:len(args)-1]) {
			if !strings.HasPrefix(found.value, l.word) {
				continue
			}
			if strings.HasSuffix(found.value, "=") {
				l.directive |= noSpace
			}
			fmt.Fprint(a.stdout, found.value)
			if doc := firstLine(found.doc); doc != "" {
				fmt.Fprint(a.stdout, "\t", doc)
			}
			fmt.Fprintln(a.stdout)
		}
		fmt.Fprintf(a.stdout, ":%d\n", l.directive)
		return nil
	}
	return c
}

// complete finds the candidates for the word after before.
func (l *line) complete(ctx context.Context, before []string) []candidate {
	name, rest, err := splitCommand(before)
	typed := err == nil && len(rest) < len(before)
	if !typed {
		// No command yet: what stands here are flags that every command has.
		l.command, rest = l.newCommand("", ""), before
		l.command.args = commandWords
		l.command.FlagSet.Bool("version", false, "print the version")
	} else {
		entry, ok := lookup(name)
		if !ok || entry.summary == "" {
			return nil
		}
		l.command = entry.make(l.app)
	}
	if waiting := l.read(rest); waiting != nil {
		return l.flagValues(ctx, waiting)
	}
	if name, value, ok := strings.Cut(l.word, "="); ok && strings.HasPrefix(name, "--") {
		l.word = value
		if f := l.command.FlagSet.Lookup(name[2:]); f != nil {
			return l.flagValues(ctx, f)
		}
		return nil
	}
	if strings.HasPrefix(l.word, "-") {
		return l.flags()
	}
	if l.command.args == nil {
		return nil
	}
	return l.command.args(ctx, l)
}

// read takes in the words before the cursor, as well as they can be
// understood, and returns the flag that waits for its value, if one does.
func (l *line) read(before []string) (waiting *flag.Flag) {
	for _, word := range before {
		switch {
		case waiting != nil:
			l.command.FlagSet.Set(waiting.Name, word)
			waiting = nil
		case strings.HasPrefix(word, "--"):
			name, value, hasValue := strings.Cut(word[2:], "=")
			f := l.command.FlagSet.Lookup(name)
			switch {
			case f == nil:
			case hasValue:
				l.command.FlagSet.Set(name, value)
			case !isBool(f):
				waiting = f
			}
		case strings.HasPrefix(word, "-") && len(word) > 1:
			f := l.command.short(word[1:2])
			switch {
			case f == nil || isBool(f):
			case len(word) > 2:
				l.command.FlagSet.Set(f.Name, strings.TrimPrefix(word[2:], "="))
			default:
				waiting = f
			}
		default:
			l.args = append(l.args, word)
		}
	}
	return waiting
}

// flags offers the flags of the command, its own first.
func (l *line) flags() []candidate {
	var own, every []candidate
	l.command.FlagSet.VisitAll(func(f *flag.Flag) {
		_, usage := flag.UnquoteUsage(f)
		if c := (candidate{dashes(f.Name), usage}); global(f.Name) {
			every = append(every, c)
		} else {
			own = append(own, c)
		}
	})
	return append(own, every...)
}

func (l *line) flagValues(ctx context.Context, f *flag.Flag) []candidate {
	if list := l.command.lists[f.Name]; list != nil {
		return list(ctx, l)
	}
	return nil
}

// words is a lister of fixed words, for the first argument or a flag.
func words(all ...string) lister {
	return func(ctx context.Context, l *line) []candidate {
		var found []candidate
		for _, w := range all {
			found = append(found, candidate{value: w})
		}
		return found
	}
}

// files leaves it to the shell to offer files.
func files(ctx context.Context, l *line) []candidate {
	l.directive = 0
	return nil
}

// directories leaves it to the shell to offer directories.
func directories(ctx context.Context, l *line) []candidate {
	l.directive = onlyDirectories
	return nil
}

// commandWords offers the commands.
func commandWords(ctx context.Context, l *line) []candidate {
	var found []candidate
	for _, e := range commands() {
		if e.summary != "" && len(l.args) == 0 {
			found = append(found, candidate{e.name, e.summary})
		}
	}
	return found
}

// builtinWords offers the words of the language.
func builtinWords(ctx context.Context, l *line) []candidate {
	var found []candidate
	if len(l.args) > 0 {
		return nil
	}
	for _, name := range builtinNames() {
		doc := ""
		if picked := pickBuiltins(name); len(picked) == 1 {
			doc = picked[0].Summary()
		}
		found = append(found, candidate{name, doc})
	}
	return found
}

// question returns what the flags typed so far say about evaluating.
func (l *line) question() *question {
	q := &question{}
	if f := l.command.FlagSet.Lookup("file"); f != nil {
		q.file = f.Value.String()
	}
	if f := l.command.FlagSet.Lookup("param"); f != nil {
		q.params = *f.Value.(*listValue).p
	}
	return q
}

// value is that of a flag, as far as it has been typed; "" when the command has no
// such flag.
func (l *line) value(name string) string {
	if f := l.command.FlagSet.Lookup(name); f != nil {
		return f.Value.String()
	}
	return ""
}

// catalog asks the server, for a command about its projects, and evaluates the
// file where the settings say when there is none, or it does not answer soon.
func (l *line) catalog(ctx context.Context) (plan.Catalog, error) {
	if err := l.configure(l.command); err != nil {
		return plan.Catalog{}, err
	}
	named := l.value("project")
	if l.command.FlagSet.Lookup("project") != nil && l.value("server") != "" {
		if c, ok := l.serverCatalog(ctx, named); ok {
			return c, nil
		}
	}
	here, err := l.app.catalog(ctx, l.question())
	if err == nil && named != "" && named != here.Project.Name {
		err = fmt.Errorf("the project here is not %s", named)
	}
	return here, err
}

// serverCatalog is what a project registers at the server, at the ref that was
// typed. It takes half the patience that there is.
func (l *line) serverCatalog(ctx context.Context, project string) (c plan.Catalog, ok bool) {
	ctx, cancel := context.WithTimeout(ctx, l.patience/2)
	defer cancel()
	l.askQuietly(ctx, func(s *client.Client) error {
		name, err := l.projectOf(ctx, s, project)
		if err != nil {
			return err
		}
		all, err := s.Pipelines(ctx, name, l.value("ref"))
		c, ok = all.Catalog, err == nil
		return err
	})
	return c, ok
}

// pipelineWords offers the pipelines, and for the second argument the
// environments.
func pipelineWords(ctx context.Context, l *line) []candidate {
	if len(l.args) >= l.command.max {
		return nil
	}
	catalog, err := l.catalog(ctx)
	if err != nil {
		return nil
	}
	var found []candidate
	if len(l.args) == 1 {
		for _, e := range catalog.Environments {
			found = append(found, candidate{e.Name, e.Doc})
		}
		return append(found, candidate{"local", "the environment that the pipeline names"})
	}
	for _, p := range catalog.Pipelines {
		found = append(found, candidate{p.Name, p.Doc})
	}
	return found
}

// branchWords offers the branches of the repository.
func branchWords(ctx context.Context, l *line) []candidate {
	project, err := l.openProject(ctx, l.question().file)
	if err != nil || project.repo == nil {
		return nil
	}
	branches, _ := project.repo.Branches()
	return words(branches...)(ctx, l)
}

// paramWords offers NAME= and then the values that a parameter can have.
func paramWords(ctx context.Context, l *line) []candidate {
	catalog, err := l.catalog(ctx)
	if err != nil {
		return nil
	}
	var found []candidate
	for _, p := range catalog.Pipelines {
		if p.Name != pipelineName(catalog, l.args) {
			continue
		}
		for _, param := range p.Params {
			if !strings.HasPrefix(l.word, param.Name+"=") {
				found = append(found, candidate{param.Name + "=", param.Doc})
				continue
			}
			for _, value := range paramValues(param) {
				found = append(found, candidate{value: param.Name + "=" + value})
			}
		}
	}
	return found
}

// pipelineName is the pipeline that args name, or the one that is meant when
// they name none.
func pipelineName(catalog plan.Catalog, args []string) string {
	switch {
	case len(args) > 0:
		return args[0]
	case len(catalog.Pipelines) == 1:
		return catalog.Pipelines[0].Name
	}
	return "build"
}

// paramValues returns values that p can have, as far as they can be listed.
func paramValues(p plan.Param) []string {
	switch {
	case len(p.Choices) > 0:
		return p.Choices
	case p.Type == "bool":
		return []string{"true", "false"}
	case p.Default != nil:
		return []string{plan.FormatParam(p.Default)}
	}
	return nil
}

// stepWords offers the steps of the pipeline, also after a comma.
func stepWords(ctx context.Context, l *line) []candidate {
	project, err := l.openProject(ctx, l.question().file)
	if err != nil || l.configure(l.command) != nil {
		return nil
	}
	p, err := l.plan(ctx, project, l.question(), l.args)
	if err != nil {
		return nil
	}
	var found []candidate
	for _, name := range stepNames(p) {
		c := candidate{value: name}
		if i := slices.IndexFunc(p.Nodes, func(n plan.Node) bool { return n.Name == name }); i >= 0 && p.Nodes[i].Step != nil {
			c.doc = p.Nodes[i].Step.Doc
		}
		found = append(found, c)
	}
	return l.listed(found)
}

// listed offers candidates after a comma, too, each once.
func (l *line) listed(all []candidate) (found []candidate) {
	before := l.word[:strings.LastIndex(l.word, ",")+1]
	given := strings.Split(before, ",")
	for _, c := range all {
		if !slices.Contains(given, c.value) {
			found = append(found, candidate{before + c.value, c.doc})
		}
	}
	return found
}
