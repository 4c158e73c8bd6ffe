// What of a log is held: windows of lines, fetched when somebody looks at them,
// as many as there is room for.

import {Problem} from "../api"
import type {Line, Log} from "../types"
import {unstyled, type Style} from "./ansi"
import type {Range} from "./rows"
import {carry, read, type Row} from "./terminal"

// span is how many lines a window has.
export const span = 500

const most = 40 // windows that are held
const room = 16 << 20 // characters in them
const calm = 60 // milliseconds without looking elsewhere before it is fetched
const again = 2000 // milliseconds before what did not answer is asked once more
const behind = 500 // and before what did not have yet all that it told of is

// An Entry is one line, put together of its parts.
export interface Entry {
  number: number
  time: string | undefined
  text: string
  parts: {offset: number; at: number}[] // where in text the part begins that begins so many bytes into the line
  gap: number // bytes that were left out in it
  more: number // bytes at its end that only the download has
  style: Style // in which it begins, as far as is known
  row?: Row
}

// rowOf is an entry as it is shown.
export function rowOf(e: Entry): Row {
  return (e.row ??= read(e.text, e.style))
}

// entries puts lines together, which begin in a style.
export function entries(lines: Line[], style: Style): Entry[] {
  const list: Entry[] = []
  for (const line of lines) {
    let e = list.at(-1)
    if (e?.number !== line.number) {
      e = {number: line.number, time: line.time, text: "", parts: [], gap: 0, more: 0, style: unstyled}
      list.push(e)
    }
    e.parts.push({offset: line.offset ?? 0, at: e.text.length})
    e.text += line.text
    // A line of its own says what was left out; else it is the end of a long one.
    if (line.cut && line.text.startsWith(`… ${line.cut} `)) e.gap += line.cut
    else e.more += line.cut ?? 0
  }
  for (const e of list) {
    e.style = style
    style = carry(e.text, style)
  }
  return list
}

interface Held {
  lines: (Entry | undefined)[] // by their place in the window
  next: number // the line to go on from
  last: number // the last line that is there, if only in part
  bytes: number // there were when it was fetched
  ended: boolean
  style: Style // at next
  size: number // characters
}

export type Fetch = (from: number, to: number, signal: AbortSignal) => Promise<Log>

// Windows holds what was fetched of one attempt's output.
export class Windows {
  total = 0
  bytes = 0
  ended = false
  gaps = new Map<number, Range>() // lines that were left out, by the first of them
  problem: unknown // of the last try

  private held = new Map<number, Held>() // the one that was wanted last is last
  private wanted: number[] = []
  private running: {index: number; abort: AbortController} | undefined
  private timer: ReturnType<typeof setTimeout> | undefined
  private went = -Infinity // when something else was wanted
  private closed = false

  // loaded is told of a window that changed, by its index.
  constructor(
    private readonly fetch: Fetch,
    private readonly loaded: (index: number) => void,
    private readonly now: () => number = () => performance.now(),
  ) {}

  get(line: number): Entry | undefined {
    return this.held.get(indexOf(line))?.lines[(line - 1) % span]
  }

  // lines are those of a window, in order.
  lines(index: number): Entry[] {
    return this.held.get(index)?.lines.filter(e => e !== undefined) ?? []
  }

  // fetched is how many lines there are without the newest, as long as those are
  // only told of and the ones before them are there.
  get fetched(): number {
    const index = indexOf(this.total)
    const h = this.held.get(index) ?? this.held.get(index - 1)
    return h ? Math.min(this.total, h.last) : this.total
  }

  // grew takes what is known of the size. It returns whether that is news.
  grew(total: number, bytes: number, ended: boolean): boolean {
    const news = bytes > this.bytes || total > this.total || (ended && !this.ended)
    this.total = Math.max(this.total, total)
    this.bytes = Math.max(this.bytes, bytes)
    this.ended ||= ended
    if (news) this.pump()
    return news
  }

