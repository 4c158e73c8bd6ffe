import {signal} from "@preact/signals"
import {useEffect, useState} from "preact/hooks"
import {get, path, Problem} from "../api"
import {icon} from "../icon"
import {Diagnosis} from "../parts/diagnostic"
import {Link} from "../parts/link"
import {Trouble} from "../parts/load"
import {State, words} from "../parts/state"
import {Ago} from "../parts/time"
import {critical, needs, Run} from "../run"
import {brief, ended, newer} from "../state"
import {follow} from "../stream"
import type {Build, BuildEvent, Plan, Step} from "../types"
import {Actions} from "./build_actions"
import {Approvals} from "./build_approvals"
import {Failures} from "./build_failures"
import {GraphView} from "./build_graph"
import {List} from "./build_list"
import {MapOfBuilds} from "./build_map"
import {Timeline} from "./build_timeline"
import {WhyQueued} from "./build_why"
import {Bar, Because, Took} from "./builds"

// What each of the three views of a build is given.
export interface Inside {
  build: Build
  plan: Plan | undefined
  steps: Map<string, Step>
  names: string[] // in the plan's order
  path: Set<string> // the critical one
  chosen: string | undefined
}

const refresh = 1000 // between two looks at a build in which something happens
const childrenEvery = 5000

export function BuildView({build: ref, as = "list", step}: {build: string; as?: "list" | "graph" | "timeline"; step?: string}) {
  const [it] = useState(() => new Watched(ref))
  useEffect(() => it.watch(), [])
  const problem = it.problem.value
  const b = it.build.value
  it.beat.value // what is changed in place
  const title = b ? `${ended(b.state) ? words(b.state) : `${b.progress.done}/${b.progress.total}`} #${b.number} ${b.project}` : `Build ${ref}`
  useEffect(() => {
    document.title = `${title} · Piper`
  }, [title])
  useEffect(() => {
    icon(b?.state ?? "")
    return () => icon("")
  }, [b?.state])
  if (!b) {
    return (
      <main id="main" tabIndex={-1}>
        <div class="head">
          <h1 tabIndex={-1}>Build {ref}</h1>
        </div>
        {problem?.status === 404 ? (
          <p class="empty">
            There is no build {ref}, or it was removed. <Link to={{view: "builds"}}>All builds</Link>
          </p>
        ) : (
          <Trouble problem={problem} what="The build is not known" />
        )}
      </main>
    )
  }
  const inside: Inside = {build: b, plan: it.plan.value, steps: it.run.steps, names: it.names(), path: it.path(), chosen: step}
  const tabs = ["list", "graph", "timeline"] as const
  return (
    <main id="main" tabIndex={-1}>
      <div class="head">
        <h1 tabIndex={-1}>
          {`#${b.number} `}
          <Link to={{view: "project", project: b.project, ...(b.pipeline && {pipeline: b.pipeline})}}>{b.project}</Link>
          {b.pipeline && (
            <>
              {" / "}
              <Link to={{view: "builds", project: b.project, pipeline: b.pipeline}}>{b.pipeline}</Link>
            </>
          )}
        </h1>
        <State state={b.state} note={b.state === "running" && b.approvals?.some(a => a.state === "waiting") ? "waits for approval" : undefined} />
        <Bar build={b} />
        <Took build={b} />
        <span class="grow" />
        <Actions build={b} chosen={step} />
      </div>
      <Trouble problem={problem} what="What is shown may be old" />
      {b.reason && <p class="reason">{b.reason}</p>}
      {b.cancel && !ended(b.state) && <p class="reason">{`Being cancelled${b.cancel.by ? ` by ${b.cancel.by}` : ""}${b.cancel.reason ? `: ${b.cancel.reason}` : ""}`}</p>}
      <About build={b} />
      <Diagnosis of={b.diagnostics} />
      {b.state === "queued" && <WhyQueued build={b} />}
      <Approvals build={b} />
      <Failures {...inside} />
      <MapOfBuilds build={b} />
      {inside.names.length > 0 && (
        <>
          <nav class="tabs" aria-label="Views of the build">
            {tabs.map(t => (
              <Link replace to={{view: "build", build: ref, as: t, ...(step && {step})}} current={t === as ? "true" : undefined}>
                {t === "list" ? "List" : t === "graph" ? "Graph" : "Timeline"}
              </Link>
            ))}
          </nav>
          {as === "list" ? <List {...inside} /> : as === "graph" ? <GraphView {...inside} /> : <Timeline {...inside} />}
        </>
      )}
    </main>
  )
}

// Watched is a build that is followed.
class Watched {
  build = signal<Build | undefined>(undefined)
  plan = signal<Plan | undefined>(undefined)
  problem = signal<Problem | undefined>(undefined)
  beat = signal(0) // counts the changes of run
  run = new Run()
  private planned = "" // the digest of plan
  private order: string[] = [] // of the steps: the plan's, and among them what expands found
  private waits: Map<string, string[]> | undefined
  private timer: ReturnType<typeof setTimeout> | undefined
  private framed = false
  private due = 0 // when the timer rings
  private left = false

  constructor(private ref: string) {}

