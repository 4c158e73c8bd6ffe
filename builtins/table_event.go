package builtins

// The words for parameters, events, machines and what evaluation may look at.

var (
	paramDoc      = Param{Name: "doc", Type: "string", Doc: "one line for the command line and the form", Named: true}
	paramRequired = Param{Name: "required", Type: "bool", Default: "False", Doc: "it must be given", Named: true}
	factReason    = Param{Name: "reason", Type: "string", Doc: "why, for whoever reads that it is not met", Named: true}
	factKey       = Param{Name: "key", Type: "string", Required: true, Doc: `the fact, such as "os", "arch" or "tools.docker"; facts.eq has all of them`}
	overlaps      = []string{"skip", "queue", "cancel"}
	catchUps      = []string{"none", "last", "all"}
	endStates     = []string{"success", "failed", "ended"}
)

const theFacts = `These are the facts of a machine:

    os                    linux, darwin, …: as in GOOS
    arch                  amd64, arm64, …: as in GOARCH
    kernel                its release, such as 6.1.0-18-amd64
    distribution          debian, ubuntu, alpine, macos, …: as in os-release
    distribution.version  such as 12
    cpus                  how many there are to use, a number
    memory                bytes that there are to use: 16GiB, 16Gi and 16G are
                          one number, 16GB is 16000000000
    virtual               docker, podman, kubernetes, lxc, wsl, kvm, vmware, …;
                          vm or container when nobody tells which; or none
    hostname              as the machine calls itself
    tools.NAME            the version of the program NAME on PATH
    labels.NAME           VALUE, of an agent with --label NAME=VALUE
    agent.name            the name of an agent

What a container may use of processors and memory counts, if that is less. A machine with 16 GiB built in has a little less than 16GiB, as the kernel takes some. The operator of an agent may add facts, or take some away, in agent.yaml.`

var paramWords = []Builtin{
	{
		Name: "param.string",
		Doc:  "A parameter that is text.",
		Params: []Param{
			{Name: "default", Type: "string", Doc: `what it is when not given; "" when this is not given either`, Named: true},
			paramRequired,
			{Name: "pattern", Type: "string", Doc: "an RE2 regular expression that must match; ^ and $ make that the whole of it", Named: true},
			{Name: "choices", Type: "list of strings", Default: "[]", Doc: "what it may be", Named: true},
			paramDoc,
		},
		Returns: "param",
		Example: `pipeline(name = "release", params = {"version": param.string(default = "v0.0.0", pattern = "^v[0-9.]+$", doc = "the tag to ship")}, steps = [])`,
		call:    makeParam,
	},
	{
		Name:    "param.int",
		Doc:     "A parameter that is a whole number.",
		Params:  []Param{{Name: "default", Type: "int", Doc: "what it is when not given; 0 when this is not given either", Named: true}, paramRequired, paramDoc},
		Returns: "param",
		Example: `pipeline(name = "load", params = {"users": param.int(default = 10)}, steps = [])`,
		call:    makeParam,
	},
	{
		Name:    "param.bool",
		Doc:     "A parameter that is True or False.",
		Params:  []Param{{Name: "default", Type: "bool", Default: "False", Doc: "what it is when not given", Named: true}, paramRequired, paramDoc},
		Returns: "param",
		Example: `pipeline(name = "release", params = {"dry_run": param.bool(default = True)}, steps = [])`,
		call:    makeParam,
	},
	{
		Name: "param.enum",
		Doc:  "A parameter that is one of several words.",
		Params: []Param{
			{Name: "choices", Type: "list of strings", Required: true, Doc: "what it may be"},
			{Name: "default", Type: "string", Doc: "what it is when not given; the first choice when this is not given either", Named: true},
			paramRequired, paramDoc,
		},
		Returns: "param",
		Example: `pipeline(name = "deploy", params = {"to": param.enum(["staging", "production"])}, steps = [])`,
		call:    makeParam,
	},
	{
		Name: "param.list",
		Doc:  "A parameter that is a list of strings.",
		Params: []Param{
			{Name: "default", Type: "list of strings", Default: "[]", Doc: "what it is when not given", Named: true},
			paramRequired,
			{Name: "pattern", Type: "string", Doc: "an RE2 regular expression that must match each of them; ^ and $ make that the whole of it", Named: true},
			{Name: "choices", Type: "list of strings", Default: "[]", Doc: "what each of them may be", Named: true},
			paramDoc,
		},
		Returns: "param",
		Example: `pipeline(name = "test", params = {"only": param.list(default = ["unit", "lint"])}, steps = [])`,
		call:    makeParam,
	},
}

