package builtins

// The words that only compute.

var (
	textParam    = Param{Name: "text", Type: "string", Required: true, Doc: "the text"}
	patternParam = Param{Name: "pattern", Type: "string", Required: true, Doc: "an RE2 regular expression"}
	sepParam     = Param{Name: "sep", Type: "string", Default: `" "`, Doc: "what stands between them", Named: true}
	numberParam  = Param{Name: "x", Type: "number", Required: true, Doc: "the number"}
	secondParam  = Param{Name: "y", Type: "number", Required: true, Doc: "the other number"}
)

var valueWords = []Builtin{
	{
		Name:    "struct",
		Doc:     "Returns a value with the fields that are given by name.",
		Params:  []Param{{Name: "fields", Type: "any", Rest: true, Doc: "name = value"}},
		Returns: "struct",
		Example: `
target = struct(os = "linux", arch = "arm64")
print(target.os)
`,
	},
	{
		Name:    "print",
		Doc:     "Writes a line for whoever evaluates the file. It has no part in the plan.",
		Params:  []Param{{Name: "values", Type: "any", Rest: true, Doc: "what to write"}, sepParam},
		Example: `print("go files:", len(fs.glob("**/*.go")))`,
		call:    makePrint,
	},
	{
		Name:   "fail",
		Doc:    "Ends the evaluation with an error.",
		Params: []Param{{Name: "values", Type: "any", Rest: true, Doc: "the message"}, sepParam},
		Example: `
def pick(os):
    if os not in ("linux", "darwin"):
        fail("no build for", os)
    return "app-" + os

name = pick("linux")
`,
		call: makeFail,
	},
}

