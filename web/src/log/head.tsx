import {useEffect} from "preact/hooks"
import {icon} from "../icon"
import {Link} from "../parts/link"
import {State, words} from "../parts/state"
import type {Route} from "../route"
import {go} from "../state"
import type {Build, Step} from "../types"

export type At = Extract<Route, {view: "log"}>

interface HeadProps {
  at: At
  build: Build | undefined
  step: Step | undefined
  attempt: number // that is shown
  newest: number
  about: string // what it is in words, for the title
  size?: string | false
}

// Head says what step a log is of, and how that does.
export function Head({at, build, step, attempt, newest, about, size}: HeadProps) {
  useEffect(() => {
    document.title = `${step ? `${words(step.state)}: ` : ""}${about} · Piper`
    icon(step?.state ?? "")
    return () => icon("")
  }, [about, step?.state])
  return (
    <header class="loghead">
      <h1 tabIndex={-1}>
        {at.step} <small>of <Link to={{view: "build", build: at.build}}>build {build?.number ?? at.build}</Link></small>
      </h1>
      {step && (attempt < (step.attempt ?? 1) ? <State state="failed" /> : <State state={step.state} note={step.exit ? `exit ${step.exit}` : step.signal} />)}
      {newest >= 2 && (
        <label>
          Attempt{" "}
          <select value={attempt} onChange={e => go({view: "log", build: at.build, step: at.step, attempt: Number(e.currentTarget.value), ...(at.against && {against: at.against})})}>
            {[...Array(Math.min(newest, 1000)).keys()].map(i => (
              <option value={i + 1}>{i + 1}</option>
            ))}
          </select>{" "}
          of {newest}
        </label>
      )}
      <span class="size">{size}</span>
    </header>
  )
}
