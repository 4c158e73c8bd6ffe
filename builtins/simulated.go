package builtins

import (
	"bytes"
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	startime "go.starlark.net/lib/time"
	"go.starlark.net/starlark"
	"go.starlark.net/starlarkstruct"

	"github.com/piper-build/piper/runtime/plan"
	"github.com/piper-build/piper/runtime/simulate"
)

// What t.plan and t.simulate give.

// A planValue is a plan in a test.
type planValue struct {
	*plan.Plan
	ev *Evaluation
}

func (p *planValue) String() string        { return "<plan of " + p.Pipeline + ">" }
func (p *planValue) Type() string          { return "plan" }
func (p *planValue) Freeze()               {}
func (p *planValue) Truth() starlark.Bool  { return true }
func (p *planValue) Hash() (uint32, error) { return starlark.String(p.Digest()).Hash() }

var planAttrs = []string{"digest", "json", "params", "pipeline", "step", "steps"}

// AttrNames implements starlark.HasAttrs.
func (p *planValue) AttrNames() []string { return planAttrs }

// Attr implements starlark.HasAttrs.
func (p *planValue) Attr(name string) (starlark.Value, error) {
	switch name {
	case "digest":
		return starlark.String(p.Digest()), nil
	case "json":
		return decoded(p.Canonical()), nil
	case "params":
		params := starlark.NewDict(len(p.Params))
		for _, name := range slices.Sorted(maps.Keys(p.Params)) {
			params.SetKey(starlark.String(name), toStarlark(p.Params[name]))
		}
		return params, nil
	case "pipeline":
		return starlark.String(p.Pipeline), nil
	case "step":
		return &method{p.ev, word("<plan>.step"), p}, nil
	case "steps":
		return newList(p.NodeNames()), nil
	}
	return nil, noField("plan", name, planAttrs)
}

// decoded returns what JSON stands for.
func decoded(data []byte) starlark.Value {
	decode := json.NewDecoder(bytes.NewReader(data))
	decode.UseNumber()
	var v any
	if err := decode.Decode(&v); err != nil {
		panic(err) // it is a plan's own
	}
	return fromJSON(v)
}

func fromJSON(v any) starlark.Value {
	switch v := v.(type) {
	case bool:
		return starlark.Bool(v)
	case string:
		return starlark.String(v)
	case json.Number:
		n, _ := v.Int64()
		return starlark.MakeInt64(n)
	case []any:
		list := make([]starlark.Value, len(v))
		for i, m := range v {
			list[i] = fromJSON(m)
		}
		return starlark.NewList(list)
	case map[string]any:
		dict := starlark.NewDict(len(v))
		for _, key := range slices.Sorted(maps.Keys(v)) {
			dict.SetKey(starlark.String(key), fromJSON(v[key]))
		}
		return dict
	}
	return starlark.None
}

// node returns the place of the node that argument 0 names.
func (c *call) node(p *plan.Plan) (int, bool) {
	name := c.str(0)
	i := slices.IndexFunc(p.Nodes, func(n plan.Node) bool { return n.Name == name })
	if i < 0 && c.wrong == 0 {
		hint := "its nodes are " + strings.Join(p.NodeNames(), ", ")
		if near, ok := plan.Nearest(name, p.NodeNames()); ok {
			hint = fmt.Sprintf("did you mean %s?", quote(near))
		}
		c.badHint(0, nil, "unknown-step", hint, "the plan of %s has no node %s", p.Pipeline, quote(name))
	}
	return i, i >= 0 && c.wrong == 0
}

func planStep(c *call) (starlark.Value, error) {
	p := c.self.(*planValue)
	i, ok := c.node(p.Plan)
	if !ok {
		return nil, ErrReported
	}
	n := &p.Nodes[i]
	fields := starlark.StringDict{
		"name": starlark.String(n.Name), "kind": starlark.String(n.Kind()), "run": starlark.None,
		"env": starlark.NewDict(0), "needs": newList(needed(p.Plan, n)), "requires": newList(nil),
		"run_on": starlark.String(runOnWord(n)), "timeout": starlark.None, "dir": starlark.String(""),
		"pipeline": starlark.None, "params": starlark.NewDict(0),
	}
	switch {
	case n.Step != nil:
		describeStep(p.Plan, n.Step, fields)
	case n.Trigger() != nil:
		fields["pipeline"] = starlark.String(n.Trigger().Pipeline)
		fields["params"] = envDict(n.Trigger().Params)
	}
	return starlarkstruct.FromStringDict(starlarkstruct.Default, fields), nil
}

