import assert from "node:assert/strict"
import {test} from "node:test"
import {format, includes, parse, point} from "../src/log/lines"
import {Rows} from "../src/log/rows"
import {atEnd, behind, maxHeight, move, spacer, toRows, toTop} from "../src/log/scroll"

test("without anything hidden, a row is a line less one", () => {
  const rows = new Rows(10)
  assert.equal(rows.count, 10)
  assert.equal(rows.row(1), 0)
  assert.equal(rows.line(9), 10)
  assert.equal(rows.row(99), 9)
  assert.equal(rows.row(-5), 0)
  assert.equal(new Rows(0).count, 0)
  assert.equal(new Rows(0).row(5), 0)
})

test("rows are the lines that are not hidden", () => {
  const hidden: [number, number][] = [[8, 9], [2, 3], [3, 5], [15, 99], [4, 4]]
  const rows = new Rows(20, hidden)
  const shown = Array.from({length: 20}, (_, i) => i + 1).filter(line => !hidden.some(([a, b]) => a <= line && line <= b))
  assert.deepEqual(shown, [1, 6, 7, 10, 11, 12, 13, 14])
  assert.equal(rows.count, shown.length)
  assert.deepEqual(Array.from({length: rows.count}, (_, row) => rows.line(row)), shown)
  for (let line = 1; line <= 20; line++) {
    assert.equal(rows.row(line), shown.findLastIndex(l => l <= line), `line ${line}`)
  }
  assert.equal(new Rows(5, [[1, 2]]).line(0), 3)
  assert.equal(new Rows(5, [[1, 2]]).row(1), 0)
})

test("the spacer has a bounded height, and every row its place on it", () => {
  for (const rows of [100, 10_000, 1_000_000, 50_000_000]) {
    const s = {rows, height: 20, view: 700}
    assert.equal(spacer(s), Math.min(maxHeight, rows * 20))
    const most = rows - 35
    for (const row of [0, 1, Math.floor(most / 3), most - 1, most]) {
      assert.ok(Math.abs(toRows(s, toTop(s, row)) - row) < 1e-6 * rows + 1e-9, `${row} of ${rows}`)
    }
    assert.equal(toTop(s, 0), 0)
    assert.equal(toTop(s, rows), spacer(s) - 700)
    assert.equal(toRows(s, 1e9), most)
  }
  const exact = {rows: 10_000, height: 20, view: 700}
  assert.equal(Math.round(toTop(exact, 123)), 123 * 20)
  assert.equal(toTop({rows: 3, height: 20, view: 700}, 2), 0)
  assert.equal(toRows({rows: 3, height: 20, view: 700}, 2), 0)
})

test("an anchor moves over rows of any height", () => {
  const heights = [20, 60, 20, 20, 200]
  const height = (row: number) => heights[row]!
  assert.deepEqual(move({row: 0, offset: 5}, 10, 5, height), {row: 0, offset: 15})
  assert.deepEqual(move({row: 0, offset: 5}, 15, 5, height), {row: 1, offset: 0})
  assert.deepEqual(move({row: 0, offset: 0}, 85, 5, height), {row: 2, offset: 5})
  assert.deepEqual(move({row: 2, offset: 5}, -20, 5, height), {row: 1, offset: 45})
  assert.deepEqual(move({row: 2, offset: 5}, -2000, 5, height), {row: 0, offset: 0})
  assert.deepEqual(move({row: 2, offset: 5}, 2000, 5, height), {row: 4, offset: 200})
  assert.deepEqual(atEnd(100, 5, height), {row: 4, offset: 100})
  assert.deepEqual(atEnd(250, 5, height), {row: 1, offset: 50})
  assert.deepEqual(atEnd(1000, 5, height), {row: 0, offset: 0})
  assert.deepEqual(atEnd(100, 0, height), {row: 0, offset: 0})
  const end = atEnd(100, 5, height)
  assert.ok(behind({row: 4, offset: 100}, end) && behind({row: 5, offset: 0}, end))
  assert.ok(!behind({row: 4, offset: 99}, end) && !behind({row: 3, offset: 150}, end))
})

test("lines are named in a URL", () => {
  assert.deepEqual(parse("L120-L140"), {from: 120, to: 140})
  assert.deepEqual(parse("L140-L120"), {from: 120, to: 140})
  assert.deepEqual(parse("L7"), {from: 7, to: 7})
  for (const none of [undefined, "", "L", "L0", "7", "L-7", "L1-", "L1-L", "L1.5", "L9e9", "L99999999999999999999", "L1-L2-L3"]) assert.equal(parse(none), undefined, none)
  for (const text of ["L7", "L120-L140"]) assert.equal(format(parse(text)!), text)
})

test("lines are pointed at one by one, or up to one", () => {
  assert.deepEqual(point(undefined, 5, false), {from: 5, to: 5})
  assert.deepEqual(point(undefined, 5, true), {from: 5, to: 5})
  assert.deepEqual(point({from: 5, to: 9}, 7, false), {from: 7, to: 7})
  assert.deepEqual(point({from: 5, to: 9}, 12, true), {from: 5, to: 12})
  assert.deepEqual(point({from: 5, to: 9}, 7, true), {from: 5, to: 7})
  assert.deepEqual(point({from: 5, to: 9}, 2, true), {from: 2, to: 9})
  assert.ok(includes({from: 5, to: 9}, 9) && !includes({from: 5, to: 9}, 10) && !includes(undefined, 1))
})
