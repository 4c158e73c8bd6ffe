package builtins

// The words that register something, and those that a flow is made of.

var registerWords = []Builtin{
	{
		Name: "project",
		Doc:  "Says what the whole repository is. It may be called once.",
		Params: []Param{
			{Name: "name", Type: "string", Required: true, Doc: "names the project to others: on the web page, in a trigger"},
			{Name: "version", Type: "string", Doc: "steps see it as PIPER_VERSION, impl as ctx.version"},
			{Name: "piper", Type: "string", Doc: `the versions of piper that may run it, such as ">=0.1" or ">=1.2, <2"`, Named: true},
		},
		Example: `project(name = "shop", version = "1.2.0", piper = ">=0.1")`,
		call:    makeProject,
	},
	{
		Name: "pipeline",
		Doc: "Registers a pipeline: something that can be asked for by name, or that an event starts. " +
			"Its flow is either steps, written down, or what the function impl returns for a ctx; impl runs only when the pipeline is asked for.",
		Params: []Param{
			{Name: "name", Type: "string", Required: true, Doc: "unique in the project"},
			{Name: "doc", Type: "string", Doc: "one line for lists and forms", Named: true},
			{Name: "steps", Type: "list", Doc: "the flow; a list is a sequence", Named: true},
			{Name: "impl", Type: "function", Doc: "impl(ctx) returns the flow", Named: true},
			{Name: "params", Type: "dict of params", Default: "{}", Doc: "what may be given, by name: param.string() and its like", Named: true},
			{Name: "on", Type: "list", Default: "[]", Doc: "which events start it: on.push() and its like", Named: true},
			{Name: "env", Type: "dict of strings", Default: "{}", Doc: "environment variables of every step; a value may be a secret", Named: true},
			{Name: "pass_env", Type: "list of strings", Default: "[]", Doc: "names, or globs of names, that are let through to every step", Named: true},
			{Name: "environment", Type: "environment or string", Doc: "where steps run that name none themselves", Named: true},
			{Name: "timeout", Type: "duration", Doc: "of the whole build", Named: true},
			{Name: "queue_timeout", Type: "duration", Doc: "of the wait for an agent", Named: true},
			{Name: "concurrency", Type: "string", Doc: "builds with the same key run one at a time", Named: true},
			{Name: "priority", Type: "int", Default: "0", Doc: "-1000 to 1000; higher is taken first", Named: true},
		},
		Example: `
unit = step("unit", run = "go test ./...")

pipeline(
    name = "test",
    doc = "Unit tests",
    steps = [unit],
    on = [on.push(branches = ["main"])],
    timeout = "30m",
)
`,
		call: makePipeline,
	},
}

