package plan

import (
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

func TestValidateServices(t *testing.T) {
	service := func(f func(*Node)) func(*Plan) {
		return func(p *Plan) { f(&p.Nodes[0]) }
	}
	ready := func(r Ready) func(*Plan) {
		return service(func(n *Node) { n.Step.Service.Ready = r })
	}
	none := func(*Plan) {}
	const db = "service db:\n"
	tests := []struct {
		name, graph string
		change      func(*Plan)
		want        string
	}{
		{"listed", db + "a: +db\nb: a +db", none, ``},
		{"listed by nobody", db, none, ``},
		{"ready by a script", db, ready(Ready{Script: "true"}), ``},
		{"ready by arguments", db, ready(Ready{Argv: []Text{Lit("true")}}), ``},
		{"ready by the last port", db, ready(Ready{Port: 65535}), ``},
		{"ready by a line", db, ready(Ready{Log: "^listening on [0-9]+$"}), ``},
		{"all it may have", db, service(func(n *Node) {
			*n.Step = Step{
				Doc: "x", Argv: []Text{Lit("x")}, Dir: "d", Env: Env{{"A", Text{Parts: []Part{{Secret: "s"}}}}}, PassEnv: []string{"X"},
				Requires: []Requirement{{Op: "has", Key: "k"}}, Grace: 1, Service: &Service{ReadyTimeout: 1},
			}
		}), ``},

		{"a need", db + "a: db", none, `
P:102:1: error: step "a" needs service "db", and a service ends after all that uses it
hint: list it: services = ["db"]`},
		{"a step among the services", "a:\nb: +a\nc: a ?a +b", none, `
P:102:1: error: step "b" lists step "a" among its services
hint: list what service(...) returned
P:103:1: error: expand "c" lists step "b" among its services
hint: list what service(...) returned`},
		{"a group among the services", "group g\na: +g", none, `
P:101:1: error: step "a" lists group "g" among its services
hint: list what service(...) returned`},
		{"a service that is not there", "service base:\na: +bass", none, `
P:102:1: error: service "bass" is not defined in pipeline "release"
hint: did you mean "base" (P:101:1)?`},

		{"needs and a group", "group g\nservice db@g: a\na:", none, `
P:101:1: error: service "db" has what only a step can have: needs, group
hint: the steps that list it say when it runs`},
		{"services of its own", "service db:\nservice web: +db", none, `
P:102:1: error: service "web" has what only a step can have: services
hint: the steps that list it say when it runs`},
		{"what only steps have", db, service(func(n *Node) {
			*n.Own() = More{RunOn: Always, AllowFailure: "x"}
			s := n.Step
			s.Timeout, s.Retry, s.Concurrency, s.Once, s.TTY = 1, &Retry{Attempts: 2}, "k", true, true
			s.Inputs, s.Outputs = []string{"a"}, []string{"b"}
		}), `
P:101:1: error: service "db" has what only a step can have: run_on, allow_failure, timeout, retry, concurrency, once, tty, inputs, outputs
hint: the steps that list it say when it runs`},
		{"two ways to be ready", db, ready(Ready{Port: 1, Log: "x"}), `
P:101:1: error: service "db" is ready in 2 ways
hint: choose one of ready.port, ready.log and ready.run`},
		{"port 65536", db, ready(Ready{Port: 65536}), `
P:101:1: error: service "db": ready port is 65536: want 1 to 65535`},
		{"port -1", db, ready(Ready{Port: -1}), `
P:101:1: error: service "db": ready port is -1: want 1 to 65535`},
		{"no regular expression", db, ready(Ready{Log: "a)"}), `
P:101:1: error: service "db": ready log "a)" is no regular expression: unexpected ): ` + "`a)`"},
		{"no program", db, ready(Ready{Argv: []Text{Lit("")}}), `
P:101:1: error: service "db": the program that tells whether it is ready has no name`},
		{"a script that no process takes", db, ready(Ready{Script: "a\x00"}), `
P:101:1: error: service "db": ready holds a NUL byte: "a\x00"`},
		{"ready_timeout", db, service(func(n *Node) { n.Step.Service.ReadyTimeout = Duration(-time.Second) }), `
P:101:1: error: service "db": ready_timeout is -1s: want a positive duration`},
		{"outputs and secrets", db + "a: +db", service(func(n *Node) {
			out, secret := Text{Parts: []Part{{Output: &Output{"a", "k"}}}}, Text{Parts: []Part{{Secret: "s"}}}
			n.Step.Script, n.Step.Argv, n.Step.Env = "", []Text{Lit("x"), secret, out}, Env{{"A", out}}
			n.Step.Service.Ready.Argv = []Text{Lit("x"), secret, out}
		}), `
P:101:1: error: service "db": ready cannot hold the secret "s"
hint: give it to a step by env
P:101:1: error: service "db": ready cannot hold the output "k" of step "a"
hint: use it in the env of the step that needs it
P:101:1: error: service "db": run cannot hold the secret "s"
hint: give it to a step by env
P:101:1: error: service "db": run cannot hold the output "k" of step "a"
hint: use it in the env of the step that needs it
P:101:1: error: service "db": A cannot hold the output "k" of step "a"
hint: use it in the env of the step that needs it`},
		{"an output of a service", db + "a: +db", func(p *Plan) {
			p.Nodes[1].Step.Env = Env{{"A", Text{Parts: []Part{{Output: &Output{"db", "port"}}}}}}
		}, `
P:102:1: error: step "a" uses the output "port" of service "db", and only steps have outputs`},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			p := placed(test.graph)
			test.change(p)
			require.Equal(t, strings.TrimPrefix(test.want, "\n"), Validate(p, 0).Error())
		})
	}
}

