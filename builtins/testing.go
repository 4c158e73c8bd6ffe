package builtins

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"slices"
	"strings"
	"time"

	"go.starlark.net/starlark"

	"github.com/piper-build/piper/runtime/build"
	"github.com/piper-build/piper/runtime/plan"
	"github.com/piper-build/piper/runtime/simulate"
)

// The words of t, which a test function is given.

// A Bench is what one test works with: a tree of its own, and who evaluates and
// simulates. Its methods are called by the goroutine of the test.
//
// An error that is a *Rejection, or one of package simulate's, is the test's to
// expect; any other is the machine's and says so.
type Bench interface {
	// Plan evaluates a pipeline.
	Plan(context.Context, Asked) (*plan.Plan, error)
	// Simulate evaluates a pipeline and simulates a build of it. Meets and
	// Expand of the options are the bench's to set.
	Simulate(context.Context, Asked, World) (*simulate.Result, error)
	// Files lays files over the tree; nil takes one away.
	Files(map[string]*string)
	// Golden returns what is kept under a name: got itself, when what is kept
	// is to be renewed. The error says that there is nothing.
	Golden(name, got string) (want string, err error)
}

// An Asked is a pipeline that a test asks for.
type Asked struct {
	Pipeline    string
	Params      map[string]string
	Event       plan.Event
	Changed     []string // files, when the event has a base
	Environment string
	Environ     map[string]string
	File        string
}

// A World is what a simulation runs in.
type World struct {
	simulate.Options
	Facts map[string]string // nil meets every requirement
}

// A Rejection is the error of a bench that was asked for what cannot be
// planned.
type Rejection struct{ Found plan.Diagnostics }

func (r *Rejection) Error() string { return "the pipeline cannot be planned" }

// T returns what a test function is given.
func (e *Evaluation) T() starlark.Value { return e.t }

// The parameters of t.plan, in the table's order, and those that t.simulate has
// beside them.
const (
	askPipeline = iota
	askParams
	askEvent
	askEnvironment
	askEnviron
	askFile
	simulateOutcomes
	simulateSecrets
	simulateFacts
	simulateSlots
	simulateCancel
)

// asked reads what t.plan and t.simulate have in common.
func (c *call) asked() Asked {
	a := Asked{
		Pipeline:    c.str(askPipeline),
		Params:      c.texts(askParams),
		Environment: c.str(askEnvironment),
		Environ:     c.texts(askEnviron),
		File:        c.str(askFile),
	}
	event, ok := c.args[askEvent].(*eventValue)
	switch {
	case ok:
		a.Event, a.Changed = event.Event, event.changed
	case c.given(askEvent):
		c.badHint(askEvent, nil, "wrong-type", `write event = t.push("main")`, "event is %s, want an event", typeName(c.args[askEvent]))
	default:
		a.Event = plan.Event{Kind: "manual", Branch: "main", Commit: madeUpCommit, Time: madeUpTime()}
	}
	return a
}

// texts returns argument i, a dict, with its values as --param takes them.
func (c *call) texts(i int) map[string]string {
	if !c.given(i) {
		return nil
	}
	dict, ok := c.args[i].(*starlark.Dict)
	if !ok {
		c.badType(i, nil, "a dict", c.args[i])
		return nil
	}
	out := make(map[string]string, dict.Len())
	for k, v := range dict.Entries() {
		key, ok := c.key(i, k)
		if !ok {
			continue
		}
		if text, ok := c.paramText(i, string(key), v); ok {
			out[string(key)] = text
		}
	}
	return out
}

func (c *call) paramText(i int, key string, v starlark.Value) (string, bool) {
	switch v := v.(type) {
	case starlark.String:
		return c.plain(i, []any{key}, v)
	case starlark.Bool:
		return plan.FormatParam(bool(v)), true
	case starlark.Int:
		return v.String(), true
	}
	if list, ok := elements(v); ok {
		var texts []string
		for n, m := range members(list) {
			s, ok := c.plain(i, []any{key, n}, m)
			if !ok {
				return "", false
			}
			texts = append(texts, s)
		}
		return plan.FormatParam(texts), true
	}
	c.badType(i, []any{key}, "a string, an int, a bool or a list of strings", v)
	return "", false
}

