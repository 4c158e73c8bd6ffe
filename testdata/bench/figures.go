package main

import (
	"fmt"
	"strconv"
)

// slots is how many steps run at once on every side, and jobs the flag for it.
const (
	slots = 2
	jobs  = "-j2"
)

// A figure is one or more of the figures that one trial gives.
type figure struct {
	names []string
	setUp func(*trial)
}

// figures is everything that is measured, in the order of the table.
var figures = []figure{
	// exec
	{[]string{"P1", "P2"}, func(t *trial) { noops(t, 10_000) }},
	{[]string{"P1", "P6"}, wide},
	{[]string{"P1"}, printing},
	{[]string{"P3"}, chain},
	{[]string{"P4"}, shellFree},
	{[]string{"P7"}, planned},
	{[]string{"P8"}, remembered},
	{[]string{"P13"}, streamed},
	{[]string{"P13"}, streamedOn},
	// start
	{[]string{"P9"}, started},
	{[]string{"P10"}, oneStep},
	// evaluation
	{[]string{"P16"}, func(t *trial) { evaluated(t, 1_000) }},
	{[]string{"P16"}, func(t *trial) { evaluated(t, 10_000) }},
	{[]string{"P17"}, unchanged},
	{[]string{"P30"}, simulated},
	// logs
	{[]string{"P11"}, func(t *trial) { kept(t, "P11", "block", 1.20, 0) }},
	{[]string{"P12"}, func(t *trial) { kept(t, "P12", "line", 0.60, 0.45) }},
	{[]string{"P14"}, stored},
	{[]string{"P15"}, followed},
	// agent and store
	{[]string{"P18"}, claimed},
	{[]string{"P19"}, completed},
	{[]string{"P22", "P25"}, triggered},
	{[]string{"P26"}, builds},
	{[]string{"P27"}, idle},
	{[]string{"P28"}, newest},
	{[]string{"P31"}, firstPage},
	{[]string{"P32"}, killed},
	{[]string{"P33"}, asked},
	{[]string{"P34"}, remote},
	// many agents
	{[]string{"P20"}, shared},
	{[]string{"P21"}, sharedLives},
	{[]string{"P23"}, sharedTrigger},
	{[]string{"P24"}, firstChoice},
	{[]string{"P24"}, crowded},
	{[]string{"P35"}, sharedFollow},
	{[]string{"P36"}, sharedNewest},
	// web page
	{[]string{"P29"}, drawn},
}

// row adds rows to the trial.
func (t *trial) row(rows ...row) {
	for _, r := range rows {
		if t.cpu && r.of == wall && r.said == "" {
			r.of = cpu
		}
		t.rows = append(t.rows, r)
	}
}

// size is n as -scale has it.
func (t *trial) size(n int) int { return max(2, int(float64(n)*t.scale)) }

// thousands writes n as a person reads it.
func thousands(n int) string {
	s := strconv.Itoa(n)
	for i := len(s) - 3; i > 0; i -= 3 {
		s = s[:i] + "," + s[i:]
	}
	return s
}

// exec

// noops is the plainest work: steps that do nothing in a shell.
func noops(t *trial, n int) {
	n = t.size(n)
	work := thousands(n) + " no-op sh steps"
	piper := t.piper(starWide(n, `":"`), "exec", jobs)
	spawn := t.side("posix_spawn", t.programs.compile("spawn"), strconv.Itoa(n), strconv.Itoa(slots), ":")
	t.row(
		row{name: "P1", work: work, piper: piper, peer: t.ninja("ninja", ninjaWide(n, ":"), jobs), must: 0.95, stretch: 0.90},
		row{name: "P1", work: work, piper: piper, peer: t.ninja("samu", ninjaWide(n, ":"), jobs)},
		row{name: "P2", work: work, piper: piper, peer: spawn, must: 1.10},
	)
}

// wide is a tenth of it, which others can be waited for as well.
func wide(t *trial) {
	n := t.size(1_000)
	work := thousands(n) + " no-op sh steps"
	piper := t.piper(starWide(n, `":"`), "exec", jobs)
	cli := t.side("woodpecker-cli", t.programs.peer("woodpecker-cli"), "exec", "--backend-engine", "local", "bench.yaml")
	cli.write("bench.yaml", woodpecker(n, ":"))
	task := t.side("go-task", t.programs.peer("task"), "--concurrency", strconv.Itoa(slots))
	task.write("Taskfile.yml", taskfile(n, ":"))
	dagu := t.side("dagu", t.programs.peer("dagu"), "start", "bench.yaml")
	dagu.write("bench.yaml", daguFile(n, ":"))
	t.row(
		row{name: "P1", work: work, piper: piper, peer: t.ninja("ninja", ninjaWide(n, ":"), jobs), must: 1.03, stretch: 1.00},
		row{name: "P6", work: work, piper: piper, peer: cli, must: 0.5},
		row{name: "P6", work: work, piper: piper, peer: task, must: 0.4},
		row{name: "P6", work: work, piper: piper, peer: dagu, must: 0.02},
	)
}