var onWords = []Builtin{
	{
		Name: "on.push",
		Doc:  "A push to a branch.",
		Params: []Param{
			{Name: "branches", Type: "list of strings", Default: "[]", Doc: "globs; any branch when not given", Named: true},
			{Name: "paths", Type: "list of strings", Default: "[]", Doc: "globs; only when one of these files changed", Named: true},
		},
		Returns: "on",
		Example: `pipeline(name = "test", on = [on.push(branches = ["main"], paths = ["**/*.go"])], steps = [])`,
		call:    makeOn,
	},
	{
		Name:    "on.tag",
		Doc:     "A new tag.",
		Params:  []Param{{Name: "tags", Type: "strings", Rest: true, Doc: "globs; any tag when not given"}},
		Returns: "on",
		Example: `pipeline(name = "release", on = [on.tag("v*")], steps = [])`,
		call:    makeOn,
	},
	{
		Name: "on.change_request",
		Doc:  "A new or changed pull request or merge request.",
		Params: []Param{
			{Name: "branches", Type: "list of strings", Default: "[]", Doc: "globs of the branch it is for; any when not given", Named: true},
			{Name: "paths", Type: "list of strings", Default: "[]", Doc: "globs; only when one of these files changed", Named: true},
		},
		Returns: "on",
		Example: `pipeline(name = "test", on = [on.change_request(branches = ["main"])], steps = [])`,
		call:    makeOn,
	},
	{
		Name: "on.cron",
		Doc:  "A time: five fields, minute hour day month weekday.",
		Params: []Param{
			{Name: "schedule", Type: "string", Required: true, Doc: `such as "30 4 * * 1-5"`},
			{Name: "branches", Type: "list of strings", Default: "[]", Doc: "the branches to build; the default branch when not given", Named: true},
			{Name: "overlap", Type: "string", Default: `"skip"`, Doc: "what happens when the last one still runs", Named: true, Choices: overlaps},
			{Name: "catch_up", Type: "string", Default: `"last"`, Doc: "which of those that were missed are made up for", Named: true, Choices: catchUps},
		},
		Returns: "on",
		Example: `pipeline(name = "nightly", on = [on.cron("30 4 * * *", overlap = "skip")], steps = [])`,
		call:    makeOn,
	},
	{
		Name:    "on.webhook",
		Doc:     "What a program of your own sends to the webhook of this project, under that name.",
		Params:  []Param{{Name: "name", Type: "string", Required: true, Doc: "what it says in X-Piper-Event"}},
		Returns: "on",
		Example: `pipeline(name = "sync", on = [on.webhook("upstream-changed")], steps = [])`,
		call:    makeOn,
	},
	{
		Name: "on.manual", Doc: "A person, on the web page or by the command line. It is always possible; writing it down says that it is meant.", Returns: "on",
		Example: `pipeline(name = "deploy", on = [on.manual()], steps = [])`,
		call:    makeOn,
	},
	{
		Name: "on.after",
		Doc:  "The end of a build of another pipeline.",
		Params: []Param{
			{Name: "pipeline", Type: "string", Required: true, Doc: "the other pipeline"},
			{Name: "project", Type: "string", Doc: "its project; this one when not given", Named: true},
			{Name: "state", Type: "string", Default: `"success"`, Doc: "how it must have ended", Named: true, Choices: endStates},
		},
		Returns: "on",
		Example: `
pipeline(name = "nightly", on = [on.cron("0 3 * * *")], steps = [step("bench", run = "make bench")])
pipeline(name = "report", on = [on.after("nightly", state = "ended")], steps = [step("report", run = "./report.sh")])
`,
		call: makeOn,
	},
}