func testPlan(c *call) (starlark.Value, error) {
	asked := c.asked()
	if c.wrong > 0 {
		return nil, ErrReported
	}
	p, err := c.ev.Bench.Plan(c.ev.Alive, asked)
	if err != nil {
		return nil, err
	}
	return &planValue{p, c.ev}, nil
}

func testSimulate(c *call) (starlark.Value, error) {
	asked := c.asked()
	world := World{Options: simulate.Options{
		Outcomes: c.outcomes(),
		Start:    asked.Event.Time,
		Slots:    c.int(simulateSlots, 1, 1<<20),
	}}
	if c.given(simulateFacts) {
		world.Facts = c.texts(simulateFacts)
	}
	if c.given(simulateSecrets) {
		granted := c.strs(simulateSecrets)
		world.Secret = func(name string) error {
			if !slices.Contains(granted, name) {
				return fmt.Errorf("secret %q is not granted", name)
			}
			return nil
		}
	}
	if cancel, ok := c.args[simulateCancel].(*cancelValue); ok {
		world.Cancel = &cancel.Cancel
	} else if c.given(simulateCancel) {
		c.badHint(simulateCancel, nil, "wrong-type", `write cancel = t.cancel(after = "1m")`, "cancel is %s, want what t.cancel returns", typeName(c.args[simulateCancel]))
	}
	if c.wrong > 0 {
		return nil, ErrReported
	}
	result, err := c.ev.Bench.Simulate(c.ev.Alive, asked, world)
	if err != nil {
		return nil, c.misfit(err)
	}
	return &runValue{result, c.ev}, nil
}

// misfit reports options that do not fit the plan where they are written.
func (c *call) misfit(err error) error {
	at := Problem{Param: "outcomes", Index: -1, Key: true, Code: "bad-outcome", Message: c.Name + ": " + err.Error()}
	var unknown *simulate.UnknownNodeError
	var left *simulate.LeftOverError
	var other *simulate.OutcomeError
	switch {
	case errors.As(err, &unknown):
		at.Path, at.Code = []any{unknown.Node}, "unknown-step"
		if cancel, ok := c.args[simulateCancel].(*cancelValue); ok && cancel.During == unknown.Node {
			at.Param, at.Path = "cancel", nil
		}
		if unknown.Near != "" {
			at.Hint = fmt.Sprintf("did you mean %s?", quote(unknown.Near))
		}
	case errors.As(err, &left):
		at.Path, at.Code = []any{left.Node}, "outcome-left-over"
		at.Hint = "the last outcome stays for all attempts that follow, so none has to be left over"
		if left.Attempts == 0 {
			at.Hint = "leave it out, or have what it waits for succeed"
		}
	case errors.As(err, &other):
		at.Path = []any{other.Node}
	default:
		return err
	}
	c.report(at)
	return ErrReported
}

// outcomes reads the script of a simulation.
func (c *call) outcomes() map[string][]simulate.Outcome {
	const i = simulateOutcomes
	if !c.given(i) {
		return nil
	}
	dict, ok := c.args[i].(*starlark.Dict)
	if !ok {
		c.badHint(i, nil, "wrong-type", `write outcomes = {"step": t.fails()}`, "outcomes is %s, want a dict", typeName(c.args[i]))
		return nil
	}
	out := make(map[string][]simulate.Outcome, dict.Len())
	for k, v := range dict.Entries() {
		name, ok := c.key(i, k)
		if !ok {
			continue
		}
		if one, ok := v.(*outcomeValue); ok {
			out[string(name)] = []simulate.Outcome{one.Outcome}
			continue
		}
		list, ok := elements(v)
		if !ok || list.Len() == 0 {
			c.badHint(i, []any{string(name)}, "wrong-type", "write t.fails(), or [t.fails(), t.ok()]", "%s is %s, want an outcome or a list of them",
				describe("outcomes", []any{string(name)}), emptyOr(v))
			continue
		}
		for n, m := range members(list) {
			one, ok := m.(*outcomeValue)
			if !ok {
				c.badHint(i, []any{string(name), n}, "wrong-type", "write t.ok() or t.fails()", "%s is %s, want an outcome",
					describe("outcomes", []any{string(name), n}), typeName(m))
				continue
			}
			out[string(name)] = append(out[string(name)], one.Outcome)
		}
	}
	return out
}

