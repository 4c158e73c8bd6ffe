import assert from "node:assert/strict"
import {test} from "node:test"
import {unstyled} from "../src/log/ansi"
import {Folds, marks, pattern} from "../src/log/folds"
import {entries} from "../src/log/window"

function lines(from: number, ...texts: string[]) {
  return entries(texts.map((text, i) => ({number: from + i, text})), unstyled)
}

function kinds(...texts: string[]) {
  return marks(lines(1, ...texts)).map(m => `${m.line} ${m.kind} ${m.title}`.trim())
}

test("marks are what programs write to say where a part begins", () => {
  assert.deepEqual(kinds("::group::Install", "x", "::endgroup::"), ["1 closed Install", "3 end"])
  assert.deepEqual(kinds("##[group]Install", "##[endgroup]"), ["1 closed Install", "2 end"])
  assert.deepEqual(kinds("--- Build", "+++ Test", "~~~ Clean"), ["1 closed Build", "2 open Test", "3 closed Clean"].slice(2), "two of them head a diff")
  assert.deepEqual(kinds("--- Build", "x", "+++ Test", "~~~ Clean"), ["1 closed Build", "3 open Test", "4 closed Clean"])
  assert.deepEqual(kinds("\x1b[90m--- Build\x1b[0m"), ["1 closed Build\x1b[0m"])
  assert.deepEqual(kinds("--- FAIL: TestX (0.00s)", "    --- PASS: TestX/a", "---", "--- ", "----", "+++x", " ::group::x", "a ::group::x"), [])
})

test("what the server finds is what may be a mark", () => {
  const regexp = new RegExp(pattern)
  for (const text of ["::group::a", "::endgroup::", "##[group]a", "##[endgroup]", "--- a", "+++ a", "~~~ a", "\x1b[1;31m--- a"]) assert.ok(regexp.test(text), text)
  for (const text of ["::warning::", "---", "a --- b"]) assert.ok(!regexp.test(text), text)
})

test("a fold hides its lines once its end is known", () => {
  const folds = new Folds()
  const log = {total: 8, ended: true}
  folds.learn(0, lines(1, "a", "::group::g", "b", "::endgroup::", "--- s", "c", "+++ t", "d"), true, log, 1)
  assert.deepEqual(folds.hidden(), [[3, 4], [6, 6]])
  assert.equal(folds.get(7)!.end, 8)
  folds.toggle(folds.get(7)!)
  folds.toggle(folds.get(2)!)
  assert.deepEqual(folds.hidden(), [[6, 6], [8, 8]])
  assert.ok(folds.reveal(8))
  assert.ok(!folds.reveal(8))
  assert.ok(!folds.reveal(7), "its head is not hidden")
  assert.deepEqual(folds.hidden(), [[6, 6]])
})

test("a fold over windows that were not looked at stays open", () => {
  const folds = new Folds()
  const log = {total: 2000, ended: true}
  folds.learn(0, lines(400, "::group::g"), true, log, 1)
  assert.equal(folds.get(400)!.end, undefined)
  folds.learn(2, lines(1100, "::endgroup::"), true, log, 1)
  assert.deepEqual(folds.hidden(), [], "something may end it in between")
  folds.learn(1, [], true, log, 1)
  assert.deepEqual(folds.hidden(), [[401, 1100]])
})

test("nothing folds away under the eyes of a reader", () => {
  const folds = new Folds()
  const log = {total: 2000, ended: true}
  folds.learn(1, lines(600, "x", "::endgroup::"), true, log, 600)
  folds.learn(0, lines(400, "::group::g"), true, log, 600)
  assert.equal(folds.get(400)!.end, 601)
  assert.deepEqual(folds.hidden(), [])

  const live = new Folds()
  live.learn(0, lines(1, "::group::g", "x"), false, {total: 2, ended: false}, 1)
  live.learn(0, lines(1, "::group::g", "x", "::endgroup::"), false, {total: 3, ended: false}, 1)
  assert.equal(live.get(1)!.end, 3)
  assert.deepEqual(live.hidden(), [])
})

test("a log of nothing but marks is not kept whole", () => {
  const folds = new Folds()
  for (let i = 0; i < 200; i++) folds.learn(i, lines(i * 500 + 1, ...Array(500).fill("--- x")), true, {total: 100_000, ended: true}, 1)
  assert.ok(folds.get(49_000))
  assert.equal(folds.get(60_000), undefined)
})