var factWords = []Builtin{
	{
		Name:    "facts.eq",
		Doc:     "The fact is exactly this value. " + theFacts,
		Params:  []Param{factKey, {Name: "value", Type: "string, int or bool", Required: true, Doc: "the value"}, factReason},
		Returns: "requirement",
		Example: `step("pack", run = "make deb", requires = [facts.eq("os", "linux", reason = "dpkg")])`,
		call:    makeFact,
	},
	{
		Name:    "facts.one_of",
		Doc:     "The fact is one of these values.",
		Params:  []Param{factKey, {Name: "values", Type: "list of strings", Required: true, Doc: "the values"}, factReason},
		Returns: "requirement",
		Example: `step("build", run = "make", requires = [facts.one_of("arch", ["amd64", "arm64"])])`,
		call:    makeFact,
	},
	{
		Name:    "facts.at_least",
		Doc:     "The fact is a version, or a number, that is not below this one.",
		Params:  []Param{factKey, {Name: "version", Type: "string", Required: true, Doc: `the lowest that will do, such as "25.0", or "16GiB" of memory`}, factReason},
		Returns: "requirement",
		Example: `step("image", run = "docker build .", requires = [facts.at_least("tools.docker", "25.0", reason = "image store")])`,
		call:    makeFact,
	},
	{
		Name:    "facts.has",
		Doc:     "The machine has the fact at all: the tool is installed, the label is set.",
		Params:  []Param{factKey, factReason},
		Returns: "requirement",
		Example: `step("image", run = "docker build .", requires = [facts.has("tools.docker")])`,
		call:    makeFact,
	},
	{
		Name:    "facts.matches",
		Doc:     "The fact matches a regular expression.",
		Params:  []Param{factKey, {Name: "pattern", Type: "string", Required: true, Doc: "an RE2 regular expression; ^ and $ make it match the whole value"}, factReason},
		Returns: "requirement",
		Example: `step("bench", run = "make bench", requires = [facts.matches("hostname", "^bench-")])`,
		call:    makeFact,
	},
	{
		Name:    "facts.all_of",
		Doc:     "Each of the conditions holds.",
		Params:  []Param{{Name: "conditions", Type: "requirements", Rest: true, Doc: "the conditions"}, factReason},
		Returns: "requirement",
		Example: `step("build", run = "make", requires = [facts.all_of(facts.eq("os", "linux"), facts.has("tools.make"))])`,
		call:    makeCombined,
	},
	{
		Name:    "facts.any_of",
		Doc:     "One of the conditions holds.",
		Params:  []Param{{Name: "conditions", Type: "requirements", Rest: true, Doc: "the conditions"}, factReason},
		Returns: "requirement",
		Example: `step("image", run = "./image.sh", requires = [facts.any_of(facts.has("tools.podman"), facts.has("tools.docker"))])`,
		call:    makeCombined,
	},
	{
		Name:    "facts.not_",
		Doc:     "The condition does not hold.",
		Params:  []Param{{Name: "condition", Type: "requirement", Required: true, Doc: "the condition"}, factReason},
		Returns: "requirement",
		Example: `step("build", run = "make", requires = [facts.not_(facts.eq("os", "windows"))])`,
		call:    makeCombined,
	},
}

var fsWords = []Builtin{
	{
		Name: "fs.glob",
		Doc:  "Returns the files of the tree that match, sorted. The tree is what git tracks and what it does not ignore; ** crosses directories.",
		Params: []Param{
			{Name: "patterns", Type: "strings", Rest: true, Doc: "globs"},
			{Name: "exclude", Type: "list of strings", Default: "[]", Doc: "globs of what to leave out", Named: true},
		},
		Returns: "list of strings",
		Example: `scripts = fs.glob("ci/**/*.sh", exclude = ["ci/old/**"])`,
		call:    fsGlob,
	},
	{
		Name:    "fs.exists",
		Doc:     "Whether the tree has a file or a directory of that name.",
		Params:  []Param{{Name: "path", Type: "string", Required: true, Doc: "below the root of the tree"}},
		Returns: "bool",
		Example: `tool = "npm" if fs.exists("package.json") else "make"`,
		call:    fsExists,
	},
	{
		Name:    "fs.is_dir",
		Doc:     "Whether the tree has a directory of that name.",
		Params:  []Param{{Name: "path", Type: "string", Required: true, Doc: "below the root of the tree"}},
		Returns: "bool",
		Example: `docs = [step("docs", run = "make docs")] if fs.is_dir("docs") else []`,
		call:    fsIsDir,
	},
	{
		Name:    "fs.read",
		Doc:     "Returns the content of a file of the tree, which must be UTF-8.",
		Params:  []Param{{Name: "path", Type: "string", Required: true, Doc: "below the root of the tree"}},
		Returns: "string",
		Example: `version = fs.read("VERSION").strip() if fs.exists("VERSION") else "0.0.0"`,
		call:    fsRead,
	},
	{
		Name:    "fs.walk",
		Doc:     "Returns every file of the tree below a directory, sorted.",
		Params:  []Param{{Name: "path", Type: "string", Default: `"."`, Doc: "below the root of the tree"}},
		Returns: "list of strings",
		Example: `files = fs.walk("ci")`,
		call:    fsWalk,
	},
}

