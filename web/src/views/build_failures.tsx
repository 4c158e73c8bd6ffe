import {get, path as url} from "../api"
import {Copy, quote} from "../parts/copy"
import {text} from "../parts/form"
import {Link} from "../parts/link"
import {Trouble, useLoad} from "../parts/load"
import {State} from "../parts/state"
import {LineText} from "../log/line"
import {last} from "../route"
import type {Build, Found, Line, Log, PlanNode, Step} from "../types"
import {lineOf, outcome, placeOf, type Inside} from "./build_inside"

const most = 5 // failures with their lines; others are named
const around = 6 // lines of each

// Failures come first: what failed, why, and the lines that matter.
export function Failures({build, plan, steps, names}: Inside) {
  const failed = names.map(name => steps.get(name)).filter((s): s is Step => s !== undefined && (s.state === "failed" || s.state === "timed_out") && !s.allowed)
  if (failed.length === 0) return null
  const nodes = new Map(plan?.nodes.map(n => [n.name, n]))
  return (
    <section aria-label="What failed" class="failures">
      {failed.slice(0, most).map(s => (
        <One key={s.name} build={build} step={s} node={nodes.get(s.name)} />
      ))}
      {failed.length > most && (
        <p>
          {`${failed.length - most} more failed: `}
          {failed.slice(most, most + 20).map((s, i) => (
            <>
              {i > 0 && ", "}
              <Link to={placeOf(build.number, s.name, s)}>{s.name}</Link>
            </>
          ))}
          {failed.length > most + 20 && "…"}
        </p>
      )}
    </section>
  )
}

function One({build, step, node}: {build: Build; step: Step; node: PlanNode | undefined}) {
  const attempt = step.attempt ?? 1
  const writes = !node?.trigger && !node?.approve
  const lines = useLoad(async (): Promise<Line[]> => {
    if (!writes) return []
    const about = {step: step.name, attempt}
    const found = await get<Found>(url(["builds", build.number, "log", "search"], {...about, errors: true, limit: around}))
    if (found.hits.length > 0) return found.hits
    return (await get<Log>(url(["builds", build.number, "log"], {...about, tail: around}))).lines
  }, [build.id, step.name, attempt, step.ended, writes])
  return (
    <article class="card bad" aria-label={step.name}>
      <div class="head">
        <h2>
          <Link to={placeOf(build.number, step.name, step)}>{step.name}</Link>
        </h2>
        <State state={step.state} note={outcome(step)} />
        {node?.pos && <span class="pos">{lineOf(node.pos)}</span>}
      </div>
      {step.reason && <p class="reason">{step.reason}</p>}
      {lines.value && lines.value.length > 0 && (
        <pre class="excerpt">
          {lines.value.map(l => (
            <div>
              <Link to={{view: "log", build: String(build.number), step: step.name, attempt, ...(build.fence && {fence: build.fence}), lines: `L${l.number}`}} class="number" label={`Line ${l.number}`}>
                {String(l.number)}
              </Link>
              <LineText text={l.text} />
            </div>
          ))}
        </pre>
      )}
      <Trouble problem={lines.problem} what="What it printed cannot be shown" />
      {writes && lines.value?.length === 0 && <p class="dim">It printed nothing.</p>}
      {writes && (
        <p class="further">
          <Link to={{view: "log", build: String(build.number), step: step.name, attempt, ...(build.fence && {fence: build.fence}), against: last}}>What is new since it last succeeded</Link> <Copy text={again(build, step.name)} />
        </p>
      )}
    </article>
  )
}

// again is the command that runs one step of a build again.
export function again(b: Build, step: string): string {
  const params = Object.entries(b.params ?? {}).map(([name, value]) => `--param ${quote(`${name}=${text(value).replaceAll("\n", ",")}`)}`)
  return ["piper exec", ...[b.pipeline ?? "", b.environment ?? ""].filter(Boolean).map(quote), ...params, "--only", quote(step)].join(" ")
}
