import assert from "node:assert/strict"
import {test} from "node:test"
import {critical, needs, Run} from "../src/run"
import type {BuildEvent, Plan, Retry, Step} from "../src/types"

const at = (s: number) => new Date(Date.UTC(2026, 2, 1, 12, 0, s)).toISOString()

function event(seq: number, kind: string, node?: string, more: Partial<BuildEvent> = {}): BuildEvent {
  return {build: "b1", fence: 1, seq, time: at(seq), kind, ...(node !== undefined && {node}), ...more}
}

const started = (seq: number, node: string, attempt = 1, fence = 1) => event(seq, "attempt_started", node, {attempt, fence})
const ends = (seq: number, node: string, state: string, attempt = 1, more: Partial<BuildEvent> = {}) => event(seq, "attempt_ended", node, {attempt, state, ...more})

function heard(...events: BuildEvent[]): Run {
  const run = new Run()
  run.settle([{name: "unit", state: "pending"}, {name: "pack", state: "pending"}], 1, 0)
  for (const ev of events) run.hear(ev)
  return run
}

const all = [event(1, "build_started"), event(2, "node_ready", "unit"), started(3, "unit"), ends(4, "unit", "failed", 1, {exit: 2, reason: "exit status 2"}), started(5, "unit", 2), ends(6, "unit", "success", 2, {exit: 0}), event(7, "node_skipped", "pack", {state: "skipped", reason: "not needed"})]

test("a step goes through its attempts", () => {
  const run = heard(...all.slice(0, 3))
  assert.deepEqual(run.steps.get("unit"), {name: "unit", state: "running", attempt: 1, started: at(3)})
  run.hear(all[3]!)
  assert.deepEqual(run.steps.get("unit"), {name: "unit", state: "failed", attempt: 1, started: at(3), ended: at(4), exit: 2, reason: "exit status 2"})
  run.hear(all[4]!)
  assert.deepEqual(run.steps.get("unit"), {name: "unit", state: "running", attempt: 2, started: at(5)}, "nothing is left of the attempt before")
  run.hear(all[5]!)
  run.hear(all[6]!)
  assert.deepEqual(run.steps.get("unit"), {name: "unit", state: "success", attempt: 2, started: at(5), ended: at(6), exit: 0})
  assert.deepEqual(run.steps.get("pack"), {name: "pack", state: "skipped", ended: at(7), reason: "not needed"})
})

test("an attempt that is followed by another one has not failed", () => {
  const heard = (retry: Retry | undefined, ev: BuildEvent) => {
    const run = new Run()
    if (retry) run.retries.set("unit", retry)
    run.hear({...ev, seq: 1})
    return run.steps.get("unit")!.state
  }
  const failed = (more: Partial<BuildEvent> = {}) => ends(1, "unit", "failed", 1, {exit: 2, ...more})
  assert.equal(heard(undefined, failed()), "failed")
  assert.equal(heard({attempts: 2}, failed()), "waiting")
  assert.equal(heard({attempts: 2}, failed({attempt: 2})), "failed")
  assert.equal(heard({attempts: 2}, failed({final: true})), "failed")
  assert.equal(heard({attempts: 2}, ends(1, "unit", "success")), "success")
  assert.equal(heard({attempts: 2}, ends(1, "unit", "cancelled")), "cancelled")
  assert.equal(heard({attempts: 2, on: ["2"]}, failed()), "waiting")
  assert.equal(heard({attempts: 2, on: ["3", "timeout", "signal"]}, failed()), "failed")
  assert.equal(heard({attempts: 2, on: ["3"]}, failed({infra: true})), "waiting")
  assert.equal(heard({attempts: 2, on: ["signal"]}, failed({signal: "killed"})), "waiting")
  assert.equal(heard({attempts: 2, on: ["timeout"]}, ends(1, "unit", "timed_out")), "waiting")
})

test("what is heard again changes nothing", () => {
  const once = heard(...all)
  for (let from = 0; from <= all.length; from++) {
    assert.deepEqual(heard(...all, ...all.slice(from)).steps, once.steps)
  }
})

test("a step that changes is another object, the others stay", () => {
  const run = heard()
  const [unit, pack] = [run.steps.get("unit"), run.steps.get("pack")]
  run.hear(started(1, "unit"))
  assert.notEqual(run.steps.get("unit"), unit)
  assert.equal(run.steps.get("pack"), pack)
})

