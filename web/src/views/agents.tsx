import {useEffect} from "preact/hooks"
import {ask, path, post} from "../api"
import {Copy} from "../parts/copy"
import {Link} from "../parts/link"
import {Trouble, useLoad} from "../parts/load"
import {attempt, say} from "../parts/notice"
import {Ago} from "../parts/time"
import {may, now} from "../state"
import type {Agent} from "../types"

const silent = 60_000 // without a heartbeat: it is most likely gone

export function AgentsView({agent: chosen}: {agent?: string}) {
  const list = useLoad(
    async from => {
      const {value, at} = await ask<Agent[]>(path(["agents"]))
      from(at)
      return value
    },
    [],
    ["agents"],
    (m, {set}) => {
      if (m.kind === "agent") set(agents => put(agents, m.data as Agent))
      if (m.kind === "gone" && m.data.agent) set(agents => agents.filter(a => a.id !== m.data.agent))
    },
  )
  useEffect(() => {
    document.title = "Agents · Piper"
  }, [])
  const agents = list.value
  const slots = agents?.reduce((n, a) => n + a.slots, 0) ?? 0
  const taken = agents?.reduce((n, a) => n + a.running.length, 0) ?? 0
  return (
    <main id="main" tabIndex={-1}>
      <div class="head">
        <h1 tabIndex={-1}>Agents</h1>
        {agents && agents.length > 0 && <span class="dim">{`${taken} of ${slots} slots taken`}</span>}
      </div>
      <Trouble problem={list.problem} what="The agents are not known" />
      {agents?.length === 0 && (
        <div class="empty">
          <p>No agent shares this store. On a machine that is to build:</p>
          <Copy text="piper agentd" />
        </div>
      )}
      {agents?.map(a => (
        <One key={a.id} agent={a} open={a.id === chosen || a.name === chosen} />
      ))}
    </main>
  )
}

function put(agents: Agent[], told: Agent): Agent[] {
  const i = agents.findIndex(a => a.id === told.id)
  return i < 0 ? [...agents, told].sort((a, b) => a.name.localeCompare(b.name)) : agents.with(i, told)
}

function One({agent: a, open}: {agent: Agent; open: boolean}) {
  const gone = a.seen !== undefined && now.value - Date.parse(a.seen) > silent
  const verb = a.draining ? "resume" : "drain"
  const turn = () =>
    attempt(`Agent ${a.name}`, async () => {
      await post(path(["agents", a.id, verb]))
      say(verb === "drain" ? `${a.name} takes nothing new` : `${a.name} takes builds again`)
    })
  return (
    <section class="card" aria-labelledby={`agent-${a.id}`}>
      <div class="head">
        <h2 id={`agent-${a.id}`}>{a.name}</h2>
        {a.host !== a.name && <span class="dim">{a.host}</span>}
        {gone ? <span class="chip lost">not heard of</span> : a.ending ? <span class="chip" title="It was told to end, and does once its builds have">ending</span> : a.draining ? <span class="chip">draining</span> : null}
        <span class="grow" />
        <span title="A slot runs one build">{`${a.running.length} of ${a.slots} slots taken`}</span>
        {may("admin", true) && !a.ending && <button onClick={turn}>{verb === "drain" ? "Drain" : "Resume"}</button>}
      </div>
      <p>
        {a.running.length === 0 ? <span class="dim">Runs nothing.</span> : "Runs "}
        {a.running.map((b, i) => (
          <>
            {i > 0 && ", "}
            <Link to={{view: "build", build: String(b.number)}}>{`#${b.number} ${b.project}${b.pipeline ? " / " + b.pipeline : ""}`}</Link>
          </>
        ))}
      </p>
      <details open={open}>
        <summary>
          Facts and labels <span class="dim">{`piper ${a.version}`}</span>
        </summary>
        <dl class="facts">
          {pairs(a.labels).map(([k, v]) => (
            <Fact name={k} value={v} label />
          ))}
          {pairs(a.facts).map(([k, v]) => (
            <Fact name={k} value={v} />
          ))}
        </dl>
        <p class="dim">
          Started <Ago time={a.started} />, heard of <Ago time={a.seen} />.
        </p>
      </details>
    </section>
  )
}

function pairs(of: Record<string, string> | undefined): [string, string][] {
  return Object.entries(of ?? {}).sort(([a], [b]) => (a < b ? -1 : 1))
}

function Fact({name, value, label}: {name: string; value: string; label?: boolean}) {
  return (
    <div>
      <dt>
        {name}
        {label && <span class="dim"> label</span>}
      </dt>
      <dd>{name === "memory" ? gibibytes(value) : value}</dd>
    </div>
  )
}

// gibibytes is a number of bytes for people.
function gibibytes(bytes: string): string {
  return /^\d+$/.test(bytes) ? `${(Number(bytes) / 2 ** 30).toFixed(1)} GiB` : bytes
}