var gitWords = []Builtin{
	{Name: "git.commit", Doc: "Returns the full hash of HEAD.", Returns: "string", Example: `short = git.commit()[:12]`, call: gitCommit},
	{Name: "git.branch", Doc: `Returns the branch that is checked out; "" when none is.`, Returns: "string", Example: `main = git.branch() == "main"`, call: gitBranch},
	{Name: "git.tag", Doc: `Returns the tag that names HEAD exactly; "" when none does.`, Returns: "string", Example: `version = git.tag() or "dev"`, call: gitTag},
	{Name: "git.dirty", Doc: "Whether a tracked file differs from HEAD.", Returns: "bool", Example: `suffix = "-dirty" if git.dirty() else ""`, call: gitDirty},
	{
		Name: "git.describe",
		Doc:  "Returns what git describe says of HEAD: the last tag, how many commits came since, and which commit this is.",
		Params: []Param{
			{Name: "tags", Type: "bool", Default: "False", Doc: "use lightweight tags too", Named: true},
			{Name: "dirty", Type: "bool", Default: "False", Doc: "add -dirty when a tracked file differs", Named: true},
			{Name: "always", Type: "bool", Default: "False", Doc: "fall back to the commit when there is no tag", Named: true},
			{Name: "long", Type: "bool", Default: "False", Doc: "the long form even on a tag", Named: true},
			{Name: "match", Type: "string", Doc: "a glob of the tags to look at", Named: true},
			{Name: "abbrev", Type: "int", Doc: "how many digits of the commit to show", Named: true},
		},
		Returns: "string",
		Example: `project(name = "shop", version = git.describe(tags = True, dirty = True, always = True))`,
		call:    gitDescribe,
	},
	{
		Name:    "git.changed",
		Doc:     "Returns the files that differ from where HEAD left base, sorted.",
		Params:  []Param{{Name: "base", Type: "string", Required: true, Doc: "a branch, a tag or a commit"}},
		Returns: "list of strings",
		Example: `docs_only = all([f.startswith("docs/") for f in git.changed("main")])`,
		call:    gitChanged,
	},
}

var osWords = []Builtin{
	{
		Name: "os.environ",
		Doc:  "Returns an environment variable of whoever asks for the plan. On an agent only names that its operator allows are seen. Those that hold secrets (PIPER_TOKEN, PIPER_SECRET_*) are refused.",
		Params: []Param{
			{Name: "name", Type: "string", Required: true, Doc: "the variable"},
			{Name: "default", Type: "any", Default: "None", Doc: "what to return when it is not set"},
		},
		Returns: "string",
		Example: `node = os.environ("CI_NODE", "none")`,
		call:    osEnviron,
	},
}

var ctxWords = []Builtin{
	{
		Name: "ctx.event", Value: true, Returns: "event",
		Doc: "What the pipeline is evaluated for: .kind .branch .tag .commit .base .number .title .author .payload .time. The kind is a word of on: \"push\", \"tag\", \"manual\". " +
			"Whoever pushes chose most of these: give them to a step by env or in a list, never as part of a script.",
		Example: `
def _test(ctx):
    if ctx.event.kind == "tag":
        return [step("release", run = ["./release.sh", ctx.event.tag])]
    return [step("test", run = 'make test BRANCH="$BRANCH"', env = {"BRANCH": ctx.event.branch})]

pipeline(name = "test", impl = _test)
`,
	},
	{
		Name: "ctx.params", Value: true, Returns: "params",
		Doc: "The pipeline's parameters, by name.",
		Example: `
def _deploy(ctx):
    return [step("deploy", run = ["./deploy.sh", ctx.params.to])]

pipeline(name = "deploy", impl = _deploy, params = {"to": param.enum(["staging", "production"])})
`,
	},
	{
		Name: "ctx.project", Value: true, Returns: "project",
		Doc: "What project(...) said: .name and .version.",
		Example: `
def _pack(ctx):
    return [step("pack", run = "tar cf %s.tar ." % ctx.project.name)]

project(name = "shop")
pipeline(name = "pack", impl = _pack)
`,
	},
	{
		Name: "ctx.version", Value: true, Returns: "string",
		Doc: "The project's version.",
		Example: `
def _pack(ctx):
    return [step("pack", run = "make pack", env = {"VERSION": ctx.version})]

project(name = "shop", version = "1.0.0")
pipeline(name = "pack", impl = _pack)
`,
	},
	{
		Name: "ctx.git", Value: true, Returns: "git",
		Doc: "The same as git.",
		Example: `
def _tag(ctx):
    return [step("note", run = "echo " + ctx.git.commit())]

pipeline(name = "note", impl = _tag)
`,
	},
	{
		Name:    "ctx.changes.include",
		Doc:     "Whether one of the files that the event changed matches. It is True when the event has no base to compare with.",
		Params:  []Param{{Name: "globs", Type: "strings", Rest: true, Doc: "globs"}},
		Returns: "bool",
		Example: `
def _test(ctx):
    web = [step("web", run = "npm test")] if ctx.changes.include("web/**") else []
    return [parallel(step("go", run = "go test ./..."), web)]

pipeline(name = "test", impl = _test)
`,
		call: changesInclude,
	},
	{
		Name:    "ctx.changes.only",
		Doc:     "Whether every file that the event changed matches. It is False when the event has no base to compare with.",
		Params:  []Param{{Name: "globs", Type: "strings", Rest: true, Doc: "globs"}},
		Returns: "bool",
		Example: `
def _test(ctx):
    if ctx.changes.only("docs/**", "*.md"):
        return [step("docs", run = "make docs")]
    return [step("test", run = "make test")]

pipeline(name = "test", impl = _test)
`,
		call: changesOnly,
	},
}
