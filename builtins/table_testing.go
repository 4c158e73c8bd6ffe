package builtins

// The words that only files of tests have. Each example stands in one, beside a
// PIPER.star with the pipelines "test" (lint, unit) and "release" (build,
// publish, then a trigger of deploy).

var (
	messageParam  = Param{Name: "message", Type: "string", Doc: "what to say when it does not hold"}
	gotParam      = Param{Name: "got", Type: "any", Required: true, Doc: "the value"}
	nodeParam     = Param{Name: "name", Type: "string", Required: true, Doc: "a node of the plan"}
	maybeNode     = Param{Name: "name", Type: "string", Doc: "a node of the plan; the build itself when not given"}
	reasonParam   = Param{Name: "reason", Type: "string", Doc: "why, in words", Named: true}
	durationParam = Param{Name: "duration", Type: "duration", Default: `"1s"`, Doc: "how long it takes, on the clock of the simulation; a service runs until it is stopped when not given", Named: true}

	commitParam = Param{Name: "commit", Type: "string", Doc: "the commit; a made-up one when not given", Named: true}
	branchParam = Param{Name: "branch", Type: "string", Default: `"main"`, Doc: "the branch"}
	authorParam = Param{Name: "author", Type: "string", Doc: "who did it", Named: true}
	titleParam  = Param{Name: "title", Type: "string", Doc: "its title", Named: true}
	timeParam   = Param{Name: "time", Type: "time", Default: `"2000-01-01T00:00:00Z"`, Doc: "when it happened, and the build starts", Named: true}
	changed     = Param{Name: "changed", Type: "list of strings", Doc: "the files that it changed; when not given there is nothing to compare with", Named: true}

	planParams = []Param{
		{Name: "pipeline", Type: "string", Doc: `its name; "build", or the only one there is, when not given`},
		{Name: "params", Type: "dict", Default: "{}", Doc: "its parameters", Named: true},
		{Name: "event", Type: "event", Default: "t.manual()", Doc: "what it is evaluated for; git facts agree with it", Named: true},
		{Name: "environment", Type: "string", Doc: "the environment that replaces the pipeline's", Named: true},
		{Name: "environ", Type: "dict of strings", Default: "{}", Doc: "what os.environ sees", Named: true},
		{Name: "file", Type: "string", Default: `"PIPER.star"`, Doc: "the file that defines it, below the root", Named: true},
	}
)

var assertWords = []Builtin{
	{
		Name: "assert.eq", TestOnly: true,
		Doc:     "Fails the test unless two values are equal. Of large values it shows how they differ.",
		Params:  []Param{gotParam, {Name: "want", Type: "any", Required: true, Doc: "what it should be"}, messageParam},
		Example: `assert.eq(t.simulate("test").state(), "success")`,
		call:    assertEq,
	},
	{
		Name: "assert.ne", TestOnly: true,
		Doc:     "Fails the test when two values are equal.",
		Params:  []Param{gotParam, {Name: "other", Type: "any", Required: true, Doc: "what it should not be"}, messageParam},
		Example: `assert.ne(t.plan("test").digest, t.plan("release").digest)`,
		call:    assertNe,
	},
	{
		Name: "assert.true", TestOnly: true,
		Doc:     "Fails the test unless a value is true, as if would have it.",
		Params:  []Param{gotParam, messageParam},
		Example: `assert.true(t.plan("test").steps, "there is something to do")`,
		call:    assertTruth,
	},
	{
		Name: "assert.false", TestOnly: true,
		Doc:     "Fails the test when a value is true, as if would have it.",
		Params:  []Param{gotParam, messageParam},
		Example: `assert.false(t.simulate("test").triggered)`,
		call:    assertTruth,
	},
	{
		Name: "assert.lt", TestOnly: true,
		Doc:     "Fails the test unless one value is less than another.",
		Params:  []Param{gotParam, {Name: "limit", Type: "any", Required: true, Doc: "what it should be less than"}, messageParam},
		Example: `assert.lt(len(t.plan("release").steps), 20)`,
		call:    assertLt,
	},
	{
		Name: "assert.contains", TestOnly: true,
		Doc:     "Fails the test unless a string holds another one, or a list, a dict or a set a member.",
		Params:  []Param{gotParam, {Name: "member", Type: "any", Required: true, Doc: "what it should hold"}, messageParam},
		Example: `assert.contains(t.plan("release").steps, "publish")`,
		call:    assertContains,
	},
	{
		Name: "assert.fails", TestOnly: true,
		Doc: "Calls a function without arguments, and fails the test unless that is an error whose text matches. Returns the text.",
		Params: []Param{
			{Name: "function", Type: "function", Required: true, Doc: "such as a lambda"},
			{Name: "pattern", Type: "string", Doc: "an RE2 regular expression"},
		},
		Returns: "string",
		Example: `assert.fails(lambda: t.plan("realease"), "is not defined")`,
		call:    assertFails,
	},
}