var flowWords = []Builtin{
	{
		Name: "step",
		Doc: "Returns a step: one command to run. It does nothing until it stands in the flow of a pipeline. " +
			"A value that others chose (a branch, a title, a parameter, an output) goes into env, where the script finds it as \"$NAME\", or into a list; in a string it would be part of the script, unless shlex.quote wraps it.",
		Params: []Param{
			{Name: "name", Type: "string", Required: true, Doc: "unique in the flow; letters, digits and . _ / -"},
			{Name: "run", Type: "string or list of strings", Required: true, Doc: "a string goes to sh -e -c; a list is a program and its arguments, without a shell"},
			{Name: "doc", Type: "string", Doc: "one line about it", Named: true},
			{Name: "depends_on", Type: "list", Default: "[]", Doc: "steps, or their names, that must have ended first", Named: true},
			{Name: "env", Type: "dict of strings", Default: "{}", Doc: "environment variables; a value may be a secret or an output", Named: true},
			{Name: "pass_env", Type: "list of strings", Default: "[]", Doc: "names, or globs of names, that are let through from outside", Named: true},
			{Name: "dir", Type: "string", Doc: "where it runs, below the workspace", Named: true},
			{Name: "shell", Type: "string", Default: `"sh"`, Doc: "what runs a string", Named: true},
			{Name: "environment", Type: "environment or string", Doc: "where it runs; the pipeline's when not given", Named: true},
			{Name: "requires", Type: "list", Default: "[]", Doc: "what the machine must have: facts.has() and its like", Named: true},
			{Name: "timeout", Type: "duration", Doc: "of one attempt", Named: true},
			{Name: "grace", Type: "duration", Default: `"10s"`, Doc: "from the interrupt to the kill", Named: true},
			{Name: "retry", Type: "retry", Doc: "whether it is tried again: retry(attempts = 3)", Named: true},
			{Name: "run_on", Type: "string", Default: `"success"`, Doc: "which end of all that comes before lets it run", Named: true, Choices: runOnChoices},
			{Name: "allow_failure", Type: "bool or string", Default: "False", Doc: "its failure does not fail the build; a string says why", Named: true},
			{Name: "inputs", Type: "list of strings", Default: "[]", Doc: "globs of the files it reads, for readers of the plan", Named: true},
			{Name: "outputs", Type: "list of strings", Default: "[]", Doc: "globs of the files it writes, for readers of the plan: none of them is kept, or has to be there; what is written into $PIPER_OUTPUT is a value of <step>.output", Named: true},
			{Name: "once", Type: "bool", Default: "False", Doc: "it must not be started a second time after an agent was lost", Named: true},
			{Name: "concurrency", Type: "string", Doc: "steps with the same key run one at a time", Named: true},
			{Name: "services", Type: "list of services", Default: "[]", Doc: "what runs beside it, and is ready before it starts: what service() returned", Named: true},
			{Name: "tty", Type: "bool", Default: "False", Doc: "it gets a terminal", Named: true},
		},
		Returns: "step",
		Example: `
build = step(
    name = "build",
    run = ["go", "build", "-o", "dist/app", "./cmd/app"],
    env = {"CGO_ENABLED": "0"},
    inputs = ["**/*.go", "go.mod"],
    timeout = "10m",
    concurrency = "build",
)
pipeline(name = "build", steps = [build])
`,
		call: makeStep,
	},
	{
		Name: "service",
		Doc: "Returns a service: a command that runs beside the steps that list it in services, such as a database. " +
			"It starts when the first of them could, they wait until it is ready, and it is stopped once the last of them has ended. It stands in no flow, and takes no room in a limit. " +
			"When it ends by itself, or is not ready in time, it has failed, and steps that have not started are skipped.",
		Params: []Param{
			{Name: "name", Type: "string", Required: true, Doc: "unique in the flow; letters, digits and . _ / -"},
			{Name: "run", Type: "string or list of strings", Required: true, Doc: "as a step's; it stays in the foreground"},
			{Name: "ready", Type: "ready", Doc: "how to tell that it can be used: ready.port(), ready.log() or ready.run(); when not given, once it has started", Named: true},
			{Name: "ready_timeout", Type: "duration", Default: `"1m"`, Doc: "from its start until it must be ready", Named: true},
			{Name: "doc", Type: "string", Doc: "one line about it", Named: true},
			{Name: "env", Type: "dict of strings", Default: "{}", Doc: "environment variables; a value may be a secret", Named: true},
			{Name: "pass_env", Type: "list of strings", Default: "[]", Doc: "names, or globs of names, that are let through from outside", Named: true},
			{Name: "dir", Type: "string", Doc: "where it runs, below the workspace", Named: true},
			{Name: "shell", Type: "string", Default: `"sh"`, Doc: "what runs a string", Named: true},
			{Name: "environment", Type: "environment or string", Doc: "where it runs; the pipeline's when not given", Named: true},
			{Name: "requires", Type: "list", Default: "[]", Doc: "what the machine must have: facts.has() and its like", Named: true},
			{Name: "grace", Type: "duration", Default: `"10s"`, Doc: "from the interrupt to the kill, when it is stopped", Named: true},
		},
		Returns: "service",
		Example: `
db = service("db", run = "exec postgres -D .db -p 5432", ready = ready.port(5432))
migrate = step("migrate", run = "./migrate.sh", services = [db])
test = step("test", run = "go test ./...", services = [db], env = {"DB": "localhost:5432"})
pipeline(name = "test", steps = [migrate, test])
`,
		call: makeService,
	},
	{
		Name:    "ready.port",
		Doc:     "A service is ready once a port of this machine takes a TCP connection.",
		Params:  []Param{{Name: "port", Type: "int", Required: true, Doc: "1 to 65535"}},
		Returns: "ready",
		Example: `web = service("web", run = ["./server", "--port=8080"], ready = ready.port(8080))`,
		call:    makeReadyPort,
	},
	{
		Name:    "ready.log",
		Doc:     "A service is ready once it has written a line that matches.",
		Params:  []Param{{Name: "pattern", Type: "string", Required: true, Doc: "an RE2 regular expression"}},
		Returns: "ready",
		Example: `web = service("web", run = ["./server"], ready = ready.log("listening on .*:[0-9]+"))`,
		call:    makeReadyLog,
	},
	{
		Name:    "ready.run",
		Doc:     "A service is ready once a command has succeeded, which is tried until it does.",
		Params:  []Param{{Name: "run", Type: "string or list of strings", Required: true, Doc: "a string goes to sh -e -c; a list is a program and its arguments, without a shell"}},
		Returns: "ready",
		Example: `db = service("db", run = "exec postgres -D .db", ready = ready.run(["pg_isready", "-q"]), ready_timeout = "30s")`,
		call:    makeReadyRun,
	},
	{
		Name: "<step>.output",
		Doc: "Returns a value that a step writes while it runs: the content of the file key in its directory PIPER_OUTPUT. " +
			"It may stand in env, in the params of a trigger and in run = [...]; + makes a longer string of it. " +
			"While the plan is made nobody knows it, so a comparison of it, or of text that holds it, is an error as far as the source shows it; one that hides behind a parameter is always unequal. Compare it in the script of a step.",
		Params:  []Param{{Name: "key", Type: "string", Required: true, Doc: "the name of the file"}},
		Returns: "output",
		Example: `
build = step("build", run = "git describe > $PIPER_OUTPUT/version")
ship = step("ship", run = ["./ship.sh", "app-" + build.output("version")])
pipeline(name = "release", steps = [build, ship])
`,
		call: makeOutput,
	},
	{
		Name: "parallel",
		Doc:  "Runs its members with no order of their own. A list given to it is spread: each of its members runs side by side; for chains side by side use sequence.",
		Params: []Param{
			{Name: "members", Type: "steps or lists", Rest: true, Doc: "what runs"},
			{Name: "name", Type: "string", Doc: "lets depends_on name it", Named: true},
			{Name: "limit", Type: "int", Doc: "how many of the steps inside may run at once", Named: true},
			{Name: "fail_fast", Type: "bool", Default: "False", Doc: "a failure inside stops what else is inside", Named: true},
		},
		Returns: "parallel",
		Example: `
shards = [step("test/%d" % i, run = ["./test.sh", str(i)]) for i in range(4)]
pipeline(name = "test", steps = [parallel(shards, limit = 2)])
`,
		call: makeParallel,
	},
	{
		Name: "sequence",
		Doc:  "Runs its members one after the other: a list with a name.",
		Params: []Param{
			{Name: "members", Type: "steps or lists", Rest: true, Doc: "what runs"},
			{Name: "name", Type: "string", Doc: "lets depends_on name it", Named: true},
			{Name: "limit", Type: "int", Doc: "how many of the steps inside may run at once", Named: true},
			{Name: "fail_fast", Type: "bool", Default: "False", Doc: "a failure inside stops what else is inside", Named: true},
		},
		Returns: "sequence",
		Example: `
go = sequence(step("go/build", run = "go build ./..."), step("go/test", run = "go test ./..."))
web = sequence(step("web/build", run = "npm run build"), step("web/test", run = "npm test"))
pipeline(name = "test", steps = [parallel(go, web)])
`,
		call: makeSequence,
	},
	{
		Name: "trigger",
		Doc:  "Returns a node that starts another pipeline. One of this project must be there, and be given what it takes.",
		Params: []Param{
			{Name: "pipeline", Type: "string", Required: true, Doc: "the pipeline to start"},
			{Name: "name", Type: "string", Doc: "unique in the flow; the pipeline's when not given", Named: true},
			{Name: "project", Type: "string", Doc: "the project of the pipeline; this one when not given", Named: true},
			{Name: "ref", Type: "string", Doc: "the branch, tag or commit to build; this build's commit when not given", Named: true},
			{Name: "params", Type: "dict", Default: "{}", Doc: "the parameters to give it; a value may be an output", Named: true},
			{Name: "wait", Type: "bool", Default: "False", Doc: "the node ends when the build it started ends, and as it does", Named: true},
			{Name: "run_on", Type: "string", Default: `"success"`, Doc: "which end of all that comes before lets it run", Named: true, Choices: runOnChoices},
			{Name: "depends_on", Type: "list", Default: "[]", Doc: "steps, or their names, that must have ended first", Named: true},
		},
		Returns: "trigger",
		Example: `
build = step("build", run = "make")
pipeline(name = "release", steps = [build, trigger("deploy", params = {"to": "staging"}, wait = True)])
pipeline(name = "deploy", params = {"to": param.string()}, steps = [step("deploy", run = "./deploy.sh")])
`,
		call: makeTrigger,
	},
	{
		Name: "expand",
		Doc: "Returns a node that finds more steps while the build runs: once after has succeeded, impl(ctx, result) is called, and the flow that it returns takes the node's place. " +
			"What the node comes after, what it finds comes after too; what waits for the node waits for all that it finds, which may hold an expand again. " +
			"impl sees what was seen before the build began: a file, a git fact or an environment variable that was looked at by then, and nothing newer, so that the same outputs always give the same steps. " +
			"The plan's limits count what it finds.",
		Params: []Param{
			{Name: "after", Type: "step or string", Required: true, Doc: "the step whose outputs impl is given, or its name"},
			{Name: "impl", Type: "function", Required: true, Doc: "impl(ctx, result) returns the flow"},
			{Name: "name", Type: "string", Doc: `unique in the flow; "<after>/expand" when not given`, Named: true},
			{Name: "services", Type: "list of services", Default: "[]", Doc: "services of the plan that are kept running for what is found", Named: true},
		},
		Returns: "expand",
		Example: `
def _shards(ctx, result):
    names = json.decode(result.output("shards"))
    return [parallel([step("test/" + n, run = ["./test.sh", n]) for n in names], limit = 4)]

shards = step("shards", run = "./list-shards.sh > $PIPER_OUTPUT/shards")
pipeline(name = "test", steps = [shards, expand(shards, _shards), step("report", run = "./report.sh")])
`,
		call: makeExpand,
	},
	{
		Name: "<result>.name", Value: true, Returns: "string",
		Doc: "The name of the step that an expand stands after, as the impl of the expand is given it.",
		Example: `
def _more(ctx, result):
    return [step("after/" + result.name, run = "true")]

first = step("first", run = "make")
pipeline(name = "test", steps = [first, expand(first, _more)])
`,
	},
	{
		Name: "<result>.outputs", Value: true, Returns: "dict of strings",
		Doc: "What the step that an expand stands after wrote to PIPER_OUTPUT, by the names of the files.",
		Example: `
def _more(ctx, result):
    return [step("show/" + key, run = ["echo", value]) for key, value in result.outputs.items()]

first = step("first", run = "make")
pipeline(name = "test", steps = [first, expand(first, _more)])
`,
	},
	{
		Name:    "<result>.output",
		Doc:     "Returns one of those outputs, which is known here. It is an error when the step wrote none of that name.",
		Params:  []Param{{Name: "key", Type: "string", Required: true, Doc: "the name of the file"}},
		Returns: "string",
		Example: `
def _more(ctx, result):
    return [step("test/" + n, run = ["./test.sh", n]) for n in result.output("names").split()]

names = step("names", run = "./names.sh > $PIPER_OUTPUT/names")
pipeline(name = "test", steps = [names, expand(names, _more)])
`,
		call: resultOutput,
	},
	{
		Name: "approve",
		Doc:  "Returns a node that waits for a person to say yes.",
		Params: []Param{
			{Name: "name", Type: "string", Required: true, Doc: "unique in the flow"},
			{Name: "prompt", Type: "string", Doc: "what the person is asked", Named: true},
			{Name: "depends_on", Type: "list", Default: "[]", Doc: "steps, or their names, that must have ended first", Named: true},
		},
		Returns: "approval",
		Example: `
pipeline(name = "deploy", steps = [
    approve("ready", prompt = "Ship it?"),
    step("deploy", run = "./deploy.sh"),
])
`,
		call: makeApprove,
	},
	{
		Name: "retry",
		Doc:  "Says when a step that failed is tried again.",
		Params: []Param{
			{Name: "attempts", Type: "int", Required: true, Doc: "in all, 1 to 100"},
			{Name: "backoff", Type: "duration", Doc: "the wait before the second attempt; doubled for each one after, at most an hour", Named: true},
			{Name: "on", Type: "list", Default: "[]", Doc: `exit codes, "timeout" and "signal"; any failure when not given`, Named: true},
		},
		Returns: "retry",
		Example: `
flaky = step("flaky", run = "./flaky.sh", retry = retry(attempts = 3, backoff = "5s", on = [75, "timeout"]))
pipeline(name = "test", steps = [flaky])
`,
		call: makeRetry,
	},
	{
		Name:    "secret",
		Doc:     "Returns a value that only the machine that runs a step knows. It goes into env whole, and nowhere else.",
		Params:  []Param{{Name: "name", Type: "string", Required: true, Doc: "what the secret is called where it is kept"}},
		Returns: "secret",
		Example: `
publish = step("publish", run = "./publish.sh", env = {"TOKEN": secret("registry")})
pipeline(name = "publish", steps = [publish])
`,
		call: makeSecret,
	},
}

