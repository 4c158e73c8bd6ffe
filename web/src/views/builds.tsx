import {useEffect, useState} from "preact/hooks"
import {ask, path} from "../api"
import {Copy, quote} from "../parts/copy"
import {Link} from "../parts/link"
import {Trouble, useLoad, type Loaded} from "../parts/load"
import {attempt} from "../parts/notice"
import {State, words} from "../parts/state"
import {Ago, elapsed, span} from "../parts/time"
import {query} from "../route"
import {go, merge} from "../state"
import type {Build, BuildState} from "../types"

const states: BuildState[] = ["queued", "running", "success", "failed", "cancelled", "timed_out", "lost", "rejected"]

const asking = "asking" // beside the states: somebody is asked

// asks tells whether a build waits for a person.
export function asks(b: Build): boolean {
  return b.state === "running" && ((b.progress.asking ?? 0) > 0 || !!b.approvals?.some(a => a.state === "waiting"))
}

interface Filter {
  project?: string | undefined
  pipeline?: string | undefined
  state?: string | undefined
}

interface Shown {
  of: string // the filter
  builds: Build[]
  next: string
}

export function BuildsView({project, pipeline, state}: Filter) {
  const filter = {project, pipeline: project && pipeline, state}
  const of = query(filter)
  const asked = {...filter, ...(state === asking && {state: undefined, asking: true})}
  const matches = (b: Build) => (!project || b.project === project) && (!filter.pipeline || b.pipeline === pipeline) && (!state || (state === asking ? asks(b) : b.state === state))
  let shown: Shown | undefined
  const list: Loaded<Shown> = useLoad(
    async from => {
      const builds: Build[] = []
      for (let next = "", room = shown?.builds.length ?? 0; ; ) {
        const page = await ask<Build[]>(path(["builds"], {...asked, limit: Math.min(200, Math.max(50, room - builds.length)), cursor: next}))
        if (builds.length === 0) from(page.at)
        builds.push(...page.value)
        next = page.next
        if (builds.length >= room || !next) return {of, builds, next} // as many as were shown
      }
    },
    [of],
    ["builds"],
    (m, {set}) => {
      if (m.kind !== "build") return
      const told = m.data as Build
      set(shown => {
        if (shown.of !== of) return shown
        const there = shown.builds.find(b => b.id === told.id)
        if (there && told.rev < there.rev) return shown
        if (!matches(told)) return there ? {...shown, builds: shown.builds.filter(b => b.id !== told.id)} : shown
        const oldest = shown.builds.at(-1)
        if (!there && shown.next && oldest && told.number < oldest.number) return shown // on a page that is not shown
        return {...shown, builds: merge(shown.builds, told)}
      })
    },
  )
  useEffect(() => {
    document.title = "Builds · Piper"
  }, [])
  shown = list.value?.of === of ? list.value : undefined // and not what another filter found
  const more = (cursor: string) =>
    attempt("More builds", async () => {
      const {value, next} = await ask<Build[]>(path(["builds"], {...asked, limit: 50, cursor}))
      list.set(old => (old.of === of && old.next === cursor ? {of, builds: value.reduce(merge, old.builds), next} : old))
    })
  return (
    <main id="main" tabIndex={-1}>
      <div class="head">
        <h1 tabIndex={-1}>Builds</h1>
        <Filters {...{project, pipeline, state}} />
      </div>
      <Trouble problem={list.problem} what="The builds are not known" />
      {shown && shown.builds.length === 0 && <NoBuilds {...{project, pipeline: filter.pipeline, state}} />}
      {shown && shown.builds.length > 0 && (
        <table class="builds">
          <thead>
            <tr>
              <th scope="col">Build</th>
              <th scope="col">Pipeline</th>
              <th scope="col">State</th>
              <th scope="col">Progress</th>
              <th scope="col">Took</th>
              <th scope="col">Commit</th>
              <th scope="col">Cause</th>
              <th scope="col">When</th>
            </tr>
          </thead>
          <tbody>
            {shown.builds.map(b => (
              <Row key={b.id} build={b} />
            ))}
          </tbody>
        </table>
      )}
      {shown?.next && (
        <p>
          <button onClick={() => more(shown!.next)}>Older builds</button>
        </p>
      )}
    </main>
  )
}