test("a greater fence begins anew, a smaller one is over", () => {
  const run = heard(...all)
  run.hear(started(1, "unit", 1, 2))
  assert.equal(run.fence, 2)
  assert.deepEqual(run.steps.get("unit"), {name: "unit", state: "running", attempt: 1, started: at(1)})
  assert.deepEqual(run.steps.get("pack"), {name: "pack", state: "pending"})
  run.hear(ends(8, "unit", "failed"))
  assert.equal(run.steps.get("unit")!.state, "running", "of the agent that was lost")
})

test("settle takes what the server knows, but nothing older than what was heard since it was asked", () => {
  const run = heard(...all.slice(0, 3))
  const since = run.seq
  run.hear(all[3]!)
  run.settle([{name: "unit", state: "running", attempt: 1}, {name: "pack", state: "waiting", why: "needs unit"}], 1, since)
  assert.equal(run.steps.get("unit")!.state, "failed")
  assert.equal(run.steps.get("pack")!.why, "needs unit")
  run.settle([{name: "unit", state: "waiting", why: "tried again"}], 1, run.seq)
  assert.equal(run.steps.get("unit")!.state, "waiting")
})

test("settle with another fence", () => {
  const run = heard(...all)
  run.settle([{name: "unit", state: "failed"}], 0, 99)
  assert.equal(run.steps.get("unit")!.state, "success", "of a run that is over")
  run.settle([{name: "unit", state: "running", attempt: 1}], 2, 0)
  assert.equal(run.steps.get("unit")!.state, "running")
  assert.equal(run.seq, 0, "its events count from the beginning")
})

test("an end does not come before its beginning, nor twice", () => {
  const run = heard(started(1, "unit", 2))
  run.hear(ends(2, "unit", "failed", 1))
  assert.equal(run.steps.get("unit")!.state, "running")
  run.hear(ends(3, "unit", "success", 2))
  run.hear(ends(4, "unit", "failed", 2))
  run.hear(event(5, "node_skipped", "unit"))
  assert.equal(run.steps.get("unit")!.state, "success")
})

test("an attempt that the server told of already is not begun again", () => {
  const run = heard()
  run.settle([{name: "unit", state: "success", attempt: 1, started: at(1), ended: at(2)}], 1, 0)
  run.hear(started(1, "unit"))
  assert.equal(run.steps.get("unit")!.state, "success")
})

test("a step that nobody told of, and an event that nobody knows", () => {
  const run = new Run()
  run.hear(started(1, "new"))
  run.hear(event(2, "of_the_future", "other"))
  assert.deepEqual([...run.steps.keys()], ["new"])
  run.hear(event(3, "node_triggered", "new", {child: "b2"}))
  assert.equal(run.steps.get("new")!.child, "b2")
})

const plan: Plan = {
  pipeline: "build",
  nodes: [{name: "a"}, {name: "b1", group: "inner"}, {name: "b2", group: "outer", needs: ["a"]}, {name: "c", needs: ["outer"]}, {name: "d", needs: ["inner", "a"]}],
  groups: [{name: "inner", group: "outer"}, {name: "outer"}],
}

test("needs takes groups apart, also those in groups", () => {
  assert.deepEqual(Object.fromEntries(needs(plan)), {a: [], b1: [], b2: ["a"], c: ["b1", "b2"], d: ["b1", "a"]})
})

function ran(times: Record<string, [number, number?]>): Map<string, Step> {
  return new Map(Object.entries(times).map(([name, [from, to]]) => [name, {name, state: to === undefined ? "running" : "success", started: at(from), ...(to !== undefined && {ended: at(to)})} as Step]))
}

test("the critical path goes back from what ended last over what each waited for last", () => {
  const waits = needs(plan)
  assert.deepEqual([...critical(waits, ran({a: [0, 2], b1: [0, 1], b2: [2, 5], c: [5, 9], d: [2, 3]}))], ["c", "b2", "a"])
  assert.deepEqual([...critical(waits, ran({a: [0, 1], b1: [0, 7], b2: [1, 2], c: [7, 8], d: [7, 9]}))], ["d", "b1"])
})

test("what waits for another ended after it, though both did in one millisecond", () => {
  for (const nodes of [plan.nodes, [...plan.nodes].reverse()]) {
    assert.deepEqual([...critical(needs({...plan, nodes}), ran({a: [0, 2], b1: [2, 5], b2: [2, 4], c: [5, 5], d: [2, 3]}))], ["c", "b1"])
  }
})

test("of what runs, the longest is critical", () => {
  assert.deepEqual([...critical(needs(plan), ran({a: [0, 1], b1: [0], b2: [1]}))], ["b1"])
})

test("nothing is critical before anything began", () => {
  assert.deepEqual([...critical(needs(plan), new Map())], [])
})