var environmentWords = []Builtin{
	{
		Name: "environment",
		Doc:  "Defines a place where steps run, and returns it. `piper exec <pipeline> <environment>` puts it in the pipeline's place.",
		Params: []Param{
			{Name: "name", Type: "string", Required: true, Doc: "unique in the project"},
			{Name: "kind", Type: "kind", Default: "host()", Doc: "host(), temp_dir(), venv() or container()", Named: true},
			{Name: "requires", Type: "list", Default: "[]", Doc: "what the machine must have: facts.has() and its like", Named: true},
			{Name: "env", Type: "dict of strings", Default: "{}", Doc: "environment variables of its steps; a value may be a secret", Named: true},
			{Name: "pass_env", Type: "list of strings", Default: "[]", Doc: "names, or globs of names, that are let through to its steps", Named: true},
			{Name: "doc", Type: "string", Doc: "one line about it", Named: true},
		},
		Returns: "environment",
		Example: `
clean = environment(name = "clean", kind = temp_dir(), env = {"LANG": "C"}, doc = "a copy of the tree")
pipeline(name = "test", environment = clean, steps = [step("test", run = "make test")])
`,
		call: makeEnvironment,
	},
	{
		Name: "host", Doc: "The machine itself, in the workspace.", Returns: "kind",
		Example: `environment(name = "plain", kind = host())`,
		call:    makeHost,
	},
	{
		Name:    "temp_dir",
		Doc:     "A copy of the tree in a directory that is removed after the build.",
		Params:  []Param{{Name: "keep", Type: "bool", Default: "False", Doc: "leave the copy behind", Named: true}},
		Returns: "kind",
		Example: `environment(name = "scratch", kind = temp_dir(keep = True))`,
		call:    makeTempDir,
	},
	{
		Name: "venv",
		Doc:  "A Python virtual environment. It is made once, and again when its requirements change.",
		Params: []Param{
			{Name: "path", Type: "string", Default: `".venv"`, Doc: "where it stands, below the workspace"},
			{Name: "python", Type: "string", Default: `"python3"`, Doc: "the interpreter to make it with", Named: true},
			{Name: "requirements", Type: "list of strings", Default: "[]", Doc: "requirement files to install", Named: true},
		},
		Returns: "kind",
		Example: `environment(name = "py", kind = venv(requirements = ["requirements.txt"]))`,
		call:    makeVenv,
	},
	{
		Name: "container",
		Doc:  "A container, started through podman or docker, with the workspace mounted.",
		Params: []Param{
			{Name: "image", Type: "string", Required: true, Doc: "the image"},
			{Name: "runtime", Type: "string", Doc: "the program to use; whichever is there when not given", Named: true, Choices: runtimeChoices},
			{Name: "options", Type: "list of strings", Default: "[]", Doc: "more arguments of its run command", Named: true},
		},
		Returns: "kind",
		Example: `environment(name = "deb", kind = container(image = "debian:stable-slim", options = ["--network=none"]))`,
		call:    makeContainer,
	},
}

var runtimeChoices = []string{"podman", "docker"}