var testWords = []Builtin{
	{
		Name: "t.plan", TestOnly: true,
		Doc:     "Evaluates a pipeline and returns its plan. What it prints is shown when the test fails.",
		Params:  planParams,
		Returns: "plan",
		Example: `assert.eq(t.plan("test").steps, ["lint", "unit"])`,
		call:    testPlan,
	},
	{
		Name: "t.simulate", TestOnly: true,
		Doc: "Evaluates a pipeline and runs its plan on the scheduler that real builds have, with a clock that jumps and outcomes that are given here. Nothing is started.",
		Params: append(planParams[:len(planParams):len(planParams)],
			Param{Name: "outcomes", Type: "dict", Default: "{}", Doc: "how nodes end, by name: an outcome, or a list of them for one attempt after the other, the last of which stays; a node that is not named succeeds", Named: true},
			Param{Name: "secrets", Type: "list of strings", Doc: "the secrets that are granted; all of them when not given", Named: true},
			Param{Name: "facts", Type: "dict", Doc: "what the machine is and has, as in {\"os\": \"linux\"}; whatever is required when not given", Named: true},
			Param{Name: "slots", Type: "int", Doc: "steps at once; no limit when not given", Named: true},
			Param{Name: "cancel", Type: "cancel", Doc: "when somebody cancels the build: t.cancel(...)", Named: true},
		),
		Returns: "run",
		Example: `
run = t.simulate("release", event = t.tag("v1.4.0"),
                 outcomes = {"publish": [t.fails(exit = 7), t.ok(outputs = {"url": "x"})]})
assert.eq(run.attempts("publish"), 2)
assert.eq([x.pipeline for x in run.triggered], ["deploy"])
`,
		call: testSimulate,
	},
	{
		Name: "t.ok", TestOnly: true,
		Doc: "An attempt that succeeds.",
		Params: []Param{
			{Name: "outputs", Type: "dict of strings", Doc: "what it writes into $PIPER_OUTPUT; when not given, something for each output that the plan asks for", Named: true},
			durationParam,
			{Name: "ready", Type: "duration", Doc: "how long until a service is ready; at once when not given", Named: true},
		},
		Returns: "outcome",
		Example: `run = t.simulate("release", outcomes = {"publish": t.ok(outputs = {"url": "https://x"}, duration = "5m")})`,
		call:    testOutcome,
	},
	{
		Name: "t.fails", TestOnly: true,
		Doc: "An attempt that fails. A trigger that waits: its build failed; one that does not: it could not be made. A service fails before it is ready unless ready says otherwise.",
		Params: []Param{
			{Name: "exit", Type: "int", Default: "1", Doc: "the exit code"},
			{Name: "kind", Type: "string", Default: `"exit"`, Doc: "what failed: the command by its exit code, by a signal, or the machine", Choices: failureKinds},
			reasonParam,
			{Name: "outputs", Type: "dict of strings", Doc: "what it wrote before", Named: true},
			durationParam,
			{Name: "ready", Type: "bool", Default: "False", Doc: "a service that fails once it was ready", Named: true},
		},
		Returns: "outcome",
		Example: `run = t.simulate("test", outcomes = {"unit": t.fails(kind = "signal")})`,
		call:    testOutcome,
	},
	{
		Name: "t.times_out", TestOnly: true,
		Doc:     "An attempt of a step that reaches its time-out: of a trigger that waits, the build that it made.",
		Returns: "outcome",
		Example: `assert.eq(t.simulate("test", outcomes = {"unit": t.times_out()}).state("unit"), "timed_out")`,
		call:    testOutcome,
	},
	{
		Name: "t.agent_lost", TestOnly: true,
		Doc:     "An attempt whose machine is lost. A step that may run only once is not tried again.",
		Params:  []Param{durationParam},
		Returns: "outcome",
		Example: `assert.eq(t.simulate("release", outcomes = {"publish": [t.agent_lost(), t.ok()]}).attempts("publish"), 2)`,
		call:    testOutcome,
	},
	{
		Name: "t.cancelled", TestOnly: true,
		Doc:     "An attempt that is cancelled: of a trigger that waits, the build that it made.",
		Params:  []Param{reasonParam, durationParam},
		Returns: "outcome",
		Example: `assert.eq(t.simulate("test", outcomes = {"unit": t.cancelled()}).state(), "failed")`,
		call:    testOutcome,
	},
	{
		Name: "t.approved", TestOnly: true,
		Doc:     "An approval that is given.",
		Params:  []Param{{Name: "by", Type: "string", Doc: "who gives it"}, reasonParam, durationParam},
		Returns: "outcome",
		Example: `yes = t.approved(by = "ann")`,
		call:    testOutcome,
	},
	{
		Name: "t.refused", TestOnly: true,
		Doc:     "An approval that is refused.",
		Params:  []Param{{Name: "by", Type: "string", Doc: "who refuses it"}, reasonParam, durationParam},
		Returns: "outcome",
		Example: `no = t.refused(by = "ann", reason = "not on a Friday")`,
		call:    testOutcome,
	},
	{
		Name: "t.cancel", TestOnly: true,
		Doc: "Says when somebody cancels a build.",
		Params: []Param{
			{Name: "after", Type: "duration", Doc: "how long after the build started, or the step that during names", Named: true},
			{Name: "during", Type: "string", Doc: "a node: once it has started", Named: true},
			{Name: "by", Type: "string", Doc: "who", Named: true},
			reasonParam,
			{Name: "force", Type: "bool", Default: "False", Doc: `give up on run_on = "always" as well`, Named: true},
		},
		Returns: "cancel",
		Example: `assert.eq(t.simulate("test", cancel = t.cancel(during = "unit", by = "ann")).state(), "cancelled")`,
		call:    testCancel,
	},
	{
		Name: "t.push", TestOnly: true,
		Doc:     "A push to a branch.",
		Params:  []Param{branchParam, commitParam, authorParam, titleParam, changed, timeParam},
		Returns: "event",
		Example: `plan = t.plan("test", event = t.push("main", changed = ["docs/index.md"]))`,
		call:    testEvent,
	},
	{
		Name: "t.tag", TestOnly: true,
		Doc:     "A new tag.",
		Params:  []Param{{Name: "tag", Type: "string", Required: true, Doc: "the tag"}, commitParam, authorParam, timeParam},
		Returns: "event",
		Example: `plan = t.plan("release", event = t.tag("v1.2.0"))`,
		call:    testEvent,
	},
	{
		Name: "t.change_request", TestOnly: true,
		Doc: "A new or changed pull request or merge request.",
		Params: []Param{
			{Name: "branch", Type: "string", Default: `"change"`, Doc: "the branch with the change"},
			{Name: "base", Type: "string", Default: `"main"`, Doc: "the branch it is for", Named: true},
			{Name: "number", Type: "int", Default: "1", Doc: "its number", Named: true},
			commitParam, authorParam, titleParam, changed, timeParam,
		},
		Returns: "event",
		Example: `plan = t.plan("test", event = t.change_request(author = "mallory", title = "fix; rm -rf /"))`,
		call:    testEvent,
	},
	{
		Name: "t.cron", TestOnly: true,
		Doc:     "A time that a schedule names.",
		Params:  []Param{branchParam, commitParam, timeParam},
		Returns: "event",
		Example: `plan = t.plan("test", event = t.cron(time = "2026-01-31T03:00:00Z"))`,
		call:    testEvent,
	},
	{
		Name: "t.webhook", TestOnly: true,
		Doc:     "An HTTP request to a hook.",
		Params:  []Param{{Name: "payload", Type: "string", Required: true, Doc: "its body"}, branchParam, commitParam, timeParam},
		Returns: "event",
		Example: `plan = t.plan("test", event = t.webhook(json.encode({"ref": "main"})))`,
		call:    testEvent,
	},
	{
		Name: "t.manual", TestOnly: true,
		Doc:     "A person who starts a build.",
		Params:  []Param{branchParam, commitParam, authorParam, timeParam},
		Returns: "event",
		Example: `plan = t.plan("test", event = t.manual("main", author = "ann"))`,
		call:    testEvent,
	},
	{
		Name: "t.after", TestOnly: true,
		Doc:     "The end of a build of another pipeline.",
		Params:  []Param{branchParam, commitParam, timeParam},
		Returns: "event",
		Example: `plan = t.plan("test", event = t.after())`,
		call:    testEvent,
	},
	{
		Name: "t.files", TestOnly: true,
		Doc:     "Lays files over the tree, for the rest of the test. None takes one away.",
		Params:  []Param{{Name: "files", Type: "dict of strings", Required: true, Doc: "their content, by path below the root"}},
		Example: `t.files({"VERSION": "2.0.0\n", "old.txt": None})`,
		call:    testFiles,
	},
	{
		Name: "t.golden", TestOnly: true,
		Doc: `Compares a value with the file testdata/NAME.golden beside the test, and fails the test when they differ. "piper test --update" writes the file. A plan is its JSON without source positions and inputs, a run the end of each node.`,
		Params: []Param{
			{Name: "name", Type: "string", Required: true, Doc: "the name of the file"},
			{Name: "value", Type: "any", Required: true, Doc: "a plan, a run, a string or any other value"},
		},
		Example: `t.golden("release", t.plan("release", event = t.tag("v1.2.0")))`,
		call:    testGolden,
	},
	{
		Name: "<plan>.steps", TestOnly: true, Value: true, Returns: "list of strings",
		Doc:     "The names of all nodes, in the order they were written.",
		Example: `assert.contains(t.plan("release").steps, "publish")`,
	},
	{
		Name: "<plan>.step", TestOnly: true, Returns: "struct",
		Doc:     "Returns a node: .name .kind .run .env .needs .requires .run_on .timeout .dir .pipeline .params. What is not known before the build runs reads <secret x> or <step.output key>.",
		Params:  []Param{nodeParam},
		Example: `assert.eq(t.plan("release").step("publish").env["TOKEN"], "<secret registry>")`,
		call:    planStep,
	},
	{
		Name: "<plan>.params", TestOnly: true, Value: true, Returns: "dict",
		Doc:     "The parameters it was evaluated with.",
		Example: `assert.eq(t.plan("release").params, {})`,
	},
	{
		Name: "<plan>.pipeline", TestOnly: true, Value: true, Returns: "string",
		Doc:     "The name of its pipeline.",
		Example: `assert.eq(t.plan("test").pipeline, "test")`,
	},
	{
		Name: "<plan>.digest", TestOnly: true, Value: true, Returns: "string",
		Doc:     "The digest of its canonical JSON.",
		Example: `assert.eq(t.plan("test").digest, t.plan("test").digest)`,
	},
	{
		Name: "<plan>.json", TestOnly: true, Value: true, Returns: "dict",
		Doc:     `All of it, as "piper plan --json" prints it.`,
		Example: `assert.eq(t.plan("test").json["nodes"][0]["name"], "lint")`,
	},
	{
		Name: "<run>.state", TestOnly: true, Returns: "string",
		Doc:     `Returns how the build ended, or a node: "success", "failed", "skipped", "cancelled" or "timed_out".`,
		Params:  []Param{maybeNode},
		Example: `assert.eq(t.simulate("test").state("unit"), "success")`,
		call:    runState,
	},
	{
		Name: "<run>.reason", TestOnly: true, Returns: "string",
		Doc:     "Returns why the build ended as it did, or a node, in words.",
		Params:  []Param{maybeNode},
		Example: `assert.eq(t.simulate("release", outcomes = {"build": t.fails()}).reason("publish"), "needs build, which failed")`,
		call:    runReason,
	},
	{
		Name: "<run>.attempts", TestOnly: true, Returns: "int",
		Doc:     "Returns how often a node was started; 0 when it never was.",
		Params:  []Param{nodeParam},
		Example: `assert.eq(t.simulate("test").attempts("unit"), 1)`,
		call:    runAttempts,
	},
	{
		Name: "<run>.outputs", TestOnly: true, Returns: "dict of strings",
		Doc:     "Returns what the last attempt of a step wrote into $PIPER_OUTPUT.",
		Params:  []Param{nodeParam},
		Example: `assert.eq(t.simulate("test").outputs("unit"), {})`,
		call:    runOutputs,
	},
	{
		Name: "<run>.order", TestOnly: true, Value: true, Returns: "list of strings",
		Doc:     "The nodes that started, in the order in which they first did.",
		Example: `assert.eq(t.simulate("release").order[:2], ["build", "publish"])`,
	},
	{
		Name: "<run>.triggered", TestOnly: true, Value: true, Returns: "list of structs",
		Doc:     "The builds that triggers made: .name .pipeline .project .ref .params .wait.",
		Example: `assert.eq([x.pipeline for x in t.simulate("release").triggered], ["deploy"])`,
	},
	{
		Name: "<run>.events", TestOnly: true, Value: true, Returns: "list of structs",
		Doc:     "All that happened, in order: .kind .node .attempt .state .reason .at. The last is how long after the start.",
		Example: `assert.eq(t.simulate("test").events[0].kind, "build_started")`,
	},
	{
		Name: "<run>.duration", TestOnly: true, Value: true, Returns: "duration",
		Doc:     "How long the build took, on the clock of the simulation.",
		Example: `assert.eq(t.simulate("test").duration, time.second)`,
	},
	{
		Name: "<run>.plan", TestOnly: true, Value: true, Returns: "plan",
		Doc:     "The plan, with what was found while it ran.",
		Example: `assert.eq(t.simulate("test").plan.steps, ["lint", "unit"])`,
	},
}

var failureKinds = []string{"exit", "signal", "machine"}
