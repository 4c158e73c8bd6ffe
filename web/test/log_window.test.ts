import assert from "node:assert/strict"
import {test} from "node:test"
import {Problem} from "../src/api"
import {unstyled} from "../src/log/ansi"
import {entries, rowOf, span, Windows} from "../src/log/window"
import type {Line, Log} from "../src/types"

// A Server has a log, and answers when it is told to.
class Server {
  asked: string[] = []
  waiting: (() => void)[] = []
  lines: Line[]
  ended = true
  room = Infinity // lines in an answer
  broken: Problem | undefined

  constructor(lines: number | Line[]) {
    this.lines = typeof lines === "number" ? Array.from({length: lines}, (_, i) => ({number: i + 1, text: `line ${i + 1}`})) : lines
  }

  fetch = async (from: number, to: number, abort: AbortSignal): Promise<Log> => {
    this.asked.push(`${from}-${to}`)
    await new Promise<void>(resolve => this.waiting.push(resolve))
    if (abort.aborted) throw new Error("aborted")
    if (this.broken) throw this.broken
    const lines = this.lines.filter(l => l.number >= from && l.number <= to).slice(0, this.room)
    const last = lines.at(-1)
    const next = last ? (last.partial && !this.ended ? last.number : last.number + 1) : from
    return {step: "s", attempt: 1, fence: 1, total: this.lines.at(-1)?.number ?? 0, bytes: this.lines.reduce((n, l) => n + l.text.length + 1, 0), next, ended: this.ended, lines}
  }

  // answer answers all that was asked, and what is asked because of that.
  async answer() {
    for (;;) {
      await new Promise(setImmediate)
      const one = this.waiting.shift()
      if (!one) return
      one()
    }
  }
}

function windows(s: Server) {
  let now = 0
  const loaded: number[] = []
  const w = new Windows(s.fetch, index => loaded.push(index), () => (now += 1000))
  return {w, loaded}
}

test("what is looked at is fetched, then what lies around it", async () => {
  const s = new Server(10_000)
  const {w, loaded} = windows(s)
  w.want(1, 40)
  await s.answer()
  assert.deepEqual(s.asked, ["1-500", "501-1000"])
  assert.deepEqual(loaded, [0, 1])
  assert.equal(w.total, 10_000)
  assert.equal(w.get(1)?.text, "line 1")
  assert.equal(w.get(1000)?.text, "line 1000")
  assert.equal(w.get(1001), undefined)
  w.want(4990, 5020)
  await s.answer()
  assert.deepEqual(s.asked.slice(2), ["4501-5000", "5001-5500", "5501-6000", "4001-4500"])
  assert.equal(w.get(5001)?.text, "line 5001")
  w.want(4990, 5020)
  await s.answer()
  assert.equal(s.asked.length, 6, "what is held is not fetched again")
})

test("who looks elsewhere does not wait for what he left", async () => {
  const s = new Server(10_000)
  const {w} = windows(s)
  w.want(1, 40)
  w.want(9000, 9040)
  await s.answer()
  assert.equal(s.asked[1], "8501-9000")
  assert.equal(w.get(1), undefined)
  assert.equal(w.get(9000)?.text, "line 9000")
})

test("who hurries past is not followed", async t => {
  t.mock.timers.enable({apis: ["setTimeout"]})
  const s = new Server(100_000)
  const w = new Windows(s.fetch, () => {}, () => 0)
  w.want(1, 40)
  for (let line = 1000; line < 90_000; line += 1000) w.want(line, line + 40)
  w.want(89_010, 89_050)
  await s.answer()
  assert.deepEqual(s.asked, ["1-500"])
  t.mock.timers.tick(100)
  await s.answer()
  assert.deepEqual(s.asked.slice(1), ["89001-89500", "89501-90000", "88501-89000"])
})

test("what is held has a bound", async () => {
  const s = new Server(100_000)
  const {w} = windows(s)
  for (let line = 1; line <= 100_000; line += span) {
    w.want(line, line + 40)
    await s.answer()
  }
  const held = Array.from({length: 200}, (_, i) => w.lines(i).length).filter(n => n > 0)
  assert.equal(held.length, 40)
  assert.equal(w.get(100_000)?.text, "line 100000")
})

test("large lines leave room for few windows", async () => {
  const s = new Server(Array.from({length: 20_000}, (_, i) => ({number: i + 1, text: "x".repeat(4000)})))
  const {w} = windows(s)
  for (let line = 1; line <= 20_000; line += span) {
    w.want(line, line + 40)
    await s.answer()
  }
  assert.ok(Array.from({length: 40}, (_, i) => w.lines(i).length).filter(n => n > 0).length <= 9)
})

test("an answer that is cut short is gone on from", async () => {
  const s = new Server(1000)
  s.room = 200
  const {w} = windows(s)
  w.want(1, 40)
  await s.answer()
  assert.deepEqual(s.asked.slice(0, 3), ["1-500", "201-500", "401-500"])
  assert.equal(w.get(500)?.text, "line 500")
})

