package main

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
	"sync"

	"github.com/piper-build/piper/api"
	"github.com/piper-build/piper/api/client"
	"github.com/piper-build/piper/cmd/piper/progress"
	"github.com/piper-build/piper/runtime/build"
	"github.com/piper-build/piper/runtime/placement"
	"github.com/piper-build/piper/runtime/plan"
)

func (a *app) watchCommand() *command {
	c := a.newCommand("watch", "BUILD [flags]")
	c.ShortHelp = "Show a build while it runs, as piper exec would, and exit as it ends."
	c.LongHelp = `BUILD is a number or an id. Ctrl-C ends the watching, not the build.`
	c.examples = `
piper watch 41
piper watch 41 --progress=plain
`
	r := c.asksServer()
	var mode string
	c.choice(&mode, "progress", "auto", "how to show it: `MODE` is "+strings.Join(progress.Modes(), ", "), progress.Modes()...)
	asJSON := c.FlagSet.Bool("json", false, "print the build as a JSON object when it has ended")
	c.max, c.args = 1, buildWords
	c.Exec = func(ctx context.Context, args []string) error {
		ref, err := buildArg(c, args)
		if err != nil {
			return err
		}
		return a.ask(ctx, r, func(s *client.Client) error {
			b, err := s.Build(ctx, ref)
			if client.Away(err) {
				b, err = client.Insist(a.patient(ctx), func() (api.Build, error) { return s.Build(ctx, ref) })
			}
			if err != nil {
				return err
			}
			return a.follow(ctx, s, b, mode, *asJSON)
		})
	}
	return c
}

// patient has what is tried again be told of, once for each outage.
func (a *app) patient(ctx context.Context) context.Context {
	said := false
	return client.WithRetrying(ctx, func(err error) {
		if err != nil && !said {
			fmt.Fprintf(a.stderr, "piper: %v: it is waited for\n", err)
		}
		said = err != nil
	})
}

// buildArg is the build that the one argument of c names.
func buildArg(c *command, args []string) (string, error) {
	if len(args) == 0 {
		return "", &usageError{message: fmt.Sprintf("piper %s needs the number of a build", c.Name), hint: `"piper builds" lists them`}
	}
	return strings.TrimPrefix(args[0], "#"), nil
}

// follow shows a build until it has ended. The error is its exit status.
func (a *app) follow(ctx context.Context, s *client.Client, b api.Build, mode string, asJSON bool) error {
	ctx, signals := catch(ctx)
	defer signals.stop()
	w := &watching{app: a, api: s, ref: string(b.ID), mode: mode}
	err := w.run(ctx, b)
	w.end()
	if ctx.Err() != nil {
		fmt.Fprintf(a.stderr, "piper: build %d goes on: piper watch %[1]d shows it, piper cancel %[1]d ends it\n", b.Number)
		return exitStatus(signals.exitCode())
	}
	if err != nil {
		return err
	}
	if b, err = client.Insist(ctx, func() (api.Build, error) { return s.Build(ctx, w.ref) }); err != nil {
		return err
	}
	if asJSON {
		if err := a.printJSON(b); err != nil {
			return err
		}
	}
	return a.ended(b, w.fold != nil && ended(w.fold.State()))
}

// ended turns how a build ended into an exit status, and says why unless that
// was shown: what ends before its first step, or with its agent, ends without an
// event.
func (a *app) ended(b api.Build, shown bool) error {
	switch b.State {
	case build.Success:
		return nil
	case build.Rejected:
		if len(b.Diagnostics) > 0 {
			return b.Diagnostics
		}
		fmt.Fprintf(a.stderr, "piper: build %d was rejected: %s\n", b.Number, b.Reason)
		return exitStatus(exitUsage)
	case build.TimedOut:
		return exitStatus(exitTimedOut)
	case build.Lost:
		fmt.Fprintf(a.stderr, "piper: build %d was lost: %s\n", b.Number, b.Reason)
		return exitStatus(exitInfra)
	}
	if !shown {
		fmt.Fprintf(a.stderr, "piper: build %d %s: %s\n", b.Number, b.State, cmp.Or(b.Reason, "it never ran"))
	}
	return exitStatus(exitFailed)
}

// A watching is a build that is being shown.
type watching struct {
	*app
	api  *client.Client
	ref  string
	mode string

	fence   int64            // under which what is shown happens
	fold    *build.Build     // of its events; nil before there is a plan
	display progress.Display // that shows it

	logs sync.WaitGroup                // of the steps that run
	over map[stepAttempt]chan struct{} // closed once the output of one was shown
}

type stepAttempt struct {
	node    string
	attempt int
}

