// Package plan is what a build is to do, as pure data.
//
// A Plan is a directed acyclic graph of nodes: steps that run a command,
// services that run beside them, triggers that start another pipeline,
// approvals that wait for a person, expands that find more nodes.
// Evaluating a PIPER.star for one pipeline gives a Plan; everything after
// that (the scheduler, the engine, the stores, the web page) knows only the
// Plan. It holds no clock, no machine fact and no secret value, so the same
// commit, parameters and event give the same bytes everywhere. Its canonical
// JSON has sorted keys and its digest is the SHA-256 of those bytes.
//
// A node says what it waits for by name: another node, or a group. A group is
// what one parallel(...) call or one named sequence(...) wrote. Waiting for a
// group means waiting for every node inside it, which keeps two wide stages in
// a row at n + m edges, not n × m.
//
// A Plan never changes once it is made.
package plan

// Format is the version of the plan's JSON. It grows when a field changes its
// meaning, not when one is added.
const Format = 1

// MaxNodes is how many nodes a plan may have unless a setting says otherwise.
const MaxNodes = 20_000

// A Plan is one pipeline of one project, evaluated for one event and one set
// of parameters.
type Plan struct {
	Format   int            `json:"format"`
	Project  Project        `json:"project"`
	Pipeline string         `json:"pipeline"`
	Params   map[string]any `json:"params,omitempty"` // string, bool, int64 or []string

	Nodes  []Node  `json:"nodes"`            // in the order they were written
	Groups []Group `json:"groups,omitempty"` // an enclosing group comes before what it encloses

	Environment  string        `json:"environment,omitempty"` // of steps that name none; "" is the plain host
	Environments []Environment `json:"environments,omitempty"`
	Env          Env           `json:"env,omitempty"`      // of every step; an environment's and a step's own come over it
	PassEnv      []string      `json:"pass_env,omitempty"` // names (or globs) let through to every step

	Timeout      Duration `json:"timeout,omitempty"`       // of the build; 0 is none
	QueueTimeout Duration `json:"queue_timeout,omitempty"` // of the wait for an agent; 0 is none
	Concurrency  string   `json:"concurrency,omitempty"`   // builds with the same key run one at a time
	Priority     int      `json:"priority,omitempty"`      // higher is claimed first

	Inputs []Input `json:"inputs,omitempty"` // what evaluation looked at, by kind and key
}

// A Project is what a PIPER.star says of the whole repository.
type Project struct {
	Name    string `json:"name"`
	Version string `json:"version,omitempty"`
	Piper   string `json:"piper,omitempty"` // the piper versions that may run it, such as ">=0.1"
}

// A Node is one vertex of the graph. Exactly one of its Step, Trigger, Approve
// and Expand is there.
type Node struct {
	Name  string   `json:"name"`
	Needs []string `json:"needs,omitempty"` // nodes and groups that must have ended first
	Group string   `json:"group,omitempty"` // the innermost group it stands in
	Pos   Pos      `json:"pos,omitzero"`    // where it was defined
	Step  *Step    `json:"step,omitempty"`
	*More          // nil when there is none
}

// More is what few nodes have: apart, as there can be many nodes. The methods
// of a Node of the same names read it.
type More struct {
	RunOn        RunOn    `json:"run_on,omitempty"`        // "" is Success
	AllowFailure string   `json:"allow_failure,omitempty"` // why a failure does not count; "" when it does
	Trigger      *Trigger `json:"trigger,omitempty"`
	Approve      *Approve `json:"approve,omitempty"`
	Expand       *Expand  `json:"expand,omitempty"`
}

// RunOn says which end of its ancestors lets a node run.
type RunOn string

const (
	Success RunOn = "success" // each ancestor succeeded or was allowed to fail
	Failure RunOn = "failure" // all have ended, and some failed
	Always  RunOn = "always"  // all have ended
)

// A Group bounds the nodes and groups that name it.
type Group struct {
	Name     string `json:"name"`                // unique among nodes and groups; made ones hold a '#', which no written name can
	Group    string `json:"group,omitempty"`     // the group that encloses it
	Limit    int    `json:"limit,omitempty"`     // how many of the nodes inside may run at once; 0 is no limit
	FailFast bool   `json:"fail_fast,omitempty"` // a failure inside stops what else is inside
	Pos      Pos    `json:"pos,omitzero"`
}

// A Step is a command to run.
type Step struct {
	Doc    string `json:"doc,omitempty"`
	Script string `json:"script,omitempty"` // run by Shell -e -c; "" when Argv is set
	Argv   []Text `json:"argv,omitempty"`   // run as it is, without a shell
	Shell  string `json:"shell,omitempty"`  // "" is sh

	Dir         string        `json:"dir,omitempty"` // slash-separated, below the workspace; "" is the workspace
	Env         Env           `json:"env,omitempty"`
	PassEnv     []string      `json:"pass_env,omitempty"`
	Environment string        `json:"environment,omitempty"` // "" is the plan's
	Requires    []Requirement `json:"requires,omitempty"`

	Timeout     Duration `json:"timeout,omitempty"` // of one attempt; 0 is none
	Grace       Duration `json:"grace,omitempty"`   // from the interrupt to the kill; 0 is DefaultGrace
	Retry       *Retry   `json:"retry,omitempty"`
	Concurrency string   `json:"concurrency,omitempty"` // steps with the same key run one at a time
	Once        bool     `json:"once,omitempty"`        // must not be started a second time after an agent was lost
	TTY         bool     `json:"tty,omitempty"`

	Services []string `json:"services,omitempty"` // nodes that are services, which have to be ready while it runs
	Service  *Service `json:"service,omitempty"`  // set for a service: a command that runs until it is stopped

	Inputs  []string `json:"inputs,omitempty"`  // globs of what it reads
	Outputs []string `json:"outputs,omitempty"` // globs of what it writes
}

