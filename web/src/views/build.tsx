import {useEffect, useLayoutEffect, useState} from "preact/hooks"
import {icon} from "../icon"
import {Diagnosis} from "../parts/diagnostic"
import {Link} from "../parts/link"
import {Trouble} from "../parts/load"
import {State, words} from "../parts/state"
import {When} from "../parts/time"
import {ended} from "../state"
import type {Build} from "../types"
import {Watched} from "../watched"
import {Actions} from "./build_actions"
import {Approvals} from "./build_approvals"
import {Failures} from "./build_failures"
import {GraphView} from "./build_graph"
import type {Inside} from "./build_inside"
import {List} from "./build_list"
import {MapOfBuilds} from "./build_map"
import {Timeline} from "./build_timeline"
import {WhyQueued} from "./build_why"
import {asks, Bar, Because, branch, Took} from "./builds"

export function BuildView({build: ref, as = "list", step}: {build: string; as?: "list" | "graph" | "timeline"; step?: string}) {
  const [it] = useState(() => new Watched(ref))
  useLayoutEffect(() => it.watch(), [])
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
  const inside: Inside = {build: b, plan: it.plan.value, steps: it.run.steps, names: it.names, path: it.path(), chosen: step}
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
        <State state={b.state} note={asks(b) ? "waits for approval" : undefined} />
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

// About is what a build is a build of.
function About({build: b}: {build: Build}) {
  const params = Object.entries(b.params ?? {})
  return (
    <dl class="about">
      <div>
        <dt>Cause</dt>
        <dd>
          <Because build={b} />
          {b.here && <span class="chip">piper exec</span>}
          {b.cause.trust && <span class="chip">{b.cause.trust}: no secrets</span>}
        </dd>
      </div>
      {(b.ref || b.commit) && (
        <div>
          <dt>Commit</dt>
          <dd>
            {branch(b.ref)} <code title={b.commit}>{b.commit?.slice(0, 10)}</code>
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
      {b.agent && !b.here && b.state !== "queued" && (
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
          <When time={b.created} />
        </dd>
      </div>
      {b.started && b.state !== "queued" && (
        <div>
          <dt>Started</dt>
          <dd>
            <When time={b.started} />
          </dd>
        </div>
      )}
      {b.ended && (
        <div>
          <dt>Ended</dt>
          <dd>
            <When time={b.ended} />
          </dd>
        </div>
      )}
    </dl>
  )
}
