import {useLayoutEffect, useRef, useState} from "preact/hooks"
import {nodes} from "./line"
import {includes, type Lines} from "./lines"
import type {Viewed} from "./log"
import type {Pane} from "./pane"
import {rowOf, type Entry} from "./window"

export type Times = "off" | "since" | "clock"

export interface BodyProps {
  log: Viewed
  pane: Pane
  label: string
  times: Times
  wrap: boolean
  start: number // when the step began
  picked: Lines | undefined
  pick: (line: number, extend: boolean) => void
}

// Body is the lines.
export function Body({log, pane, label, times, wrap, start, picked, pick}: BodyProps) {
  const scroller = useRef<HTMLDivElement>(null)
  const [parts] = useState(() => new Map<number, number>()) // how often more of a line was asked for
  useLayoutEffect(() => pane.mount(scroller.current!), [])
  pane.moved.value
  log.changed.value
  const [from, to] = pane.range()
  useLayoutEffect(() => {
    pane.placed(from, to)
  })

  const click = (e: MouseEvent) => {
    const at = e.target as HTMLElement
    const line = Number(at.closest<HTMLElement>("[data-line]")?.dataset["line"])
    if (!line) return
    if (at.closest("a")) {
      if (e.ctrlKey || e.metaKey) return
      e.preventDefault()
      pick(line, e.shiftKey)
    } else if (at.closest(".fold")) {
      void log.toggle(line)
    } else if (at.closest(".more")) {
      parts.set(line, (parts.get(line) ?? 0) + 1)
      pane.moved.value++
    }
  }

  const rows = []
  for (let row = from; row < to; row++) {
    const line = log.rows.line(row)
    rows.push(
      <Row
        key={line}
        line={line}
        entry={log.line(line)}
        log={log}
        clock={times === "off" ? undefined : times}
        start={start}
        picked={includes(picked, line)}
        grown={4 ** (parts.get(line) ?? 0)} // four times as much whenever more is asked for
      />,
    )
  }
  return (
    <div ref={scroller} class={["log", wrap && "wrap", times !== "off" && "timed"].filter(Boolean).join(" ")} role="log" aria-live="off" aria-label={label} tabIndex={0}>
      <div class="space">
        <div class="shown" onClick={click} style={{"--digits": String(log.rows.total).length}}>
          {rows}
        </div>
      </div>
    </div>
  )
}

interface RowProps {
  line: number
  entry: Entry | undefined
  log: Viewed
  clock: "since" | "clock" | undefined
  start: number
  picked: boolean
  grown: number
}

function Row({line, entry, log, clock, start, picked, grown}: RowProps) {
  const fold = log.folds.get(line)
  const current = log.search?.current === line
  const classes = ["row", picked && "picked", current && "current", fold && "section", entry?.gap && "gap"].filter(Boolean).join(" ")
  return (
    <div class={classes} data-line={line}>
      <a href={`#L${line}`} aria-label={`Line ${line}`} aria-current={picked ? "true" : undefined}>
        {line}
      </a>
      {clock && <time>{entry?.time && (clock === "clock" ? clockTime(entry.time) : sinceTime(Date.parse(entry.time) - start))}</time>}
      {fold && (
        <button class="fold" aria-expanded={!fold.folded} title={fold.folded ? "Unfold" : "Fold"}>
          {fold.folded ? "▸" : "▾"} {fold.title}
          {fold.folded && fold.end !== undefined && <small> {count(fold.end - line, "line")}</small>}
        </button>
      )}
      {!fold && (entry ? <Text entry={entry} log={log} grown={grown} /> : <i class="wait" />)}
    </div>
  )
}

function Text({entry, log, grown}: {entry: Entry; log: Viewed; grown: number}) {
  const row = rowOf(entry)
  const shown = nodes(row, log.search?.marks(entry) ?? [], grown)
  const gone = log.windows.gaps.get(entry.number + 1)
  return (
    <>
      {shown.nodes}
      {gone && <small> with {count(gone[1] - gone[0] + 1, "more line")}</small>}
      {shown.rest > 0 && (
        <button class="more">
          {number(shown.rest)} more characters
        </button>
      )}
      {shown.rest === 0 && (row.full || entry.more > 0) && <small> … the rest of this line is in the download</small>}
    </>
  )
}

export function number(n: number): string {
  return String(n).replace(/\B(?=(\d{3})+$)/g, ",")
}

export function count(n: number, what: string): string {
  return `${number(n)} ${what}${n === 1 ? "" : "s"}`
}

function clockTime(time: string): string {
  const at = new Date(time)
  return `${[at.getHours(), at.getMinutes(), at.getSeconds()].map(n => String(n).padStart(2, "0")).join(":")}.${String(at.getMilliseconds()).padStart(3, "0")}`
}

// sinceTime is 0:12.345, 1:02:03.456.
export function sinceTime(ms: number): string {
  if (Number.isNaN(ms)) return ""
  ms = Math.max(0, ms) // clocks are set
  const s = Math.floor(ms / 1000)
  const two = (n: number) => String(n).padStart(2, "0")
  const clock = s < 3600 ? `${Math.floor(s / 60)}:${two(s % 60)}` : `${Math.floor(s / 3600)}:${two(Math.floor(s / 60) % 60)}:${two(s % 60)}`
  return `${clock}.${String(Math.floor(ms % 1000)).padStart(3, "0")}`
}
