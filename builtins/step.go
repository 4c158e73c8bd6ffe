package builtins

import (
	"fmt"
	"path"
	"slices"
	"strings"

	"go.starlark.net/starlark"
	"go.starlark.net/syntax"

	"github.com/piper-build/piper/runtime/plan"
)

// A node is what step, service, trigger, approve and expand return: a vertex of
// a flow, but for what its place there makes of it. It never changes once it is
// made, but for the mark of the flow that it was last put into. There can be
// many, so what few have stands apart.
type node struct {
	Name string
	Step *plan.Step // of a step and a service

	ev   *Evaluation
	call syntax.Position
	more *more // nil when there is none
	flow int   // the flow it stands in
}

// more is what few nodes have. Of what they say of other nodes a flow makes
// names.
type more struct {
	plan.More

	dependsOn []starlark.Value  // *node, *group or starlark.String; nil for what was refused
	services  []*node           // likewise
	where     *environment      // the environment given as a value
	after     starlark.Value    // of an expand: a *node or starlark.String
	impl      starlark.Callable // of an expand
}

// add returns what n has more, to be filled.
func (n *node) add() *more {
	if n.more == nil {
		n.more = n.ev.more.next()
	}
	return n.more
}

// rest returns what n has more, to be read.
func (n *node) rest() more {
	if n.more == nil {
		return more{}
	}
	return *n.more
}

// pos returns where n was written.
func (n *node) pos() plan.Pos { return n.ev.position(n.call) }

// in returns n as it stands in a plan.
func (n *node) in(group string, needs []string) plan.Node {
	p := plan.Node{Name: n.Name, Needs: needs, Group: group, Pos: n.pos(), Step: n.Step}
	if n.more != nil && n.more.More != (plan.More{}) {
		more := n.more.More
		p.More = &more
	}
	return p
}

// isService reports whether n is what service returned.
func (n *node) isService() bool { return n.Step != nil && n.Step.Service != nil }

func (n *node) String() string        { return n.Type() + "(" + quote(n.Name) + ")" }
func (n *node) Freeze()               {}
func (n *node) Truth() starlark.Bool  { return true }
func (n *node) Hash() (uint32, error) { return starlark.String(n.Name).Hash() }

// Type implements starlark.Value.
func (n *node) Type() string {
	switch m := n.rest(); {
	case m.Trigger != nil:
		return "trigger"
	case m.Approve != nil:
		return "approval"
	case m.Expand != nil:
		return "expand"
	case n.isService():
		return "service"
	}
	return "step"
}

// Attr implements starlark.HasAttrs.
func (n *node) Attr(name string) (starlark.Value, error) {
	switch name {
	case "name":
		return starlark.String(n.Name), nil
	case "output":
		if n.hasOutputs() {
			return &method{n.ev, word("<step>.output"), n}, nil
		}
	}
	return nil, nil
}

// AttrNames implements starlark.HasAttrs.
func (n *node) AttrNames() []string {
	if n.hasOutputs() {
		return []string{"name", "output"}
	}
	return []string{"name"}
}

// hasOutputs reports whether n is a step. Nothing comes after a service, so
// nobody could use what it writes.
func (n *node) hasOutputs() bool { return n.Step != nil && !n.isService() }

// newNode returns a node that stands where c was called.
func (c *call) newNode() *node {
	n := c.ev.nodes.next()
	n.ev, n.call = c.ev, c.site()
	c.made(n)
	return n
}

// A supply makes values of which there are many, some at a time.
type supply[T any] struct {
	made  int
	spare []T
}

func (s *supply[T]) next() *T {
	if len(s.spare) == 0 {
		s.spare = slices.Grow[[]T](nil, 30)
		s.spare = s.spare[:cap(s.spare)] // there is room for some more
	}
	v := &s.spare[0]
	s.spare = s.spare[1:]
	s.made++
	return v
}