func emptyOr(v starlark.Value) string {
	if list, ok := elements(v); ok && list.Len() == 0 {
		return "an empty list"
	}
	return typeName(v)
}

// testOutcome is behind every word that is an outcome.
func testOutcome(c *call) (starlark.Value, error) {
	var o simulate.Outcome
	o.State = build.Failed
	for i := range c.Params {
		if !c.given(i) {
			continue
		}
		switch c.Params[i].Name {
		case "outputs":
			o.Outputs = c.texts(i)
		case "duration":
			d := time.Duration(c.duration(i))
			o.Duration = &d
		case "reason":
			o.Reason = c.str(i)
		case "by":
			o.By = c.str(i)
		}
	}
	switch c.Name {
	case "t.ok":
		const ready = 2
		o.State, o.Ready = build.Success, time.Duration(c.duration(ready))
	case "t.approved":
		o.State, o.Asked = build.Success, true
	case "t.refused":
		o.Asked = true
	case "t.times_out":
		o.State = build.TimedOut
	case "t.cancelled":
		o.State = build.Cancelled
	case "t.agent_lost":
		o.Infra, o.Lost, o.Reason = true, true, "the agent was lost"
	case "t.fails":
		const exit, kind, ready = 0, 1, 5
		o.Unready = !c.bool(ready)
		switch c.oneOf(kind) {
		case "signal":
			o.Signal = "killed"
		case "machine":
			o.Infra = true
		default:
			code := 1
			if c.given(exit) {
				code = c.int(exit, 1, 255)
			}
			o.Exit = &code
		}
		if o.Exit == nil && c.given(exit) {
			c.bad(exit, nil, "bad-value", "exit is given, but a failure of kind %s has no exit code", quote(c.oneOf(kind)))
		}
	}
	if c.wrong > 0 {
		return nil, ErrReported
	}
	return &outcomeValue{opaque{"outcome", c.Name}, o}, nil
}

func testCancel(c *call) (starlark.Value, error) {
	const after, during, by, reason, force = 0, 1, 2, 3, 4
	v := &cancelValue{opaque{"cancel", c.Name}, simulate.Cancel{
		After: time.Duration(c.duration(after)), During: c.str(during), By: c.str(by), Reason: c.str(reason), Force: c.bool(force),
	}}
	if !c.given(after) && !c.given(during) {
		c.report(Problem{Index: -1, Code: "missing-argument", Message: c.Name + " needs after or during", Hint: `write after = "1m", or during = "step"`})
	}
	if c.wrong > 0 {
		return nil, ErrReported
	}
	return v, nil
}

// What an event has that does not say otherwise.
const madeUpCommit = "0123456789abcdef0123456789abcdef01234567"

func madeUpTime() time.Time { return time.Date(2000, 1, 1, 0, 0, 0, 0, time.UTC) }