// printing has each step print a line, which Piper keeps.
func printing(t *trial) {
	n := t.size(1_000)
	t.row(row{
		name: "P1", work: thousands(n) + " sh steps that print a line",
		piper: t.piper(starWide(n, `"echo done"`), "exec", jobs),
		peer:  t.ninja("ninja", ninjaWide(n, "echo done"), jobs),
		must:  1.03, stretch: 1.00,
	})
}

func chain(t *trial) {
	n := t.size(1_000)
	t.row(row{
		name: "P3", work: thousands(n) + " no-op sh steps, one after another",
		piper: t.piper(starChain(n, `":"`), "exec", jobs),
		peer:  t.ninja("ninja", ninjaChain(n, ":"), jobs),
		must:  1.00, stretch: 0.80,
	})
}

// shellFree are steps that need no shell, said in both ways.
func shellFree(t *trial) {
	n := t.size(1_000)
	ninja := t.ninja("ninja", ninjaWide(n, "/bin/true"), jobs)
	list := t.piper(starWide(n, `["/bin/true"]`), "exec", jobs)
	str := t.piper(starWide(n, `"/bin/true"`), "exec", jobs)
	work := thousands(n) + " steps of /bin/true, "
	t.row(
		row{name: "P4", work: work + "a list", piper: list, peer: ninja, must: 0.55},
		row{name: "P4", work: work + "a string", piper: str, peer: ninja, must: 0.55},
	)
}

// planned runs nothing. The plan is evaluated anew each time.
func planned(t *trial) {
	t.lift()
	n := t.size(100_000)
	ninja := t.ninja("ninja", ninjaWide(n, ":"), "-n")
	samu := t.ninja("samu", ninjaWide(n, ":"), "-n")
	comprehension := t.anew(t.piper(starComprehension(n, `":"`), "exec", "--dry-run"))
	explicit := t.anew(t.piper(starWide(n, `":"`), "exec", "--dry-run"))
	work := thousands(n) + " steps planned, "
	t.row(
		row{name: "P7", work: work + "a comprehension", piper: comprehension, peer: ninja, must: 0.30},
		row{name: "P7", work: work + "a comprehension", piper: comprehension, peer: samu, must: 0.65},
		row{name: "P7", work: work + "a line each", piper: explicit, peer: ninja, must: 0.30},
	)
}

// remembered is what a run needs at its peak. Memory is not noisy: it runs once.
func remembered(t *trial) {
	t.lift()
	t.rounds = 1
	n, few := t.size(100_000), t.size(1_000)
	piper := t.piper(starComprehension(n, `":"`), "exec", jobs)
	small := t.piper(starComprehension(few, `":"`), "exec", jobs)
	work := "peak memory of " + thousands(n) + " no-op sh steps"
	t.row(
		row{name: "P8", work: work, of: memory, piper: piper, peer: t.ninja("ninja", ninjaWide(n, ":"), jobs), must: 0.6},
		row{name: "P8", work: work + ", for each beyond " + thousands(few), of: memory, piper: piper, over: small, per: n - few, must: 300, absolute: true},
	)
}

// streamed is what a talkative step adds to a silent one's memory. What it
// says is shown as well as kept, but not to anybody.
func streamed(t *trial) {
	n := t.size(1_000_000)
	talks, silent := t.lines(n, "block"), t.lines(0, "block")
	ninja := func(run string) *side { return t.ninja("ninja", ninjaWide(1, run)).unseen() }
	t.row(row{
		name: "P13", work: "memory over idle, a step prints " + printed(n), of: memory,
		piper: t.talker(talks).unseen(), over: t.talker(silent).unseen(), must: 4e6, absolute: true,
		peer: ninja(talks), peerOver: ninja(silent),
	})
}

// streamedOn is a hundred times as much, once. It is too much for ninja, which
// holds a step's output in memory.
func streamedOn(t *trial) {
	t.rounds = 1
	n := t.size(100_000_000)
	t.row(row{
		name: "P13", work: "memory over idle, a step prints " + printed(n), of: memory,
		piper: t.talker(t.lines(n, "block")).unseen(), over: t.talker(t.lines(0, "block")).unseen(), must: 4e6, absolute: true,
	})
}

