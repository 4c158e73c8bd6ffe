import {useEffect, useState} from "preact/hooks"
import {get, path, send, serverTime} from "../api"
import {unstyled} from "../log/ansi"
import {count, number} from "../log/body"
import {nodes} from "../log/line"
import {parameters, spansOf} from "../log/search"
import {read} from "../log/terminal"
import {Link} from "../parts/link"
import {Trouble, useLoad} from "../parts/load"
import {attempt} from "../parts/notice"
import {go, may} from "../state"
import type {FoundEverywhere, LogIndex} from "../types"

interface Props {
  text?: string
  regex?: boolean
  exact?: boolean
  since?: string
  project?: string
  pipeline?: string
  step?: string
}

type Found = FoundEverywhere & {next: string; of: string}

// ages are how old builds may be that are looked through, in days.
const ages: Record<string, [days: number, what: string]> = {"1d": [1, "of the last day"], "7d": [7, "of 7 days"], "30d": [30, "of 30 days"]}

// dawn is when builds were made that are as old as that.
function dawn(since: string | undefined): string | undefined {
  const age = since !== undefined && Object.hasOwn(ages, since) ? ages[since] : undefined
  return age && new Date(serverTime() - age[0] * 86_400_000).toISOString()
}

export function SearchView({text, regex, exact, since, project, pipeline, step}: Props) {
  const of = [text, regex, exact, since, project, pipeline, step].join("\n")
  const look = async (cursor?: string): Promise<Found> => {
    const answer = await send("GET", path(["logs", "search"], {...parameters({text: text!, regex: !!regex, exact: !!exact, errors: false}), since: dawn(since), project, pipeline, step, cursor}))
    return {...((await answer.json()) as FoundEverywhere), next: answer.headers.get("X-Next-Cursor") ?? "", of}
  }
  const found = useLoad<Found | undefined>(() => (text ? look() : Promise.resolve(undefined)), [of])
  useEffect(() => {
    document.title = text ? `“${text}” · Piper` : "Search · Piper"
  }, [text])
  const [busy, setBusy] = useState(false)
  const more = async () => {
    setBusy(true)
    await attempt("Older builds", async () => {
      const got = await look(found.value!.next)
      found.set(old => (old?.of !== of ? old : {...got, builds: old.builds + got.builds, lines: old.lines + got.lines, matches: old.matches + got.matches, ...(old.fell_back && {fell_back: old.fell_back}), hits: [...old.hits, ...got.hits]}))
    })
    setBusy(false)
  }
  const submit = (e: SubmitEvent) => {
    e.preventDefault()
    const data = new FormData(e.currentTarget as HTMLFormElement)
    const word = (name: string) => String(data.get(name) ?? "").trim() || undefined
    const to = {text: word("text"), regex: data.has("regex") || undefined, exact: data.has("exact") || undefined, since: word("since"), project: word("project"), pipeline: word("pipeline"), step: word("step")}
    go({view: "search", ...(Object.fromEntries(Object.entries(to).filter(([, v]) => v !== undefined)) as Props)})
  }
  const f = found.value?.of === of ? found.value : undefined // and not what was looked for before
  return (
    <main id="main" tabIndex={-1}>
      <div class="head">
        <h1 tabIndex={-1}>Search</h1>
      </div>
      <form class="filters" role="search" onSubmit={submit} key={of}>
        <input name="text" type="search" aria-label="What to look for in all logs" placeholder="what a step wrote" defaultValue={text ?? ""} required size={32} autofocus />
        <button class="primary">Search</button>
        <label class="inline">
          <input name="regex" type="checkbox" defaultChecked={regex ?? false} /> regular expression
        </label>
        <label class="inline">
          <input name="exact" type="checkbox" defaultChecked={exact ?? false} /> match case
        </label>
        <div class="filters">
          <select name="since" aria-label="Age of the builds">
            <option value="">of any age</option>
            {Object.entries(ages).map(([age, [, what]]) => (
              <option value={age} selected={age === since}>
                {what}
              </option>
            ))}
          </select>
          <input name="project" aria-label="Project" placeholder="project" defaultValue={project ?? ""} size={12} />
          <input name="pipeline" aria-label="Pipeline" placeholder="pipeline" defaultValue={pipeline ?? ""} size={12} />
          <input name="step" aria-label="Step" placeholder="step" defaultValue={step ?? ""} size={12} />
        </div>
      </form>
      <Trouble problem={found.problem} what="Nothing was looked at" />
      {text && !f && !found.problem && <p class="dim">Looking…</p>}
      {f && (
        <>
          {f.fell_back && <p class="banner" role="status">{`The store was read: ${f.fell_back}.`}</p>}
          <p role="status">
            {counted(f)}
            {f.next && f.total === undefined ? " so far" : ""}
          </p>
          {(f.index || f.fell_back) && may("read", true) && <NotFound key={of} />}
          <ol class="hits">
            {f.hits.map(h => (
              <li key={`${h.build} ${h.fence} ${h.step} ${h.attempt} ${h.number} ${h.offset ?? 0}`}>
                <Link to={{view: "log", build: String(h.build_number), step: h.step, attempt: h.attempt, fence: h.fence, ...(text && {search: text}), ...(regex && {regex}), ...(exact && {exact}), lines: `L${h.number}`}}>{`#${h.build_number} ${h.project}${h.pipeline ? " / " + h.pipeline : ""} · ${h.step} · line ${h.number}`}</Link>
                <Marked text={h.text} spans={h.spans} />
              </li>
            ))}
          </ol>
          {f.next && (
            <button onClick={more} disabled={busy}>
              Look at older builds
            </button>
          )}
        </>
      )}
    </main>
  )
}

// NotFound tells of lines that no search of the index finds: it refused them.
function NotFound() {
  const {name, dead_letters: dead, letters} = useLoad(() => get<LogIndex>(path(["logs", "index"])), []).value ?? {}
  if (!dead) return null
  return (
    <p class="banner" role="status">
      {`${name} refused ${count(dead, "line")}, which only the store has: ${letters?.[0]?.reason ?? "why is not known"}`}
    </p>
  )
}

const before = 200 // characters of a long line before what was found

// Marked is a line with what was found in it.
function Marked({text, spans}: {text: string; spans: [number, number][]}) {
  const marks = spansOf(text, spans)
  const cut = Math.max(0, (marks[0]?.[0] ?? 0) - before)
  const row = read(text.slice(cut), unstyled)
  return (
    <code class="line">
      {cut > 0 && "… "}
      {nodes(row, marks.map(([from, to]) => [from - cut, to - cut]), 1).nodes}
    </code>
  )
}

// counted says how much was found. An index knows how many lines there are in all.
function counted(f: FoundEverywhere): string {
  if (f.index) return `${f.total === 0 ? "Nothing" : count(f.total ?? f.hits.length, "line")}, as ${f.index} knows`
  return `${f.matches === 0 ? "Nothing" : `${number(f.matches)} ${f.matches === 1 ? "match" : "matches"}`} in ${count(f.lines, "line")} of ${count(f.builds, "build")}`
}