var textWords = []Builtin{
	{
		Name: "json.encode", Doc: "Returns a value as JSON.", Returns: "string",
		Params:  []Param{{Name: "x", Type: "any", Required: true, Doc: "the value"}},
		Example: `matrix = json.encode({"os": ["linux", "darwin"]})`,
		call:    upstream,
	},
	{
		Name: "json.encode_indent", Doc: "Returns a value as JSON that is good to read.", Returns: "string",
		Params: []Param{
			{Name: "x", Type: "any", Required: true, Doc: "the value"},
			{Name: "prefix", Type: "string", Default: `""`, Doc: "what each line begins with", Named: true},
			{Name: "indent", Type: "string", Default: `"\t"`, Doc: "what is added for each level", Named: true},
		},
		Example: `text = json.encode_indent({"a": 1}, indent = "  ")`,
		call:    upstream,
	},
	{
		Name: "json.indent", Doc: "Returns JSON, made good to read.", Returns: "string",
		Params: []Param{
			{Name: "text", Type: "string", Required: true, Doc: "JSON"},
			{Name: "prefix", Type: "string", Default: `""`, Doc: "what each line begins with", Named: true},
			{Name: "indent", Type: "string", Default: `"\t"`, Doc: "what is added for each level", Named: true},
		},
		Example: `text = json.indent('{"a":1}', indent = "  ")`,
		call:    upstream,
	},
	{
		Name: "json.decode", Doc: "Returns the value that JSON text stands for.", Returns: "any",
		Params: []Param{
			{Name: "text", Type: "string", Required: true, Doc: "JSON"},
			{Name: "default", Type: "any", Doc: "what to return when the text is not JSON, which is an error when this is not given"},
		},
		Example: `scripts = json.decode('{"test": "jest"}')["test"]`,
		call:    upstream,
	},
	{
		Name: "yaml.encode", Doc: "Returns a value as YAML.", Returns: "string",
		Params:  []Param{{Name: "x", Type: "any", Required: true, Doc: "None, bools, numbers, strings, and lists and dicts of them"}},
		Example: `text = yaml.encode({"services": ["db", "web"]})`,
		call:    yamlEncode,
	},
	{
		Name: "yaml.decode", Doc: "Returns the value that YAML text, one document, stands for.", Returns: "any",
		Params:  []Param{textParam},
		Example: `services = yaml.decode("services: [db, web]")["services"]`,
		call:    yamlDecode,
	},
	{Name: "hash.sha256", Doc: "Returns the SHA-256 of a text, in hex.", Returns: "string", Params: []Param{textParam}, Example: `key = hash.sha256("go.sum")[:16]`, call: hashText},
	{Name: "hash.sha512", Doc: "Returns the SHA-512 of a text, in hex.", Returns: "string", Params: []Param{textParam}, Example: `key = hash.sha512("go.sum")`, call: hashText},
	{Name: "hash.sha1", Doc: "Returns the SHA-1 of a text, in hex. It is no protection against forgery.", Returns: "string", Params: []Param{textParam}, Example: `key = hash.sha1("go.sum")`, call: hashText},
	{Name: "hash.md5", Doc: "Returns the MD5 of a text, in hex. It is no protection against forgery.", Returns: "string", Params: []Param{textParam}, Example: `key = hash.md5("go.sum")`, call: hashText},
	{
		Name: "re.match", Doc: "Returns the match at the beginning of a text and its groups, or None.", Returns: "tuple of strings",
		Params:  []Param{patternParam, textParam},
		Example: `major = re.match("v([0-9]+)", "v12.3")[1]`,
		call:    reSearch,
	},
	{
		Name: "re.search", Doc: "Returns the first match in a text and its groups, or None.", Returns: "tuple of strings",
		Params:  []Param{patternParam, textParam},
		Example: `go = re.search("(?m)^go ([0-9.]+)$", "module m\n\ngo 1.26\n")[1]`,
		call:    reSearch,
	},
	{
		Name: "re.findall", Doc: "Returns every match in a text.", Returns: "list of strings",
		Params:  []Param{patternParam, textParam},
		Example: `numbers = re.findall("[0-9]+", "1 and 22")`,
		call:    reFindall,
	},
	{
		Name: "re.split", Doc: "Returns a text, cut at each match.", Returns: "list of strings",
		Params:  []Param{patternParam, textParam},
		Example: `words = re.split("[ ,]+", "a, b c")`,
		call:    reSplit,
	},
	{
		Name: "re.sub", Doc: `Returns a text with each match replaced. \1 stands for the first group.`, Returns: "string",
		Params:  []Param{patternParam, {Name: "replacement", Type: "string", Required: true, Doc: "what to put in its place"}, textParam},
		Example: `name = re.sub("[^a-z0-9]+", "-", "feature/new login")`,
		call:    reSub,
	},
	{
		Name: "semver.parse", Doc: "Returns the parts of a version: .major .minor .patch .prerelease .build.", Returns: "struct",
		Params:  []Param{{Name: "version", Type: "string", Required: true, Doc: "with or without a leading v"}},
		Example: `stable = semver.parse("v1.2.3-rc.1").prerelease == ""`,
		call:    semverParse,
	},
	{
		Name: "semver.compare", Doc: "Returns -1, 0 or 1 as a is before, the same as or after b.", Returns: "int",
		Params: []Param{
			{Name: "a", Type: "string", Required: true, Doc: "a version"},
			{Name: "b", Type: "string", Required: true, Doc: "another"},
		},
		Example: `newer = semver.compare("1.10.0", "1.9.0") > 0`,
		call:    semverCompare,
	},
	{
		Name: "semver.valid", Doc: "Whether a text is a version.", Returns: "bool",
		Params:  []Param{textParam},
		Example: `ok = semver.valid("1.2")`,
		call:    semverValid,
	},
	{
		Name: "semver.bump", Doc: "Returns the next version.", Returns: "string",
		Params: []Param{
			{Name: "version", Type: "string", Required: true, Doc: "a version"},
			{Name: "part", Type: "string", Required: true, Doc: "which part to raise", Choices: versionParts},
		},
		Example: `next = semver.bump("v1.2.3", "minor")`,
		call:    semverBump,
	},
	{
		Name: "shlex.quote", Doc: "Returns a text as one word of a shell: for a value in a script that cannot go by env.", Returns: "string",
		Params: []Param{textParam},
		Example: `
def _note(ctx):
    return [step("note", run = "echo built %s | tee note" % shlex.quote(ctx.event.branch))]

pipeline(name = "note", impl = _note)
`,
		call: shlexQuote,
	},
	{
		Name: "shlex.join", Doc: "Returns a list as words of a shell.", Returns: "string",
		Params:  []Param{{Name: "words", Type: "list of strings", Required: true, Doc: "the words"}},
		Example: `command = shlex.join(["echo", "two words"])`,
		call:    shlexJoin,
	},
	{
		Name: "shlex.split", Doc: "Returns the words of a shell command. Nothing is expanded.", Returns: "list of strings",
		Params:  []Param{textParam},
		Example: `words = shlex.split("echo 'two words'")`,
		call:    shlexSplit,
	},
}

var versionParts = []string{"major", "minor", "patch"}