  // want says which lines are looked at. They are fetched, then those around them;
  // what was wanted before is not, any more.
  want(from: number, to: number) {
    const [a, b] = [indexOf(Math.max(1, from)), indexOf(Math.max(1, from, to))]
    const wanted = [...Array(Math.min(b - a + 1, most / 4)).keys()].map(i => a + i).concat(b + 1, a - 1).filter(i => i >= 0)
    const same = wanted.join() === this.wanted.join()
    this.wanted = wanted
    if (same) {
      if (this.timer === undefined) this.pump()
      return
    }
    for (const i of wanted) this.touch(i)
    if (this.running && !wanted.includes(this.running.index)) {
      this.running.abort.abort()
      this.running = undefined
    }
    const restless = this.now() - this.went < calm
    this.went = this.now()
    if (restless) this.later(calm)
    else this.pump()
  }

  close() {
    this.closed = true
    clearTimeout(this.timer)
    this.running?.abort.abort()
  }

  private later(delay: number) {
    clearTimeout(this.timer)
    this.timer = setTimeout(() => this.pump(), delay)
  }

  // lacks tells whether there is something of a window to fetch.
  private lacks(index: number): boolean {
    const h = this.held.get(index)
    if (!h) return index * span < this.total || index === this.wanted[0]
    return h.next <= (index + 1) * span && (h.bytes < this.bytes || (this.ended && !h.ended))
  }

  private pump() {
    const index = this.wanted.find(i => this.lacks(i))
    clearTimeout(this.timer)
    this.timer = undefined
    if (index !== undefined && !this.running && !this.closed) void this.run(index)
  }

  private async run(index: number) {
    const running = {index, abort: new AbortController()}
    this.running = running
    let stale = false
    try {
      const from = this.held.get(index)?.next ?? index * span + 1
      const log = await this.fetch(from, (index + 1) * span, running.abort.signal)
      if (this.running !== running || this.closed) return
      this.problem = undefined
      this.take(index, from, log)
      stale = log.next === from
    } catch (err) {
      if (this.running !== running || this.closed) return
      this.problem = err
      this.running = undefined
      // What is not there, or not for who asks, stays so. A build of which nobody
      // knows the steps yet is a 409.
      if (err instanceof Problem && err.status >= 400 && err.status < 500 && err.status !== 409 && err.status !== 429) this.closed = true
      else this.later(again)
      this.loaded(index)
      return
    }
    this.running = undefined
    this.loaded(index)
    if (stale && this.lacks(index)) this.later(behind)
    else this.pump()
  }

  private take(index: number, from: number, log: Log) {
    const first = index * span + 1
    const h = this.held.get(index) ?? {lines: [], next: first, last: first - 1, bytes: 0, ended: false, style: this.held.get(index - 1)?.style ?? unstyled, size: 0}
    const got = entries(log.lines, h.style)
    got.forEach((e, i) => {
      const next = got[i + 1]?.number ?? log.next
      if (e.number >= from) {
        h.size += e.text.length - (h.lines[e.number - first]?.text.length ?? 0)
        h.lines[e.number - first] = e
      }
      if (e.gap > 0 && next > e.number + 1) this.gaps.set(e.number + 1, [e.number + 1, next - 1])
      if (e.number < log.next) h.style = carry(e.text, e.style)
    })
    // An answer holds so many bytes: if it is not all, the rest is still to come.
    h.last = Math.max(log.next - 1, got.at(-1)?.number ?? 0)
    h.bytes = log.next > from && h.last < Math.min(log.total, first + span - 1) ? 0 : log.bytes
    h.next = log.next
    h.ended = log.ended
    this.held.set(index, h)
    this.touch(index)
    this.total = Math.max(this.total, log.total)
    this.bytes = Math.max(this.bytes, log.bytes)
    this.ended ||= log.ended
    this.evict()
  }

  private touch(index: number) {
    const h = this.held.get(index)
    if (!h) return
    this.held.delete(index)
    this.held.set(index, h)
  }

  private evict() {
    let size = 0
    for (const h of this.held.values()) size += h.size
    for (const [index, h] of this.held) {
      if (this.held.size <= most && size <= room) return
      if (this.wanted.includes(index)) continue
      this.held.delete(index)
      size -= h.size
    }
  }
}

export function indexOf(line: number): number {
  return Math.floor((line - 1) / span)
}
