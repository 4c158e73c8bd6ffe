import {useMemo} from "preact/hooks"
import {now} from "../state"

// span is a duration for people: 40ms, 12s, 3m 05s, 2h 10m.
export function span(ms: number): string {
  if (!(ms >= 0)) return ""
  if (ms < 999.5) return ms < 0.5 ? "0s" : `${Math.round(ms)}ms`
  if (ms < 9950) return `${(ms / 1000).toFixed(1)}s`
  const s = Math.round(ms / 1000)
  if (s < 60) return `${s}s`
  if (s < 3600) return `${Math.floor(s / 60)}m ${String(s % 60).padStart(2, "0")}s`
  const m = Math.round(s / 60)
  if (m < 48 * 60) return `${Math.floor(m / 60)}h ${String(m % 60).padStart(2, "0")}m`
  return `${Math.round(m / 60 / 24)}d`
}

export function ago(ms: number): string {
  if (ms < 5000) return "now"
  const [n, unit] = ms < 60_000 ? [ms / 1000, "s"] : ms < 3_600_000 ? [ms / 60_000, "m"] : ms < 86_400_000 * 2 ? [ms / 3_600_000, "h"] : [ms / 86_400_000, "d"]
  return `${Math.floor(n)}${unit} ago`
}

export function Ago({time}: {time: string | undefined}) {
  if (!time) return null
  // What the browser does for words of a place takes longer than all else in a list.
  const tell = (e: MouseEvent) => ((e.currentTarget as HTMLElement).title = new Date(time).toLocaleString())
  return (
    <time dateTime={time} onMouseEnter={tell}>
      {ago(now.value - Date.parse(time))}
    </time>
  )
}

// When is a time by the clock, too.
export function When({time}: {time: string | undefined}) {
  const clock = useMemo(() => {
    const at = new Date(time ?? NaN)
    return at.toDateString() === new Date().toDateString() ? at.toLocaleTimeString() : at.toLocaleString()
  }, [time])
  if (!time) return null
  return (
    <>
      <Ago time={time} /> <span class="dim num">{clock}</span>
    </>
  )
}

// elapsed is how long something took, or has taken by now.
// What has ended does not look at the clock, or all of it would be drawn every second.
export function elapsed(started: string | undefined, ended: string | undefined): number {
  return started ? (ended ? Date.parse(ended) : now.value) - Date.parse(started) : NaN
}

export function Elapsed({started, ended}: {started?: string | undefined; ended?: string | undefined}) {
  return <span class="num">{span(elapsed(started, ended))}</span>
}
