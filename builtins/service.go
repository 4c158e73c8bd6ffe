package builtins

import (
	"fmt"
	"regexp"

	"go.starlark.net/starlark"

	"github.com/piper-build/piper/runtime/plan"
)

// The parameters of service, in the table's order.
const (
	serviceName = iota
	serviceRun
	serviceReady
	serviceReadyTimeout
	serviceDoc
	serviceEnv
	servicePassEnv
	serviceDir
	serviceShell
	serviceEnvironment
	serviceRequires
	serviceGrace
)

// makeService makes a node like a step's. It needs nothing, so it can use no
// output of anything.
func makeService(c *call) (starlark.Value, error) {
	n := c.newNode()
	s := c.ev.steps.next()
	n.Step = s
	c.name(n, serviceName)
	s.Script, s.Argv = c.settledCommand(serviceRun)
	s.Service = &plan.Service{Ready: c.ready(serviceReady), ReadyTimeout: c.duration(serviceReadyTimeout)}
	s.Doc = c.str(serviceDoc)
	s.Env = c.settled(c.env(serviceEnv, true), serviceEnv)
	s.PassEnv = c.variables(servicePassEnv)
	s.Dir = c.dir(serviceDir)
	s.Shell = c.shell(serviceShell, s)
	if c.given(serviceEnvironment) {
		s.Environment, n.add().where = c.environment(serviceEnvironment)
	}
	s.Requires = c.requirements(serviceRequires)
	s.Grace = c.duration(serviceGrace)
	return n, nil
}

// settledCommand returns argument i, a command that holds no output.
func (c *call) settledCommand(i int) (script string, argv []plan.Text) {
	script, argv = c.command(i)
	for n, word := range argv {
		if !word.Known() {
			c.badHint(i, []any{n}, "not-known-yet", "a service starts when the first step that lists it could: write what it needs to a file",
				"%s holds an output, which is known only when the build runs", describe(c.Params[i].Name, []any{n}))
		}
	}
	return script, argv
}

// services returns argument i, a list of services, and their names.
func (c *call) services(i int) (names []string, services []*node) {
	if !c.given(i) {
		return nil, nil
	}
	list, ok := elements(c.args[i])
	if !ok {
		hint := ""
		if n, isNode := c.args[i].(*node); isNode && n.isService() {
			hint = "write it in brackets: services = [...]"
		}
		c.badHint(i, nil, "wrong-type", hint, "services is %s, want a list of services", typeName(c.args[i]))
		return nil, nil
	}
	seen := make(map[*node]bool, list.Len())
	for at, v := range members(list) {
		n, isNode := v.(*node)
		hint := typeHint("a service", v)
		switch {
		case isNode && n.isService() && seen[n]:
			continue
		case isNode && n.isService():
			seen[n] = true
			services = append(services, n)
			if n.Name != "" {
				names = append(names, n.Name)
			}
			continue
		case isNode:
			hint = fmt.Sprintf("what runs beside a step is made with service(%s, ...); what comes before it stands in depends_on", quote(n.Name))
		default:
			if name, isString := v.(starlark.String); isString {
				hint = fmt.Sprintf("give the service itself: what service(%s, ...) returns", quote(string(name)))
			}
		}
		services = append(services, nil) // keeps the places of the others
		c.badHint(i, []any{at}, "wrong-type", hint, "%s is %s, want a service", describe("services", []any{at}), typeName(v))
	}
	return names, services
}

// A readyValue is what ready.port, ready.log and ready.run return.
type readyValue struct {
	plan.Ready
	way string // the word
}

func (r *readyValue) String() string        { return r.way + "(...)" }
func (r *readyValue) Type() string          { return "ready" }
func (r *readyValue) Freeze()               {}
func (r *readyValue) Truth() starlark.Bool  { return true }
func (r *readyValue) Hash() (uint32, error) { return 0, fmt.Errorf("unhashable: ready") }

func makeReadyPort(c *call) (starlark.Value, error) {
	return &readyValue{plan.Ready{Port: c.int(0, 1, 65535)}, c.Name}, nil
}

func makeReadyLog(c *call) (starlark.Value, error) {
	pattern := c.str(0)
	if _, err := regexp.Compile(pattern); err != nil {
		c.bad(0, nil, "bad-pattern", "pattern %s is not a regular expression", quote(pattern))
	} else if pattern == "" && c.wrong == 0 {
		c.badHint(0, nil, "bad-value", "without ready a service is ready once it has started", "pattern is empty")
	}
	return &readyValue{plan.Ready{Log: pattern}, c.Name}, nil
}

func makeReadyRun(c *call) (starlark.Value, error) {
	script, argv := c.settledCommand(0)
	return &readyValue{plan.Ready{Script: script, Argv: argv}, c.Name}, nil
}

// ready returns argument i, what ready.port and its like return.
func (c *call) ready(i int) plan.Ready {
	if !c.given(i) {
		return plan.Ready{}
	}
	hint := `write ready = ready.port(5432), ready.log("listening") or ready.run("pg_isready")`
	switch v := c.args[i].(type) {
	case *readyValue:
		return v.Ready
	case *starlark.List, starlark.Tuple:
		c.badHint(i, nil, "wrong-type", "choose one; ready.run can ask for several things", "ready is %s, want one way to tell that the service can be used", typeName(v))
	case starlark.Int:
		c.badHint(i, nil, "wrong-type", fmt.Sprintf("write ready = ready.port(%s)", shorten(v.String())), "ready is an int, want what ready.port(...) returns")
	default:
		c.badHint(i, nil, "wrong-type", hint, "ready is %s, want what ready.port(...), ready.log(...) or ready.run(...) returns", typeName(v))
	}
	return plan.Ready{}
}
