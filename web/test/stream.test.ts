import assert from "node:assert/strict"
import {test, type TestContext} from "node:test"
import {EventParser, follow} from "../src/stream"

const stream = ': hello\n\nevent: build\nid: 7\ndata: {"number":1}\n\nevent: event\ndata: one\ndata: two\n\nretry: 10\n\n'

test("a stream is cut into its events", () => {
  assert.deepEqual(new EventParser().feed(stream), [
    {kind: "", id: "", data: ""},
    {kind: "build", id: "7", data: '{"number":1}'},
    {kind: "event", id: "", data: "one\ntwo"},
    {kind: "", id: "", data: ""},
  ])
})

test("wherever it is cut on the way", () => {
  const whole = new EventParser().feed(stream)
  for (let at = 0; at <= stream.length; at++) {
    const parser = new EventParser()
    assert.deepEqual([...parser.feed(stream.slice(0, at)), ...parser.feed(stream.slice(at))], whole, `cut at ${at}`)
  }
})

test("an event that has not ended is not told", () => {
  const parser = new EventParser()
  assert.deepEqual(parser.feed("event: build\ndata: 1\n"), [])
  assert.deepEqual(parser.feed("\n"), [{kind: "build", id: "", data: "1"}])
})

// streams are those that are asked for, newest last; say tells something on one.
function streams(t: TestContext) {
  const asked: {url: string; say: (text: string) => void; end: () => void}[] = []
  t.mock.method(globalThis, "fetch", async (url: string, {signal}: RequestInit) => {
    const body = new ReadableStream({
      start(c) {
        asked.push({url, say: text => c.enqueue(new TextEncoder().encode(text)), end: () => c.close()})
        signal!.addEventListener("abort", () => c.error(new Error("aborted")))
      },
    })
    return new Response(body)
  })
  return asked
}

async function until(what: () => boolean) {
  while (!what()) await new Promise(resolve => setTimeout(resolve, 5))
}

test("whoever was answered hears what happened since, and looks again when that is not known", async t => {
  const asked = streams(t)
  const heard: string[] = []
  let looks = 0
  const leave = follow(["agents"], async () => (looks++, "E.5"), m => heard.push(m.kind))
  await until(() => asked.length === 1)
  assert.equal(asked[0]!.url, "/v1/events?topics=agents&after=E.5")
  asked[0]!.say("id: E.5\n\nevent: agent\ndata: {}\n\n")
  await until(() => heard.length === 1)
  assert.equal(looks, 1)
  asked[0]!.say("event: reset\ndata: {}\n\n")
  await until(() => looks === 2)

  // Who comes while it is open hears all from then on, and looks once.
  let second = 0
  const leaveToo = follow(["agents"], async () => (second++, "E.4"), m => heard.push("too " + m.kind))
  await until(() => second === 1)
  asked[0]!.say("event: gone\ndata: {}\n\n")
  await until(() => heard.length === 3)
  assert.deepEqual(heard, ["agent", "gone", "too gone"])
  assert.deepEqual([asked.length, second], [1, 1])
  leave()
  leaveToo()
  await until(() => asked.length === 1)
})

test("whoever has no place looks again once the stream is open", async t => {
  const asked = streams(t)
  let looks = 0
  const leave = follow(["projects"], async () => (looks++, ""), () => {})
  await until(() => looks === 2)
  assert.equal(asked.at(-1)!.url, "/v1/events?topics=projects")
  leave()
})

test("who leaves before he was answered follows nothing", async t => {
  const asked = streams(t)
  let answer = (_: string) => {}
  const leave = follow(["builds"], () => new Promise<string>(resolve => (answer = resolve)), () => {})
  leave()
  answer("E.1")
  await new Promise(resolve => setTimeout(resolve, 20))
  assert.equal(asked.length, 0)
})
