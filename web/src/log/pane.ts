// The part of the page in which a log scrolls. It keeps the reader's place, says
// which rows have to be there, and puts them where he looks.

import {signal} from "@preact/signals"
import type {Viewed} from "./log"
import {atEnd, behind, move, spacer, toRows, toTop, type Scale} from "./scroll"

const around = 6 // rows above and below the view that are there as well
const few = 60 // rows that are all there
const still = 150 // milliseconds after which it is not being scrolled any more

export class Pane {
  readonly moved = signal(0) // counts what changes the rows that are there
  touched = false // the reader has gone somewhere
  wrap = true

  private line = 1 // the anchor: this line
  private offset = 0 // pixels of it above the view; less than 0: pixels between it and the top
  private stuck = false // the last row ends where the view does
  private total = 0 // lines there were
  private scroller!: HTMLElement
  private space!: HTMLElement
  private block!: HTMLElement
  private base = 20 // the height of a row that is not wrapped
  private usual = 20 // that of most rows
  private view = 800
  private width = 0
  private heights = new Map<number, number>() // of lines that were there, where they differ
  private top = 0 // of the scroll bar, as it was seen or set last
  private byHand = false // by wheel, touch or key, and not by the scroll bar
  private timer: ReturnType<typeof setTimeout> | undefined

  constructor(private readonly log: Viewed) {}

  // mount takes the nodes: one that scrolls, in it one as high as all rows, in it
  // one with those that are there.
  mount(scroller: HTMLElement): () => void {
    this.scroller = scroller
    this.space = scroller.firstElementChild as HTMLElement
    this.block = this.space.firstElementChild as HTMLElement
    this.base = this.usual = parseFloat(getComputedStyle(scroller).lineHeight) || 20
    const hand = () => (this.byHand = true)
    const size = new ResizeObserver(() => this.resized())
    scroller.addEventListener("scroll", this.scrolled, {passive: true})
    for (const kind of ["wheel", "touchmove", "keydown"]) scroller.addEventListener(kind, hand, {passive: true})
    size.observe(scroller)
    this.resized()
    return () => {
      clearTimeout(this.timer)
      size.disconnect()
    }
  }

  // range is which rows have to be there: from, and up to but without to.
  range(): [from: number, to: number] {
    const {count, total} = this.log.rows
    if (total !== this.total && !this.log.follow.value) this.stuck = false
    this.total = total
    if (count <= few) return [0, count]
    let row = this.stuck ? count - 1 : this.log.rows.row(this.line)
    let to = row
    for (let y = this.stuck ? 0 : -this.offset; to < count && y < this.view; to++) y += this.height(to)
    let from = row
    for (let y = this.stuck ? this.view - this.height(row) : -this.offset; from > 0 && y > 0; from--) y -= this.height(from - 1)
    return [Math.max(0, from - around), Math.min(count, Math.max(to, row + 1) + around)]
  }

  // placed is called when the rows are there: before they are seen, they are measured
  // and put in place.
  placed(from: number, to: number) {
    const {rows, windows} = this.log
    if (this.wrap) {
      if (this.heights.size > 5000) this.heights.clear()
      const boxes = [...this.block.children].map(row => row.getBoundingClientRect().height)
      boxes.forEach((height, i) => this.heights.set(rows.line(from + i), height))
    }
    const row = rows.row(this.line)
    if (this.line > windows.total || rows.line(row) !== this.line) {
      this.line = rows.line(row) // it is folded away, or was never there
      this.offset = 0
    }
    const height = (r: number) => this.height(r)
    const end = atEnd(this.view, rows.count, height)
    let anchor = move({row, offset: 0}, this.offset, rows.count, height)
    if (this.stuck || (behind(anchor, end) && rows.count > 0)) {
      anchor = end
      this.stuck = end.row > 0 || end.offset > 0 || this.stuck
    }
    const news = anchor.row < from || anchor.row >= to
    this.line = rows.line(anchor.row)
    this.offset = anchor.offset
    this.sync()
    if (news && rows.count > 0) this.moved.value++
    let y = this.top - this.offset
    for (let r = from; r < anchor.row; r++) y -= this.height(r)
    this.block.style.transform = `translateY(${rows.count <= few ? 0 : Math.round(y)}px)`
    const [first, last] = [rows.line(from), rows.line(Math.max(from, to - 1))]
    this.log.reading = this.line
    windows.want(first, last)
  }

  // go shows a line, at a share of the height of the view.
  go(line: number, share = 0.25) {
    this.log.reveal(line)
    this.line = Math.max(1, Math.min(line, this.log.windows.total || line))
    this.offset = -Math.floor(this.view * share)
    this.stuck = false
    this.log.follow.value = false
    this.rest()
    this.moved.value++
  }

