package builtins

import (
	"fmt"
	"slices"

	"go.starlark.net/starlark"
	"go.starlark.net/syntax"

	"github.com/piper-build/piper/runtime/plan"
)

// A group is what parallel and sequence return.
type group struct {
	name     string // "" is made from the kind and a number
	parallel bool
	members  []starlark.Value
	spread   bool // members are those of the one list that was given
	limit    int
	failFast bool
	call     syntax.Position
	flow     int // the flow it stands in, and
	index    int // where
}

func (g *group) kind() string {
	if g.parallel {
		return "parallel"
	}
	return "sequence"
}

func (g *group) String() string        { return fmt.Sprintf("%s(%d members)", g.kind(), len(g.members)) }
func (g *group) Type() string          { return g.kind() }
func (g *group) Freeze()               {}
func (g *group) Truth() starlark.Bool  { return true }
func (g *group) Hash() (uint32, error) { return 0, fmt.Errorf("unhashable: %s", g.kind()) }

func makeParallel(c *call) (starlark.Value, error) { return c.group(true) }
func makeSequence(c *call) (starlark.Value, error) { return c.group(false) }

func (c *call) group(parallel bool) (starlark.Value, error) {
	const name, limit, failFast = 1, 2, 3
	g := &group{
		parallel: parallel,
		name:     c.str(name),
		members:  c.rest,
		limit:    c.int(limit, 1, 1<<20),
		failFast: c.bool(failFast),
		call:     c.site(),
	}
	c.made(g)
	c.checkName(name, g.name)
	if badName(g.name) != "" {
		g.name = ""
	}
	// A list given to parallel is spread: its members run side by side.
	if parallel {
		var flat []starlark.Value
		for _, m := range c.rest {
			if list, ok := elements(m); ok {
				g.spread = len(c.rest) == 1
				flat = slices.Grow(flat, list.Len())
				for _, m := range members(list) {
					flat = append(flat, m)
				}
			} else {
				flat = append(flat, m)
			}
		}
		g.members = flat
	}
	for i, m := range g.members {
		if why, _ := misfit(m); why != "" {
			c.badMember(g, i, m)
			g.members[i] = starlark.NewList(nil)
		}
	}
	return g, nil
}

// badMember reports what cannot stand in a flow.
func (c *call) badMember(g *group, i int, m starlark.Value) {
	what, hint := misfit(m)
	p := Problem{Param: c.Params[0].Name, Index: i, Code: "wrong-type", Hint: hint,
		Message: fmt.Sprintf("%s: member %d is %s, want a step", c.Name, i+1, what)}
	if g.spread {
		p.Index, p.Path = 0, []any{i}
	}
	c.report(p)
}

// misfit says what m is, and what to do about it, when m cannot stand in a flow.
func misfit(m starlark.Value) (what, hint string) {
	switch m := m.(type) {
	case *group, *starlark.List, starlark.Tuple:
		return "", ""
	case *node:
		if !m.isService() {
			return "", ""
		}
		hint = "list it where it is needed: step(..., services = [...])"
	case starlark.NoneType:
		hint = "to leave a step out, write [step] if condition else []"
	case starlark.String:
		hint = fmt.Sprintf("write step(%s, run = ...), or the variable that holds the step", quote(string(m)))
	case starlark.Callable:
		hint = "call it: " + m.Name() + "(...)"
	}
	return typeName(m), hint
}

// A flattening turns a flow into the nodes and groups of a plan. What an expand
// found is one of its own inside that of the plan which it adds to: it may name
// what stands there, and must not have a name twice.
type flattening struct {
	ev       *Evaluation
	pipeline *Pipeline
	outer    *flattening // nil: the flow of the pipeline itself
	expand   *node       // that found the flow, beside outer
	max      int         // nodes, those outside included
	before   int         // how many stand outside
	plan     *plan.Plan
	nodes    []*node     // beside plan.Nodes
	groups   []*group    // beside plan.Groups
	names    *plan.Names // of vertices
	groupNow string      // the innermost group around what is being flattened
	apart    bool        // nobody asks what has to be waited for by what comes after it
	made     [2]int      // how many group names were made: of sequences, of parallels
	path     []place
	ones     []string // what one made
	visits   int
	tooMany  bool
	tooDeep  bool
}

