// Parts of a log that can be folded away, by the lines with which programs mark
// them: "::group::name" up to "::endgroup::", and "--- title", "~~~ title" and
// "+++ title" up to the next of them. They do not nest: whichever comes next ends
// the one before.
//
// Nobody knows all lines of a long log, so folds are found in the windows that
// were looked at. A fold whose end is not known by then stays open; to close it,
// its end is asked for. A fold is closed at first, but for "+++", unless its
// lines are being read, or came while somebody watched.

import {indexOf, type Entry} from "./window"
import type {Range} from "./rows"

// most bounds the marks that are kept.
const most = 50_000

export interface Mark {
  line: number
  kind: "closed" | "open" | "end" // at first
  title: string
  group: boolean // ends at a mark of its own
}

// pattern finds what may be a mark, for the server's search; mark tells which are.
export const pattern = String.raw`^(?:\x1b\[[0-9;]*m)*(?:::(?:end)?group::|##\[(?:end)?group\]|(?:---|\+\+\+|~~~) )`

const group = /^(?:\x1b\[[\d;]*m)*(?:::|##\[)(end)?group(?:::|\])(.*)/
// What go test says of a test begins like a title.
const section = /^(?:\x1b\[[\d;]*m)*(---|\+\+\+|~~~) (?!(?:FAIL|PASS|SKIP|BENCH): )(.*\S.*)/

// marks finds the marks among lines. "--- a" and "+++ b" after one another head a
// diff, and are none.
export function marks(lines: {number: number; text: string}[]): Mark[] {
  const list: Mark[] = []
  for (const {number: line, text} of lines) {
    const g = group.exec(text)
    if (g) {
      list.push({line, kind: g[1] ? "end" : "closed", title: g[2]!.trim(), group: true})
      continue
    }
    const s = section.exec(text)
    if (!s) continue
    const before = list.at(-1)
    if (s[1] === "+++" && before?.line === line - 1 && before.kind === "closed" && !before.group) list.pop()
    else list.push({line, kind: s[1] === "+++" ? "open" : "closed", title: s[2]!.trim(), group: false})
  }
  return list
}

// A Fold is a part that can be folded.
export interface Fold extends Mark {
  end: number | undefined // its last line
  folded: boolean | undefined // undefined: closed as soon as its end is known
}

// Folds knows those of the windows that were looked at.
export class Folds {
  private windows = new Map<number, Mark[]>()
  private folds = new Map<number, Fold>()
  private count = 0

  get(line: number): Fold | undefined {
    return this.folds.get(line)
  }

  // learn takes the lines of a window. whole tells whether they are all that it
  // ever has; total is that of the log so far, and ended that it stays so. Lines
  // from reading on are on the page.
  learn(index: number, lines: Entry[], whole: boolean, log: {total: number; ended: boolean}, reading: number) {
    const found = marks(lines)
    this.count += found.length - (this.windows.get(index)?.length ?? 0)
    if (this.count > most) return
    this.windows.set(index, found)
    for (const mark of found) {
      if (!this.folds.has(mark.line) && mark.kind !== "end") {
        // What is still being written is watched.
        const watched = !log.ended && !whole
        this.folds.set(mark.line, {...mark, end: undefined, folded: mark.kind === "open" || watched ? false : undefined})
      }
    }
    this.settle(log, reading)
  }

  // settle finds the ends that are known now.
  private settle(log: {total: number; ended: boolean}, reading: number) {
    let open: Fold | undefined
    let before = -1
    for (const index of [...this.windows.keys()].sort((a, b) => a - b)) {
      if (index !== before + 1) open = undefined
      before = index
      for (const mark of this.windows.get(index)!) {
        if (open) this.close(open, mark.kind === "end" ? mark.line : mark.line - 1, reading)
        open = this.folds.get(mark.line)
      }
    }
    const last = indexOf(log.total)
    if (open && log.ended && before === last) this.close(open, log.total, reading)
  }

  // close says where a fold ends.
  close(fold: Fold, end: number, reading: number) {
    if (fold.end !== undefined) return
    fold.end = end
    fold.folded ??= !(fold.line < reading && reading <= end)
  }

  // toggle folds, or unfolds, a fold whose end is known.
  toggle(fold: Fold) {
    fold.folded = !fold.folded
  }

  // reveal unfolds what hides a line, and tells whether something did.
  reveal(line: number): boolean {
    for (const fold of this.folds.values()) {
      if (fold.folded && fold.end !== undefined && fold.line < line && line <= fold.end) {
        fold.folded = false
        return true
      }
    }
    return false
  }

  // hidden are the lines that are folded away.
  hidden(): Range[] {
    const list: Range[] = []
    for (const {line, end, folded} of this.folds.values()) {
      if (folded && end !== undefined && end > line) list.push([line + 1, end])
    }
    return list
  }
}