// testEvent is behind every word that is an event.
func testEvent(c *call) (starlark.Value, error) {
	v := &eventValue{opaque: opaque{"event", c.Name}}
	v.Kind = strings.TrimPrefix(c.Name, "t.")
	v.Commit, v.Time = madeUpCommit, madeUpTime()
	for i, p := range c.Params {
		if !c.given(i) {
			switch p.Name {
			case "branch":
				v.Branch = strings.Trim(p.Default, `"`)
			case "base":
				v.Base = strings.Trim(p.Default, `"`)
			case "number":
				v.Number = 1
			}
			continue
		}
		switch p.Name {
		case "branch":
			v.Branch = c.str(i)
		case "base":
			v.Base = c.str(i)
		case "tag":
			v.Tag = c.str(i)
		case "commit":
			v.Commit = c.str(i)
		case "number":
			v.Number = c.int(i, 1, 1<<30)
		case "title":
			v.Title = c.str(i)
		case "author":
			v.Author = c.str(i)
		case "payload":
			v.Payload = c.str(i)
		case "changed":
			v.changed = c.strs(i)
			slices.Sort(v.changed)
			if v.Base == "" {
				v.Base = strings.Repeat("0", len(madeUpCommit)) // what was there before
			}
		case "time":
			v.Time = c.time(i)
		}
	}
	if c.wrong > 0 {
		return nil, ErrReported
	}
	return v, nil
}

// time returns argument i, a time or the text of one.
func (c *call) time(i int) time.Time {
	if t, ok := c.args[i].(moment); ok {
		return time.Time(t)
	}
	s := c.str(i)
	t, err := time.Parse(time.RFC3339, s)
	if err != nil && s != "" {
		c.badHint(i, nil, "bad-value", `write "2026-01-31T10:00:00Z"`, "%s is %s, which is not a time", c.Params[i].Name, quote(s))
	}
	return t.UTC()
}

func testFiles(c *call) (starlark.Value, error) {
	dict, ok := c.args[0].(*starlark.Dict)
	if !ok {
		if c.args[0] != nil {
			c.badType(0, nil, "a dict of strings", c.args[0])
		}
		return nil, ErrReported
	}
	files := make(map[string]*string, dict.Len())
	for k, v := range dict.Entries() {
		name, ok := c.key(0, k)
		if !ok {
			continue
		}
		if !fs.ValidPath(string(name)) || name == "." || name == ".git" || strings.HasPrefix(string(name), ".git/") {
			c.report(Problem{Param: "files", Index: 0, Path: []any{string(name)}, Key: true, Code: "bad-path",
				Message: fmt.Sprintf("%s: %s is not a path below the root of the tree", c.Name, quote(string(name)))})
			continue
		}
		if v == starlark.None {
			files[string(name)] = nil
		} else if s, ok := c.plain(0, []any{string(name)}, v); ok {
			files[string(name)] = &s
		}
	}
	if c.wrong > 0 {
		return nil, ErrReported
	}
	c.ev.Bench.Files(files)
	return starlark.None, nil
}

func testGolden(c *call) (starlark.Value, error) {
	const name, value = 0, 1
	file := c.str(name)
	if c.given(name) && (!fs.ValidPath(file) || !plan.ValidName(file)) {
		c.badHint(name, nil, "bad-name", "it is made of letters, digits and . _ / -", "name %s is not one for a file", quote(file))
	}
	if c.wrong > 0 {
		return nil, ErrReported
	}
	got := c.ev.golden(c.args[value])
	want, err := c.ev.Bench.Golden(file, got)
	switch {
	case err != nil:
		return nil, err
	case want != got:
		return nil, &Failure{fmt.Sprintf("%s: %s.golden differs (-want +got); piper test --update writes it again\n%s", c.Name, file, diff(want, got))}
	}
	return starlark.None, nil
}

// An opaque value can be handed on, and nothing else.
type opaque struct{ kind, word string }

func (o opaque) String() string        { return "<" + o.kind + " " + o.word + ">" }
func (o opaque) Type() string          { return o.kind }
func (o opaque) Freeze()               {}
func (o opaque) Truth() starlark.Bool  { return true }
func (o opaque) Hash() (uint32, error) { return 0, fmt.Errorf("unhashable: %s", o.kind) }

type outcomeValue struct {
	opaque
	simulate.Outcome
}

type cancelValue struct {
	opaque
	simulate.Cancel
}

type eventValue struct {
	opaque
	plan.Event
	changed []string
}