// A method is a builtin bound to a value.
type method struct {
	ev   *Evaluation
	b    *Builtin
	self starlark.Value
}

func (m *method) String() string        { return "<built-in method " + m.b.Name + ">" }
func (m *method) Type() string          { return "builtin_function_or_method" }
func (m *method) Freeze()               {}
func (m *method) Truth() starlark.Bool  { return true }
func (m *method) Hash() (uint32, error) { return starlark.String(m.b.Name).Hash() }
func (m *method) Name() string          { return m.b.Name }

// CallInternal implements starlark.Callable.
func (m *method) CallInternal(thread *starlark.Thread, args starlark.Tuple, kwargs []starlark.Tuple) (starlark.Value, error) {
	return m.ev.invoke(m.b, m.self, thread, args, kwargs)
}

// The parameters of step, in the table's order.
const (
	stepName = iota
	stepRun
	stepDoc
	stepDependsOn
	stepEnv
	stepPassEnv
	stepDir
	stepShell
	stepEnvironment
	stepRequires
	stepTimeout
	stepGrace
	stepRetry
	stepRunOn
	stepAllowFailure
	stepInputs
	stepOutputs
	stepOnce
	stepConcurrency
	stepServices
	stepTTY
)

var runOnChoices = []string{string(plan.Success), string(plan.Failure), string(plan.Always)}

func makeStep(c *call) (starlark.Value, error) {
	n := c.newNode()
	c.name(n, stepName)
	script, argv := c.command(stepRun)
	if argv == nil && !c.givenFrom(stepDoc) {
		n.Step = c.ev.plainStep(script)
		return n, nil
	}
	s := c.ev.steps.next() // apart from n: the plan keeps it
	n.Step = s
	s.Script, s.Argv = script, argv
	for i := stepDoc; i < len(c.Params); i++ {
		if !c.given(i) {
			continue
		}
		switch i {
		case stepDoc:
			s.Doc = c.str(i)
		case stepDependsOn:
			c.dependsOn(n, i)
		case stepEnv:
			s.Env = c.env(i, true)
		case stepPassEnv:
			s.PassEnv = c.variables(i)
		case stepDir:
			s.Dir = c.dir(i)
		case stepShell:
			s.Shell = c.shell(i, s)
		case stepEnvironment:
			s.Environment, n.add().where = c.environment(i)
		case stepRequires:
			s.Requires = c.requirements(i)
		case stepTimeout:
			s.Timeout = c.duration(i)
		case stepGrace:
			s.Grace = c.duration(i)
		case stepRetry:
			s.Retry = c.retry(i)
		case stepRunOn:
			n.add().RunOn = c.runOn(i)
		case stepAllowFailure:
			n.add().AllowFailure = c.allowFailure(i)
		case stepInputs:
			s.Inputs = c.globs(i)
		case stepOutputs:
			s.Outputs = c.globs(i)
		case stepOnce:
			s.Once = c.bool(i)
		case stepConcurrency:
			s.Concurrency = c.str(i)
		case stepServices:
			s.Services, n.add().services = c.services(i)
		case stepTTY:
			s.TTY = c.bool(i)
		}
	}
	return n, nil
}

// plainStep returns a step that says no more than its script. A loop makes many
// that say the same, and what is in a plan never changes: so they are one.
func (e *Evaluation) plainStep(script string) *plan.Step {
	if e.plain == nil || e.plain.Script != script {
		e.plain = e.steps.next()
		e.plain.Script = script
	}
	return e.plain
}

// shell returns argument i, the program that runs the script of s.
func (c *call) shell(i int, s *plan.Step) string {
	shell := c.str(i)
	if strings.ContainsAny(shell, " \t\n") {
		c.badHint(i, nil, "bad-value", `for arguments of its own write run = ["bash", "-x", "ci/test.sh"]`, "shell is %s, want the name of one program", quote(shell))
	}
	if shell != "" && s.Argv != nil {
		c.bad(i, nil, "bad-value", "shell has no meaning when run is a list")
	}
	return shell
}