// run shows b until it has ended.
func (w *watching) run(ctx context.Context, b api.Build) error {
	said := ""
	for message, err := range w.api.Watch(ctx, "", "build:"+w.ref) {
		if err != nil {
			return err
		}
		switch message.Kind {
		case api.MessageBuild:
			var now api.Build
			if err := json.Unmarshal(message.Data, &now); err != nil {
				return err
			}
			b = now
			if b.State == build.Queued {
				if why, err := w.api.Why(ctx, w.ref, ""); err == nil && waits(why) && why.Summary != said {
					said = why.Summary
					fmt.Fprintf(w.stderr, "piper: build %d waits: %s\n", b.Number, strings.TrimSuffix(said+"; "+why.Nearest, "; "))
				}
			}
		case api.MessageEvent:
			if known, err := w.next(ctx, message); known || err != nil {
				if err != nil {
					return err
				}
				continue
			}
		case api.MessageReset:
			if b, err = client.Insist(ctx, func() (api.Build, error) { return w.api.Build(ctx, w.ref) }); err != nil {
				return err
			}
		}
		if err := w.catchUp(ctx, b); err != nil {
			return err
		}
		if ended(b.State) { // and there are no more events: they come first
			return nil
		}
	}
	return ctx.Err()
}

// next shows the event of a message if it follows what was shown, and reports
// whether nothing has to be asked for.
func (w *watching) next(ctx context.Context, m api.Message) (known bool, err error) {
	var ev api.BuildEvent
	if err := json.Unmarshal(m.Data, &ev); err != nil {
		return false, err
	}
	if w.fold == nil || ev.Fence != w.fence || ev.Seq > w.fold.Seq()+1 {
		return false, nil
	}
	if ev.Seq == w.fold.Seq()+1 {
		err = w.show(ctx, ev.Event)
	}
	return true, err
}

// waits reports whether there is more to a build in the queue than that an agent
// is about to take it, or has.
func waits(why api.Why) bool {
	return why.State == build.Queued && (len(why.Queue) > 0 || !slices.ContainsFunc(why.Agents, func(a placement.Candidate) bool { return a.Eligible && len(a.Reasons) == 0 }))
}

func ended(s build.State) bool { return s != build.Queued && s != build.Running }

// catchUp shows the events that were not shown.
func (w *watching) catchUp(ctx context.Context, b api.Build) error {
	if w.fold == nil || b.Fence != w.fence { // the newest may have ended already
		first, err := w.events(ctx, 0, 0, 1)
		if err != nil {
			return err
		}
		if len(first) > 0 && first[0].Fence != w.fence {
			if w.fold != nil {
				w.end()
				fmt.Fprintf(w.stderr, "piper: build %d was lost with its agent, and runs again\n", b.Number)
			}
			if err := w.begin(ctx, b.Number, first[0].Fence); err != nil {
				return err
			}
		}
	}
	if w.fold == nil {
		return nil
	}
	for {
		const page = 1000
		events, err := w.events(ctx, w.fence, w.fold.Seq(), page)
		if err != nil {
			return err
		}
		for _, ev := range events {
			if err := w.show(ctx, ev.Event); err != nil {
				return err
			}
		}
		if len(events) < page {
			return nil
		}
	}
}

func (w *watching) events(ctx context.Context, fence, after int64, limit int) ([]api.BuildEvent, error) {
	return client.Insist(ctx, func() ([]api.BuildEvent, error) { return w.api.Events(ctx, w.ref, fence, after, limit) })
}

// begin begins to show what happens under a fence.
func (w *watching) begin(ctx context.Context, number, fence int64) error {
	p, err := client.Insist(ctx, func() (*plan.Plan, error) { return w.api.Plan(ctx, w.ref) })
	if err != nil {
		return err
	}
	w.display, err = progress.New(w.mode, progress.Options{
		Out: w.stderr, Results: w.stdout, Color: w.colored(w.stderr), Getenv: w.env, Version: piperVersion(), File: pipelineFile,
		Rerun: func(p *plan.Plan, node *plan.Node) string {
			return fmt.Sprintf("piper rerun %d --from %s", number, quoted(node.Name))
		},
	})
	if err != nil {
		return err
	}
	w.fence, w.fold, w.over = fence, build.New(p), map[stepAttempt]chan struct{}{}
	w.display.Begin(p, w.fold)
	return nil
}

