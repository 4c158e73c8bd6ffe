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
  const it = {builds: [] as (() => unknown)[], tell: (_: object) => {}}
  const stream = (signal: AbortSignal) =>
    new ReadableStream({
      start(c) {
        it.tell = b => c.enqueue(new TextEncoder().encode(`event: build\ndata: ${JSON.stringify(b)}\n\n`))
        signal.addEventListener("abort", () => c.close())
      },
    })
  t.mock.method(globalThis, "fetch", async (url: string, {signal}: RequestInit) => {
    if (url.startsWith("/v1/events")) return new Response(stream(signal!))
    const next = it.builds.length > 1 ? it.builds.shift()! : it.builds[0]!
    return Response.json(await next())
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