// name sets the name of n to argument i, checked. A refused name stays, so that
// whoever names it elsewhere is not told that it is unknown.
func (c *call) name(n *node, i int) {
	n.Name = c.str(i)
	c.checkName(i, n.Name)
}

// checkName reports argument i, which is s, unless it can be a name.
func (c *call) checkName(i int, s string) {
	arg, ok := c.args[i].(starlark.String)
	switch why := badName(s); {
	case !ok || s != string(arg): // said before
	case s == "":
		c.bad(i, nil, "bad-name", "%s is empty", c.Params[i].Name)
	case why != "":
		c.bad(i, nil, "bad-name", "%s %s %s", c.Params[i].Name, quote(s), why)
	}
}

// badName says why s, which is not empty, cannot name a node, a pipeline or an
// environment.
func badName(s string) string {
	switch {
	case s == "" || plan.ValidName(s):
		return ""
	case len(s) > plan.MaxName:
		return fmt.Sprintf("is longer than %d bytes", plan.MaxName)
	}
	return "may hold letters, digits and . _ / -, and begins with a letter or a digit"
}

// maxScript is how many bytes a script may have, and the words of an argv
// together.
const maxScript = 1 << 20

// command returns argument i, what is to run: a script, or a list of words.
func (c *call) command(i int) (script string, argv []plan.Text) {
	switch v := c.args[i].(type) {
	case nil: // said by unpack
	case starlark.String:
		text, ok := c.text(i, nil, c.args[i], false)
		switch {
		case !ok:
		case !text.Known():
			c.badHint(i, nil, "not-known-yet", `give it in env and write "$NAME" in the script`, "run holds an output, which is known only when the build runs")
		case strings.TrimSpace(text.Literal) == "":
			c.bad(i, nil, "bad-value", "run is empty")
		case len(text.Literal) > maxScript:
			c.badHint(i, nil, "too-large", "put it into a file", "run has %d bytes, more than %d", len(text.Literal), maxScript)
		default:
			script = text.Literal
		}
	case *deferred:
		c.badHint(i, nil, "not-known-yet", `give it in env and write "$NAME" in the script`, "run is an output, which is known only when the build runs")
	default:
		words, ok := elements(v)
		if !ok {
			c.badType(i, nil, "a string or a list of strings", v)
			break
		}
		if words.Len() == 0 {
			c.bad(i, nil, "bad-value", "run is an empty list")
			break
		}
		size := 0
		argv = make([]plan.Text, 0, words.Len())
		for n, w := range members(words) {
			text, ok := plan.Text{}, true
			if word, isString := w.(starlark.String); isString && isPlain(string(word)) {
				text = plan.Lit(string(word))
			} else {
				text, ok = c.text(i, []any{n}, w, false)
			}
			if ok {
				argv = append(argv, text)
				size += len(text.Literal)
			}
		}
		if len(argv) > 0 && argv[0].Known() && argv[0].Literal == "" {
			c.bad(i, []any{0}, "bad-value", "the first word of run is empty")
		}
		if size > maxScript {
			c.bad(i, nil, "too-large", "run has %d bytes, more than %d", size, maxScript)
		}
	}
	return script, argv
}

// dir returns argument i, a directory below the workspace.
func (c *call) dir(i int) string {
	s := c.str(i)
	if s == "" {
		return ""
	}
	if why := outside(s); why != "" {
		c.badHint(i, nil, "outside-tree", "a path is below the workspace, with / between its parts", "%s %s %s", c.Params[i].Name, quote(s), why)
		return ""
	}
	if s = path.Clean(s); s == "." {
		return ""
	}
	return s
}

