import assert from "node:assert/strict"
import {test} from "node:test"
import {EventParser} from "../src/stream"

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
