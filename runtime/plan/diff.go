package plan

import (
	"bytes"
	"encoding/json"
	"fmt"
	"maps"
	"reflect"
	"slices"
	"strings"
)

// A Diff is what one plan does and another does not. Where things were written
// and what evaluation looked at are no part of it.
type Diff struct {
	Pipeline string `json:"pipeline"`

	Old     string   `json:"old,omitempty"` // the digest of the plan; "" when there is none
	New     string   `json:"new,omitempty"`
	Changes []Change `json:"changes"` // the pipeline itself first, then nodes as the new plan has them, then those that are lost
}

// A Change is one thing that is gained, lost or changed.
type Change struct {
	Change string  `json:"change"` // "gained", "lost" or "changed"
	Kind   string  `json:"kind"`   // "pipeline", "param", "environment", "group", or what a node is: "step", "service", "trigger", "approval", "expand"
	Name   string  `json:"name"`   // of a group that has none, what is in it
	Fields []Field `json:"fields"` // what it is made of, as far as that is not the same, by name

	// Like is a step that is lost and ran the same command as this one, which is
	// gained: most likely it was given another name.
	Like string `json:"like,omitempty"`
}

// A Field is a part of something, in the words of the plan's JSON. A part of a
// part has a dot in its name: "env.TOKEN", "retry.attempts". A command is "run",
// be it a script or a list.
type Field struct {
	Name string `json:"name"`
	Old  any    `json:"old,omitempty"` // nil when there was none
	New  any    `json:"new,omitempty"` // nil when there is none
}

// Compare returns what becomes of old when new takes its place. A nil plan has
// nothing.
//
// A node is known by its name: one that was given another name is lost and
// gained. To wait for a group without a name of the author's is to wait for
// each node inside. A group counts by itself when it has a name or holds its
// members back; without a name it is known by its first member.
func Compare(old, new *Plan) Diff {
	var d Diff
	var before, after []part
	if old != nil {
		d.Pipeline, d.Old, before = old.Pipeline, old.Digest(), parts(old)
	}
	if new != nil {
		d.Pipeline, d.New, after = new.Pipeline, new.Digest(), parts(new)
	}
	d.Changes = []Change{}
	was := map[string]*part{}
	for i := range before {
		was[before[i].key] = &before[i]
	}
	for i := range after {
		p := &after[i]
		q := was[p.key]
		delete(was, p.key)
		switch {
		case q == nil && p.kind == "pipeline": // all of it is new
		case q == nil:
			d.Changes = append(d.Changes, Change{Change: "gained", Kind: p.kind, Name: p.name, Fields: differences(nil, p.fields())})
		case !p.same(q):
			if fields := differences(q.fields(), p.fields()); len(fields) > 0 {
				d.Changes = append(d.Changes, Change{Change: "changed", Kind: p.kind, Name: p.name, Fields: fields})
			}
		}
	}
	lost := map[string]string{} // by what they run
	for i := range before {
		q := &before[i]
		if was[q.key] == nil || q.kind == "pipeline" {
			continue
		}
		c := Change{Change: "lost", Kind: q.kind, Name: q.name, Fields: differences(q.fields(), nil)}
		if run := c.command(); run != "" && lost[run] == "" {
			lost[run] = c.Name
		}
		d.Changes = append(d.Changes, c)
	}
	for i := range d.Changes {
		if c := &d.Changes[i]; c.Change == "gained" {
			run := c.command()
			c.Like = lost[run]
			delete(lost, run)
		}
	}
	return d
}

// Starts adds to d which events start its pipeline: those of the old one, and
// those of the new. They are no part of a plan.
func (d *Diff) Starts(old, new []On) {
	list := func(on []On) map[string]any {
		return flat(struct {
			On []On `json:"on,omitempty"`
		}{on})
	}
	fields := differences(list(old), list(new))
	switch {
	case len(fields) == 0:
	case len(d.Changes) > 0 && d.Changes[0].Kind == "pipeline":
		d.Changes[0].Fields = append(d.Changes[0].Fields, fields...)
		slices.SortFunc(d.Changes[0].Fields, func(a, b Field) int { return strings.Compare(a.Name, b.Name) })
	default:
		d.Changes = slices.Insert(d.Changes, 0, Change{Change: "changed", Kind: "pipeline", Name: d.Pipeline, Fields: fields})
	}
}

// command is what a node runs, in one piece of text; "" when it is no step.
func (c *Change) command() string {
	i := slices.IndexFunc(c.Fields, func(f Field) bool { return f.Name == "run" })
	if i < 0 || c.Kind != "step" {
		return ""
	}
	if c.Change == "lost" {
		return fmt.Sprint(c.Fields[i].Old)
	}
	return fmt.Sprint(c.Fields[i].New)
}

// A part is one thing of a plan that can be gained or lost.
type part struct {
	key, kind, name string
	fields          func() map[string]any
	node            *Node // without what depends on where it stands; nil for other parts
	needs           []string
}

// same reports whether two nodes are the same, which is quickly told.
func (p *part) same(q *part) bool {
	return p.node != nil && slices.Equal(p.needs, q.needs) && equal(p.node, q.node, (*encoder).node)
}

