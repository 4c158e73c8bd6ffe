// What of a log is new against that of another build, with the lines around.

import type {Line, Match} from "../types"
import {unstyled} from "./ansi"
import {entries, type Entry} from "./window"

// A Hunk is lines without a gap in between; fresh are the numbers of those that are
// new.
export interface Hunk {
  lines: Entry[]
  fresh: Set<number>
}

export function hunks(hits: Match[]): Hunk[] {
  const lines: Line[] = []
  const fresh = new Set<number>()
  for (const hit of hits) {
    fresh.add(hit.number)
    lines.push(...(hit.before ?? []), hit, ...(hit.after ?? []))
  }
  const list: Hunk[] = []
  let last = 0
  for (const e of entries(lines, unstyled)) {
    if (list.length === 0 || e.number > last + 1) list.push({lines: [], fresh})
    list.at(-1)!.lines.push(e)
    last = e.number
  }
  return list
}
