import assert from "node:assert/strict"
import {test} from "node:test"
import {unstyled} from "../src/log/ansi"
import {occurrences, parameters, Search, spansOf, unitsOf} from "../src/log/search"
import {entries} from "../src/log/window"
import type {Match} from "../src/types"

const query = {text: "x", regex: false, exact: false, errors: false}

// search is one in a log with hits in such lines; asked is where the server looked.
function search(hits: number[]) {
  const asked: number[] = []
  const s = new Search(query, async (from, limit) => {
    asked.push(from)
    const found = hits.filter(line => line >= from).slice(0, limit)
    return {lines: hits.length, matches: hits.length, hits: found.map((number): Match => ({step: "s", attempt: 1, number, text: "ax", spans: [[1, 2]]}))}
  })
  return {s, asked}
}

test("a search begins where one is, and goes around", async () => {
  const {s, asked} = search([3, 10, 20])
  assert.equal(await s.start(5), 10)
  assert.equal(s.place, 2)
  assert.equal(s.lines, 3)
  assert.equal(await s.next(), 20)
  assert.equal(await s.next(), 3)
  assert.equal(s.place, 1)
  assert.equal(await s.previous(100), 20)
  assert.equal(await s.previous(100), 10)
  assert.deepEqual(asked, [1], "all hits came at once")
})

test("what is not there is not found", async () => {
  const {s} = search([])
  assert.equal(await s.start(5), undefined)
  assert.equal(await s.next(), undefined)
  assert.equal(await s.previous(100), undefined)
  assert.equal(s.lines, 0)
  assert.equal(s.place, undefined)
})

test("of many hits those are known that are near", async () => {
  const hits = Array.from({length: 100_000}, (_, i) => 10 * (i + 1))
  const {s, asked} = search(hits)
  assert.equal(await s.start(1), 10)
  for (let i = 2; i <= 600; i++) assert.equal(await s.next(), 10 * i)
  assert.equal(s.place, 600, "paged from the beginning, their number is known")
  assert.deepEqual(asked, [1, 5001])

  const {s: far, asked: there} = search(hits)
  assert.equal(await far.start(500_005), 500_010)
  assert.equal(far.place, undefined)
  assert.equal(await far.previous(1_000_000), 500_000)
  assert.equal(await far.previous(1_000_000), 499_990)
  assert.deepEqual(there, [1, 500_005, 499_010])

  const {s: last, asked: back} = search(hits)
  await last.start(1)
  assert.equal(await last.previous(1_000_000), 1_000_000)
  assert.equal(last.place, 100_000)
  assert.equal(await last.next(), 10)
  assert.equal(last.place, 1)
  assert.equal(back.length, 3)
})

test("hits that are far apart are found backwards", async () => {
  const hits = [5, ...Array.from({length: 600}, (_, i) => 900_000 + i)]
  const {s, asked} = search(hits)
  assert.equal(await s.start(900_100), 900_100)
  for (let line = 900_099; line >= 900_000; line--) assert.equal(await s.previous(1_000_000), line)
  assert.equal(await s.previous(1_000_000), 5)
  assert.ok(asked.length < 10)
})

test("a log that grows has more hits", async () => {
  const hits = [3]
  const {s} = search(hits)
  assert.equal(await s.start(1), 3)
  hits.push(9)
  s.grown()
  assert.equal(await s.next(), 9)
  assert.equal(s.lines, 2)
})

test("hits are marked in a line, in whatever it is written", async () => {
  const text = "é日🙂needle \ufffdneedle"
  const [entry, long] = entries([{number: 1, text}, {number: 2, text: "aaa", partial: true}, {number: 2, text: "needle", offset: 65536}], unstyled)
  const bytes = (upto: string) => Buffer.byteLength(upto)
  const at = bytes("é日🙂")
  const second = bytes("é日🙂needle \ufffd")
  const s = new Search({...query, regex: true}, async () => ({
    lines: 2,
    matches: 3,
    hits: [
      {step: "s", attempt: 1, number: 1, text, spans: [[at, at + 6], [second, second + 6]]},
      {step: "s", attempt: 1, number: 2, text: "needle", offset: 65536, spans: [[0, 6]]},
    ],
  }))
  await s.start(1)
  assert.deepEqual(s.marks(entry!).map(([from, to]) => text.slice(from, to)), ["needle", "needle"])
  assert.deepEqual(s.marks(long!), [[3, 9]])
})

test("a text is marked where the server was not asked", async () => {
  const {s} = search(Array.from({length: 2000}, (_, i) => i + 1))
  await s.start(1)
  const [entry] = entries([{number: 1500, text: "xaX"}], unstyled)
  assert.deepEqual(s.marks(entry!), [[0, 1], [2, 3]])
  assert.deepEqual(occurrences("aXax", "x", true), [[3, 4]])
  assert.deepEqual(occurrences("İx", "x", false), [], "where lower case is longer, places would not fit")
  assert.deepEqual(occurrences("a", "", false), [])
})

test("bytes are counted as UTF-8", () => {
  assert.deepEqual(unitsOf("aé日🙂b", [0, 1, 3, 6, 10, 11]), [0, 1, 2, 3, 5, 6])
  assert.deepEqual(unitsOf("a", [0, 5]), [0, 1])
  assert.deepEqual(unitsOf("", [0, 0]), [0, 0])
  assert.deepEqual(spansOf("é and é", [[0, 2], [7, 9]]), [[0, 1], [6, 7]])
})

test("what is asked for is as the API has it", () => {
  assert.deepEqual(parameters(query), {text: "x", fold: true})
  assert.deepEqual(parameters({...query, regex: true, exact: true}), {regex: "x", fold: false})
  assert.deepEqual(parameters({...query, errors: true}), {errors: true})
})

test("a search that fails can be tried again", async () => {
  let broken = true
  const s = new Search(query, async () => {
    if (broken) throw new Error("down")
    return {lines: 1, matches: 1, hits: [{step: "s", attempt: 1, number: 4, text: "x", spans: [[0, 1]]}]}
  })
  await assert.rejects(s.start(1), /down/)
  broken = false
  assert.equal(await s.next(), 4)
})