// A vertex is what a name stands for in a flow: nodes[v], or groups[-1-v] when
// it is negative.
type vertex int32

// A place is a step on the way from a pipeline to a member of its flow.
type place struct {
	group *group // nil: a list
	index int
}

// flatten fills p's nodes and groups from flow. Its nodes stand alone, or after
// the expand that found them.
func (f *flattening) flatten(p *plan.Plan, flow starlark.Value) {
	f.ev.flows++
	if f.ev.Made != nil {
		f.ev.Made(f.ev.nodes.made)
	}
	most := min(f.ev.nodes.made-f.ev.earlier, f.max)
	f.plan, f.nodes, f.names = p, make([]*node, 0, most), plan.NewNames(most, f.nameOf)
	p.Nodes = make([]plan.Node, 0, most)
	f.before = f.outer.size()
	var after []string
	if f.expand != nil {
		after = []string{f.expand.Name}
	}
	f.emit(flow, after)
	if f.tooMany {
		f.path = nil
		f.problem(Problem{Code: "too-many-nodes", Message: fmt.Sprintf("pipeline %s has more than %d nodes", quote(f.pipeline.Name), f.max),
			Hint: fmt.Sprintf("split the pipeline, or raise the setting max_nodes (%d)", f.max)})
		f.nodes, p.Nodes = nil, nil
		return
	}
	f.resolve()
}

// size returns how many nodes there are, those outside included.
func (f *flattening) size() int {
	if f == nil {
		return 0
	}
	return len(f.nodes) + f.before
}

// title says whose flow it is.
func (f *flattening) title() string {
	if f.expand != nil {
		return "expand " + quote(f.expand.Name)
	}
	return "pipeline " + quote(f.pipeline.Name)
}

// emit appends what v stands for, to run after needs, and returns what has to
// be waited for by what comes after it.
func (f *flattening) emit(v starlark.Value, needs []string) []string {
	if f.tooMany {
		return nil
	}
	switch v := v.(type) {
	case *node:
		return f.emitNode(v, needs)
	case *group:
		return f.emitGroup(v, needs)
	case *starlark.List, starlark.Tuple:
		apart := f.apart
		f.apart = false
		list, _ := elements(v)
		for i, m := range members(list) {
			needs = f.emitAt(place{nil, i}, m, needs)
		}
		f.apart = apart
		return needs
	}
	f.misfit(v)
	return needs
}

// misfit reports what cannot stand in a flow.
func (f *flattening) misfit(v starlark.Value) {
	what, hint := misfit(v)
	f.problem(Problem{Code: "wrong-type", Message: fmt.Sprintf("%s: its flow holds %s, want a step", f.title(), what), Hint: hint})
}

// emitAt is emit of a member, whose place is noted.
func (f *flattening) emitAt(at place, v starlark.Value, needs []string) []string {
	f.visits++
	if f.visits > 16*f.max+1000 { // lists that hold the same list many times
		f.tooMany = true
		return nil
	}
	f.path = append(f.path, at)
	if len(f.path) > maxDepth {
		if !f.tooDeep {
			f.problem(Problem{Code: "too-deep", Message: fmt.Sprintf("the flow of %s nests more than %d deep", f.title(), maxDepth)})
		}
		f.tooDeep = true
		f.path = f.path[:maxDepth]
		return needs
	}
	needs = f.emit(v, needs)
	f.path = f.path[:len(f.path)-1]
	return needs
}

// maxDepth bounds how deep lists and groups nest. It is far more than anyone
// writes; a list may contain itself.
const maxDepth = 100

func (f *flattening) emitNode(n *node, needs []string) []string {
	if n.isService() {
		f.misfit(n)
		return needs
	}
	if n.flow == f.ev.flows || f.outer.holds(n) {
		f.problem(Problem{Code: "duplicate-name",
			Message: fmt.Sprintf("%s %s stands twice in pipeline %s (it is defined at %s)", n.Type(), quote(n.Name), quote(f.pipeline.Name), positionText(n.pos())),
			Hint:    "make a second step with another name, or use depends_on for the order"})
		return needs
	}
	if n.more != nil {
		for i, service := range n.more.services {
			f.emitService(service, n, i)
		}
	}
	if !f.append(n, f.groupNow, needs) || n.Name == "" || f.apart {
		return needs
	}
	return f.one(n.Name)
}

