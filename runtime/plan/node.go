package plan

import (
	"maps"
	"slices"
)

import "cmp"

// What is asked of nodes again and again.

// NodeNames returns the names of the nodes, in their order.
func (p *Plan) NodeNames() []string {
	names := make([]string, len(p.Nodes))
	for i := range p.Nodes {
		names[i] = p.Nodes[i].Name
	}
	return names
}

// EnvironmentOf returns the environment that a step of p runs in: its own, or
// that of the pipeline; nil is the plain host.
func (p *Plan) EnvironmentOf(s *Step) *Environment {
	name := cmp.Or(s.Environment, p.Environment)
	for i := range p.Environments {
		if p.Environments[i].Name == name {
			return &p.Environments[i]
		}
	}
	return nil
}

// RunOn says which end of its ancestors lets n run; "" is Success.
func (n *Node) RunOn() RunOn { return n.more().RunOn }

// AllowFailure is why a failure of n does not count; "" when it does.
func (n *Node) AllowFailure() string { return n.more().AllowFailure }

// Trigger is what n triggers, or nil.
func (n *Node) Trigger() *Trigger { return n.more().Trigger }

// Approve is what n asks a person, or nil.
func (n *Node) Approve() *Approve { return n.more().Approve }

// Expand is how n finds more nodes, or nil.
func (n *Node) Expand() *Expand { return n.more().Expand }

func (n *Node) more() *More {
	if n.More == nil {
		return &noMore
	}
	return n.More
}

var noMore More

// Own gives n a More of its own, a copy of the one that it has, and returns it
// to be changed: while n is made, or is made anew for another plan.
func (n *Node) Own() *More {
	own := *n.more()
	n.More = &own
	return &own
}

// Kind is what n is, in a word: "step", "service", "trigger", "approval" or
// "expand".
func (n *Node) Kind() string {
	switch {
	case n.Trigger() != nil:
		return "trigger"
	case n.Approve() != nil:
		return "approval"
	case n.Expand() != nil:
		return "expand"
	case n.IsService():
		return "service"
	default:
		return "step"
	}
}

// IsService reports whether n is a service.
func (n *Node) IsService() bool { return n.Step != nil && n.Step.Service != nil }

// Services returns the names of the services that n lists: those that have to
// be ready while its step runs, or that its expand keeps running.
func (n *Node) Services() []string {
	switch {
	case n.Step != nil:
		return n.Step.Services
	case n.Expand() != nil:
		return n.Expand().Services
	default:
		return nil
	}
}

// Secrets returns the names of the secrets that p gives to steps, sorted. What an
// expand finds may name more.
func (p *Plan) Secrets() []string { return secrets(p.Env, p.Environments, p.Nodes) }

// Secrets returns the names of the secrets that x gives to steps, sorted.
func (x *Expansion) Secrets() []string { return secrets(nil, x.Environments, x.Nodes) }

func secrets(env Env, environments []Environment, nodes []Node) []string {
	seen := map[string]bool{}
	find := func(env Env) {
		for _, v := range env {
			for _, part := range v.Value.Parts {
				if part.Secret != "" {
					seen[part.Secret] = true
				}
			}
		}
	}
	find(env)
	for i := range environments {
		find(environments[i].Env)
	}
	for i := range nodes {
		if step := nodes[i].Step; step != nil {
			find(step.Env)
		}
	}
	return slices.Sorted(maps.Keys(seen))
}
