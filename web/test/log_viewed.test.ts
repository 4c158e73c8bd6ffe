import assert from "node:assert/strict"
import {afterEach, test} from "node:test"
import {count, sinceTime} from "../src/log/body"
import {Viewed} from "../src/log/log"
import type {LogGrew} from "../src/types"

const real = globalThis.fetch
afterEach(() => void (globalThis.fetch = real))

// serve answers for a log with such lines, and returns what is asked.
function serve(lines: string[], how: {ended?: boolean; attempt?: number} = {}): string[] {
  const asked: string[] = []
  globalThis.fetch = async url => {
    const u = new URL(String(url), "http://page")
    asked.push(u.pathname.split("/").at(-1) + u.search)
    const from = Number(u.searchParams.get("from") ?? 1)
    const to = Number(u.searchParams.get("to") ?? Infinity)
    const all = lines.map((text, i) => ({step: "s", attempt: 1, number: i + 1, text})).filter(l => l.number >= from && l.number <= to)
    if (u.pathname.endsWith("/search")) {
      const pattern = new RegExp(u.searchParams.get("regex") ?? u.searchParams.get("text")!)
      const hits = all.filter(l => pattern.test(l.text))
      return Response.json({lines: hits.length, matches: hits.length, hits: hits.slice(0, Number(u.searchParams.get("limit"))).map(l => ({...l, spans: [[0, 1]]}))})
    }
    return Response.json({step: "s", attempt: how.attempt ?? 1, fence: 7, total: lines.length, bytes: lines.join("\n").length, next: all.length + from, ended: how.ended ?? true, lines: all})
  }
  return asked
}

// settled waits until all that was asked is answered.
async function settled() {
  for (let i = 0; i < 50; i++) await new Promise(setImmediate)
}

async function open(lines: string[], how = {}) {
  const asked = serve(lines, how)
  const log = new Viewed({build: "41", step: "a b", attempt: undefined, fence: undefined})
  log.windows.want(1, 40)
  await settled()
  return {log, asked}
}

const grew = (with_: Partial<LogGrew>): LogGrew => ({build: "id", step: "a b", attempt: 2, fence: 7, total: 1, bytes: 1, ended: false, ...with_})

test("all that is shown comes from the same attempt", async () => {
  const {log, asked} = await open(Array(600).fill("x"), {attempt: 2})
  assert.deepEqual(asked, ["log?step=a+b&from=1&to=500", "log?step=a+b&attempt=2&fence=7&from=501&to=1000"])
  assert.equal(log.attempt, 2)
  assert.equal(log.rows.count, 600)
  assert.equal(log.url("raw"), "/v1/builds/41/log/raw?step=a+b&attempt=2&fence=7")
  log.close()
})

test("what the stream tells of it is fetched, of a later attempt it is offered", async () => {
  const lines = ["one"]
  const {log, asked} = await open(lines, {ended: false, attempt: 2})
  lines.push("two")
  log.hear(grew({total: 2, bytes: 7}))
  assert.equal(log.rows.count, 2)
  await settled()
  assert.equal(log.line(2)?.text, "two")
  assert.ok(!log.newer.value)
  log.hear(grew({attempt: 1, total: 99, bytes: 999}))
  assert.equal(log.rows.count, 2, "of an earlier one nothing is wanted")
  log.hear(grew({attempt: 3}))
  await settled()
  assert.equal(log.newer.peek()?.attempt, 3)
  assert.ok(log.windows.ended, "there is no more of the one that is shown")
  assert.equal(asked.length, 3, "its end is fetched")
  log.close()
})

test("what is told before the first answer is not lost", async () => {
  serve(["one"], {ended: false, attempt: 2})
  const log = new Viewed({build: "41", step: "s", attempt: undefined, fence: undefined})
  log.windows.want(1, 1)
  log.hear(grew({fence: 8}))
  await settled()
  assert.equal(log.newer.value?.fence, 8)
  log.close()
})

test("who follows sees lines once they are there", async () => {
  const lines = ["one"]
  const {log} = await open(lines, {ended: false, attempt: 2})
  log.follow.value = true
  lines.push("two")
  log.hear(grew({total: 2, bytes: 7}))
  assert.equal(log.rows.count, 1)
  await settled()
  assert.equal(log.rows.count, 2)
  log.close()
})

test("a fold of which nobody knows the end is asked for it", async () => {
  const lines = ["::group::g", ...Array(1500).fill("x"), "--- FAIL: no mark", "::endgroup::", "y"]
  const {log, asked} = await open(lines)
  assert.equal(log.rows.count, lines.length)
  await log.toggle(1)
  assert.deepEqual(log.folds.hidden(), [[2, 1503]])
  assert.equal(log.rows.count, 2)
  assert.ok(asked.at(-1)!.startsWith("search?"))
  log.reveal(700)
  assert.equal(log.rows.count, lines.length)
  log.close()
})

test("without a mark after it, a fold goes on to the end", async () => {
  const {log} = await open(["+++ t", ...Array(1500).fill("x")])
  await log.toggle(1)
  assert.equal(log.rows.count, 1)
  await log.toggle(2)
  assert.equal(log.rows.count, 1, "where no fold begins, there is none")
  log.close()
})

test("one thing is looked for at a time, and a new one in place of the old", async () => {
  const {log} = await open(["a", "b", "a", "ab"])
  const query = {text: "a", regex: false, exact: true, errors: false}
  const old = log.find(query, 1)
  assert.equal(await log.find({...query, text: "b"}, 3), 4)
  assert.equal(await old, undefined)
  assert.equal(await log.next(), 2)
  assert.deepEqual(await Promise.all([log.next(), log.previous()]), [4, 2])
  log.leaveSearch()
  assert.equal(await log.next(), undefined)
  log.close()
})

test("a search that fails says why", async () => {
  const {log} = await open(["a"])
  globalThis.fetch = async () => Response.json({detail: "missing closing ]"}, {status: 400})
  assert.equal(await log.find({text: "[", regex: true, exact: false, errors: false}, 1), undefined)
  assert.match(String(log.problem), /missing closing/)
  assert.ok(!log.searching)
  log.close()
})

test("a log that is not there says so", async () => {
  globalThis.fetch = async () => Response.json({detail: "there is no build 9"}, {status: 404})
  const log = new Viewed({build: "9", step: "s", attempt: undefined, fence: undefined})
  log.windows.want(1, 1)
  await settled()
  assert.equal(log.trouble?.message, "there is no build 9")
  assert.ok(!log.opened)
  log.close()
})

test("numbers and times are for people", () => {
  assert.equal(count(1, "line"), "1 line")
  assert.equal(count(1234567, "line"), "1,234,567 lines")
  assert.equal(sinceTime(12_345), "0:12.345")
  assert.equal(sinceTime(3_723_456), "1:02:03.456")
  assert.equal(sinceTime(-5), "0:00.000")
  assert.equal(sinceTime(NaN), "")
})