function Filters({project, pipeline, state}: Filter) {
  const [text, setText] = useState("")
  const typed = [project, pipeline].filter(Boolean).join("/")
  useEffect(() => setText(typed), [typed])
  const filter = (state: string | undefined) => {
    const [p, ...rest] = text.trim().split("/")
    go({view: "builds", ...(p && {project: p}), ...(rest.length > 0 && {pipeline: rest.join("/")}), ...(state && {state})})
  }
  const submit = (e: Event) => {
    e.preventDefault()
    filter(state)
  }
  return (
    <form class="filters" role="search" onSubmit={submit}>
      <label>
        <span class="hidden">Project, or project/pipeline</span>
        <input value={text} onInput={e => setText(e.currentTarget.value)} placeholder="project or project/pipeline" size={24} />
      </label>
      <label>
        <span class="hidden">State</span>
        <select value={state ?? ""} onChange={e => filter(e.currentTarget.value)}>
          <option value="">any state</option>
          {states.map(s => (
            <option value={s}>{words(s)}</option>
          ))}
          <option value={asking}>waits for approval</option>
        </select>
      </label>
      <button>Filter</button>
      {(project || state) && <Link to={{view: "builds"}}>All builds</Link>}
    </form>
  )
}

function NoBuilds({project, pipeline, state}: Filter) {
  if (project || state)
    return (
      <div class="empty">
        <p>
          No build is like that. <Link to={{view: "builds"}}>All builds</Link>
        </p>
        {project && !state && <Copy text={["piper build", ...(pipeline ? [quote(pipeline)] : []), "--project", quote(project)].join(" ")} />}
      </div>
    )
  return (
    <div class="empty">
      <p>Nothing was built yet. Make a repository with a PIPER.star a project, and build it:</p>
      <p>
        <Copy text="piper project add shop --repo /srv/git/shop" />
      </p>
      <p>
        <Copy text="piper build --project shop" />
      </p>
    </div>
  )
}

function Row({build: b}: {build: Build}) {
  return (
    <tr>
      <th scope="row">
        <Link to={{view: "build", build: String(b.number)}}>{`#${b.number}`}</Link>
      </th>
      <td>
        <Link to={{view: "builds", project: b.project}}>{b.project}</Link>
        {b.pipeline && (
          <>
            {" / "}
            <Link to={{view: "builds", project: b.project, pipeline: b.pipeline}}>{b.pipeline}</Link>
          </>
        )}
      </td>
      <td>
        <State state={b.state} note={asks(b) ? "waits for approval" : b.state === "queued" || b.state === "running" ? undefined : b.reason?.replace(/^cancelled /, "")} />
      </td>
      <td>
        <Bar build={b} />
      </td>
      <td>
        <Took build={b} />
      </td>
      <td class="ref">
        {branch(b.ref)} <code>{b.commit?.slice(0, 8)}</code>
        {b.patch && <span title="with uncommitted changes"> +</span>}
      </td>
      <td>
        <Because build={b} />
        {b.here && <span class="chip">piper exec</span>}
      </td>
      <td>
        <Ago time={b.ended ?? b.started ?? b.created} />
      </td>
    </tr>
  )
}

// branch is a ref as people say it.
export function branch(ref: string | undefined): string | undefined {
  return ref?.replace(/^refs\/(heads|tags)\//, "")
}

// Bar is how far a build is.
export function Bar({build: b}: {build: Build}) {
  const {total, done, failed, skipped} = b.progress
  if (total === 0) return null
  const text = `${done} of ${total} done${failed ? `, ${failed} failed` : ""}${skipped ? `, ${skipped} skipped` : ""}`
  return (
    <span class="bar" title={text}>
      <progress max={total} value={done} aria-label={text} class={failed ? "bad" : b.state === "cancelled" ? "odd" : ""} />
      <span class="num">{`${done}/${total}`}</span>
    </span>
  )
}

// Took holds a duration against the pipeline's median.
export function Took({build: b}: {build: Build}) {
  const took = elapsed(b.started, b.ended)
  if (Number.isNaN(took) || b.state === "queued") return null // it began, and was put back
  const usual = b.usual_ms
  const slow = usual !== undefined && took > usual * 1.25 && took > usual + 1000 // as much as somebody would notice
  return (
    <span class="num" title={usual ? `usually ${span(usual)}` : undefined}>
      {span(took)}
      {usual !== undefined && usual !== took && <span class={slow ? "usual slow" : "usual"}>{` usually ${span(usual)}`}</span>}
    </span>
  )
}

// Because is what a build came of.
export function Because({build: b}: {build: Build}) {
  const {kind, build, number, by} = b.cause
  if (build) {
    const which = number ? `build ${number}` : "a build"
    const text = kind === "rerun" ? `rerun of ${number ?? which}` : kind === "after" ? `after ${which}` : which
    return <Link to={{view: "build", build: String(number ?? build)}}>{text}</Link>
  }
  return <span>{by ? `${kind.replace("_", " ")} by ${by}` : kind.replace("_", " ")}</span>
}
