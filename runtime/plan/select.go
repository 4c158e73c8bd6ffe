package plan

import (
	"fmt"
	"slices"
	"strings"

	"github.com/bmatcuk/doublestar/v4"
)

// A Selection narrows a plan. Each entry is the name of a node or a group, or
// a glob over such names, such as "build/*"; a group stands for every node
// inside it. The zero Selection keeps everything.
type Selection struct {
	Only []string `json:"only,omitempty"` // keep these
	From []string `json:"from,omitempty"` // keep these and everything downstream of them
	Skip []string `json:"skip,omitempty"` // then leave these out

	// Outputs are, by step and key, what steps that are left out wrote in a
	// build before: whatever uses them is given these.
	Outputs map[string]map[string]string `json:"outputs,omitempty"`
}

// An UnknownNameError is an entry of a Selection that matches nothing.
type UnknownNameError struct{ Name string }

func (e *UnknownNameError) Error() string {
	return fmt.Sprintf("no step matches %q", e.Name)
}

// A LeftOutError is a node that was kept although it uses the output of one
// that was not, or, when Key is empty, an expand that takes all of them.
type LeftOutError struct {
	Node string
	Output
}

func (e *LeftOutError) Error() string {
	if e.Key == "" {
		return fmt.Sprintf("expand %q takes the result of %q, which is left out", e.Node, e.Step)
	}
	return fmt.Sprintf("step %q uses the output %q of step %q, which is left out", e.Node, e.Key, e.Step)
}

// Select returns the plan that s leaves of p, which stays as it is.
//
// A node that is left out counts as one that succeeded: what needed it waits
// for what it needed, so the order of the others and the way a failure travels
// down stay the same. A node that Only or From names has been asked for, so it
// runs even when run_on = "failure" has nothing left to wait for.
//
// A service stays as long as something that lists it does, unless Skip names
// it: then what lists it runs without, as for someone who has started it
// already. What is downstream of a service is what lists it.
//
// The error is an *UnknownNameError or a *LeftOutError. The plan may come out
// empty.
func Select(p *Plan, s Selection) (*Plan, error) {
	if len(s.Only)+len(s.From)+len(s.Skip) == 0 {
		return p, nil
	}
	sel := newSelecting(p)
	only, err := sel.match(s.Only)
	if err != nil {
		return nil, err
	}
	from, err := sel.match(s.From)
	if err != nil {
		return nil, err
	}
	skip, err := sel.match(s.Skip)
	if err != nil {
		return nil, err
	}

	everything := len(s.Only)+len(s.From) == 0
	downstream := sel.downstream(from)
	for i := range p.Nodes {
		sel.kept[i] = (everything || only[i] || downstream[i]) && !skip[i] && !p.Nodes[i].IsService()
	}
	for i := range p.Nodes {
		if !sel.kept[i] || p.Nodes[i].IsService() {
			continue
		}
		for _, name := range p.Nodes[i].Services() {
			if service, ok := sel.node[name]; ok && !skip[service] {
				sel.kept[service] = true
			}
		}
	}
	return sel.plan(func(i int) bool { return only[i] || from[i] }, s.Outputs)
}

// selecting is one run of Select.
type selecting struct {
	from    *Plan
	node    map[string]int      // by name, into from.Nodes
	parent  map[string]string   // a group's enclosing group
	members map[string][]int    // the nodes anywhere inside a group
	kept    []bool              // by node
	instead map[string][]string // what to need where a node or group was needed
}

func newSelecting(p *Plan) *selecting {
	s := &selecting{
		from:    p,
		node:    make(map[string]int, len(p.Nodes)),
		parent:  make(map[string]string, len(p.Groups)),
		members: make(map[string][]int, len(p.Groups)),
		kept:    make([]bool, len(p.Nodes)),
		instead: map[string][]string{},
	}
	for _, g := range p.Groups {
		s.parent[g.Name] = g.Group
	}
	for i, n := range p.Nodes {
		s.node[n.Name] = i
		for g := n.Group; g != ""; g = s.parent[g] {
			s.members[g] = append(s.members[g], i)
		}
	}
	return s
}

// match returns the nodes that the patterns name.
func (s *selecting) match(patterns []string) (map[int]bool, error) {
	found := map[int]bool{}
	for _, pattern := range patterns {
		hit := false
		add := func(nodes ...int) {
			for _, i := range nodes {
				found[i], hit = true, true
			}
		}
		if i, ok := s.node[pattern]; ok {
			add(i)
		} else if inside, ok := s.members[pattern]; ok {
			add(inside...)
		} else if strings.ContainsAny(pattern, "*?[{") {
			for i, n := range s.from.Nodes {
				if doublestar.MatchUnvalidated(pattern, n.Name) {
					add(i)
				}
			}
			for _, g := range s.from.Groups {
				if !strings.Contains(g.Name, "#") && doublestar.MatchUnvalidated(pattern, g.Name) {
					add(s.members[g.Name]...)
				}
			}
		}
		if !hit {
			return nil, &UnknownNameError{Name: pattern}
		}
	}
	return found, nil
}

// downstream returns the roots and every node with one of them upstream.
func (s *selecting) downstream(roots map[int]bool) map[int]bool {
	below := make(map[int]bool)
	if len(roots) == 0 {
		return below
	}
	seen := map[string]bool{} // by the name of a node or group: whether a root is in it or above it
	var visit func(name string) bool
	visit = func(name string) bool {
		if answer, ok := seen[name]; ok {
			return answer
		}
		seen[name] = false // a cycle ends here; a valid plan has none
		answer := false
		if i, ok := s.node[name]; ok {
			answer = roots[i]
			for _, need := range s.from.Nodes[i].Needs {
				answer = visit(need) || answer
			}
			for _, service := range s.from.Nodes[i].Services() {
				answer = visit(service) || answer
			}
			if answer {
				below[i] = true
			}
		}
		for _, i := range s.members[name] {
			answer = visit(s.from.Nodes[i].Name) || answer
		}
		seen[name] = answer
		return answer
	}
	for _, n := range s.from.Nodes {
		visit(n.Name)
	}
	return below
}

