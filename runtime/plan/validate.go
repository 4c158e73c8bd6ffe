package plan

import (
	"fmt"
	"maps"
	"path"
	"slices"
	"strconv"
	"strings"
	"unicode/utf8"
)

const (
	// MaxName is how many bytes the name of a node may have.
	MaxName = 200
	// MaxAttempts is how often a step may be tried in all.
	MaxAttempts = 100
)

// ValidName reports whether a step, a trigger, an approval, a group or a
// pipeline may be called s: [A-Za-z0-9][A-Za-z0-9._/-]*, at most MaxName bytes.
func ValidName(s string) bool {
	return s != "" && len(s) <= MaxName && isAlphanumeric(s[0]) && nameChars(s, "._/-")
}

func nameChars(s, others string) bool {
	for i := range len(s) {
		if !isAlphanumeric(s[i]) && strings.IndexByte(others, s[i]) < 0 {
			return false
		}
	}
	return true
}

func isAlphanumeric(c byte) bool {
	return 'a' <= c && c <= 'z' || 'A' <= c && c <= 'Z' || '0' <= c && c <= '9'
}

// Validate returns everything that is wrong with p, in the order of the places
// it was written at, and nothing when p can be run. Everything that takes a
// plan relies on it. maxNodes is the setting max_nodes; 0 is MaxNodes. A plan
// above it is not looked at any further.
//
// The diagnostics point at the call that made a node; who has the source can
// move them to the argument, and add the excerpt.
func Validate(p *Plan, maxNodes int) Diagnostics {
	if maxNodes <= 0 {
		maxNodes = MaxNodes
	}
	v := validator{plan: p}
	if n := len(p.Nodes); n > maxNodes {
		v.report(p.Nodes[maxNodes].Pos, "too-many-nodes",
			fmt.Sprintf("split the pipeline, or raise the setting max_nodes (%d)", maxNodes),
			"pipeline %q has %d nodes, and the limit is %d", p.Pipeline, n, maxNodes)
		return v.found
	}
	v.graph = NewGraph(p)
	v.names()
	v.settings()
	for i := range p.Groups {
		v.group(&p.Groups[i], int32(len(p.Nodes)+i))
	}
	for i := range p.Nodes {
		v.node(&p.Nodes[i], int32(i))
	}
	if order := v.graph.Order(); len(order) < v.graph.Len() {
		v.cycles(order)
	} else {
		v.outputs(order)
	}
	v.found.Sort()
	return slices.CompactFunc(v.found, func(a, b Diagnostic) bool {
		return a.File == b.File && a.Line == b.Line && a.Column == b.Column && a.Message == b.Message
	})
}

type validator struct {
	plan  *Plan
	graph *Graph
	found Diagnostics

	environments map[string]bool
	candidates   []string // what a need can name; filled when first asked for
	suggested    int      // how many names were looked for among them
}

func (v *validator) report(pos Pos, code, hint, format string, args ...any) {
	v.found = append(v.found, Diagnostic{
		File: pos.File, Line: int(pos.Line), Column: int(pos.Column),
		Severity: "error", Code: code, Message: fmt.Sprintf(format, args...), Hint: hint,
	})
}

// A subject is what a message is about. It is put into words only when there
// is a message.
type subject struct{ kind, name string }

func (s subject) String() string { return fmt.Sprintf("%s %q", s.kind, s.name) }

// Title names g in a sentence: by its name, by the expand that found what is
// inside, or by its place when the name was made up for another reason.
func (g *Group) Title() string {
	if expand := foundBy(g.Name); expand != "" {
		return fmt.Sprintf("what %q found", expand)
	}
	if g.Made() {
		return "the group at " + g.Pos.String()
	}
	return fmt.Sprintf("group %q", g.Name)
}

// Made reports whether nobody wrote the name of g.
func (g *Group) Made() bool { return strings.Contains(g.Name, "#") && g.Pos != (Pos{}) }

// title names a vertex in a sentence.
func (v *validator) title(vertex int32) string {
	if v.graph.IsNode(vertex) {
		n := &v.plan.Nodes[vertex]
		return subject{n.Kind(), n.Name}.String()
	}
	return v.graph.groupAt(vertex).Title()
}

// placed is title and where the vertex was written.
func (v *validator) placed(vertex int32) string {
	if !v.graph.IsNode(vertex) && v.graph.groupAt(vertex).Made() {
		return v.title(vertex)
	}
	return v.title(vertex) + at(v.graph.Pos(vertex))
}

