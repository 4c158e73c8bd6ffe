import assert from "node:assert/strict"
import {test, type TestContext} from "node:test"
import {Watched} from "../src/watched"
import type {Build} from "../src/types"

const asks = {
  id: "b7",
  number: 7,
  project: "shop",
  state: "running",
  rev: 5,
  progress: {},
  approvals: [{node: "go-live", state: "waiting"}],
} as unknown as Build

const {approvals: _, ...cancelled} = {...asks, state: "cancelled"}

// server answers for a build what the test puts into it, and streams what the test
// tells.
function server(t: TestContext) {
  const it = {builds: [] as (() => unknown)[], plan: (_: string): object => ({}), at: "", tell: (_: object, _kind?: string) => {}}
  const stream = (signal: AbortSignal) =>
    new ReadableStream({
      start(c) {
        it.tell = (b, kind = "build") => c.enqueue(new TextEncoder().encode(`event: ${kind}\ndata: ${JSON.stringify(b)}\n\n`))
        signal.addEventListener("abort", () => c.close())
      },
    })
  t.mock.method(globalThis, "fetch", async (url: string, {signal}: RequestInit) => {
    if (url.startsWith("/v1/events")) return new Response(stream(signal!))
    if (url.includes("/plan")) return Response.json(it.plan(url))
    const next = it.builds.length > 1 ? it.builds.shift()! : it.builds[0]!
    return Response.json(await next(), it.at ? {headers: {"X-Event-ID": it.at}} : {})
  })
  return it
}

async function until(what: () => boolean) {
  while (!what()) await new Promise(resolve => setTimeout(resolve, 5))
}

test("what is told while it looks is looked at, too", async t => {
  const s = server(t)
  let answer = (_: object) => {}
  s.builds = [
    () => asks, // at once
    () => asks, // once the stream is open
    () => new Promise(resolve => (answer = resolve)),
    () => ({...cancelled, rev: 7}),
  ]
  const it = new Watched("7")
  const leave = it.watch()
  await until(() => s.builds.length === 2)
  s.tell({...cancelled, rev: 6})
  await until(() => it.build.value?.rev === 6)
  await until(() => s.builds.length === 1)
  s.tell({...cancelled, rev: 7})
  await until(() => it.build.value?.rev === 7)
  answer({...cancelled, rev: 6}) // overtaken by what was told
  await until(() => it.build.value?.approvals === undefined)
  assert.equal(it.build.value?.state, "cancelled")
  leave()
})

test("it looks once when it knows from where the stream goes on", async t => {
  const s = server(t)
  let looks = 0
  s.at = "E.1,b7=1.4.5"
  s.builds = [() => (looks++, asks)]
  const it = new Watched("8")
  const leave = it.watch()
  let told = false
  await until(() => {
    s.tell({...asks, rev: 6, reason: "so"})
    return (told = it.build.value?.reason === "so")
  })
  assert.ok(told)
  assert.equal(looks, 1)
  leave()
})

test("an answer that a later one has overtaken is not taken", async t => {
  const s = server(t)
  let answer = (_: object) => {}
  const steps = (...names: string[]) => names.map(name => ({name, state: "running"}))
  s.builds = [
    () => new Promise(resolve => (answer = resolve)),
    () => ({...asks, rev: 5, steps: steps("list", "found")}),
  ]
  const it = new Watched("9")
  const leave = it.watch()
  const leaveToo = it.watch() // asks as well
  await until(() => it.names.length === 2)
  answer({...asks, rev: 4, steps: steps("list")})
  await new Promise(resolve => setTimeout(resolve, 50))
  assert.deepEqual(it.names, ["list", "found"])
  leave()
  leaveToo()
})

test("the plan is asked for again when there are more steps than in it", async t => {
  const s = server(t)
  const steps = (...names: string[]) => names.map(name => ({name, state: "running"}))
  const asked: string[] = []
  s.plan = url => (asked.push(url), {nodes: steps(...(asked.length > 1 ? ["list", "found"] : ["list"]))})
  s.builds = [
    () => ({...asks, plan_digest: "sha256:1", steps: steps("list")}),
    () => ({...asks, plan_digest: "sha256:1", steps: steps("list", "found")}),
  ]
  const it = new Watched("10")
  const leave = it.watch()
  await until(() => it.plan.value?.nodes.length === 2)
  assert.deepEqual(asked, Array(2).fill("/v1/builds/10/plan?grown=true"))
  leave()
})

test("a failure that is allowed is none of the build", async t => {
  const s = server(t)
  s.at = "E.1,b7=1.4.5"
  s.builds = [() => ({...asks, fence: 1, steps: [{name: "may", state: "failed", allowed: true}, {name: "must", state: "failed"}, {name: "next", state: "pending"}]})]
  const it = new Watched("11")
  t.after(it.watch())
  await until(() => {
    s.tell({build: "b7", fence: 1, seq: 1, kind: "attempt_started", node: "next", attempt: 1, time: "2026-03-01T12:00:00Z"}, "event")
    return it.build.value?.progress.running === 1
  })
  assert.deepEqual(it.build.value?.progress, {running: 1, done: 2, failed: 1, skipped: 0})
})
