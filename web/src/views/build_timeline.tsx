import {Component} from "preact"
import {useState} from "preact/hooks"
import {Link} from "../parts/link"
import {Mark, words} from "../parts/state"
import {span} from "../parts/time"
import {now} from "../state"
import type {Step} from "../types"
import {placeOf, type Inside} from "./build_inside"

const atOnce = 500

// Timeline shows when each step ran, in the order they began.
export function Timeline({build, steps, path}: Inside) {
  const [room, setRoom] = useState(atOnce)
  const ran = [...steps.values()].filter(s => s.started).sort((a, b) => Date.parse(a.started!) - Date.parse(b.started!))
  const from = Date.parse(build.started ?? ran[0]?.started ?? "")
  const to = build.ended ? Date.parse(build.ended) : now.value
  const whole = Math.max(1, to - from)
  if (ran.length === 0) return <p class="empty">No step has begun.</p>
  const ticks = [0, 0.25, 0.5, 0.75, 1]
  return (
    <div class="timeline" role="group" aria-label="When each step ran">
      <div class="axis" aria-hidden="true">
        {ticks.map(t => (
          <span style={{left: `${t * 100}%`}}>{span(whole * t)}</span>
        ))}
      </div>
      <ol>
        {ran.slice(0, room).map(s => (
          <Bar key={s.name} number={build.number} step={s} from={from} whole={whole} critical={path.has(s.name)} />
        ))}
      </ol>
      {ran.length > room && <button onClick={() => setRoom(room + atOnce)}>{`${Math.min(atOnce, ran.length - room)} more`}</button>}
    </div>
  )
}

interface BarProps {
  number: number
  step: Step
  from: number
  whole: number
  critical: boolean
}

class Bar extends Component<BarProps> {
  override shouldComponentUpdate(next: BarProps) {
    const is = this.props
    return next.step !== is.step || next.whole !== is.whole || next.critical !== is.critical
  }

  override render({number, step: s, from, whole, critical}: BarProps) {
    const start = Date.parse(s.started!) - from
    const end = (s.ended ? Date.parse(s.ended) : from + whole) - from
    const text = `${words(s.state)}, began after ${span(start)}, took ${span(end - start)}${critical ? ", on the critical path" : ""}`
    return (
      <li>
        <Link to={placeOf(number, s.name, s)} class="name" title={s.name}>
          {s.name}
        </Link>
        <Mark state={s.state} />
        <span class="track" title={text}>
          <span class={`run ${s.state}${critical ? " critical" : ""}`} style={{left: `${(100 * start) / whole}%`, width: `${(100 * Math.max(0, end - start)) / whole}%`}} />
          <span class="hidden">{text}</span>
        </span>
      </li>
    )
  }
}