// at returns " (file:line:column)", or nothing for no place.
func at(pos Pos) string {
	if pos == (Pos{}) {
		return ""
	}
	return " (" + pos.String() + ")"
}

const nameHint = `a name starts with a letter or digit, goes on with letters, digits and any of . _ / - and has at most 200 bytes`

// names looks at the names of nodes and groups, which share one space.
func (v *validator) names() {
	unique := v.graph.byName.Len() == v.graph.Len()
	for i := range int32(v.graph.Len()) {
		name, pos := v.graph.Name(i), v.graph.Pos(i)
		ok := ValidName(name)
		if !v.graph.IsNode(i) && strings.Contains(name, "#") {
			ok = nameChars(name, "._/-#") // a made name
		}
		switch {
		case name == "":
			kind := "group"
			if v.graph.IsNode(i) {
				kind = v.plan.Nodes[i].Kind()
			}
			v.report(pos, "bad-name", nameHint, "a %s has no name", kind)
		case !ok:
			v.report(pos, "bad-name", nameHint, "%s is no name", excerpt(name))
		case !unique:
			if first, _ := v.graph.Lookup(name); first != i {
				hint := ""
				if pos == v.graph.Pos(first) && pos != (Pos{}) {
					hint = "the same call made both: what two expands find has to differ in its names"
				}
				v.report(pos, "duplicate-name", hint, "%s has the name of %s", v.title(i), v.placed(first))
			}
		}
	}
}

// settings looks at what holds for the whole plan.
func (v *validator) settings() {
	p := v.plan
	var none Pos
	pipeline := subject{"pipeline", p.Pipeline}
	v.duration(none, pipeline, "timeout", p.Timeout)
	v.duration(none, pipeline, "queue_timeout", p.QueueTimeout)
	for _, name := range slices.Sorted(maps.Keys(p.Params)) {
		switch value := p.Params[name].(type) {
		case string, bool, int64, []string:
		default:
			v.report(none, "bad-value", "", "parameter %q is a %T: want string, bool, int64 or []string", name, value)
		}
	}
	v.env(none, pipeline, p.Env, secretsOnly)

	v.environments = make(map[string]bool)
	for i := range p.Environments {
		e := &p.Environments[i]
		what := subject{"environment", e.Name}
		switch {
		case !ValidName(e.Name):
			v.report(e.Pos, "bad-name", nameHint, "%s is no name of an environment", excerpt(e.Name))
		case v.environments[e.Name]:
			v.report(e.Pos, "duplicate-name", "", "%s is defined twice", what)
		}
		v.environments[e.Name] = true
		switch e.Kind {
		case "host", "temp_dir", "venv":
		case "container":
			if e.Image == "" {
				v.report(e.Pos, "bad-value", "", "%s is a container without an image", what)
			}
		default:
			v.report(e.Pos, "bad-value", "the kinds are host, temp_dir, venv and container", "%s has the kind %s", what, excerpt(e.Kind))
		}
		v.inside(e.Pos, what, "path", e.Path)
		for _, file := range e.Requirements {
			v.inside(e.Pos, what, "requirements", file)
		}
		v.env(e.Pos, what, e.Env, secretsOnly)
		v.requires(e.Pos, what, e.Requires)
	}
	v.environment(none, pipeline, p.Environment)
}

func (v *validator) group(g *Group, vertex int32) {
	if g.Limit < 0 {
		v.report(g.Pos, "bad-value", "leave limit out for none", "%s: limit is %d: want at least 1", g.Title(), g.Limit)
	}
	if g.Group == "" {
		return
	}
	switch outer := v.graph.Group(vertex); {
	case outer < 0:
		v.report(g.Pos, "unknown-group", "", "%s stands in group %q, which is not defined", g.Title(), g.Group)
	case outer >= vertex:
		v.report(g.Pos, "group-order", "", "%s comes before %s, which encloses it", g.Title(), v.placed(outer))
	}
}