func runOnWord(n *plan.Node) plan.RunOn {
	if n.RunOn() == "" {
		return plan.Success
	}
	return n.RunOn()
}

func describeStep(p *plan.Plan, s *plan.Step, fields starlark.StringDict) {
	fields["run"] = starlark.String(s.Script)
	if len(s.Argv) > 0 {
		argv := make([]string, len(s.Argv))
		for i, arg := range s.Argv {
			argv[i] = arg.Words()
		}
		fields["run"] = newList(argv)
	}
	fields["env"] = envDict(s.Env)
	fields["dir"] = starlark.String(s.Dir)
	if s.Timeout > 0 {
		fields["timeout"] = starlark.String(s.Timeout.String())
	}
	var keys []string
	for _, r := range s.Requires {
		keys = append(keys, requiredKeys(r)...)
	}
	slices.Sort(keys)
	fields["requires"] = newList(slices.Compact(keys))
}

// requiredKeys returns the facts that r looks at.
func requiredKeys(r plan.Requirement) []string {
	if r.Key != "" {
		return []string{r.Key}
	}
	var keys []string
	for _, of := range r.Of {
		keys = append(keys, requiredKeys(of)...)
	}
	return keys
}

func envDict(env plan.Env) *starlark.Dict {
	dict := starlark.NewDict(len(env))
	for _, v := range env {
		dict.SetKey(starlark.String(v.Name), starlark.String(v.Value.Words()))
	}
	return dict
}

// needed returns the nodes that n waits for: for a group those inside it.
func needed(p *plan.Plan, n *plan.Node) []string {
	if len(n.Needs) == 0 {
		return nil
	}
	parent := make(map[string]string, len(p.Groups))
	for _, g := range p.Groups {
		parent[g.Name] = g.Group
	}
	var names []string
	for i := range p.Nodes {
		if slices.Contains(n.Needs, p.Nodes[i].Name) {
			names = append(names, p.Nodes[i].Name)
			continue
		}
		for g := p.Nodes[i].Group; g != ""; g = parent[g] {
			if slices.Contains(n.Needs, g) {
				names = append(names, p.Nodes[i].Name)
				break
			}
		}
	}
	return names
}

// A runValue is a simulated build in a test.
type runValue struct {
	*simulate.Result
	ev *Evaluation
}

func (r *runValue) String() string {
	return fmt.Sprintf("<run of %s: %s>", r.Build.Plan().Pipeline, r.Build.State())
}
func (r *runValue) Type() string          { return "run" }
func (r *runValue) Freeze()               {}
func (r *runValue) Truth() starlark.Bool  { return true }
func (r *runValue) Hash() (uint32, error) { return 0, fmt.Errorf("unhashable: run") }

var runAttrs = []string{"attempts", "duration", "events", "order", "outputs", "plan", "reason", "state", "triggered"}

// AttrNames implements starlark.HasAttrs.
func (r *runValue) AttrNames() []string { return runAttrs }

// Attr implements starlark.HasAttrs.
func (r *runValue) Attr(name string) (starlark.Value, error) {
	switch name {
	case "attempts", "outputs", "reason", "state":
		return &method{r.ev, word("<run>." + name), r}, nil
	case "duration":
		return startime.Duration(r.Build.Ended().Sub(r.Build.Started())), nil
	case "events":
		return r.eventList(), nil
	case "order":
		return newList(r.Order), nil
	case "plan":
		return &planValue{r.Build.Plan(), r.ev}, nil
	case "triggered":
		return r.triggeredList(), nil
	}
	return nil, noField("run", name, runAttrs)
}

func (r *runValue) triggeredList() *starlark.List {
	list := make([]starlark.Value, len(r.Triggered))
	for i, t := range r.Triggered {
		params := starlark.NewDict(len(t.Params))
		for _, key := range slices.Sorted(maps.Keys(t.Params)) {
			params.SetKey(starlark.String(key), starlark.String(t.Params[key]))
		}
		list[i] = starlarkstruct.FromStringDict(starlarkstruct.Default, starlark.StringDict{
			"name": starlark.String(t.Node), "pipeline": starlark.String(t.Trigger.Pipeline), "project": starlark.String(t.Trigger.Project),
			"ref": starlark.String(t.Trigger.Ref), "params": params, "wait": starlark.Bool(t.Trigger.Wait),
		})
	}
	return starlark.NewList(list)
}