// one returns a list of one name. There are as many as nodes, so their lists are
// made some at a time.
func (f *flattening) one(name string) []string {
	if len(f.ones) == cap(f.ones) {
		f.ones = make([]string, 0, 256)
	}
	f.ones = append(f.ones, name)
	return f.ones[len(f.ones)-1 : len(f.ones) : len(f.ones)]
}

// emitService appends a service before the first node that lists it, as n does
// in its place i.
func (f *flattening) emitService(service, n *node, i int) {
	at := Problem{Call: n.call, Param: "services", Index: -1, Path: []any{i}}
	switch {
	case service == nil || service.flow == f.ev.flows:
	case !f.outer.holds(service):
		f.append(service, "", nil)
	case !slices.Contains(f.expand.more.services, service):
		at.Code = "not-kept"
		at.Message = fmt.Sprintf("%s lists %s, which runs for other steps and may be stopped by then", n, service)
		at.Hint = fmt.Sprintf("have it kept for what %s finds: expand(..., services = [...])", quote(f.expand.Name))
		f.ev.reportMade(n, at)
	}
}

// append appends n, which is not there yet, and reports whether it could.
func (f *flattening) append(n *node, group string, needs []string) bool {
	if f.tooMany || f.size() >= f.max {
		f.tooMany = true
		return false
	}
	n.flow = f.ev.flows
	if n.Name != "" && !f.claim(n.Name, vertex(len(f.nodes)), n, n.call) {
		return false
	}
	f.nodes = append(f.nodes, n)
	f.plan.Nodes = append(f.plan.Nodes, n.in(group, needs))
	return true
}

// holds reports whether n stands in f, or outside of it.
func (f *flattening) holds(n *node) bool {
	if f == nil {
		return false
	}
	v, ok := f.names.Find(n.Name)
	return ok && v >= 0 && f.nodes[v] == n || f.outer.holds(n)
}

func (f *flattening) emitGroup(g *group, needs []string) []string {
	if g.flow == f.ev.flows {
		f.problem(Problem{Code: "duplicate-name",
			Message: fmt.Sprintf("the %s of %s stands twice in pipeline %s", g.kind(), positionText(f.ev.position(g.call)), quote(f.pipeline.Name))})
		return needs
	}
	g.flow, g.index = f.ev.flows, len(f.groups)
	outer := f.groupNow
	if !g.parallel && g.name == "" && g.limit == 0 && !g.failFast {
		return f.emitMembers(g, needs) // no more than a list
	}
	name := g.name
	if name == "" {
		kind := 0
		if g.parallel {
			kind = 1
		}
		f.made[kind]++
		name = fmt.Sprintf("%s#%d", g.kind(), f.made[kind])
		if f.expand != nil {
			name = f.expand.Name + "#" + name
		}
	} else {
		f.claim(name, vertex(-1-len(f.groups)), g, g.call)
	}
	at := len(f.groups)
	f.groups = append(f.groups, g)
	f.plan.Groups = append(f.plan.Groups, plan.Group{
		Name: name, Group: outer, Limit: g.limit, FailFast: g.failFast, Pos: f.ev.position(g.call),
	})
	f.groupNow = name
	before := len(f.nodes)
	exit := f.emitMembers(g, needs)
	f.groupNow = outer
	switch {
	case len(f.nodes) == before: // nothing to wait for, and nothing to show
		if g.name == "" && len(f.groups) == at+1 {
			f.groups, f.plan.Groups = f.groups[:at], f.plan.Groups[:at]
		}
		return needs
	case g.parallel:
		return f.one(name)
	}
	return exit
}

