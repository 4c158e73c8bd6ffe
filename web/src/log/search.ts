// A search in a log. The server looks and counts; here is which hits are known,
// and which one is shown.

import type {Found, Match} from "../types"
import type {Spans} from "./terminal"
import type {Entry} from "./window"

// page is how many hits are asked for at once.
const page = 500

export interface Query {
  text: string
  regex: boolean
  exact: boolean // upper and lower case differ
  errors: boolean // in place of text: the lines that matter after a failure
}

// parameters are those of the API.
export function parameters(q: Query): Record<string, string | boolean | undefined> {
  if (q.errors) return {errors: true}
  return {[q.regex ? "regex" : "text"]: q.text, fold: !q.exact}
}

export type Ask = (from: number, limit: number) => Promise<Found>

// A Hit is a line in which something was found.
interface Hit {
  line: number
  parts: {offset: number; spans: [number, number][]; text: string}[]
}

// Search holds a run of hits, with none left out in between.
export class Search {
  lines = 0 // with hits, in the whole log
  matches = 0
  current: number | undefined // the line that is shown

  private hits: Hit[] = []
  private from = 1 // no hit between it and the first of the run is unknown
  private to = 0 // nor between the last and it; Infinity: there are no more
  private skipped: number | undefined = 0 // hits before the run, if known

  constructor(
    readonly query: Query,
    private readonly ask: Ask,
  ) {}

  // place is which of the hits is shown, from 1; undefined if that is not known.
  get place(): number | undefined {
    const i = this.hits.findIndex(h => h.line === this.current)
    return i < 0 || this.skipped === undefined ? undefined : this.skipped + i + 1
  }

  // start looks for hits, and goes to the first at or after a line, or else to the
  // first of all.
  async start(line: number): Promise<number | undefined> {
    await this.load(1)
    return this.next(line - 1)
  }

  // next goes to the first hit after a line; behind the last one comes the first.
  async next(after = this.current ?? 0): Promise<number | undefined> {
    if (after + 1 < this.from || after > this.to) await this.load(after + 1)
    for (;;) {
      const hit = this.hits.find(h => h.line > after)
      if (hit) return (this.current = hit.line)
      if (this.to === Infinity) break
      await this.extend()
    }
    if (this.lines === 0) return undefined
    if (this.from > 1) await this.load(1)
    return (this.current = this.hits[0]?.line)
  }

  // previous goes to the last hit before a line; before the first one comes the
  // last. The server looks only ahead, so it is asked from further and further back.
  async previous(total: number, before = this.current ?? total + 1): Promise<number | undefined> {
    if (this.lines === 0) return undefined
    const known = () => before - 1 <= this.to
    for (let back = 1000; ; back *= 8) {
      const hit = known() ? this.hits.findLast(h => h.line < before) : undefined
      if (hit) return (this.current = hit.line)
      if (this.from === 1 && known()) return before > total ? undefined : this.previous(total, total + 1)
      await this.load(Math.max(1, before - back))
      while (!known()) await this.extend()
    }
  }

  // grown says that there are more lines than there were.
  grown() {
    if (this.to === Infinity) this.to = this.hits.at(-1)?.line ?? this.from - 1
  }

  // marks are the parts of a line to stand out, as far as they are known.
  marks(e: Entry): Spans {
    if (this.query.errors) return []
    let low = 0
    let high = this.hits.length
    while (low < high) {
      const middle = (low + high) >> 1
      if (this.hits[middle]!.line < e.number) low = middle + 1
      else high = middle
    }
    const hit = this.hits[low]
    if (hit?.line === e.number) return spansIn(e, hit)
    if (this.query.regex || (e.number >= this.from && e.number <= this.to)) return []
    return occurrences(e.text, this.query.text, this.query.exact)
  }

  // load begins a run at a line.
  private async load(from: number) {
    const got = await this.fetch(from)
    this.hits = []
    this.from = from
    this.skipped = from === 1 ? 0 : undefined
    this.take(got)
  }

  // extend makes the run longer.
  private async extend() {
    this.take(await this.fetch(this.to + 1))
  }

  private async fetch(from: number): Promise<Found> {
    const got = await this.ask(from, page)
    this.lines = got.lines
    this.matches = got.matches
    return got
  }

  private take(got: Found) {
    for (const m of got.hits) this.add(m)
    // The last line of a full page may have more hits; what is known of it will do.
    this.to = got.hits.length < page ? Infinity : this.hits.at(-1)!.line
    if (this.to === Infinity && this.skipped === undefined) this.skipped = this.lines - this.hits.length
  }

  private add(m: Match) {
    let hit = this.hits.at(-1)
    if (hit?.line !== m.number) {
      hit = {line: m.number, parts: []}
      this.hits.push(hit)
    }
    hit.parts.push({offset: m.offset ?? 0, spans: m.spans, text: m.text})
  }
}

// spansIn are where in an entry's text a hit is.
function spansIn(e: Entry, hit: Hit): Spans {
  const list: Spans = []
  for (const part of hit.parts) {
    const at = e.parts.find(p => p.offset === part.offset)?.at
    if (at === undefined) continue
    for (const [from, to] of spansOf(part.text, part.spans)) list.push([at + from, at + to])
  }
  return list
}

// spansOf turns what the server says of a text, in bytes, into places in it.
export function spansOf(text: string, spans: [number, number][]): Spans {
  const units = unitsOf(text, spans.flat())
  return spans.map((_, i) => [units[2 * i]!, units[2 * i + 1]!])
}

// unitsOf turns places in a text, in bytes of UTF-8 and in order, into places in
// units of a string.
export function unitsOf(text: string, bytes: number[]): number[] {
  const list: number[] = []
  let at = 0
  let units = 0
  for (const c of text) {
    while (list.length < bytes.length && bytes[list.length]! <= at) list.push(units)
    if (list.length === bytes.length) return list
    const code = c.codePointAt(0)!
    at += code < 0x80 ? 1 : code < 0x800 ? 2 : code < 0x10000 ? 3 : 4
    units += c.length
  }
  while (list.length < bytes.length) list.push(units)
  return list
}

// occurrences are where a text is found. Where the case of a letter changes its
// length, nothing is.
export function occurrences(line: string, text: string, exact: boolean): Spans {
  const [hay, needle] = exact ? [line, text] : [line.toLowerCase(), text.toLowerCase()]
  const list: Spans = []
  if (needle === "" || hay.length !== line.length) return list
  for (let at = hay.indexOf(needle); at >= 0; at = hay.indexOf(needle, at + needle.length)) list.push([at, at + needle.length])
  return list
}