// show shows one event, and what the step that it begins writes.
func (w *watching) show(ctx context.Context, ev build.Event) error {
	if err := w.fold.Apply(ev); err != nil {
		return fmt.Errorf("show build %s: %w", w.ref, err)
	}
	key := stepAttempt{ev.Node, ev.Attempt}
	if ev.Kind == build.AttemptEnded {
		if over := w.over[key]; over != nil {
			<-over // all of its output comes first
		}
	}
	w.display.Event(ev, w.fold)
	if ev.Kind != build.AttemptStarted {
		return nil
	}
	i, _ := w.fold.Lookup(ev.Node)
	node := &w.fold.Plan().Nodes[i]
	if node.Step == nil {
		return nil
	}
	over := make(chan struct{})
	w.over[key] = over
	display, fence := w.display, w.fence
	w.logs.Go(func() {
		defer close(over)
		for line, err := range w.api.Follow(ctx, w.ref, api.LogQuery{Step: ev.Node, Attempt: ev.Attempt, Fence: fence}) {
			if err != nil {
				if ctx.Err() == nil && !errors.As(err, new(*api.Problem)) {
					fmt.Fprintf(w.stderr, "piper: the output of %s: %v\n", ev.Node, err)
				}
				return
			}
			display.Output(node, ev.Attempt, line.Time, lineBytes(line))
		}
	})
	return nil
}

// lineBytes is a line, or a piece of one, as a step wrote it.
func lineBytes(line api.Line) []byte {
	if line.Partial {
		return []byte(line.Text)
	}
	return append([]byte(line.Text), '\n')
}

// end ends what is shown.
func (w *watching) end() {
	w.logs.Wait()
	if w.display != nil {
		w.display.End(w.fold)
		w.display = nil
	}
}

// buildWords offers the newest builds, and then the steps of one.
func buildWords(ctx context.Context, l *line) []candidate {
	switch {
	case len(l.args) >= l.command.max:
		return nil
	case len(l.args) > 0:
		return buildSteps(ctx, l)
	}
	var found []candidate
	l.askQuietly(ctx, func(s *client.Client) error {
		page, _, err := s.Builds(ctx, api.BuildFilter{}, "", 50)
		for _, b := range page {
			found = append(found, candidate{strconv.FormatInt(b.Number, 10), fmt.Sprintf("%s %s, %s", b.Project, pipelineOf(b), b.State)})
		}
		return err
	})
	return found
}

// builtWords offers a word of each of the newest builds of the project that was
// named, or of any.
func builtWords(word func(api.Build) string) lister {
	return func(ctx context.Context, l *line) (found []candidate) {
		l.askQuietly(ctx, func(s *client.Client) error {
			page, _, err := s.Builds(ctx, api.BuildFilter{Project: l.value("project")}, "", 200)
			for _, b := range page {
				if c := (candidate{value: word(b)}); c.value != "" && !slices.Contains(found, c) {
					found = append(found, c)
				}
			}
			return err
		})
		return found
	}
}

// approvalWords offers builds, and then the nodes of one that wait for a person.
func approvalWords(ctx context.Context, l *line) (found []candidate) {
	if len(l.args) != 1 {
		return buildWords(ctx, l)
	}
	for _, p := range l.theBuild(ctx).Approvals {
		if p.State == api.ApprovalWaiting {
			found = append(found, candidate{p.Node, p.Prompt})
		}
	}
	return found
}

// theBuild is the build that was named.
func (l *line) theBuild(ctx context.Context) (b api.Build) {
	if len(l.args) > 0 {
		l.askQuietly(ctx, func(s *client.Client) (err error) {
			b, err = s.Build(ctx, strings.TrimPrefix(l.args[0], "#"))
			return err
		})
	}
	return b
}

// buildSteps offers the steps of the build that was named.
func buildSteps(ctx context.Context, l *line) []candidate {
	var found []candidate
	for _, s := range l.theBuild(ctx).Steps {
		found = append(found, candidate{s.Name, string(s.State)})
	}
	return l.listed(found)
}

// buildParams offers the parameters that the build that was named was given.
func buildParams(ctx context.Context, l *line) []candidate {
	var found []candidate
	params := l.theBuild(ctx).Params
	for _, name := range slices.Sorted(maps.Keys(params)) {
		found = append(found, candidate{name + "=", fmt.Sprint(params[name])})
	}
	return found
}

// askQuietly asks whom the flags typed so far name. What goes wrong is nobody's
// business.
func (l *line) askQuietly(ctx context.Context, do func(*client.Client) error) {
	if l.configure(l.command) != nil {
		return
	}
	where := &place{app: l.app, url: l.value("store"), passwordFile: l.value("store-password-file")}
	l.ask(ctx, &remote{server: l.value("server"), tokenFile: l.value("token-file"), store: where}, do)
}