test("a log that grows is read on", async () => {
  const s = new Server([{number: 1, text: "one"}, {number: 2, text: "tw", partial: true}])
  s.ended = false
  const {w} = windows(s)
  w.want(1, 40)
  await s.answer()
  assert.deepEqual(s.asked, ["1-500"], "there is nothing else to ask for")
  assert.equal(w.get(2)?.text, "tw")
  s.lines = [{number: 1, text: "one"}, {number: 2, text: "two"}, {number: 3, text: "three"}]
  assert.ok(w.grew(3, 14, false))
  assert.equal(w.fetched, 2)
  await s.answer()
  assert.equal(w.fetched, 3)
  assert.deepEqual(s.asked, ["1-500", "2-500"])
  assert.equal(w.get(2)?.text, "two")
  assert.equal(w.get(3)?.text, "three")
  assert.ok(!w.grew(3, 14, false), "that is no news")
  s.ended = true
  assert.ok(w.grew(3, 14, true))
  await s.answer()
  assert.deepEqual(s.asked.slice(2), ["4-500"])
  assert.ok(w.ended)
})

test("an empty log is asked for once", async () => {
  const s = new Server(0)
  s.ended = false
  const {w, loaded} = windows(s)
  w.want(1, 1)
  await s.answer()
  w.want(1, 1)
  await s.answer()
  assert.deepEqual(s.asked, ["1-500"])
  assert.deepEqual(loaded, [0])
  assert.equal(w.total, 0)
  assert.equal(w.fetched, 0)
  w.grew(5000, 50_000, false)
  assert.equal(w.fetched, 5000, "what lies before the newest is not there either")
})

test("a server that does not answer is asked again, one that says no is not", async t => {
  t.mock.timers.enable({apis: ["setTimeout"]})
  const s = new Server(10)
  const {w} = windows(s)
  s.broken = new Problem(503, {title: "down"})
  w.want(1, 1)
  await s.answer()
  assert.equal(w.problem, s.broken)
  s.broken = undefined
  t.mock.timers.tick(2000)
  await s.answer()
  assert.equal(w.problem, undefined)
  assert.equal(w.get(10)?.text, "line 10")

  const other = new Server(10)
  other.broken = new Problem(404, {title: "not there"})
  const {w: none} = windows(other)
  none.want(1, 1)
  await other.answer()
  t.mock.timers.tick(60_000)
  none.want(1, 1)
  await other.answer()
  assert.deepEqual(other.asked, ["1-500"])
})

test("a server that does not have yet what it told of is given time", async t => {
  t.mock.timers.enable({apis: ["setTimeout"]})
  const s = new Server(10)
  s.ended = false
  const {w} = windows(s)
  w.want(1, 1)
  await s.answer()
  w.grew(11, 1000, false)
  await s.answer()
  assert.deepEqual(s.asked, ["1-500", "11-500"])
  s.lines.push({number: 11, text: "x".repeat(900)})
  t.mock.timers.tick(500)
  await s.answer()
  assert.equal(w.get(11)?.text.length, 900)
})

test("closed, it asks for nothing any more", async t => {
  t.mock.timers.enable({apis: ["setTimeout"]})
  const s = new Server(10)
  const {w, loaded} = windows(s)
  w.want(1, 1)
  w.close()
  await s.answer()
  w.grew(20, 200, true)
  t.mock.timers.tick(10_000)
  await s.answer()
  assert.deepEqual(s.asked, ["1-500"])
  assert.deepEqual(loaded, [])
})

test("the parts of a long line are one", () => {
  const [one, two, three] = entries(
    [
      {number: 1, text: "aa", partial: true, time: "2026-01-01T00:00:00Z"},
      {number: 1, text: "bb", offset: 2, cut: 30},
      {number: 2, text: "begins", partial: true},
      {number: 2, text: "… 99 bytes left out …", cut: 99},
      {number: 7, text: "after"},
    ],
    unstyled,
  )
  assert.equal(one!.text, "aabb")
  assert.equal(one!.time, "2026-01-01T00:00:00Z")
  assert.deepEqual(one!.parts, [{offset: 0, at: 0}, {offset: 2, at: 2}])
  assert.equal(one!.more, 30)
  assert.equal(two!.text, "begins… 99 bytes left out …")
  assert.equal(two!.gap, 99)
  assert.equal(two!.more, 0)
  assert.equal(three!.number, 7)
})

test("lines that were left out have no rows", async () => {
  const s = new Server([{number: 1, text: "a"}, {number: 2, text: "… 99 bytes left out …", cut: 99}, {number: 700, text: "b"}])
  const {w} = windows(s)
  s.fetch = (fetch => async (from: number, to: number, abort: AbortSignal) => {
    const log = await fetch(from, to, abort)
    return to === 500 ? {...log, next: 700} : {...log, lines: [s.lines[1]!, ...log.lines]} // as the API tells it
  })(s.fetch)
  const {w: other} = windows(s)
  other.want(1, 40)
  await s.answer()
  assert.deepEqual([...other.gaps.values()], [[3, 699]])
  assert.equal(other.get(2)?.gap, 99)
  assert.equal(other.get(700)?.text, "b")
  assert.equal(other.lines(1).length, 1)
  w.close()
})

test("colours go on from line to line, and from window to window", async () => {
  const s = new Server(1200)
  s.lines[498]!.text = "\x1b[31mred"
  s.lines[600]!.text = "\x1b[0mplain"
  const {w} = windows(s)
  w.want(1, 40)
  await s.answer()
  const fg = (line: number) => rowOf(w.get(line)!).runs[0]!.style.fg
  assert.notEqual(fg(499), 0)
  assert.equal(fg(500), fg(499))
  assert.equal(fg(501), fg(499))
  assert.equal(fg(600), fg(499))
  assert.equal(fg(601), 0)
  assert.equal(fg(602), 0)
})
