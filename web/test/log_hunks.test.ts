import assert from "node:assert/strict"
import {test} from "node:test"
import {hunks} from "../src/log/hunks"
import type {Line, Match} from "../src/types"

const line = (number: number): Line => ({number, text: `line ${number}`})
const hit = (number: number, before: number[], after: number[]): Match => ({step: "s", attempt: 1, ...line(number), spans: [], before: before.map(line), after: after.map(line)})
const shown = (hits: Match[]) => hunks(hits).map(h => h.lines.map(e => (h.fresh.has(e.number) ? "+" : "") + e.number).join(" "))

test("nothing new is nothing", () => {
  assert.deepEqual(hunks([]), [])
})

test("lines that follow one another are shown together", () => {
  assert.deepEqual(shown([hit(4, [1, 2, 3], [5]), hit(6, [], [7, 8, 9])]), ["1 2 3 +4 5 +6 7 8 9"])
  assert.deepEqual(shown([hit(4, [3], [5]), hit(6, [], [])]), ["3 +4 5 +6"])
  assert.deepEqual(shown([hit(1, [], [2]), hit(9, [8], [])]), ["+1 2", "8 +9"])
})

test("a long line that comes in parts is one", () => {
  const parts = [hit(7, [6], []), {...hit(7, [], [8]), offset: 6, text: " goes on"}]
  assert.deepEqual(shown(parts), ["6 +7 8"])
  assert.equal(hunks(parts)[0]!.lines[1]!.text, "line 7 goes on")
})