  watch(): () => void {
    void this.look()
    const leave = follow([`build:${this.ref}`], m => {
      if (m.kind === "open" || m.kind === "reset") void this.look()
      else if (m.kind === "event") this.event(m.data as BuildEvent)
      else if (m.kind === "build" && m.data.id === this.build.value?.id) this.told(m.data as Build)
    })
    return () => {
      this.left = true
      clearTimeout(this.timer)
      leave()
    }
  }

  private told(b: Build) {
    const old = this.build.value!
    const now = brief(old, b)
    this.build.value = ended(now.state) ? now : {...now, progress: this.progress(now)}
    if (b.state !== old.state || b.plan_digest !== old.plan_digest) this.soon(0)
  }

  private event(ev: BuildEvent) {
    if (ev.build !== this.build.value?.id) return
    this.run.hear(ev)
    this.soon(refresh)
    this.draw()
  }

  // draw shows what changed, once a frame.
  private draw() {
    if (this.framed) return
    this.framed = true
    requestAnimationFrame(() => {
      this.framed = false
      this.beat.value++
      const b = this.build.value
      if (b && !ended(b.state)) this.build.value = {...b, progress: this.progress(b)}
    })
  }

  private progress(b: Build): Build["progress"] {
    const p = {...b.progress, running: 0, done: 0, failed: 0, skipped: 0}
    for (const s of this.run.steps.values()) {
      if (s.state === "running") p.running++
      if (!ended(s.state)) continue
      p.done++
      if (s.state === "failed" || s.state === "timed_out") p.failed++
      if (s.state === "skipped") p.skipped++
    }
    return p
  }

  // soon looks again after a while, or earlier if that was planned.
  private soon(delay: number) {
    const due = Date.now() + delay
    if (this.timer !== undefined && this.due <= due) return
    clearTimeout(this.timer)
    this.due = due
    this.timer = setTimeout(() => void this.look(), delay)
  }

  // look asks for the build as it stands.
  private async look() {
    clearTimeout(this.timer)
    this.timer = undefined
    const since = this.run.seq
    try {
      const b = await get<Build>(path(["builds", this.ref]))
      if (b.plan_digest && b.plan_digest !== this.planned) {
        this.plan.value = await get<Plan>(path(["builds", this.ref, "plan"]))
        this.planned = b.plan_digest
        this.waits = undefined
      }
      if (this.left) return
      this.run.settle(b.steps ?? [], b.fence ?? 0, since)
      this.order = b.steps?.map(s => s.name) ?? []
      this.build.value = newer(this.build.value, b)
      this.problem.value = undefined
      this.beat.value++
      if (!ended(b.state) || b.triggered?.some(t => t.state && !ended(t.state))) this.soon(childrenEvery)
    } catch (err) {
      if (this.left) return
      this.problem.value = err instanceof Problem ? err : new Problem(0, {detail: String(err)})
      if (this.problem.value.passing) this.soon(2000)
    }
  }

  names(): string[] {
    return this.order
  }

  path(): Set<string> {
    if (!this.plan.value) return new Set()
    this.waits ??= needs(this.plan.value)
    return critical(this.waits, this.run.steps)
  }
}

// About is what a build is a build of.
function About({build: b}: {build: Build}) {
  const params = Object.entries(b.params ?? {})
  return (
    <dl class="about">
      <div>
        <dt>Cause</dt>
        <dd>
          <Because build={b} />
          {b.cause.trust && <span class="chip">{b.cause.trust}: no secrets</span>}
        </dd>
      </div>
      {(b.ref || b.commit) && (
        <div>
          <dt>Commit</dt>
          <dd>
            {b.ref} <code title={b.commit}>{b.commit?.slice(0, 10)}</code>
            {b.patch && " with uncommitted changes"}
          </dd>
        </div>
      )}
      {params.length > 0 && (
        <div>
          <dt>Parameters</dt>
          <dd>
            {params.map(([k, v]) => (
              <code>{`${k}=${Array.isArray(v) ? v.join(",") : String(v)} `}</code>
            ))}
          </dd>
        </div>
      )}
      {b.environment && (
        <div>
          <dt>Environment</dt>
          <dd>{b.environment}</dd>
        </div>
      )}
      {b.plan_digest && (
        <div>
          <dt>Plan</dt>
          <dd>
            <code title={b.plan_digest}>{b.plan_digest.replace("sha256:", "").slice(0, 12)}</code>
          </dd>
        </div>
      )}
      {b.agent && b.state !== "queued" && (
        <div>
          <dt>Agent</dt>
          <dd>
            <Link to={{view: "agents", agent: b.agent.id}}>{b.agent.name ?? b.agent.id}</Link>
            {(b.attempt ?? 1) > 1 && ` (attempt ${b.attempt})`}
          </dd>
        </div>
      )}
      <div>
        <dt>Queued</dt>
        <dd>
          <Ago time={b.created} />
        </dd>
      </div>
      {b.started && b.state !== "queued" && (
        <div>
          <dt>Started</dt>
          <dd>
            <Ago time={b.started} />
          </dd>
        </div>
      )}
      {b.ended && (
        <div>
          <dt>Ended</dt>
          <dd>
            <Ago time={b.ended} />
          </dd>
        </div>
      )}
    </dl>
  )
}
