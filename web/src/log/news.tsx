import {useEffect, useRef, useState} from "preact/hooks"
import {ask, get, path, Problem} from "../api"
import {Copy, quote} from "../parts/copy"
import {Link} from "../parts/link"
import {Trouble, useLoad} from "../parts/load"
import {last} from "../route"
import {ended, go} from "../state"
import type {Build, LogDiff, LogGrew, StepDiff} from "../types"
import {unwanted} from "../views/keys"
import {count} from "./body"
import {Head, type At} from "./head"
import {hunks} from "./hunks"
import {LineText} from "./line"

const [few, many] = [20, 1000] // new lines that are asked for

interface News {
  build: Build
  diff?: LogDiff
  refused?: Problem
}

// standing is how far a step is, as far as it changes what is new.
function standing(fence = 0, attempt = 1, over = false): string {
  return `${fence} ${attempt} ${over}`
}

// NewsView shows what a step wrote that it did not in another build.
export function NewsView(at: At & {against: string}) {
  const [limit, setLimit] = useState(few)
  const told = useRef("")
  const news = useLoad<News>(
    async from => {
      const {value: build, at: since} = await ask<Build>(path(["builds", at.build]))
      from(since)
      const step = build.steps?.find(s => s.name === at.step)
      told.current = standing(build.fence, step?.attempt, ended(step?.state ?? ""))
      try {
        const against = at.against === last ? undefined : at.against
        return {build, diff: await get<LogDiff>(path(["builds", at.build, "log", "diff"], {step: at.step, attempt: at.attempt, fence: at.fence, against, limit}))}
      } catch (err) {
        if (err instanceof Problem && !err.passing) return {build, refused: err}
        throw err
      }
    },
    [limit],
    [`log:${at.build}:${encodeURIComponent(at.step)}`],
    (m, {reload}) => {
      if (m.kind !== "log") return
      const grew: LogGrew = m.data
      const now = standing(grew.fence, grew.attempt, grew.ended)
      if (told.current !== now) reload()
      told.current = now
    },
  )
  const {build, diff, refused} = news.value ?? {}
  const found = diff?.steps[0]
  const step = build?.steps?.find(s => s.name === at.step)
  const attempt = found?.attempt ?? at.attempt ?? step?.attempt ?? 1
  const fence = at.fence ?? build?.fence
  const here: At = {view: "log", build: at.build, step: at.step, ...(at.attempt && {attempt: at.attempt}), ...(at.fence && {fence: at.fence})}
  const whole = () => go(here)

  useEffect(() => {
    const press = (e: KeyboardEvent) => {
      if (unwanted(e) || e.key !== "d") return
      e.preventDefault()
      whole()
    }
    document.addEventListener("keydown", press)
    return () => document.removeEventListener("keydown", press)
  }, [])

  const compare = (e: SubmitEvent) => {
    e.preventDefault()
    const number = String(new FormData(e.currentTarget as HTMLFormElement).get("against")).trim()
    go({...here, against: number || last})
  }
  const base = diff?.base
  return (
    <main id="main" class="news" tabIndex={-1}>
      <Head at={at} build={build} step={step} attempt={attempt} newest={step?.attempt ?? 1} about={`new in ${at.step}, build ${build?.number ?? at.build}`} />
      <form class="filters" onSubmit={compare} key={`${at.against} ${base?.number}`}>
        <label>
          What is new against build{" "}
          <input name="against" inputMode="numeric" pattern="[0-9]+" title="The number of a build; none is the last one that succeeded" size={6} autocomplete="off" defaultValue={String(base?.number ?? (at.against === last ? "" : at.against))} />
        </label>
        <button>Compare</button>
        {at.against !== last && (
          <Link to={{...here, against: last}} class="button">
            Last that succeeded
          </Link>
        )}
        <Link to={here} class="button" title="All of the log (d)">
          Whole log
        </Link>
      </form>
      {!news.value && !news.problem && <p role="status">Reading both logs…</p>}
      <Trouble problem={news.problem} what={news.value ? "What is shown may be old" : "What is new cannot be shown"} />
      {refused?.type === "no-green-build" ? (
        <p class="empty" role="status">
          No build of this pipeline before this one has succeeded: there is none to hold its log against. Name another one above:{" "}
          <Link to={{view: "builds", project: build!.project, ...(build!.pipeline && {pipeline: build!.pipeline})}}>builds of this pipeline</Link>
        </p>
      ) : refused?.type === "not-planned" && build && !ended(build.state) ? (
        <p class="empty" role="status">
          Nothing yet: the build has not begun.
        </p>
      ) : (
        <Trouble problem={refused} what="What is new cannot be shown" />
      )}
      {base && found && (
        <>
          <p role="status" class={found.new === 0 ? "empty" : ""}>
            {found.new === 0 ? "Nothing is new: each line has one like it in " : `${count(found.new, "line")} ${found.new === 1 ? "is" : "are"} new against `}
            <Link to={found.base ? {view: "log", build: String(base.number), step: at.step} : {view: "build", build: String(base.number)}}>build {base.number}</Link>
            {at.against === last && ", the last that succeeded"}
            {`, but for times, hashes and what else differs from run to run.${remarks(found, step && !ended(step.state))}`}
          </p>
          {hunks(found.hits).map(hunk => (
            <pre class="excerpt">
              {hunk.lines.map(e => {
                const fresh = hunk.fresh.has(e.number)
                return (
                  <div class={fresh ? "fresh" : ""}>
                    <Link to={{...here, attempt, ...(fence && {fence}), lines: `L${e.number}`}} class="number" label={`Line ${e.number}${fresh ? ", new" : ""}`}>
                      {String(e.number)}
                    </Link>
                    <span class="sign" aria-hidden="true">
                      {fresh ? "+" : ""}
                    </span>
                    <LineText text={e.text} />
                  </div>
                )
              })}
            </pre>
          ))}
          {found.new > found.hits.length && (limit === few ? <button onClick={() => setLimit(many)}>{`Up to ${count(many, "new line")}`}</button> : <p>{`These are the first ${count(found.hits.length, "new line")}.`}</p>)}
          <p>
            <Copy text={`piper logs ${build!.number} --diff --step ${quote(at.step)}${at.against === last ? "" : ` --against ${quote(at.against)}`}`} />
          </p>
        </>
      )}
    </main>
  )
}

// remarks says what to know of a difference.
function remarks(d: StepDiff, runs: boolean | undefined): string {
  return [!d.base && d.new > 0 && " The step wrote nothing there.", d.capped && " It wrote so much there that not all was read: there may be less that is new.", runs && " The step runs: what it writes from now on is looked at when it has ended."].filter(Boolean).join("")
}
