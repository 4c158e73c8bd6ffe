import assert from "node:assert/strict"
import {test} from "node:test"
import {brief, ended, may, merge, newer, session} from "../src/state"
import type {Build} from "../src/types"

function build(number: number, rev = 1, more: Partial<Build> = {}): Build {
  return {id: `b${number}`, number, project: "shop", state: "running", cause: {kind: "manual"}, progress: {total: 0, running: 0, done: 0, failed: 0, skipped: 0}, rev, ...more}
}

test("newer takes what is newer, and nothing that is not so any more", () => {
  const old = build(1, 3, {approvals: [{node: "ship", state: "waiting"}], agent: {id: "a"}})
  assert.equal(newer(undefined, old), old)
  assert.equal(newer(old, build(1, 2, {state: "queued"})), old)
  assert.deepEqual(newer(old, build(1, 4, {state: "cancelled"})), build(1, 4, {state: "cancelled"}))
  assert.equal(newer(old, build(1, 3, {reason: "the same"})).reason, "the same")
})

test("brief keeps what only one build's answer has", () => {
  const old = build(1, 3, {pipeline: "build", params: {hosts: ["a"]}, fence: 1, approvals: [], agent: {id: "a"}})
  assert.equal(brief(old, build(1, 2)), old)
  assert.deepEqual(brief(old, build(1, 4, {state: "queued", params: {hosts: '["a"]'}, fence: 2})), build(1, 4, {state: "queued", pipeline: "build", params: {hosts: ["a"]}, fence: 1, approvals: []}))
})

test("merge keeps a list newest first, each build once", () => {
  let list: Build[] = []
  for (const n of [3, 1, 5, 2, 4, 3, 5]) list = merge(list, build(n))
  assert.deepEqual(list.map(b => b.number), [5, 4, 3, 2, 1])
  const changed = merge(list, build(3, 2, {state: "failed"}))
  assert.equal(changed[2]!.state, "failed")
  assert.equal(list[2]!.state, "running", "the old list is as it was")
  assert.equal(merge(changed, build(3, 1))[2]!.state, "failed")
})

test("states that are an end", () => {
  const open = ["queued", "running", "pending", "waiting", ""]
  const over = ["success", "failed", "cancelled", "timed_out", "lost", "rejected", "skipped"]
  assert.deepEqual(open.filter(ended), [])
  assert.deepEqual(over.filter(ended), over)
})

test("may asks for the role, and for all projects where that counts", () => {
  session.value = null
  assert.equal(may("read"), false)
  session.value = {name: "ann", role: "trigger"}
  assert.deepEqual([may("read"), may("trigger"), may("admin")], [true, true, false])
  session.value = {name: "ann", role: "admin", projects: ["shop"]}
  assert.deepEqual([may("admin"), may("admin", true)], [true, false])
  session.value = {name: "ann", role: "admin", projects: []}
  assert.equal(may("admin", true), true)
})