// parts returns what p is made of.
func parts(p *Plan) []part {
	var all []part
	add := func(kind, name string, fields func() map[string]any) {
		all = append(all, part{key: kind + " " + name, kind: kind, name: name, fields: fields})
	}
	whole := *p
	whole.Format, whole.Params, whole.Nodes, whole.Groups, whole.Environments, whole.Inputs = 0, nil, nil, nil, nil, nil
	all = append(all, part{key: "pipeline", kind: "pipeline", name: p.Pipeline, fields: func() map[string]any { return flat(&whole, "format", "nodes", "pipeline") }})
	for _, name := range slices.Sorted(maps.Keys(p.Params)) {
		add("param", name, func() map[string]any { return map[string]any{"value": p.Params[name]} })
	}
	for i := range p.Environments {
		add("environment", p.Environments[i].Name, func() map[string]any { return flat(&p.Environments[i]) })
	}
	inside := members(p)
	firsts := map[string]int{}
	for i := range p.Groups {
		g := &p.Groups[i]
		nodes := inside[g.Name]
		if len(nodes) == 0 || unnamed(g.Name) && g.Limit == 0 && !g.FailFast {
			continue
		}
		name := g.Name
		if unnamed(g.Name) {
			name = several(nodes)
			firsts[nodes[0]]++
		}
		add("group", name, func() map[string]any {
			fields := flat(g, "group")
			fields["members"] = texts(nodes)
			return fields
		})
		if unnamed(g.Name) {
			all[len(all)-1].key = fmt.Sprintf("group # %s %d", nodes[0], firsts[nodes[0]])
		}
	}
	named := map[string]bool{}
	for i := range p.Groups {
		named[p.Groups[i].Name] = !unnamed(p.Groups[i].Name)
	}
	for i := range p.Nodes {
		n := p.Nodes[i]
		needs := n.Needs
		n.Needs, n.Group, n.Pos = nil, "", Pos{}
		all = append(all, part{
			key: "node " + n.Kind() + " " + n.Name, kind: n.Kind(), name: n.Name, node: &n,
			needs: waits(needs, named, inside),
			fields: func() map[string]any {
				fields := flat(&n)
				if len(needs) > 0 {
					fields["needs"] = texts(waits(needs, named, inside))
				}
				return fields
			},
		})
	}
	return all
}

// unnamed reports whether a group's name is not the author's.
func unnamed(group string) bool { return strings.Contains(group, "#") }

// members returns the nodes inside each group, in the order of the plan.
func members(p *Plan) map[string][]string {
	parent := make(map[string]string, len(p.Groups))
	for i := range p.Groups {
		parent[p.Groups[i].Name] = p.Groups[i].Group
	}
	inside := make(map[string][]string, len(p.Groups))
	for i := range p.Nodes {
		for g := p.Nodes[i].Group; g != ""; g = parent[g] {
			inside[g] = append(inside[g], p.Nodes[i].Name)
		}
	}
	return inside
}

// waits returns what needs stand for, sorted: nodes, groups with a name, and
// the nodes of groups without one. A wide group is one thing, lest two wide
// stages in a row make a product.
func waits(needs []string, named map[string]bool, inside map[string][]string) []string {
	var all []string
	for _, need := range needs {
		switch byAuthor, group := named[need]; {
		case !group || byAuthor:
			all = append(all, need)
		case len(inside[need]) > 100:
			all = append(all, several(inside[need]))
		default:
			all = append(all, inside[need]...)
		}
	}
	slices.Sort(all)
	return slices.Compact(all)
}

// several is a few names, or from which to which.
func several(names []string) string {
	if len(names) > 4 {
		return fmt.Sprintf("%s to %s (%d)", names[0], names[len(names)-1], len(names))
	}
	return strings.Join(names, ", ")
}

func texts(names []string) []any {
	list := make([]any, len(names))
	for i, name := range names {
		list[i] = name
	}
	return list
}

// differences returns the fields that are not the same, by name.
func differences(old, new map[string]any) []Field {
	fields := []Field{}
	names := slices.Concat(slices.Collect(maps.Keys(old)), slices.Collect(maps.Keys(new)))
	slices.Sort(names)
	for _, name := range slices.Compact(names) {
		if !reflect.DeepEqual(old[name], new[name]) {
			fields = append(fields, Field{Name: name, Old: old[name], New: new[name]})
		}
	}
	return fields
}

// flat is v as its JSON has it, an object in an object with a dot: all but its
// name, its place, and what else is left out.
func flat(v any, without ...string) map[string]any {
	data, err := json.Marshal(v)
	if err != nil {
		panic(err) // a plan is data
	}
	var object map[string]any
	d := json.NewDecoder(bytes.NewReader(data))
	d.UseNumber()
	if err := d.Decode(&object); err != nil {
		panic(err)
	}
	for _, name := range append(without, "name", "pos") {
		delete(object, name)
	}
	fields := map[string]any{}
	flatten(fields, "", object)
	for _, form := range []string{"script", "argv"} {
		if v, ok := fields[form]; ok {
			fields["run"] = v
			delete(fields, form)
		}
	}
	return fields
}

func flatten(into map[string]any, prefix string, object map[string]any) {
	for name, v := range object {
		inner, ok := v.(map[string]any)
		switch {
		case !ok:
			into[prefix+name] = v
		case name == "env" || name == "params":
			for variable, text := range inner {
				into[prefix+name+"."+variable] = text
			}
		case name == "step" || name == "service" || name == "trigger" || name == "approve" || name == "expand":
			flatten(into, prefix, inner) // what kind of node it is, is known
		default:
			flatten(into, prefix+name+".", inner)
		}
	}
}