func (r *runValue) eventList() *starlark.List {
	list := make([]starlark.Value, len(r.Events))
	for i, ev := range r.Events {
		list[i] = starlarkstruct.FromStringDict(starlarkstruct.Default, starlark.StringDict{
			"kind": starlark.String(ev.Kind), "node": starlark.String(ev.Node), "attempt": starlark.MakeInt(ev.Attempt),
			"state": starlark.String(ev.State), "reason": starlark.String(ev.Reason), "at": startime.Duration(ev.Time.Sub(r.Build.Started())),
		})
	}
	return starlark.NewList(list)
}

// about is behind what a run says of one of its nodes.
func about(c *call, whole func(*runValue) starlark.Value, part func(*runValue, int) starlark.Value) (starlark.Value, error) {
	r := c.self.(*runValue)
	if whole != nil && c.args[0] == nil {
		return whole(r), nil
	}
	i, ok := c.node(r.Build.Plan())
	if !ok {
		return nil, ErrReported
	}
	return part(r, i), nil
}

func runState(c *call) (starlark.Value, error) {
	return about(c,
		func(r *runValue) starlark.Value { return starlark.String(r.Build.State()) },
		func(r *runValue, i int) starlark.Value { return starlark.String(r.Build.Node(i).State) })
}

func runReason(c *call) (starlark.Value, error) {
	return about(c,
		func(r *runValue) starlark.Value { return starlark.String(r.Build.Reason()) },
		func(r *runValue, i int) starlark.Value { return starlark.String(r.Build.Node(i).Reason) })
}

func runAttempts(c *call) (starlark.Value, error) {
	return about(c, nil, func(r *runValue, i int) starlark.Value { return starlark.MakeInt(r.Build.Node(i).Attempt) })
}

func runOutputs(c *call) (starlark.Value, error) {
	return about(c, nil, func(r *runValue, i int) starlark.Value {
		outputs := r.Build.Node(i).Outputs
		dict := starlark.NewDict(len(outputs))
		for _, key := range slices.Sorted(maps.Keys(outputs)) {
			dict.SetKey(starlark.String(key), starlark.String(outputs[key]))
		}
		return dict
	})
}

// golden returns the text of a value that a file keeps.
func (e *Evaluation) golden(v starlark.Value) string {
	switch v := v.(type) {
	case *planValue:
		return planText(v.Plan)
	case *runValue:
		return runText(v)
	case starlark.String:
		return strings.TrimSuffix(string(v), "\n") + "\n"
	}
	return e.lines(v) + "\n"
}

// planText is a plan as a reviewer reads it: without what any other change of
// its file would change too.
func planText(p *plan.Plan) string {
	bare := *p
	bare.Inputs = nil
	bare.Nodes = slices.Clone(p.Nodes)
	for i := range bare.Nodes {
		bare.Nodes[i].Pos = plan.Pos{}
	}
	bare.Groups = slices.Clone(p.Groups)
	for i := range bare.Groups {
		bare.Groups[i].Pos = plan.Pos{}
	}
	bare.Environments = slices.Clone(p.Environments)
	for i := range bare.Environments {
		bare.Environments[i].Pos = plan.Pos{}
	}
	var b bytes.Buffer
	if err := json.Indent(&b, bare.Canonical(), "", "  "); err != nil {
		panic(err) // it is a plan's own
	}
	return strings.TrimSuffix(b.String(), "\n") + "\n"
}

// runText is how a run went: the build, and then each node.
func runText(r *runValue) string {
	var b strings.Builder
	line := func(what, state, reason string) {
		b.WriteString(what + " " + state)
		if reason != "" {
			b.WriteString(": " + reason)
		}
		b.WriteString("\n")
	}
	p := r.Build.Plan()
	took := r.Build.Ended().Sub(r.Build.Started()).Round(time.Millisecond)
	line(p.Pipeline, string(r.Build.State())+" in "+took.String(), r.Build.Reason())
	for i := range p.Nodes {
		s := r.Build.Node(i)
		state := string(s.State)
		if s.Attempt > 1 {
			state += fmt.Sprintf(" after %d attempts", s.Attempt)
		}
		line("  "+p.Nodes[i].Name, state, s.Reason)
	}
	return b.String()
}
