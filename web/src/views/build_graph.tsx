import {Component} from "preact"
import {get, path as url} from "../api"
import {Link} from "../parts/link"
import {Trouble, useLoad} from "../parts/load"
import {words} from "../parts/state"
import {elapsed, span} from "../parts/time"
import {format} from "../route"
import {go} from "../state"
import type {Graph, Step} from "../types"
import {placeOf, type Inside} from "./build_inside"

// GraphView draws the steps where the server says that they stand.
export function GraphView({build, steps, names, path}: Inside) {
  const graph = useLoad(() => get<Graph>(url(["builds", build.number, "graph"])), [build.id, build.plan_digest, names.length])
  const g = graph.value
  if (!g) return graph.problem ? <Trouble problem={graph.problem} what="The graph is not known" /> : <p class="dim">Drawing…</p>
  // Edges meet where a group begins or ends, which is no step.
  const known = new Set(g.nodes.map(n => n.name))
  const on = (name: string) => path.has(name) || !known.has(name)
  const critical = (from: string, to: string) => on(from) && on(to) && (path.has(from) || path.has(to))
  return (
    <>
      <div class="graph" tabIndex={0} role="region" aria-label={`Graph of ${g.nodes.length} steps`}>
        <svg width={g.width} height={g.height} viewBox={`0 0 ${g.width} ${g.height}`} aria-hidden="true">
          {g.edges.map(e => (
            <path class={critical(e.from, e.to) ? "edge critical" : "edge"} d={line(e.points)} />
          ))}
          {g.nodes.map(n => (
            <Node key={n.name} number={build.number} node={n} step={steps.get(n.name)} critical={path.has(n.name)} />
          ))}
        </svg>
      </div>
      <p class="dim">
        The thick line is the critical path. <Link to={{view: "build", build: String(build.number)}}>The list</Link> says the same in words.
      </p>
    </>
  )
}

// line goes straight between points of one height, and in a curve from one height to
// another.
function line(points: [number, number][]): string {
  return points
    .map(([x, y], i) => {
      const before = points[i - 1]
      if (!before) return `M${x} ${y}`
      const middle = (before[0] + x) / 2
      return before[1] === y ? `H${x}` : `C${middle} ${before[1]} ${middle} ${y} ${x} ${y}`
    })
    .join("")
}

// fit is a text in so many pixels, with a character of so many: what is cut off is
// seen to be.
export function fit(text: string, width: number, character: number): string {
  const most = Math.floor(width / character)
  const all = [...text]
  return all.length <= most ? text : all.slice(0, Math.max(0, most - 1)).join("").trimEnd() + "…"
}

interface NodeProps {
  number: number
  node: Graph["nodes"][number]
  step: Step | undefined
  critical: boolean
}

class Node extends Component<NodeProps> {
  override shouldComponentUpdate(next: NodeProps) {
    const is = this.props
    return next.step !== is.step || next.critical !== is.critical || next.node !== is.node
  }

  override render({number, node: n, step, critical}: NodeProps) {
    const state = step?.state ?? "pending"
    const waits = state === "pending" || state === "waiting"
    const took = step?.ended ? span(elapsed(step.started, step.ended)) : waits ? "" : words(state)
    const to = placeOf(number, n.name, step)
    return (
      <a href={format(to)} tabindex={-1} onClick={e => !(e.metaKey || e.ctrlKey || e.shiftKey) && (e.preventDefault(), go(to))}>
        <g class={`node ${state} ${n.kind}${critical ? " critical" : ""}`}>
          <title>{`${n.name}: ${words(state)}${step?.why ? `, ${step.why}` : ""}${step?.reason ? `, ${step.reason}` : ""}`}</title>
          <rect x={n.x} y={n.y} width={n.width} height={n.height} rx={n.kind === "approve" || n.kind === "trigger" ? n.height / 2 : 5} />
          <svg x={n.x + 10} y={n.y} width={Math.max(0, n.width - 20)} height={n.height}>
            <text y={n.height / 2 - (took || step?.why ? 3 : -4)}>{n.name}</text>
            {(took || step?.why) && (
              <text class="note" y={n.height / 2 + 12}>
                {fit(waits ? step!.why! : took, n.width - 20, 6)}
              </text>
            )}
          </svg>
        </g>
      </a>
    )
  }
}