var timeWords = []Builtin{
	{Name: "time.now", Doc: "Returns the time of the event, not of the clock.", Returns: "time", Example: `day = time.now().format("2006-01-02")`, call: timeNow},
	{
		Name: "time.time", Doc: "Returns a time, in UTC.", Returns: "time",
		Params: []Param{
			{Name: "year", Type: "int", Doc: "the year", Named: true}, {Name: "month", Type: "int", Default: "1", Doc: "1 to 12", Named: true},
			{Name: "day", Type: "int", Default: "1", Doc: "1 to 31", Named: true}, {Name: "hour", Type: "int", Default: "0", Doc: "0 to 23", Named: true},
			{Name: "minute", Type: "int", Default: "0", Doc: "0 to 59", Named: true}, {Name: "second", Type: "int", Default: "0", Doc: "0 to 59", Named: true},
			{Name: "nanosecond", Type: "int", Default: "0", Doc: "below a second", Named: true},
		},
		Example: `start = time.time(year = 2026, month = 1, day = 31)`,
		call:    timeTime,
	},
	{
		Name: "time.parse_time", Doc: "Returns the time that a text stands for.", Returns: "time",
		Params: []Param{
			textParam,
			{Name: "format", Type: "string", Default: `"2006-01-02T15:04:05Z07:00"`, Doc: "how Go's time package would write 2 January 2006, 15:04:05"},
		},
		Example: `start = time.parse_time("2026-01-31T10:00:00Z")`,
		call:    timeParse,
	},
	{
		Name: "time.from_timestamp", Doc: "Returns the time so many seconds after 1970.", Returns: "time",
		Params: []Param{
			{Name: "sec", Type: "int", Required: true, Doc: "seconds"},
			{Name: "nsec", Type: "int", Default: "0", Doc: "nanoseconds"},
		},
		Example: `year = time.from_timestamp(1767225600).year`,
		call:    timeFromTimestamp,
	},
	{
		Name: "time.parse_duration", Doc: "Returns the duration that a text stands for.", Returns: "duration",
		Params:  []Param{textParam},
		Example: `seconds = time.parse_duration("1h30m").seconds`,
		call:    timeParseDuration,
	},
	{Name: "time.nanosecond", Value: true, Doc: "A nanosecond.", Returns: "duration", Example: `tick = 100 * time.nanosecond`},
	{Name: "time.microsecond", Value: true, Doc: "A microsecond.", Returns: "duration", Example: `tick = 100 * time.microsecond`},
	{Name: "time.millisecond", Value: true, Doc: "A millisecond.", Returns: "duration", Example: `tick = 100 * time.millisecond`},
	{Name: "time.second", Value: true, Doc: "A second.", Returns: "duration", Example: `wait = step("wait", run = "sleep 5", timeout = 10 * time.second)`},
	{Name: "time.minute", Value: true, Doc: "A minute.", Returns: "duration", Example: `test = step("test", run = "make test", timeout = 10 * time.minute)`},
	{Name: "time.hour", Value: true, Doc: "An hour.", Returns: "duration", Example: `soak = step("soak", run = "make soak", timeout = 2 * time.hour)`},
}

var mathWords = []Builtin{
	{Name: "math.ceil", Doc: "Returns the least int that is not below x.", Returns: "int", Params: []Param{numberParam}, Example: `shards = math.ceil(7 / 2)`, call: upstream},
	{Name: "math.floor", Doc: "Returns the greatest int that is not above x.", Returns: "int", Params: []Param{numberParam}, Example: `half = math.floor(7 / 2)`, call: upstream},
	{Name: "math.round", Doc: "Returns x rounded to a whole number, halves away from zero.", Returns: "float", Params: []Param{numberParam}, Example: `n = int(math.round(2.5))`, call: upstream},
	{Name: "math.fabs", Doc: "Returns x without its sign.", Returns: "float", Params: []Param{numberParam}, Example: `x = math.fabs(-1.5)`, call: upstream},
	{Name: "math.mod", Doc: "Returns what is left of x divided by y, with the sign of x.", Returns: "float", Params: []Param{numberParam, secondParam}, Example: `x = math.mod(7, 4)`, call: upstream},
	{Name: "math.pow", Doc: "Returns x to the power of y.", Returns: "float", Params: []Param{numberParam, secondParam}, Example: `x = math.pow(2, 10)`, call: upstream},
	{Name: "math.sqrt", Doc: "Returns the square root of x.", Returns: "float", Params: []Param{numberParam}, Example: `x = math.sqrt(2)`, call: upstream},
	{Name: "math.exp", Doc: "Returns e to the power of x.", Returns: "float", Params: []Param{numberParam}, Example: `x = math.exp(1)`, call: upstream},
	{
		Name: "math.log", Doc: "Returns the logarithm of x.", Returns: "float",
		Params:  []Param{numberParam, {Name: "base", Type: "number", Default: "math.e", Doc: "its base"}},
		Example: `bits = math.log(1024, 2)`,
		call:    upstream,
	},
	{Name: "math.pi", Value: true, Doc: "The number pi.", Returns: "float", Example: `x = 2 * math.pi`},
	{Name: "math.e", Value: true, Doc: "The number e.", Returns: "float", Example: `x = math.e`},
}
