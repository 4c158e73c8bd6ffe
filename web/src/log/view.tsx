import {useEffect, useRef, useState} from "preact/hooks"
import {ask, path} from "../api"
import {keep, kept} from "../kept"
import {Link} from "../parts/link"
import {Trouble, useLoad} from "../parts/load"
import {last} from "../route"
import {ended, go} from "../state"
import type {Build, LogGrew, Step} from "../types"
import {unwanted} from "../views/keys"
import {Body, count, number, type Times} from "./body"
import {Head, type At} from "./head"
import {format, parse, point} from "./lines"
import {Viewed} from "./log"
import {Pane} from "./pane"
import type {Query} from "./search"

// A Place is what is shown, by the address that it was opened with; named is what the
// address says by now.
interface Place {
  key: string
  named: string
}

const name = (attempt: number | undefined, fence: number | undefined) => `${attempt} ${fence}`

// LogView shows what a step wrote.
export function LogView(at: At) {
  const named = name(at.attempt, at.fence)
  const place = useRef<Place>({key: named, named})
  if (place.current.named !== named) place.current = {key: named, named}
  return <Attempt key={place.current.key} {...at} place={place.current} />
}

function Attempt({place, ...at}: At & {place: Place}) {
  const [log] = useState(() => new Viewed({build: at.build, step: at.step, attempt: at.attempt, fence: at.fence}))
  const [pane] = useState(() => new Pane(log))
  const [wrap, setWrap] = useState(() => kept("log.wrap") !== "off")
  const [times, setTimes] = useState(() => (kept("log.times") ?? "off") as Times)
  const [query, setQuery] = useState<Query>({text: at.search ?? "", regex: !!at.regex, exact: !!at.exact, errors: false})
  const own = useRef(at.lines) // what the fragment says because of this view
  const box = useRef<HTMLInputElement>(null)
  const jump = useRef<HTMLInputElement>(null)
  pane.wrap = wrap
  log.changed.value
  const follows = log.follow.value
  const {windows} = log

  const loaded = useLoad(
    async from => {
      const whole = await ask<Build>(path(["builds", at.build]))
      from(whole.at)
      return whole.value
    },
    [],
    [`log:${at.build}:${encodeURIComponent(at.step)}`],
    (m, {reload}) => {
      if (m.kind !== "log") return
      const grew: LogGrew = m.data
      if (grew.step !== at.step || (build && grew.build !== build.id)) return
      const fence = log.newer.value?.fence
      log.hear(grew)
      // How the step is doing, the build says.
      if (log.newer.value?.fence !== fence || (step && (grew.attempt !== (step.attempt ?? 1) || grew.ended !== ended(step.state)))) reload()
    },
  )
  const build = loaded.value
  const step = build?.steps?.find(s => s.name === at.step)
  const picked = parse(at.lines)

  useEffect(() => {
    windows.want(picked?.from ?? 1, picked?.from ?? 1)
    return () => log.close()
  }, [])

  // Where it opens: at the lines that the URL names, where it grows, at the first
  // error, at the top; the first of these that there is.
  const state = useRef<"new" | "open" | "placed">("new")
  useEffect(() => {
    if (state.current === "new" && log.opened) {
      state.current = picked || at.search || !windows.ended ? "placed" : "open"
      if (picked) pane.go(picked.from)
      else if (!windows.ended) pane.setFollow(true)
      if (at.search) void find(query)
    }
    if (state.current === "open" && step) {
      state.current = "placed"
      if (step.state !== "success" && windows.total > 0 && !log.search) void find({text: "", regex: false, exact: false, errors: true}, true)
    }
  })

  useEffect(() => {
    if (at.lines === own.current) return
    own.current = at.lines
    if (picked) pane.go(picked.from)
  }, [at.lines])

  useEffect(() => pane.reflow(), [wrap, times])

  const pick = (line: number, extend: boolean) => {
    own.current = format(point(picked, line, extend))
    // Whoever follows the link means these lines, also when it was tried, or run, again.
    const attempt = log.attempt ?? at.attempt
    const fence = log.fence ?? at.fence
    place.named = name(attempt, fence)
    go({...at, ...(attempt && {attempt}), ...(fence && {fence}), lines: own.current}, true)
  }
  const show = (line: number | undefined) => {
    if (line === undefined) return
    log.reveal(line)
    if (!pane.shows(line)) pane.go(line)
  }
  const find = async (q: Query, unasked = false) => {
    if (!unasked) setQuery(q)
    if (!q.text && !q.errors) return log.leaveSearch()
    const line = await log.find(q, picked && pane.shows(picked.from) ? picked.from : pane.first)
    if (unasked && pane.touched) return
    show(line)
    // Nobody asked for it: with nothing found there is nothing to say.
    if (unasked && log.search?.lines === 0) log.leaveSearch()
  }
  const next = async () => show(await log.next())
  const previous = async () => show(await log.previous())
  const nextError = () => (log.search?.query.errors ? next() : find({text: "", regex: false, exact: false, errors: true}))
  const jumpTo = (line: number) => {
    pane.touched = true
    pane.go(line, 0)
  }
  const toggleFollow = () => pane.setFollow(!log.follow.value)
  const toEnd = () => (windows.ended ? pane.end() : pane.setFollow(true))
  const toggleWrap = () => {
    keep("log.wrap", wrap ? "off" : "on")
    setWrap(!wrap)
  }
  const news: At = {view: "log", build: at.build, step: at.step, ...(at.attempt && {attempt: at.attempt}), ...(at.fence && {fence: at.fence}), against: last}
  const nextTimes = () => {
    const to = times === "off" ? "since" : times === "since" ? "clock" : "off"
    keep("log.times", to)
    setTimes(to)
  }
  const keys: Record<string, () => void> = {
    "/": () => box.current?.select(),
    n: next,
    N: previous,
    e: nextError,
    ":": () => jump.current?.select(),
    G: toEnd,
    End: toEnd,
    Home: () => jumpTo(1),
    PageDown: () => pane.turn(1),
    PageUp: () => pane.turn(-1),
    f: toggleFollow,
    w: toggleWrap,
    t: nextTimes,
    d: () => go(news),
  }
  const pressed = useRef(keys)
  pressed.current = keys
  useEffect(() => {
    const press = (e: KeyboardEvent) => {
      if (unwanted(e)) return
      const act = pressed.current[e.key]
      if (!act) return
      e.preventDefault()
      act()
    }
    document.addEventListener("keydown", press)
    return () => document.removeEventListener("keydown", press)
  }, [])

  const attempt = log.attempt ?? at.attempt ?? 1
  const newer = log.newer.value
  const begun = (step?.attempt === attempt ? step.started : undefined) ?? log.line(1)?.time
  const early = log.trouble?.type === "not-planned" && build && !ended(build.state)
  const title = `${at.step}, build ${build?.number ?? at.build}`

  return (
    <main id="main" class="wide logview" tabIndex={-1}>
      <Head at={at} build={build} step={step} attempt={attempt} newest={Math.max(step?.attempt ?? 1, newer?.attempt ?? 1)} about={title} size={log.opened && `${count(windows.total, "line")}, ${bytes(windows.bytes)}`} />
      {log.notice.value && <p class="banner" role="status">{`${log.notice.value}.`}</p>}
      {newer && (
        <p class="banner" role="status">
          {newer.attempt <= attempt ? "This step ran again on another agent." : newer.ended ? `Attempt ${newer.attempt} is the newest.` : `Attempt ${newer.attempt} has begun.`}{" "}
          <Link to={{view: "log", build: at.build, step: at.step, attempt: newer.attempt, fence: newer.fence}}>Show it</Link>
        </p>
      )}
      <div class="logtools" role="group" aria-label="Log">
        <form
          role="search"
          onSubmit={e => {
            e.preventDefault()
            const same = log.search && JSON.stringify(log.search.query) === JSON.stringify(query)
            void (same ? next() : find({...query, errors: false}))
          }}
        >
          <input
            ref={box}
            type="search"
            placeholder="Search"
            aria-label="Search this log"
            title="/"
            maxLength={1000}
            value={query.text}
            onInput={e => setQuery({...query, text: e.currentTarget.value, errors: false})}
            onKeyDown={e => {
              if (e.key === "Enter" && e.shiftKey) {
                e.preventDefault()
                void previous()
              } else if (e.key === "Escape") {
                void find({...query, text: "", errors: false})
                e.currentTarget.blur()
              }
            }}
          />
          <Toggle on={query.exact} label="Aa" title="Match upper and lower case" onClick={() => find({...query, exact: !query.exact, errors: false})} />
          <Toggle on={query.regex} label=".*" title="Regular expression (RE2)" onClick={() => find({...query, regex: !query.regex, errors: false})} />
        </form>
        <span class="found" role="status">
          {log.opened && log.search?.query.text !== query.text && query.text !== "" && !query.errors ? "Enter searches" : found(log)}
        </span>
        <button aria-label="Previous hit" title="Previous hit (N, Shift+Enter)" disabled={!log.search?.lines} onClick={previous}>
          ↑
        </button>
        <button aria-label="Next hit" title="Next hit (n, Enter)" disabled={!log.search?.lines} onClick={next}>
          ↓
        </button>
        <button title="Next error (e)" onClick={nextError}>
          Errors
        </button>
        <form
          onSubmit={e => {
            e.preventDefault()
            const line = Number(jump.current!.value)
            if (line >= 1) jumpTo(Math.floor(line))
            jump.current!.blur()
          }}
        >
          <input ref={jump} class="jump" inputMode="numeric" pattern="[0-9]*" placeholder="Line" aria-label="Go to line" title=":" />
        </form>
        <span class="grow" />
        {log.opened && !windows.ended && <Toggle on={follows} label="Follow" title="Stay at the end as it grows (f)" onClick={toggleFollow} />}
        <Toggle on={wrap} label="Wrap" title="Wrap long lines (w)" onClick={toggleWrap} />
        <Toggle on={times !== "off"} label={times === "clock" ? "Clock times" : times === "since" ? "Times since start" : "Times"} title="Times: off, since the start, of the clock (t)" onClick={nextTimes} />
        <Link class="button" to={news} title="What is new since the pipeline last succeeded (d)">
          What is new
        </Link>
        <a class="button" href={log.url("raw")} download>
          Download
        </a>
      </div>
      {early ? <p class="empty">Nothing yet: the build has not begun. The lines appear here as they come.</p> : <Trouble problem={log.trouble} what="This log cannot be shown" />}
      {!loaded.value && !log.trouble && <Trouble problem={loaded.problem} what="The build cannot be shown" />}
      {log.problem instanceof Error && (
        <p class="trouble" role="alert">
          Search: {log.problem.message}
        </p>
      )}
      {picked && windows.ended && windows.total > 0 && picked.from > windows.total && <p class="banner" role="status">{`There is no line ${number(picked.from)}: the log ends with line ${number(windows.total)}.`}</p>}
      {log.opened && windows.total === 0 && <p class="empty">{nothing(step, attempt, windows.ended)}</p>}
      <Body log={log} pane={pane} label={`Log of ${title}`} times={times} wrap={wrap} start={Date.parse(begun ?? "")} picked={picked} pick={pick} />
    </main>
  )
}

