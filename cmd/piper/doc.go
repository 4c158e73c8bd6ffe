// Piper runs the pipelines of a PIPER.star.
//
// This page is a tour of the code, from the bottom up. Each stop is a package
// whose own doc says more; none needs what comes after it, and a test
// (imports_test.go) keeps it so.
//
// # Data: what is to happen, and what has
//
// [github.com/piper-build/piper/runtime/plan] is a plan: a graph of steps,
// services, triggers, approvals and expands as plain data, with one canonical
// JSON and a digest. Begin with plan.go, then validate.go for what a plan may be,
// graph.go for its order, select.go for how --only, --from and --skip narrow it,
// grow.go for what an expand adds to it. What is wrong with what a user wrote is
// data too: diagnostic.go.
//
// [github.com/piper-build/piper/runtime/layout] says where the nodes of a plan
// stand when it is drawn. Begin with layout.go; network.go makes of groups what can
// be drawn, part.go places it.
//
// [github.com/piper-build/piper/runtime/build] is a build: the fold of flat
// events over a plan. Apply takes the state one event further, Next says what it
// calls for. All of run_on, retries, limits, fail_fast and cancelling is here,
// without a clock or a process.
// [github.com/piper-build/piper/runtime/simulate] drives one to its end on a
// script of outcomes and a clock that jumps.
//
// # Language: a file in, a plan out
//
// [github.com/piper-build/piper/builtins] is one table of the words of the
// language: what the interpreter calls, "piper doc" prints and completion
// offers. [github.com/piper-build/piper/stdlib] holds the modules that every
// file may load. [github.com/piper-build/piper/starlark] evaluates: it finds
// and reads files, keeps to its limits, and turns what a word reports into a
// line with a caret. Evaluate is the door, and a function of the type
// Evaluator, so that it can be done elsewhere than in this process:
// [github.com/piper-build/piper/starlark/isolate] does it in one that can do no
// harm.
//
// A Session evaluates on and on what somebody types, and
// [github.com/piper-build/piper/starlark/repl] is the conversation about it.
// RunTest runs one function of a *_test.star, and
// [github.com/piper-build/piper/starlark/test] gives it a world to work in. Two
// packages look at files without running them:
// [github.com/piper-build/piper/starlark/format] lays them out,
// [github.com/piper-build/piper/starlark/lint] finds what is most likely a
// mistake.
//
// # Running: a plan in, events out
//
// [github.com/piper-build/piper/runtime] is the engine. It asks package build
// what to do, hands steps to an Executor, and records the events that come of
// it. Several goroutines take turns at that: whoever holds the lock owns the
// build. It is where the environment of a step and its secrets and outputs are
// worked out.
//
// [github.com/piper-build/piper/runtime/process] is that Executor: a step as a
// tree of processes, of which nothing survives. No other package starts one.
// [github.com/piper-build/piper/runtime/environment] stands before it and makes
// the temporary copy, virtual environment or container that a step asks for.
// [github.com/piper-build/piper/runtime/remove] takes away what steps leave.
//
// [github.com/piper-build/piper/runtime/facts] and
// [github.com/piper-build/piper/runtime/git] say what a machine has and what a
// repository knows, each when asked; a git.Mirror is what a machine keeps of a
// repository that is somewhere else, and makes trees to build.
// [github.com/piper-build/piper/runtime/secret] is where secrets come from and
// which build may have them, [github.com/piper-build/piper/runtime/logs] masks
// them in what steps write, and finds lines in what is kept of it; a second place
// to find them is [github.com/piper-build/piper/runtime/logs/elastic], and all such
// places pass [github.com/piper-build/piper/runtime/logs/logstest]. What a build
// wrote as a file is [github.com/piper-build/piper/runtime/logs/archive]'s.
//
// [github.com/piper-build/piper/runtime/runner] puts all of these together to
// run one build in one process. Begin with Run, in
// runner.go, which is all that piper exec needs. An agent has a child of this
// program call it: command.go is the agent's end, child.go the other one, and
// message.go what they say to each other. It comes in the lines of
// [github.com/piper-build/piper/runtime/stream], which are those of --progress=json.
//
// # Keeping: builds in a store
//
// [github.com/piper-build/piper/runtime/store] is what agents share: who has
// which build, and what happened in it. Begin with change.go, the ways in which
// a build may change, and model_test.go, which tries them in every state that
// there can be. [github.com/piper-build/piper/runtime/store/sqlite] is the store
// of one machine, which piper exec records in, too; all stores pass
// [github.com/piper-build/piper/runtime/store/storetest].
// [github.com/piper-build/piper/runtime/record] brings a build's events and
// output there while it runs, [github.com/piper-build/piper/runtime/placement]
// says which agent may run a build and why another may not, and
// [github.com/piper-build/piper/runtime/store/fsck] what must be true of it all.
//
// # Many builds, many machines
//
// [github.com/piper-build/piper/agent] is the loop without a leader: it takes
// builds from a store, has them run, and looks after what other agents leave.
// Begin with agent.go for what it is given and which loops it has, then run.go for
// what one build goes through. simulation_test.go has agents die and answers be
// lost, and holds what comes of it against the protocol.
// [github.com/piper-build/piper/agent/operator] reads agent.yaml: what the
// operator of a machine lets builds do there.
//
// # HTTP: a store over a wire
//
// [github.com/piper-build/piper/api] answers for a store: routes.go is the table
// of all that can be asked, hub.go finds out what changes for those who follow.
// [github.com/piper-build/piper/api/webhook] reads what forges send, and
// [github.com/piper-build/piper/api/client] asks, over a wire or in this process,
// which is how the commands about builds do it.
//
// [github.com/piper-build/piper/web] is the page, which asks the same routes:
// its handler is here, its README.md says how the rest of it, TypeScript, is cut.
//
// # This program
//
// [github.com/piper-build/piper/cmd/piper/progress] has the displays of a
// running build. What is left is wiring:
//
//	main.go       run: arguments in, exit code out; errors are told here
//	command.go    the table of commands, and flags that may stand anywhere
//	settings.go   what the environment and files say about flags left out
//	project.go    finding the PIPER.star, asking the evaluator
//	sources.go    from a project and a ref to a tree and a plan, for an agent
//	exec.go       a build and, with triggers.go, those that come of it
//	complete.go   what the scripts in completion/ ask while one types
//
// and a file for each other command. A command is made only when it is asked
// for, and nothing is done in package initialisers, since "piper version" is to
// cost little more than starting any program.
//
// Tests are best read in testdata/script: each command with its exit codes and
// both streams.
//
// # Follow one step
//
// "piper exec" enters at execution.run, which has project.go evaluate the file
// into a plan. runner.Run makes a build.Build of it and starts runtime.Engine,
// which asks build.Next, records "attempt_started" and gives the step to a
// worker. The worker resolves argv and environment and calls Execute, down
// through package environment to package process. Output comes back up through
// the masking of package logs to the record and to the display; the worker takes
// the lock, records the result as the event "attempt_ended", and asks build.Next
// what comes after it.
package main