  // end shows the last line.
  end() {
    this.touched = true
    this.stuck = true
    this.rest()
    this.moved.value++
  }

  // turn goes on, or back, by so many pages.
  turn(pages: number) {
    this.byHand = true
    this.scroller.scrollTop += pages * (this.view - 2 * this.base)
  }

  setFollow(on: boolean) {
    this.log.follow.value = on
    if (on) this.end()
    else this.stuck = false
  }

  // shows tells whether a line is in view.
  shows(line: number): boolean {
    const {rows} = this.log
    const a = rows.row(this.line)
    const b = rows.row(line)
    let y = -this.offset
    for (let r = a; r < b && y < this.view; r++) y += this.height(r)
    return b >= a && y < this.view - this.base
  }

  // first is the line at the top of the view.
  get first(): number {
    return this.line
  }

  // reflow forgets how high rows are: they are shown in another way now.
  reflow() {
    this.heights.clear()
    this.usual = this.base
    this.offset = Math.min(this.offset, 0)
    this.moved.value++
  }

  // height is that of a row, at least.
  private height(row: number): number {
    return this.heights.get(this.log.rows.line(row)) ?? this.base
  }

  private scale(): Scale {
    return {rows: this.log.rows.count, height: this.usual, view: this.view}
  }

  // sync puts the scroll bar where the reader is.
  private sync() {
    const {rows} = this.log
    let [all, top] = [spacer(this.scale()), 0]
    if (rows.count <= few) {
      all = 0
      const row = rows.row(this.line)
      for (let r = 0; r < rows.count; r++) {
        if (r === row) top = all + this.offset
        all += this.height(r)
      }
    } else if (this.stuck) {
      top = all - this.view
    } else {
      const row = rows.row(this.line)
      top = toTop(this.scale(), row + this.offset / this.height(row))
      // Near an end of the rows the bar is as far from its own.
      top = Math.max(top, this.distance(0, row) + this.offset)
      top = Math.min(top, all - this.view - Math.max(0, this.distance(row, rows.count) - this.offset - this.view))
    }
    const height = `${all}px`
    const resized = this.space.style.height !== height
    if (resized) this.space.style.height = height
    // While somebody scrolls, the bar is his.
    if (this.timer !== undefined && !resized && !this.stuck) return
    if (Math.abs(top - this.scroller.scrollTop) > 1) this.scroller.scrollTop = top
    this.top = this.scroller.scrollTop
  }

  // distance is how high some rows are, or as much of that as matters.
  private distance(from: number, to: number): number {
    let sum = 0
    for (let r = from; r < to && sum < 3 * this.view; r++) sum += this.height(r)
    return sum
  }

  private scrolled = () => {
    const top = this.scroller.scrollTop
    const by = top - this.top
    if (by === 0) return
    this.top = top
    this.touched = true
    const {rows} = this.log
    const height = (r: number) => this.height(r)
    const most = this.scroller.scrollHeight - this.view
    const near = Math.abs(by) < this.view * (this.byHand ? 3 : 1) || rows.count <= few
    let anchor = {row: rows.row(this.line), offset: this.offset}
    if (near) {
      anchor = move({row: anchor.row, offset: 0}, anchor.offset + by, rows.count, height)
    } else {
      const above = toRows(this.scale(), top)
      const row = Math.min(Math.floor(above), rows.count - 1)
      anchor = {row, offset: (above - row) * this.height(row)}
    }
    const end = atEnd(this.view, rows.count, height)
    this.stuck = (!near && top >= most - 1) || behind({...anchor, offset: anchor.offset + 1}, end)
    if (this.stuck) anchor = end
    this.line = rows.line(anchor.row)
    this.offset = anchor.offset
    if (!this.log.windows.ended) this.log.follow.value = this.stuck
    // Whoever comes to an end of the bar, but not of the rows, goes on.
    if (near && !this.stuck && (top <= 0 || top >= most)) return this.settle()
    clearTimeout(this.timer)
    this.timer = setTimeout(() => this.settle(), still)
    this.moved.value++
  }

  // settle takes stock once nobody scrolls.
  private settle() {
    this.rest()
    let sum = 0
    for (const height of this.heights.values()) sum += height
    if (this.heights.size > 0) this.usual = Math.max(this.base, sum / this.heights.size)
    this.moved.value++
  }

  // rest says that nobody scrolls.
  private rest() {
    clearTimeout(this.timer)
    this.timer = undefined
    this.byHand = false
  }

  private resized() {
    this.view = this.scroller.clientHeight
    if (this.scroller.clientWidth !== this.width) {
      this.width = this.scroller.clientWidth
      if (this.wrap) return this.reflow()
    }
    this.moved.value++
  }
}