// start

// started is over in milliseconds, so it is done more often.
func started(t *trial) {
	t.rounds *= 10
	version := t.side("piper version", t.programs.piper(), "version")
	fifty := t.piper(text(fifty), "plan")
	prints := t.side("Go program that prints", t.programs.build("print"))
	linked := t.side("a program that links the same", t.programs.build("linked"))
	t.row(
		row{name: "P9", work: "piper version", piper: version, peer: linked, must: 1.1},
		row{name: "P9", work: "piper version", piper: version, peer: prints},
		row{name: "P9", work: "piper plan, a file of 50 lines", piper: fifty, peer: prints, must: 3.0, stretch: 2.2},
	)
}

func oneStep(t *trial) {
	t.rounds *= 10
	t.row(row{
		name: "P10", work: "piper exec, one no-op sh step",
		piper: t.piper(starWide(1, `":"`), "exec"),
		peer:  t.ninja("ninja", ninjaWide(1, ":")),
		must:  1.5, stretch: 1.0,
	})
}

// evaluation

// evaluated is the way from a file to a digested plan, without piper's own
// start and without printing it.
func evaluated(t *trial, n int) {
	n = t.size(n)
	file := starWide(n, `":"`)
	plans := t.side("planrun", t.programs.build("planrun"), "PIPER.star")
	plans.write("PIPER.star", file)
	runs := t.side("go.starlark.net", t.programs.build("starlarkrun"), "PIPER.star")
	runs.write("PIPER.star", file)
	t.row(row{name: "P16", work: thousands(n) + " step calls evaluated and digested", piper: plans, peer: runs, must: 1.3, stretch: 1.15})
}

// unchanged evaluates a file that was evaluated before.
func unchanged(t *trial) {
	t.lift()
	n := t.size(100_000)
	first := t.anew(t.piper(starWide(n, `":"`), "check"))
	first.name = "the first time"
	again := t.again(first)
	t.row(row{name: "P17", work: "an unchanged file of " + thousands(n) + " step calls again", piper: again, peer: first, must: 0.20})
}

// simulated has tests simulate builds of a pipeline in which some step fails the
// first time.
func simulated(t *trial) {
	n := t.size(1_000)
	const tests = 4
	tested := t.piper(starWide(50, `":", retry = retry(attempts = 2)`), "test")
	tested.write("PIPER_test.star", starSimulations(tests, n/tests))
	t.row(row{name: "P30", work: thousands(n/tests*tests) + " simulated builds of 50 steps", piper: tested, must: 2, absolute: true})
}

// logs

// kept has a step print a million lines.
func kept(t *trial, name, mode string, must, stretch float64) {
	n := t.size(1_000_000)
	work := "a step prints " + printed(n) + " " + map[string]string{"block": "in blocks", "line": "with a write for each line"}[mode]
	run := t.lines(n, mode)
	cat := t.side("cat into a file", t.programs.peer("sh"), "-c", run+" | cat > kept")
	t.row(
		row{name: name, work: work + ", kept", piper: t.forget(t.talker(run, "--progress=quiet")), peer: cat, must: must, stretch: stretch},
		row{name: name, work: work + ", kept and shown", piper: t.forget(t.talker(run)), peer: cat},
	)
}

// stored has a step's output go into a store, as an agent does it.
func stored(t *trial) {
	n := t.size(1_000_000)
	t.row(row{
		name: "P14", work: printed(n) + " of output into the store", said: "all",
		piper: t.agentrun("piper", "keep", n), peer: t.agentrun("bare inserts", "insert", n), must: 1.11,
	})
}

// followed has somebody read over HTTP what a step writes.
func followed(t *trial) {
	n := t.size(400)
	t.row(row{
		name: "P15", work: "a line, from a step to who follows it", said: "p50",
		piper: t.agentrun("piper", "follow", n), peer: t.agentrun("pipe to HTTP", "relay", n), must: 2.0,
	})
}

// lines is a command line that prints n lines of 80 bytes.
func (t *trial) lines(n int, mode string) string {
	return fmt.Sprintf("%s %d %s", t.programs.compile("lines").path, n, mode)
}

// talker is piper with one step that runs a command line.
func (t *trial) talker(run string, args ...string) *side {
	return t.piper(starWide(1, strconv.Quote(run)), append([]string{"exec"}, args...)...)
}

// printed is what n lines of 80 bytes come to.
func printed(n int) string {
	if n >= 12_500_000 {
		return fmt.Sprintf("%g GB", float64(n)*80/1e9)
	}
	return fmt.Sprintf("%g MB", float64(n)*80/1e6)
}

