import {Component} from "preact"
import {useMemo, useState} from "preact/hooks"
import {Link} from "../parts/link"
import {State} from "../parts/state"
import {Elapsed} from "../parts/time"
import {needs} from "../run"
import {ended, may} from "../state"
import type {PlanNode, Step} from "../types"
import {rerun} from "./build_actions"
import {lineOf, outcome, placeOf, type Inside} from "./build_inside"

const atOnce = 500 // rows: more are asked for

const filters: [string, (s: Step) => boolean][] = [
  ["all", () => true],
  ["failed", s => s.state === "failed" || s.state === "timed_out"],
  ["running", s => s.state === "running"],
  ["waiting", s => s.state === "pending" || s.state === "waiting"],
]

// List has a row for each step, in the plan's order.
export function List({build, plan, steps, names, path, chosen}: Inside) {
  const [filter, setFilter] = useState("all")
  const [text, setText] = useState("")
  const [room, setRoom] = useState(atOnce)
  const wanted = filters.find(([name]) => name === filter)![1]
  const shown = names.filter(name => wanted(steps.get(name) ?? {name, state: "pending"}) && (text === "" || name.toLowerCase().includes(text.toLowerCase())))
  const rerunnable = ended(build.state) && may("trigger")
  const nodes = new Map(plan?.nodes.map(n => [n.name, n]))
  const waits = useMemo(() => plan && needs(plan), [plan])
  const beside = names.some(name => steps.get(name)?.started && !path.has(name)) // else all would be called critical
  return (
    <>
      <div class="filters" role="group" aria-label="Which steps">
        {filters.map(([name, pick]) => (
          <button aria-pressed={name === filter} onClick={() => setFilter(name)}>
            {name} <span class="num">{name === "all" ? names.length : names.reduce((n, s) => n + (pick(steps.get(s) ?? {name: s, state: "pending"}) ? 1 : 0), 0)}</span>
          </button>
        ))}
        <input type="search" aria-label="Name of a step" placeholder="name of a step" value={text} onInput={e => setText(e.currentTarget.value)} />
      </div>
      <ol class="rows">
        {shown.slice(0, room).map(name => (
          <Row key={name} number={build.number} step={steps.get(name)} name={name} node={nodes.get(name)} needs={waits?.get(name)} critical={beside && path.has(name)} chosen={name === chosen} rerunnable={rerunnable} />
        ))}
      </ol>
      {shown.length === 0 && <p class="empty">No step is like that.</p>}
      {shown.length > room && <button onClick={() => setRoom(room + atOnce)}>{`${Math.min(atOnce, shown.length - room)} more of ${shown.length - room}`}</button>}
    </>
  )
}

interface RowProps {
  number: number
  name: string
  step: Step | undefined
  node: PlanNode | undefined
  needs: string[] | undefined
  critical: boolean
  chosen: boolean
  rerunnable: boolean
}

// Row is drawn again only when its step is another: there can be many.
class Row extends Component<RowProps> {
  override shouldComponentUpdate(next: RowProps) {
    const is = this.props
    return next.step !== is.step || next.node !== is.node || next.critical !== is.critical || next.chosen !== is.chosen || next.rerunnable !== is.rerunnable
  }

  override render({number, name, step, node, needs, critical, chosen, rerunnable}: RowProps) {
    const state = step?.state ?? "pending"
    const waits = state === "pending" || state === "waiting"
    return (
      <li class={chosen ? "chosen" : ""} aria-current={chosen ? "true" : undefined}>
        <Link to={placeOf(number, name, step)} class="name">
          {name}
        </Link>
        <State state={state} note={outcome(step)} />
        <Elapsed started={step?.started} ended={step?.ended} />
        {critical && (
          <span class="chip" title="The build's duration is the sum of these">
            critical
          </span>
        )}
        {(step?.attempt ?? 1) > 1 && <span class="chip">{`attempt ${step!.attempt}`}</span>}
        <span class="why">{waits ? (step?.why ?? inWords(needs)) : (step?.reason ?? (node?.approve && state === "running" ? "waits for somebody to approve it" : node?.step?.doc))}</span>
        {(!waits || step?.why) && <span class="hidden">{inWords(needs)}</span>}
        {rerunnable && (
          <button class="plain from" aria-label={`Rerun from ${name}`} onClick={() => rerun(number, {from: [name]})}>
            Rerun from here
          </button>
        )}
        {node?.pos && <span class="pos">{lineOf(node.pos)}</span>}
      </li>
    )
  }
}

function inWords(needs: string[] | undefined): string {
  if (!needs?.length) return ""
  return "needs " + (needs.length > 4 ? `${needs.slice(0, 3).join(", ")} and ${needs.length - 3} more` : needs.join(", "))
}
