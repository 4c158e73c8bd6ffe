// A log that somebody looks at: what of it is held, how it is folded, what is
// looked for in it.

import {signal} from "@preact/signals"
import {get, path, Problem} from "../api"
import type {Found, Log, LogGrew} from "../types"
import {Folds, marks, pattern} from "./folds"
import {Rows} from "./rows"
import {parameters, Search, type Query} from "./search"
import {span, Windows} from "./window"

export interface Which {
  build: string
  step: string
  attempt: number | undefined
  fence: number | undefined
}

export class Viewed {
  readonly changed = signal(0) // counts what changes the page
  readonly follow = signal(false) // whether the end is shown as it grows
  readonly newer = signal<LogGrew | undefined>(undefined) // a later attempt than this
  readonly notice = signal("") // what is to be known of what is shown
  readonly windows: Windows
  readonly folds = new Folds()
  rows = new Rows(0)
  search: Search | undefined
  searching = false
  problem: unknown // of a search
  opened = false // something was answered
  reading = 1 // the first line on the page

  private heard: LogGrew | undefined
  private turn: Promise<void> = Promise.resolve()

  constructor(private readonly which: Which) {
    this.windows = new Windows(
      (from, to, abort) => this.fetch(from, to, abort),
      index => this.loaded(index),
    )
  }

  get attempt(): number | undefined {
    return this.which.attempt
  }

  get fence(): number | undefined {
    return this.which.fence
  }

  // hear takes what the stream says of the step's newest attempt.
  hear(grew: LogGrew) {
    if (!this.opened || !this.which.fence) {
      this.heard = grew
      return
    }
    const {fence = 0, attempt = 0} = this.which
    const {windows} = this
    let news = false
    if (grew.fence > fence || (grew.fence === fence && grew.attempt > attempt)) {
      this.newer.value = grew
      news = windows.grew(windows.total, windows.bytes, true) // there is no more of this one
    } else if (grew.fence === fence && grew.attempt === attempt) {
      news = windows.grew(grew.total, grew.bytes, grew.ended)
    }
    if (!news) return
    this.search?.grown()
    this.arrange()
  }

  close() {
    this.windows.close()
  }

  // url is that of a route of the log, with a query.
  url(route: "log" | "raw" | "search", values: Record<string, string | number | boolean | undefined> = {}): string {
    const {build, step, attempt, fence} = this.which
    return path(["builds", build, "log", ...(route === "log" ? [] : [route])], {step, attempt, fence, ...values})
  }

  private async fetch(from: number, to: number, abort: AbortSignal): Promise<Log> {
    const log = await get<Log>(this.url("log", {from, to}), abort)
    this.notice.value = log.notice ?? ""
    this.which.attempt = log.attempt
    if (log.fence > 0) this.which.fence = log.fence // all of what is shown comes from the same run
    return log
  }

  private loaded(index: number) {
    const {windows} = this
    if (!windows.problem) {
      this.opened = true
      const whole = windows.total > (index + 1) * span
      this.folds.learn(index, windows.lines(index), whole, windows, this.reading)
      if (this.heard) {
        const heard = this.heard
        this.heard = undefined
        this.hear(heard)
      }
    }
    this.arrange()
  }

  // arrange finds the rows anew.
  private arrange() {
    const {windows, folds} = this
    // Who follows sees lines once they are there.
    const total = this.follow.peek() ? windows.fetched : windows.total
    this.rows = new Rows(total, [...folds.hidden(), ...windows.gaps.values()])
    this.changed.value++
  }

  // toggle opens or closes the fold that begins in a line.
  async toggle(line: number) {
    const fold = this.folds.get(line)
    if (!fold) return
    if (fold.end === undefined) {
      const end = await this.endOf(line, fold.group)
      if (end === undefined) return
      fold.folded = false
      this.folds.close(fold, end, line)
    }
    this.folds.toggle(fold)
    this.arrange()
  }

  // endOf asks for the last line of a fold.
  private async endOf(line: number, group: boolean): Promise<number | undefined> {
    for (let from = line + 1; ; ) {
      const {hits} = await get<Found>(this.url("search", {regex: pattern, from, limit: 100}))
      const mark = marks(hits)[0]
      if (mark) return mark.kind === "end" && group ? mark.line : mark.line - 1
      if (hits.length < 100) return this.windows.total
      from = hits.at(-1)!.number + 1
    }
  }

  // reveal opens what hides a line.
  reveal(line: number) {
    if (this.folds.reveal(line)) this.arrange()
  }

  // find looks for something, at first from a line on, and answers which line to
  // show.
  find(query: Query, line: number): Promise<number | undefined> {
    const search = new Search(query, (from, limit) => get<Found>(this.url("search", {...parameters(query), from: from > 1 ? from : undefined, limit})))
    this.search = search
    return this.inTurn(() => search.start(line))
  }

  next(): Promise<number | undefined> {
    return this.inTurn(async search => search.next())
  }

  previous(): Promise<number | undefined> {
    return this.inTurn(async search => search.previous(this.windows.total))
  }

  leaveSearch() {
    this.search = undefined
    this.problem = undefined
    this.changed.value++
  }

  // inTurn does one thing with the search after the other.
  private async inTurn(f: (search: Search) => Promise<number | undefined>): Promise<number | undefined> {
    const {search} = this
    if (!search) return undefined
    const before = this.turn
    let done = () => {}
    this.turn = new Promise(resolve => (done = resolve))
    await before
    this.searching = true
    this.changed.value++
    try {
      if (search !== this.search) return undefined // another one was begun meanwhile
      const line = await f(search)
      this.problem = undefined
      return search === this.search ? line : undefined
    } catch (err) {
      if (search === this.search) this.problem = err
      return undefined
    } finally {
      this.searching = false
      this.changed.value++
      done()
    }
  }

  // trouble is what keeps the log from being shown.
  get trouble(): Problem | undefined {
    const {problem} = this.windows
    return problem instanceof Problem ? problem : problem ? new Problem(0, {detail: String(problem)}) : undefined
  }

  // line is an entry, if it is held.
  line(number: number) {
    return this.windows.get(number)
  }
}