// agent and store

// agentrun adds a side that works with a store or an agent, and measures that
// itself.
func (t *trial) agentrun(name, work string, n int) *side {
	return t.side(name, t.programs.build("agentrun"), work, strconv.Itoa(n), t.programs.piper().path)
}

func claimed(t *trial) {
	piper := t.agentrun("piper", "claim", t.size(20_000))
	t.row(
		row{name: "P18", work: "a claim, 32 at once", said: "each", piper: piper, peer: t.agentrun("pool of connections", "pool", t.size(1_000)), must: 0.125},
		row{name: "P18", work: "a claim, 32 at once, 99 of 100 wait no longer", said: "p99", piper: piper, must: 5e-3, absolute: true},
	)
}

func completed(t *trial) {
	n := t.size(20_000)
	river := t.river(n)
	t.row(
		row{name: "P19", work: "a claim and the end of a build, 32 at once", said: "each", piper: t.agentrun("piper", "life", n), peer: river, must: 1.0, stretch: 0.67},
		row{name: "P19", work: "a claim and the end of a build, 2,000 at once", said: "each", piper: t.agentrun("piper", "lives", n), peer: river, must: 1.0, stretch: 0.67},
	)
}

// river adds a side that is River on a PostgreSQL of its own.
func (t *trial) river(n int) *side {
	postgres := t.programs.postgres()
	s := t.side("River on PostgreSQL", t.programs.river(), postgres.path, strconv.Itoa(n))
	if postgres.missing != nil {
		s.missing = postgres.missing
	}
	return s
}

// triggered is how soon something runs that was asked for over HTTP.
func triggered(t *trial) {
	n := t.size(50)
	work := "from a trigger to the first of its step"
	piper := t.agentrun("piper", "trigger", n)
	t.row(
		row{name: "P22", work: work, said: "p50", piper: piper, peer: t.agentrun("bare sh", "spawn", n), must: 3.0, stretch: 2.2},
		row{name: "P25", work: work, said: "p50", piper: piper, peer: t.absent("Laminar"), must: 0.5},
		row{name: "P25", work: work, said: "p50", piper: piper, peer: t.buildbot(n), must: 0.05},
	)
}

// absent is a program that nobody's packages have.
func (t *trial) absent(name string) *side {
	return &side{name: name, missing: fmt.Errorf("%s is in no package that could be installed here", name)}
}

// buildbot adds a side that is Buildbot, with a master and a worker.
func (t *trial) buildbot(n int) *side {
	s := t.agentrun("Buildbot", "buildbot", n)
	for _, name := range []string{"buildbot", "buildbot-worker"} {
		if p := t.programs.peer(name); p.missing != nil {
			s.missing = p.missing
		}
	}
	return s
}

// builds are the first ones out of a queue, which is short or long.
func builds(t *trial) {
	few, many := t.size(250), t.size(10_000)
	short, long := t.agentrun(thousands(few)+" queued", "queued", few), t.agentrun("piper", "queued", many)
	work := "a no-op build, two at a time"
	t.row(
		row{name: "P26", work: work, said: "each", piper: short, peer: t.absent("Laminar"), must: 0.5, stretch: 0.2},
		row{name: "P26", work: work + ", " + thousands(many) + " queued", said: "each", piper: long, peer: short, must: 1.05},
	)
}

// idle is an agent with nothing to do, and the processes that it keeps waiting for
// something to do.
func idle(t *trial) {
	const seconds = 10
	piper := t.agentrun("piper", "idle", seconds)
	t.row(
		row{name: "P27", work: "memory of an idle agent", of: memory, said: "own", piper: piper, must: 20e6, absolute: true},
		row{name: "P27", work: "memory of an idle agent and of what waits beside it", of: memory, said: "all", piper: piper},
	)
}

func newest(t *trial) {
	few, many := max(50, t.size(1_000)), max(50, t.size(1_000_000)) // a page is 50
	t.row(row{
		name: "P28", work: "the newest 50 builds of " + thousands(many), said: "p50",
		piper: t.agentrun("piper", "newest", many), peer: t.agentrun("of "+thousands(few), "newest", few), must: 1.10,
	})
}

func firstPage(t *trial) {
	n := max(50, t.size(100_000))
	t.row(row{
		name: "P31", work: "start of an agent to the newest 50 builds of " + thousands(n), said: "page",
		piper: t.agentrun("piper", "start", n), must: 0.1, absolute: true,
	})
}