// emitMembers emits the members of g: side by side, or one after the other.
func (f *flattening) emitMembers(g *group, needs []string) []string {
	apart := f.apart
	f.apart = g.parallel
	for i, m := range g.members {
		after := f.emitAt(place{g, i}, m, needs)
		if !g.parallel {
			needs = after
		}
	}
	f.apart = apart
	return needs
}

// claim gives name to v, which is made by a call, and reports whether it was
// free.
func (f *flattening) claim(name string, v vertex, made any, call syntax.Position) bool {
	at, had := f.outer.find(name)
	if at == nil {
		has, added := f.names.Add(name, int32(v))
		if added {
			return true
		}
		at, had = f, vertex(has)
	}
	index := -1
	if v >= 0 { // of a group the first argument is a member
		index = 0
	}
	f.ev.reportMade(made, Problem{Call: call, Param: "name", Index: index, Code: "duplicate-name",
		Message: fmt.Sprintf("pipeline %s has the name %s twice (the other is defined at %s)", quote(f.pipeline.Name), quote(name), at.whence(had)),
		Hint:    "names of steps, services, triggers, approvals, expands and groups are unique within a pipeline"})
	return false
}

// node returns the node of that name, which is there.
func (f *flattening) node(name string) *node {
	v, _ := f.names.Find(name)
	return f.nodes[v]
}

// nameOf returns the name of a vertex.
func (f *flattening) nameOf(v int32) string {
	if v >= 0 {
		return f.nodes[v].Name
	}
	return f.groups[-1-v].name
}

// find returns what a name stands for, and where: in f, or outside of it. That
// is nil when the name is free.
func (f *flattening) find(name string) (*flattening, vertex) {
	for ; f != nil; f = f.outer {
		if v, ok := f.names.Find(name); ok {
			return f, vertex(v)
		}
	}
	return nil, 0
}

// pos returns where v was written.
func (f *flattening) pos(v vertex) plan.Pos {
	if v >= 0 {
		return f.nodes[v].pos()
	}
	return f.ev.position(f.groups[-1-v].call)
}

// whence says where v was written, and from where that was called.
func (f *flattening) whence(v vertex) string {
	if v >= 0 {
		return f.ev.whence(f.nodes[v], f.pos(v))
	}
	return f.ev.whence(f.groups[-1-v], f.pos(v))
}

// resolve turns what depends_on names into needs, and looks for the steps that
// outputs are used of.
func (f *flattening) resolve() {
	for i, n := range f.nodes {
		f.checkOutputs(n)
		if n.more == nil || len(n.more.dependsOn) == 0 && n.more.after == nil {
			continue
		}
		needs := slices.Clone(f.plan.Nodes[i].Needs)
		need := func(v starlark.Value, at Problem) {
			name := f.dependency(n, v, at)
			if name != "" && !slices.Contains(needs, name) {
				needs = append(needs, name)
			}
		}
		for i, v := range n.more.dependsOn {
			need(v, Problem{Call: n.call, Param: "depends_on", Index: -1, Path: []any{i}})
		}
		if after := n.more.after; after != nil {
			need(after, Problem{Call: n.call, Param: "after", Index: 0})
		}
		f.plan.Nodes[i].Needs = needs
	}
}

// checkOutputs reports each output that n uses of a step that is in no flow.
func (f *flattening) checkOutputs(n *node) {
	check := func(t plan.Text, at Problem) {
		for _, part := range t.Parts {
			if part.Output == nil {
				continue
			}
			of := f.ev.asked[part.Output.Step]
			if in, _ := f.find(part.Output.Step); in != nil || of == nil || of.Name == "" {
				continue
			}
			at.Call, at.Code = n.call, "not-in-flow"
			at.Message = fmt.Sprintf("%s uses the output %s of %s (%s), which is not in the flow of pipeline %s", n, quote(part.Output.Key), of, positionText(of.pos()), quote(f.pipeline.Name))
			at.Hint = "put it into the pipeline's steps, before this one"
			f.ev.reportMade(n, at)
		}
	}
	if n.Step != nil {
		for i, t := range n.Step.Argv {
			check(t, Problem{Param: "run", Index: 1, Path: []any{i}})
		}
		for _, v := range n.Step.Env {
			check(v.Value, Problem{Param: "env", Index: -1, Path: []any{v.Name}})
		}
	}
	if n.more != nil && n.more.Trigger != nil {
		for _, v := range n.more.Trigger.Params {
			check(v.Value, Problem{Param: "params", Index: -1, Path: []any{v.Name}})
		}
	}
}

