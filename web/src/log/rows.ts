// Lines and rows: a row is a line that is shown. Lines in folds that are closed,
// and those that were left out, have none.

// A Range is lines, the last one included.
export type Range = [from: number, to: number]

// Rows tells lines from 1 and rows from 0 apart. It does not change.
export class Rows {
  readonly count: number
  private readonly hidden: Range[] = [] // in order, apart, within the lines there are
  private readonly before: number[] = [] // how many lines are hidden before each

  constructor(
    readonly total: number,
    hidden: Range[] = [],
  ) {
    let gone = 0
    for (let [from, to] of hidden.toSorted((a, b) => a[0] - b[0])) {
      from = Math.max(from, (this.hidden.at(-1)?.[1] ?? 0) + 1)
      to = Math.min(to, total)
      if (from > to) continue
      this.hidden.push([from, to])
      this.before.push(gone)
      gone += to - from + 1
    }
    this.count = total - gone
  }

  // row is that of a line, or of the last one shown before it.
  row(line: number): number {
    line = Math.min(Math.max(line, 1), this.total)
    const i = this.last(range => range[0] <= line)
    if (i < 0) return Math.max(0, line - 1)
    const [from, to] = this.hidden[i]!
    return Math.max(0, (line <= to ? from - 1 : line - (to - from + 1)) - this.before[i]! - 1)
  }

  // line is that of a row.
  line(row: number): number {
    const i = this.last((range, i) => range[0] - this.before[i]! <= row + 1)
    return row + 1 + (i < 0 ? 0 : this.before[i]! + this.hidden[i]![1] - this.hidden[i]![0] + 1)
  }

  // last is the last hidden range of which f holds; it holds of those before.
  private last(f: (range: Range, i: number) => boolean): number {
    let low = 0
    let high = this.hidden.length
    while (low < high) {
      const middle = (low + high) >> 1
      if (f(this.hidden[middle]!, middle)) low = middle + 1
      else high = middle
    }
    return low - 1
  }
}
