import assert from "node:assert/strict"
import {test} from "node:test"
import {serverTime, setClock} from "../src/api"
import {ago, elapsed, span} from "../src/parts/time"
import {now} from "../src/state"

test("span is short at any length", () => {
  for (const [ms, text] of [
    [0, "0s"],
    [40, "40ms"],
    [449.4, "449ms"],
    [999.5, "1.0s"],
    [9949, "9.9s"],
    [9950, "10s"],
    [59_499, "59s"],
    [59_500, "1m 00s"],
    [185_000, "3m 05s"],
    [3_599_400, "59m 59s"],
    [3_599_500, "1h 00m"],
    [7_800_000, "2h 10m"],
    [47 * 3_600_000, "47h 00m"],
    [48 * 3_600_000, "2d"],
    [NaN, ""],
    [-1, ""],
  ] as const) {
    assert.equal(span(ms), text, String(ms))
  }
})

test("ago counts whole units, and a clock that is behind is now", () => {
  for (const [ms, text] of [
    [-60_000, "now"],
    [4999, "now"],
    [5000, "5s ago"],
    [59_999, "59s ago"],
    [60_000, "1m ago"],
    [3_600_000, "1h ago"],
    [47 * 3_600_000, "47h ago"],
    [48 * 3_600_000, "2d ago"],
  ] as const) {
    assert.equal(ago(ms), text, String(ms))
  }
})

test("elapsed goes on until the end", () => {
  const start = "2026-03-01T12:00:00Z"
  now.value = Date.parse(start) + 70
  assert.equal(elapsed(start, "2026-03-01T12:00:05Z"), 5000)
  assert.equal(elapsed(start, undefined), 70)
  assert.ok(Number.isNaN(elapsed(undefined, undefined)))
})

test("the server's clock counts, once it is known", () => {
  const off = () => Math.abs(serverTime() - Date.now())
  setClock(null)
  assert.equal(off(), 0)
  setClock(new Date(Date.now() + 3_600_000).toUTCString())
  assert.ok(off() > 3_598_000)
  setClock("nonsense")
  assert.ok(off() > 3_598_000)
  setClock(new Date(Date.now()).toUTCString())
  assert.ok(off() < 10, "what a header leaves out is no difference")
})