func TestValidateExpands(t *testing.T) {
	tests := []struct{ name, graph, want string }{
		{"right after", "a:\nx: a ?a", ``},
		{"further down", "a:\nb: a\nx: b ?a", ``},
		{"of what stands in a group", "group g\na@g:\nx: g ?a", ``},
		{"of an expand", "a:\nx: a ?a\ny: x ?x", ``},
		{"with a service", "service db:\na:\nx: a ?a +db", ``},

		{"of nothing", "a:\nx: a ?", `
P:102:1: error: expand "x" names no node that it comes after`},
		{"of what is not there", "unit:\nx: unit ?unti", `
P:102:1: error: step "unti" is not defined in pipeline "release"
hint: did you mean "unit" (P:101:1)?`},
		{"of a group", "group g\na@g:\nx: g ?g", `
P:102:1: error: expand "x" uses the result of group "g": want a step, a trigger, an approval or an expand`},
		{"of a service", "service db:\nx: ?db", `
P:102:1: error: expand "x" uses the result of service "db": want a step, a trigger, an approval or an expand`},
		{"of what comes beside", "a:\nx: ?a", `
P:102:1: error: expand "x" uses the result of step "a" (P:101:1), which need not have ended by then
hint: add depends_on = ["a"] to "x"`},
		{"of what comes later", "a: x\nx: ?a", `
P:102:1: error: expand "x" uses the result of step "a" (P:101:1), which need not have ended by then
hint: put "x" after "a", which waits for it now`},
		{"of itself", "x: ?x", `
P:101:1: error: expand "x" uses its own result`},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			require.Equal(t, strings.TrimPrefix(test.want, "\n"), Validate(placed(test.graph), 0).Error())
		})
	}

	p := placed("a:\nx: a ?a")
	p.Nodes[1].Own().RunOn = Success
	require.Empty(t, Validate(p, 0))
	p.Nodes[1].Own().RunOn = Always
	require.Equal(t, `P:102:1: error: expand "x": run_on is "always", and an expand runs after a success`, Validate(p, 0).Error())

	p = placed("a:\nx: a ?a")
	p.Nodes[1].Step = &Step{Script: "true"}
	require.Equal(t, `P:102:1: error: node "x" must be exactly one of a step, a trigger, an approval and an expand`, Validate(p, 0).Error())
}