func (v *validator) node(n *Node, vertex int32) {
	what := subject{n.Kind(), n.Name}
	if n.Group != "" && v.graph.Group(vertex) < 0 {
		v.report(n.Pos, "unknown-group", "", "%s stands in group %q, which is not defined", what, n.Group)
	}
	for _, need := range n.Needs {
		if u, ok := v.graph.Lookup(need); ok && v.isService(u) {
			v.report(n.Pos, "bad-value", fmt.Sprintf("list it: services = [%q]", need), "%s needs %s, and a service ends after all that uses it", what, v.title(u))
		} else if !ok {
			v.report(n.Pos, "unknown-step", v.didYouMean(need), "step %s is not defined in pipeline %q", excerpt(need), v.plan.Pipeline)
		}
	}
	switch n.RunOn() {
	case "", Success, Failure, Always:
	default:
		v.report(n.Pos, "bad-value", `want "success", "failure" or "always"`, "%s: run_on is %s", what, excerpt(string(n.RunOn())))
	}
	v.text(n.Pos, what, "allow_failure", n.AllowFailure())

	kinds := 0
	if s := n.Step; s != nil {
		kinds++
		v.step(n, what, s)
	}
	if t := n.Trigger(); t != nil {
		kinds++
		if t.Pipeline == "" {
			v.report(n.Pos, "bad-value", "", "%s names no pipeline", what)
		}
		v.text(n.Pos, what, "pipeline", t.Pipeline)
		v.text(n.Pos, what, "project", t.Project)
		v.text(n.Pos, what, "ref", t.Ref)
		v.env(n.Pos, what, t.Params, outputsOnly)
	}
	if a := n.Approve(); a != nil {
		kinds++
		v.text(n.Pos, what, "prompt", a.Prompt)
	}
	if n.Expand() != nil {
		kinds++
		v.expand(n, what)
	}
	if kinds != 1 {
		v.report(n.Pos, "bad-node", "", "node %q must be exactly one of a step, a trigger, an approval and an expand", n.Name)
	}
}

func (v *validator) step(n *Node, what subject, s *Step) {
	pos := n.Pos
	switch {
	case s.Script == "" && len(s.Argv) == 0:
		v.report(pos, "bad-value", "", "%s has nothing to run", what)
	case s.Script != "" && len(s.Argv) > 0:
		v.report(pos, "bad-value", "", "%s has both a script and an argument list to run", what)
	case len(s.Argv) > 0 && s.Argv[0].Known() && s.Argv[0].Literal == "":
		v.report(pos, "bad-value", "", "%s: the program to run has no name", what)
	}
	v.text(pos, what, "doc", s.Doc)
	v.text(pos, what, "run", s.Script)
	v.text(pos, what, "shell", s.Shell)
	v.text(pos, what, "concurrency", s.Concurrency)
	args, env := outputsOnly, anything
	if s.Service != nil {
		v.service(n, what)
		args, env = literals, secretsOnly
	}
	for i := range s.Argv {
		v.value(pos, what, "run", &s.Argv[i], args)
	}
	v.env(pos, what, s.Env, env)
	v.services(n, what)
	v.inside(pos, what, "dir", s.Dir)
	for _, glob := range s.Inputs {
		v.inside(pos, what, "inputs", glob)
	}
	for _, glob := range s.Outputs {
		v.inside(pos, what, "outputs", glob)
	}
	v.environment(pos, what, s.Environment)
	v.requires(pos, what, s.Requires)
	v.duration(pos, what, "timeout", s.Timeout)
	v.duration(pos, what, "grace", s.Grace)
	if r := s.Retry; r != nil {
		if r.Attempts < 1 || r.Attempts > MaxAttempts {
			v.report(pos, "bad-value", "", "%s: retry attempts is %d: want 1 to %d", what, r.Attempts, MaxAttempts)
		}
		v.duration(pos, what, "retry backoff", r.Backoff)
		for _, on := range r.On {
			if code, err := strconv.Atoi(on); on != "timeout" && on != "signal" && (err != nil || code < 1 || code > 255 || on != strconv.Itoa(code)) {
				v.report(pos, "bad-value", "", `%s: retry on %s: want an exit code from 1 to 255, "timeout" or "signal"`, what, excerpt(on))
			}
		}
	}
}

func (v *validator) duration(pos Pos, what subject, field string, d Duration) {
	if d < 0 {
		v.report(pos, "bad-value", "", "%s: %s is %s: want a positive duration", what, field, d)
	}
}

// environment looks up the name of an environment.
func (v *validator) environment(pos Pos, what subject, name string) {
	if name == "" || v.environments[name] {
		return
	}
	hint := ""
	names := make([]string, len(v.plan.Environments))
	for i, e := range v.plan.Environments {
		names[i] = e.Name
	}
	if near, ok := v.nearest(name, names); ok {
		hint = fmt.Sprintf("did you mean %q?", near)
	}
	v.report(pos, "unknown-environment", hint, "%s runs in environment %s, which is not defined", what, excerpt(name))
}