func killed(t *trial) {
	n := t.size(1_000)
	t.row(row{
		name: "P32", work: "kill -9, start and fsck of " + thousands(n) + " builds", said: "back",
		piper: t.agentrun("piper", "kill", n), must: 3, absolute: true,
	})
}

func asked(t *trial) {
	n := t.size(500)
	t.row(row{
		name: "P33", work: "piper why, " + thousands(n) + " agents", said: "p50",
		piper: t.agentrun("piper", "why", n), must: 0.1, absolute: true,
	})
}

// remote is what an agent costs over doing the same here.
func remote(t *trial) {
	n := t.size(1_000)
	t.row(row{
		name: "P34", work: thousands(n) + " no-op sh steps by an agent", said: "all",
		piper: t.agentrun("piper", "build", n), peer: t.agentrun("piper exec", "exec", n), must: 1.25,
	})
}

// many agents

// database adds a side that starts a RethinkDB of its own, and measures itself.
func (t *trial) database(name, work string, n int) *side {
	s := t.agentrun(name, work, n)
	if p := t.programs.peer("rethinkdb"); p.missing != nil {
		s.missing = p.missing
	}
	return s
}

func shared(t *trial) {
	n := t.size(2_000)
	piper := t.database("piper", "shared", n)
	t.row(
		row{name: "P20", work: "a claim, 256 agents on one queue", said: "each", piper: piper, peer: t.database("32 bare connections", "bareclaims", n), must: 1.25, stretch: 0.33},
		row{name: "P20", work: "attempts at a claim, 256 agents on one queue", of: count, said: "tries", piper: piper, must: 1.05, absolute: true},
	)
}

func sharedLives(t *trial) {
	n := t.size(2_000)
	t.row(row{
		name: "P21", work: "a build made, claimed and ended, 32 at once", said: "each",
		piper: t.database("piper", "sharedlives", n), peer: t.database("bare writes", "barelives", n), must: 1.0,
	})
}

func sharedTrigger(t *trial) {
	n := t.size(50)
	t.row(row{
		name: "P23", work: "from a trigger to the first of its step, by RethinkDB", said: "p50",
		piper: t.database("piper", "sharedtrigger", n), peer: t.agentrun("bare sh", "spawn", n), must: 5.0, stretch: 4.0,
	})
}

func firstChoice(t *trial) {
	many := t.size(128)
	piper, one := t.database("piper", "firstchoice", many), t.database("1 agent", "firstchoice", 1)
	const claim, spread = "from asking for a build to its claim, ", ", 99 of 100 by the median"
	work := fmt.Sprintf("%s%d agents", claim, many)
	t.row(
		row{name: "P24", work: work, said: "p50", piper: piper, peer: one, must: 1.15},
		row{name: "P24", work: work + spread, of: count, said: "spread", piper: piper, must: 2.0, absolute: true},
		row{name: "P24", work: claim + "1 agent" + spread, of: count, said: "spread", piper: one, absolute: true}, // of the server and its disk alone
	)
}

// crowded is what agents cost that have nothing to do.
func crowded(t *trial) {
	t.rounds = min(t.rounds, 3)
	n := t.size(200)
	piper := t.database("piper", "crowd", n)
	work := fmt.Sprintf(", %d agents that live", n)
	t.row(
		row{name: "P24", work: "cores that a server of RethinkDB uses" + work, of: count, said: "load", piper: piper, absolute: true},
		row{name: "P24", work: "from asking for a build to its claim" + work, said: "p50", piper: piper, absolute: true},
	)
}

func sharedFollow(t *trial) {
	t.row(row{
		name: "P35", work: "a line, from a step to who follows it at another agent, 99 of 100", said: "p99",
		piper: t.database("piper", "sharedfollow", t.size(400)), must: 0.25, absolute: true,
	})
}

// sharedNewest takes minutes to make a million builds, so it runs once.
func sharedNewest(t *trial) {
	t.rounds = 1
	n := max(50, t.size(1_000_000))
	t.row(row{
		name: "P36", work: "the newest 50 builds of " + thousands(n) + " in RethinkDB, 99 of 100", said: "p99",
		piper: t.database("piper", "sharednewest", n), must: 0.05, absolute: true,
	})
}

// web page

// drawn is where the nodes of a graph stand on the page.
func drawn(t *trial) {
	n := t.size(1_000)
	t.row(row{
		name: "P29", work: "a graph of " + thousands(n) + " nodes laid out", said: "p50",
		piper: t.side("piper", t.programs.build("layoutrun"), strconv.Itoa(n)), must: 5e-3, absolute: true,
	})
}