function Toggle({on, label, title, onClick}: {on: boolean; label: string; title: string; onClick: () => void}) {
  return (
    <button type="button" aria-pressed={on} title={title} onClick={onClick}>
      {label}
    </button>
  )
}

// nothing says why there are no lines.
function nothing(step: Step | undefined, attempt: number, ended: boolean): string {
  if (step && attempt > (step.attempt ?? 1)) return `This step has no attempt ${attempt}.`
  if (step?.state === "skipped") return `This step was skipped${step.reason ? ` (${step.reason})` : ""}: it wrote nothing.`
  if (ended) return "This step wrote nothing."
  if (step?.state === "running") return "Nothing yet: the step runs, and has not written a line."
  return "Nothing yet: the step has not begun. Its lines appear here as they come."
}

// found says how a search stands.
function found({search, searching, problem}: Viewed): string {
  if (!search || problem) return ""
  if (searching && search.lines === 0) return search.query.errors ? "looking for errors…" : "searching…"
  const what = search.query.errors ? "error" : "line"
  if (search.lines === 0) return search.query.errors ? "no errors found" : "not found"
  return search.place === undefined ? count(search.lines, what) : `${number(search.place)} of ${search.query.errors ? count(search.lines, what) : number(search.lines)}`
}

function bytes(n: number): string {
  if (n < 1000) return count(n, "byte")
  const power = Math.min(3, Math.floor(Math.log10(n) / 3))
  return `${(n / 1000 ** power).toFixed(1)} ${["", "kB", "MB", "GB"][power]}`
}