// dependency returns the name of v, a node or a group that n names in the
// argument that at points to; or "", when that is reported.
func (f *flattening) dependency(n *node, v starlark.Value, at Problem) string {
	missing := func(what string, where plan.Pos) string {
		at.Code = "not-in-flow"
		at.Message = fmt.Sprintf("%s depends on %s (%s), which is not in the flow of pipeline %s", n, what, positionText(where), quote(f.pipeline.Name))
		at.Hint = "put it into the pipeline's steps, before or beside this one"
		f.ev.reportMade(n, at)
		return ""
	}
	switch v := v.(type) {
	case *node:
		switch {
		case v.flow == f.ev.flows || f.outer.holds(v):
			return v.Name
		case v.Name != "":
			return missing(v.String(), v.pos())
		}
	case *group:
		if v.flow == f.ev.flows && v.index < len(f.groups) && f.groups[v.index] == v {
			return f.plan.Groups[v.index].Name
		}
		for out := f.outer; out != nil; out = out.outer {
			if i := slices.Index(out.groups, v); i >= 0 {
				return out.plan.Groups[i].Name
			}
		}
		if v.flow != f.ev.flows {
			return missing("a "+v.kind(), f.ev.position(v.call))
		}
		at.Code, at.Message = "bad-value", "a sequence without a name cannot be depended on"
		at.Hint = "depend on its last step, or give it a name"
		f.ev.reportMade(n, at)
	case starlark.String:
		name := string(v)
		in, found := f.find(name)
		switch {
		case in == nil:
			f.unknown(n, name, at)
		case found >= 0 && in.nodes[found].isService():
			at.Code = "wrong-type"
			at.Message = fmt.Sprintf("%s depends on %s, and nothing waits for the end of a service", n, in.nodes[found])
			at.Hint = "list it: services = [...]"
			f.ev.reportMade(n, at)
		default:
			return name
		}
	}
	return ""
}

// unknown reports a name that n names, and the flow does not have.
func (f *flattening) unknown(n *node, name string, at Problem) {
	var names []string
	for in := f; in != nil; in = in.outer {
		for _, n := range in.nodes {
			if n.Name != "" && !n.isService() {
				names = append(names, n.Name)
			}
		}
		for _, g := range in.groups {
			if g.name != "" {
				names = append(names, g.name)
			}
		}
	}
	slices.Sort(names)
	if near, ok := plan.Nearest(name, names); ok {
		in, v := f.find(near)
		at.Hint = fmt.Sprintf("did you mean %s (%s)?", quote(near), positionText(in.pos(v)))
	}
	at.Code, at.Message = "unknown-step", fmt.Sprintf("step %s is not defined in pipeline %s", quote(name), quote(f.pipeline.Name))
	f.ev.reportMade(n, at)
}

// problem reports something about the member that is being flattened.
func (f *flattening) problem(p Problem) {
	var made any = f.pipeline
	p.Call, p.Param, p.Index = f.pipeline.call, "steps", -1
	if f.pipeline.impl != nil {
		p.Param = "impl"
	}
	if f.expand != nil {
		made, p.Call, p.Param, p.Index = f.expand, f.expand.call, "impl", 1
	}
	for _, at := range f.path {
		if g := at.group; g != nil {
			made = g
			p.Call, p.Param, p.Index, p.Path = g.call, "members", at.index, nil
			if g.spread {
				p.Index, p.Path = 0, []any{at.index}
			}
			continue
		}
		p.Path = append(slices.Clip(p.Path), at.index)
	}
	if p.Param == "impl" {
		p.Path = nil
	}
	f.ev.reportMade(made, p)
}

// positionText returns pos as "file:line:column".
func positionText(pos plan.Pos) string {
	return fmt.Sprintf("%s:%d:%d", pos.File, pos.Line, pos.Column)
}