func (v *validator) requires(pos Pos, what subject, all []Requirement) {
	for _, r := range all {
		switch r.Op {
		case "eq", "one_of", "at_least", "has", "matches":
			if r.Key == "" || len(r.Of) > 0 {
				v.report(pos, "bad-value", "", "%s: the requirement %q wants the key of a fact and nothing inside", what, r.Op)
			}
		case "all_of", "any_of", "not":
			if len(r.Of) == 0 || r.Op == "not" && len(r.Of) > 1 {
				v.report(pos, "bad-value", "", "%s: the requirement %q holds %d requirements", what, r.Op, len(r.Of))
			}
		default:
			v.report(pos, "bad-value", "", "%s: there is no requirement %s", what, excerpt(r.Op))
		}
		v.requires(pos, what, r.Of)
	}
}

// inside looks whether a slash-separated path or glob leaves the tree by its
// words. What symbolic links do is for those who open it.
func (v *validator) inside(pos Pos, what subject, field, name string) {
	v.text(pos, what, field, name)
	clean := path.Clean(name)
	if path.IsAbs(name) || clean == ".." || strings.HasPrefix(clean, "../") {
		v.report(pos, "outside-tree", "", "%s: %s %s leaves the tree", what, field, excerpt(name))
	}
}

// text looks for what no process can be given and no JSON can hold.
func (v *validator) text(pos Pos, what subject, field, s string) {
	switch {
	case !utf8.ValidString(s):
		v.report(pos, "bad-text", "", "%s: %s is not UTF-8: %s", what, field, excerpt(s))
	case strings.IndexByte(s, 0) >= 0:
		v.report(pos, "bad-text", "", "%s: %s holds a NUL byte: %s", what, field, excerpt(s))
	}
}

// What a Text may hold besides literals depends on where it stands.
type allowed int

const (
	anything    allowed = iota // the environment of a step
	outputsOnly                // arguments and parameters, which others can see
	secretsOnly                // what holds before any step has run
	literals                   // both
)

func (v *validator) env(pos Pos, what subject, env Env, may allowed) {
	for i := range env {
		name := env[i].Name
		if name == "" || strings.ContainsAny(name, "=\x00") || !utf8.ValidString(name) {
			v.report(pos, "bad-name", "", "%s: %s is no name of a value", what, excerpt(name))
		}
		if i > 0 && name <= env[i-1].Name {
			v.report(pos, "bad-value", "", "%s: the value %s is named twice or not in order", what, excerpt(name))
		}
		v.value(pos, what, name, &env[i].Value, may)
	}
}

func (v *validator) value(pos Pos, what subject, field string, t *Text, may allowed) {
	v.text(pos, what, field, t.Literal)
	if t.Literal != "" && len(t.Parts) > 0 {
		v.report(pos, "bad-value", "", "%s: %s is both a literal and made of parts", what, field)
	}
	for _, part := range t.Parts {
		v.text(pos, what, field, part.Literal)
		switch {
		case part.Secret != "" && (part.Output != nil || part.Literal != "") || part.Output != nil && part.Literal != "":
			v.report(pos, "bad-value", "", "%s: a part of %s is more than one thing", what, field)
		case part.Secret != "" && (may == outputsOnly || may == literals):
			v.report(pos, "misplaced-secret", "give it to a step by env", "%s: %s cannot hold the secret %q", what, field, part.Secret)
		case part.Secret != "" && len(t.Parts) > 1:
			v.report(pos, "misplaced-secret", "give it a variable of its own", "%s: the secret %q must be the whole of %s", what, part.Secret, field)
		case part.Output != nil && (may == secretsOnly || may == literals):
			v.report(pos, "misplaced-output", "use it in the env of the step that needs it", "%s: %s cannot hold the output %q of step %q", what, field, part.Output.Key, part.Output.Step)
		}
	}
}

// didYouMean returns a hint for a need that names nothing.
func (v *validator) didYouMean(need string) string {
	if v.candidates == nil {
		for i := range int32(v.graph.Len()) {
			if name := v.graph.Name(i); !strings.Contains(name, "#") {
				v.candidates = append(v.candidates, name)
			}
		}
	}
	near, ok := v.nearest(need, v.candidates)
	if !ok {
		return ""
	}
	vertex, _ := v.graph.Lookup(near)
	return fmt.Sprintf("did you mean %q%s?", near, at(v.graph.Pos(vertex)))
}

// nearest is Nearest for the first few names only: it reads all candidates for
// each, and a plan can have thousands that are wrong.
func (v *validator) nearest(name string, candidates []string) (string, bool) {
	const most = 10
	if v.suggested == most {
		return "", false
	}
	v.suggested++
	return Nearest(name, candidates)
}