// A Service says what makes a step a service. Its node needs nothing, stands in
// no group and is needed by nothing: steps list it. It starts when the first of
// them could, keeps them waiting until it is ready, and is stopped once the last
// of them has ended. It takes no slot.
type Service struct {
	Ready        Ready    `json:"ready,omitzero"`
	ReadyTimeout Duration `json:"ready_timeout,omitempty"` // from its start; 0 is DefaultReadyTimeout
}

// Ready is how to tell that a service can be used. At most one field is set;
// with none it is as soon as its process has started.
type Ready struct {
	Script string `json:"script,omitempty"` // run by sh -e -c, again until it exits with 0
	Argv   []Text `json:"argv,omitempty"`   // the same, without a shell
	Port   int    `json:"port,omitempty"`   // of this machine takes a TCP connection
	Log    string `json:"log,omitempty"`    // a regular expression that a line of its output matches
}

// IsZero tells whether nothing is waited for; an empty argv is none.
func (r Ready) IsZero() bool {
	return r.Script == "" && len(r.Argv) == 0 && r.Port == 0 && r.Log == ""
}

// A Retry says when a step that failed is tried again.
type Retry struct {
	Attempts int      `json:"attempts"`          // in all, 1 to 100
	Backoff  Duration `json:"backoff,omitempty"` // before the second attempt; doubled for each one after, at most an hour
	On       []string `json:"on,omitempty"`      // exit codes, "timeout", "signal"; none is any failure
}

// A Trigger starts another pipeline.
type Trigger struct {
	Pipeline string `json:"pipeline"`
	Project  string `json:"project,omitempty"` // "" is this one
	Ref      string `json:"ref,omitempty"`     // "" is this build's commit
	Params   Env    `json:"params,omitempty"`  // as text, the way --param takes them
	Wait     bool   `json:"wait,omitempty"`    // the node ends as the triggered build does
}

// An Approve waits for a person to say yes.
type Approve struct {
	Prompt string `json:"prompt,omitempty"`
}

// An Expand finds nodes while the build runs: once the node After has
// succeeded, a function of the PIPER.star is given its outputs and returns what
// else there is to do. It comes after that node, and Grow says what becomes of
// the plan.
type Expand struct {
	After    string   `json:"after"`
	Services []string `json:"services,omitempty"` // that are kept running for the nodes it finds
}

// An Expansion is what an expand found. Its nodes and groups come into the plan
// as if they had stood in a group of their own in the place of the expand: they
// run after it, and whatever waits for it waits for them.
type Expansion struct {
	Nodes        []Node        `json:"nodes,omitempty"`
	Groups       []Group       `json:"groups,omitempty"`
	Environments []Environment `json:"environments,omitempty"` // that the plan did not have
	Inputs       []Input       `json:"inputs,omitempty"`       // that the plan did not have
}

// An Environment is where steps run.
type Environment struct {
	Name     string        `json:"name"`
	Kind     string        `json:"kind"` // "host", "temp_dir", "venv" or "container"
	Doc      string        `json:"doc,omitempty"`
	Requires []Requirement `json:"requires,omitempty"`
	Env      Env           `json:"env,omitempty"`
	PassEnv  []string      `json:"pass_env,omitempty"`

	Keep         bool     `json:"keep,omitempty"`         // temp_dir: leave the copy behind
	Path         string   `json:"path,omitempty"`         // venv: where it stands, below the workspace
	Python       string   `json:"python,omitempty"`       // venv: the interpreter; "" is python3
	Requirements []string `json:"requirements,omitempty"` // venv: requirement files, below the workspace
	Image        string   `json:"image,omitempty"`        // container
	Runtime      string   `json:"runtime,omitempty"`      // container: "podman" or "docker"; "" is whichever is there
	Options      []string `json:"options,omitempty"`      // container: more arguments of its run command

	Pos Pos `json:"pos,omitzero"`
}

// A Requirement is a condition on the machine's facts.
type Requirement struct {
	Op     string        `json:"op"` // eq, one_of, at_least, has, matches, all_of, any_of or not
	Key    string        `json:"key,omitempty"`
	Values []string      `json:"values,omitempty"`
	Of     []Requirement `json:"of,omitempty"` // what all_of, any_of and not combine
	Reason string        `json:"reason,omitempty"`
}

// An Input is one thing that evaluation looked at: a file, a glob, the name of
// an environment variable, a parameter, a field of the event, a git fact.
type Input struct {
	Kind   string `json:"kind"`
	Key    string `json:"key"`
	Digest string `json:"digest"` // of the value that was seen: "sha256:…"
}