// replace returns what is needed once the nodes left out are gone.
func (s *selecting) replace(needs []string) []string {
	var out []string
	seen := map[string]bool{}
	for _, need := range needs {
		for _, name := range s.replacement(need) {
			if !seen[name] {
				seen[name] = true
				out = append(out, name)
			}
		}
	}
	return out
}

// replacement returns what stands in for one need: the node or the group
// itself as far as it is still there, and what the nodes that are not needed.
func (s *selecting) replacement(name string) []string {
	if names, ok := s.instead[name]; ok {
		return names
	}
	s.instead[name] = nil // a cycle ends here; a valid plan has none
	var names []string
	if i, ok := s.node[name]; ok {
		if s.kept[i] {
			names = []string{name}
		} else {
			names = s.replace(s.from.Nodes[i].Needs)
		}
	} else {
		var above []string
		for _, i := range s.members[name] {
			if s.kept[i] {
				names = []string{name}
			} else {
				above = append(above, s.from.Nodes[i].Needs...)
			}
		}
		for _, need := range s.replace(above) {
			// Waiting for the group already waits for what is inside it.
			if len(names) == 0 || !s.inside(need, name) {
				names = append(names, need)
			}
		}
	}
	s.instead[name] = names
	return names
}

// inside reports whether the node or group name stands inside group.
func (s *selecting) inside(name, group string) bool {
	g, ok := s.parent[name]
	if i, node := s.node[name]; node {
		g, ok = s.from.Nodes[i].Group, true
	}
	for ; ok && g != ""; g = s.parent[g] {
		if g == group {
			return true
		}
	}
	return false
}

// plan builds what is left. asked tells the nodes that were named.
func (s *selecting) plan(asked func(i int) bool, outputs map[string]map[string]string) (*Plan, error) {
	p := *s.from
	p.Nodes, p.Groups = nil, nil
	inhabited := map[string]bool{}
	for i, n := range s.from.Nodes {
		if !s.kept[i] {
			continue
		}
		s.fill(&n, outputs)
		if out, ok := s.leftOut(&n); ok {
			return nil, &LeftOutError{Node: n.Name, Output: out}
		}
		n.Needs = s.replace(n.Needs)
		s.unlist(&n)
		if n.RunOn() == Failure && len(n.Needs) == 0 && asked(i) {
			n.Own().RunOn = Success
		}
		p.Nodes = append(p.Nodes, n)
		for g := n.Group; g != ""; g = s.parent[g] {
			inhabited[g] = true
		}
	}
	for _, g := range s.from.Groups {
		if inhabited[g.Name] {
			p.Groups = append(p.Groups, g)
		}
	}
	return &p, nil
}

// fill puts into n the outputs that are known of steps that are not kept.
func (s *selecting) fill(n *Node, outputs map[string]map[string]string) {
	known := func(p Part) (value string, ok bool) {
		if p.Output == nil {
			return "", false
		}
		if i, node := s.node[p.Output.Step]; node && !s.kept[i] {
			value, ok = outputs[p.Output.Step][p.Output.Key]
		}
		return value, ok
	}
	if len(outputs) == 0 || len(n.Uses()) == 0 {
		return
	}
	n.ownTexts()
	n.texts(func(t *Text) {
		all := len(t.Parts) > 0
		parts := slices.Clone(t.Parts)
		for i, part := range parts {
			if value, ok := known(part); ok {
				parts[i] = Part{Literal: value}
			}
			all = all && parts[i].Output == nil && parts[i].Secret == ""
		}
		if t.Parts = parts; all {
			*t = Lit(t.Words())
		}
	})
}

// ownTexts gives n texts that it shares with no other plan.
func (n *Node) ownTexts() {
	if n.Step != nil {
		step := *n.Step
		step.Argv, step.Env = slices.Clone(step.Argv), slices.Clone(step.Env)
		n.Step = &step
	}
	if n.Trigger() != nil {
		trigger := *n.Trigger()
		trigger.Params = slices.Clone(trigger.Params)
		n.Own().Trigger = &trigger
	}
}

// unlist takes from n the services that are not kept.
func (s *selecting) unlist(n *Node) {
	gone := func(name string) bool {
		i, ok := s.node[name]
		return ok && !s.kept[i]
	}
	if !slices.ContainsFunc(n.Services(), gone) {
		return
	}
	left := slices.DeleteFunc(slices.Clone(n.Services()), gone)
	if n.Step != nil {
		step := *n.Step
		step.Services = left
		n.Step = &step
		return
	}
	expand := *n.Expand()
	expand.Services = left
	n.Own().Expand = &expand
}

// leftOut returns the first output that n uses of a node that is not kept.
func (s *selecting) leftOut(n *Node) (Output, bool) {
	if n.Expand() != nil {
		if i, ok := s.node[n.Expand().After]; ok && !s.kept[i] {
			return Output{Step: n.Expand().After}, true
		}
	}
	for _, out := range n.Uses() {
		if i, ok := s.node[out.Step]; ok && !s.kept[i] {
			return out, true
		}
	}
	return Output{}, false
}

// Uses returns the outputs of other steps that n uses.
func (n *Node) Uses() []Output {
	var outputs []Output
	n.texts(func(t *Text) {
		for _, part := range t.Parts {
			if part.Output != nil {
				outputs = append(outputs, *part.Output)
			}
		}
	})
	return outputs
}
