package plan

import (
	"regexp"
	"strings"
)

// isService reports whether a vertex is a service.
func (v *validator) isService(vertex int32) bool {
	return v.graph.IsNode(vertex) && v.plan.Nodes[vertex].IsService()
}

// service looks at what only a service has, and at what it cannot have.
func (v *validator) service(n *Node, what subject) {
	s := n.Step
	var has []string
	for _, field := range []struct {
		name string
		set  bool
	}{
		{"needs", len(n.Needs) > 0},
		{"group", n.Group != ""},
		{"run_on", n.RunOn() != ""},
		{"allow_failure", n.AllowFailure() != ""},
		{"timeout", s.Timeout != 0},
		{"retry", s.Retry != nil},
		{"concurrency", s.Concurrency != ""},
		{"once", s.Once},
		{"tty", s.TTY},
		{"services", len(s.Services) > 0},
		{"inputs", len(s.Inputs) > 0},
		{"outputs", len(s.Outputs) > 0},
	} {
		if field.set {
			has = append(has, field.name)
		}
	}
	if len(has) > 0 {
		v.report(n.Pos, "bad-value", "the steps that list it say when it runs", "%s has what only a step can have: %s", what, strings.Join(has, ", "))
	}
	v.duration(n.Pos, what, "ready_timeout", s.Service.ReadyTimeout)

	ready := &s.Service.Ready
	ways := 0
	for _, set := range []bool{ready.Script != "", len(ready.Argv) > 0, ready.Port != 0, ready.Log != ""} {
		if set {
			ways++
		}
	}
	if ways > 1 {
		v.report(n.Pos, "bad-value", "choose one of ready.port, ready.log and ready.run", "%s is ready in %d ways", what, ways)
	}
	v.text(n.Pos, what, "ready", ready.Script)
	v.text(n.Pos, what, "ready", ready.Log)
	for i := range ready.Argv {
		v.value(n.Pos, what, "ready", &ready.Argv[i], literals)
	}
	if len(ready.Argv) > 0 && ready.Argv[0].Known() && ready.Argv[0].Literal == "" {
		v.report(n.Pos, "bad-value", "", "%s: the program that tells whether it is ready has no name", what)
	}
	if ready.Port < 0 || ready.Port > 65535 {
		v.report(n.Pos, "bad-value", "", "%s: ready port is %d: want 1 to 65535", what, ready.Port)
	}
	if _, err := regexp.Compile(ready.Log); err != nil {
		v.report(n.Pos, "bad-value", "", "%s: ready log %s is no regular expression: %s", what, excerpt(ready.Log), strings.TrimPrefix(err.Error(), "error parsing regexp: "))
	}
}

// services looks up the services that a node lists.
func (v *validator) services(n *Node, what subject) {
	for _, name := range n.Services() {
		switch vertex, ok := v.graph.Lookup(name); {
		case !ok:
			v.report(n.Pos, "unknown-service", v.didYouMean(name), "service %s is not defined in pipeline %q", excerpt(name), v.plan.Pipeline)
		case !v.isService(vertex):
			v.report(n.Pos, "bad-value", "list what service(...) returned", "%s lists %s among its services", what, v.title(vertex))
		}
	}
}

// expand looks at what only an expand has. Whether the node that it uses comes
// before it is for outputs to say.
func (v *validator) expand(n *Node, what subject) {
	if n.RunOn() != "" && n.RunOn() != Success {
		v.report(n.Pos, "bad-value", "", "%s: run_on is %s, and an expand runs after a success", what, excerpt(string(n.RunOn())))
	}
	v.services(n, what)
	after := n.Expand().After
	switch vertex, ok := v.graph.Lookup(after); {
	case after == "":
		v.report(n.Pos, "bad-value", "", "%s names no node that it comes after", what)
	case !ok:
		v.report(n.Pos, "unknown-step", v.didYouMean(after), "step %s is not defined in pipeline %q", excerpt(after), v.plan.Pipeline)
	case !v.graph.IsNode(vertex) || v.isService(vertex):
		v.report(n.Pos, "bad-value", "", "%s uses the result of %s: want a step, a trigger, an approval or an expand", what, v.title(vertex))
	}
}

// after returns the node whose result the expand n is given, when there is one
// that could be.
func (v *validator) after(n *Node) (int32, bool) {
	of, ok := v.graph.Lookup(n.Expand().After)
	return of, ok && v.graph.IsNode(of) && !v.isService(of)
}