// outside says how the words of a slash-separated path leave the tree.
func outside(s string) string {
	switch {
	case strings.HasPrefix(s, "/"):
		return "is absolute"
	case strings.Contains(s, `\`):
		return `holds a \`
	}
	if p := path.Clean(s); p == ".." || strings.HasPrefix(p, "../") {
		return "leaves the tree"
	}
	return ""
}

// runOn returns argument i.
func (c *call) runOn(i int) plan.RunOn {
	on := plan.RunOn(c.oneOf(i))
	if on == plan.Success {
		return ""
	}
	return on
}

// allowFailure returns why a failure does not count: argument i, True or a
// reason.
func (c *call) allowFailure(i int) string {
	switch v := c.args[i].(type) {
	case starlark.Bool:
		if v {
			return "allowed to fail"
		}
	case starlark.String:
		return c.str(i)
	default:
		c.badType(i, nil, "True or a string that says why", v)
	}
	return ""
}

// dependencies returns argument i, a list of nodes, groups and names.
func (c *call) dependencies(i int) []starlark.Value {
	if !c.given(i) {
		return nil
	}
	list, ok := elements(c.args[i])
	if !ok {
		switch v := c.args[i].(type) {
		case *node, *group, starlark.String:
			c.badHint(i, nil, "wrong-type", "write it in brackets: depends_on = [...]", "depends_on is %s, want a list", typeName(v))
		default:
			c.badType(i, nil, "a list of steps and names", v)
		}
		return nil
	}
	out := make([]starlark.Value, 0, list.Len())
	for n, v := range members(list) {
		if service, ok := v.(*node); ok && service.isService() {
			c.badHint(i, []any{n}, "wrong-type", "list it: services = [...]", "depends_on holds %s, and nothing waits for the end of a service", service)
			v = nil
		}
		switch v := v.(type) {
		case nil, *node, *group:
			out = append(out, v)
		case starlark.String:
			if s, ok := c.plain(i, []any{n}, v); ok {
				out = append(out, starlark.String(s))
				continue
			}
			out = append(out, nil) // keeps the places of the others
		default:
			c.badType(i, []any{n}, "a step or the name of one", v)
			out = append(out, nil)
		}
	}
	return out
}

// dependsOn sets what n depends on to argument i.
func (c *call) dependsOn(n *node, i int) {
	if list := c.dependencies(i); list != nil {
		n.add().dependsOn = list
	}
}

// A retryValue is what retry returns.
type retryValue struct{ plan.Retry }

func (r *retryValue) String() string        { return fmt.Sprintf("retry(attempts = %d)", r.Attempts) }
func (r *retryValue) Type() string          { return "retry" }
func (r *retryValue) Freeze()               {}
func (r *retryValue) Truth() starlark.Bool  { return true }
func (r *retryValue) Hash() (uint32, error) { return 0, fmt.Errorf("unhashable: retry") }

func makeRetry(c *call) (starlark.Value, error) {
	const attempts, backoff, on = 0, 1, 2
	r := &retryValue{plan.Retry{
		Attempts: c.int(attempts, 1, 100),
		Backoff:  c.duration(backoff),
	}}
	if !c.given(on) {
		return r, nil
	}
	list, ok := elements(c.args[on])
	if !ok {
		c.badType(on, nil, "a list of exit codes, \"timeout\" and \"signal\"", c.args[on])
		return r, nil
	}
	for n, v := range members(list) {
		switch v := v.(type) {
		case starlark.Int:
			if code, ok := v.Int64(); ok && 1 <= code && code <= 255 {
				r.On = append(r.On, fmt.Sprint(code))
				continue
			}
			c.bad(on, []any{n}, "out-of-range", "on holds %s, want an exit code from 1 to 255", shorten(v.String()))
		case starlark.String:
			if v == "timeout" || v == "signal" {
				r.On = append(r.On, string(v))
				continue
			}
			c.bad(on, []any{n}, "bad-value", `on holds %s, want an exit code, "timeout" or "signal"`, quote(string(v)))
		default:
			c.badType(on, []any{n}, `an exit code, "timeout" or "signal"`, v)
		}
	}
	return r, nil
}

// retry returns argument i, what retry(...) gave.
func (c *call) retry(i int) *plan.Retry {
	r, ok := c.args[i].(*retryValue)
	if !ok {
		c.badHint(i, nil, "wrong-type", "write retry = retry(attempts = 3)", "retry is %s, want what retry(...) returns", typeName(c.args[i]))
		return nil
	}
	return &r.Retry
}

func makeTrigger(c *call) (starlark.Value, error) {
	const pipeline, name, project, ref, params, wait, runOn, dependsOn = 0, 1, 2, 3, 4, 5, 6, 7
	n := c.newNode()
	t := &plan.Trigger{
		Pipeline: c.str(pipeline),
		Project:  c.str(project),
		Ref:      c.str(ref),
		Params:   c.triggerParams(params),
		Wait:     c.bool(wait),
	}
	n.add().Trigger = t
	c.ev.triggers++
	c.checkName(pipeline, t.Pipeline)
	n.Name = t.Pipeline
	if c.given(name) {
		c.name(n, name)
	}
	if c.given(runOn) {
		n.add().RunOn = c.runOn(runOn)
	}
	c.dependsOn(n, dependsOn)
	return n, nil
}

// triggerParams returns argument i: names to values, as text.
func (c *call) triggerParams(i int) plan.Env {
	if !c.given(i) {
		return nil
	}
	dict, ok := c.args[i].(*starlark.Dict)
	if !ok {
		c.badType(i, nil, "a dict", c.args[i])
		return nil
	}
	var out plan.Env
	for key, v := range dict.Entries() {
		name, ok := c.key(i, key)
		if !ok {
			continue
		}
		if badParamName(string(name)) {
			c.bad(i, nil, "bad-name", "params holds the key %s, which is not the name of a parameter", shorten(key.String()))
			continue
		}
		path := []any{string(name)}
		text := plan.Text{}
		switch v := v.(type) {
		case starlark.Bool:
			text = plan.Lit(strings.ToLower(v.String()))
		case starlark.Int:
			text = plan.Lit(v.String())
		case *starlark.List, starlark.Tuple:
			list, _ := elements(v)
			words := make([]string, 0, list.Len())
			for n, w := range members(list) {
				if s, ok := c.plain(i, []any{string(name), n}, w); ok {
					words = append(words, s)
				}
			}
			text = plan.Lit(plan.FormatParam(words))
		default:
			if text, ok = c.text(i, path, v, false); !ok {
				continue
			}
		}
		out = append(out, plan.Var{Name: string(name), Value: text})
	}
	sortEnv(out)
	return out
}

func makeApprove(c *call) (starlark.Value, error) {
	const name, prompt, dependsOn = 0, 1, 2
	n := c.newNode()
	n.add().Approve = &plan.Approve{Prompt: c.str(prompt)}
	c.name(n, name)
	c.dependsOn(n, dependsOn)
	return n, nil
}

func makeSecret(c *call) (starlark.Value, error) {
	c.ev.thread = c.thread
	s := &secretValue{name: c.str(0), ev: c.ev}
	c.checkName(0, s.name)
	return s, nil
}

func makeOutput(c *call) (starlark.Value, error) {
	key := c.str(0)
	if c.wrong == 0 && (key == "" || badOutputKey(key)) {
		c.bad(0, nil, "bad-name", "key %s is not the name of a file: letters, digits and . _ -", quote(key))
	}
	c.ev.thread = c.thread
	n := c.self.(*node)
	if c.ev.asked == nil {
		c.ev.asked = make(map[string]*node)
	}
	c.ev.asked[n.Name] = n
	part := plan.Part{Output: &plan.Output{Step: n.Name, Key: key}}
	return &deferred{[]plan.Part{part}, c.ev}, nil
}

// badOutputKey reports whether key cannot be a file of PIPER_OUTPUT.
func badOutputKey(key string) bool {
	return badName(key) != "" || strings.Contains(key, "/")
}
