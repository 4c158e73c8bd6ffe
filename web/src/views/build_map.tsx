import {ask, get, path, Problem} from "../api"
import {Link} from "../parts/link"
import {Trouble, useLoad} from "../parts/load"
import {State} from "../parts/state"
import {merge, newer} from "../state"
import type {Build} from "../types"

const most = 50 // builds that came of one are looked for

// Around is what is known of the builds beside one.
interface Around {
  cause: Build | undefined
  came: Build[] // of it, the newest first
}

// MapOfBuilds has what caused a build to the left, and what came of it to the right.
export function MapOfBuilds({build: b}: {build: Build}) {
  const {build: cause, number, kind, node} = b.cause
  const around = useLoad<Around>(
    async from => {
      const [up, down] = await Promise.all([cause ? get<Build>(path(["builds", cause])).catch(unseen) : undefined, ask<Build[]>(path(["builds"], {parent: b.id, limit: most}))])
      from(down.at)
      return {cause: up, came: down.value}
    },
    [b.id],
    ["builds"],
    (m, {set}) => {
      if (m.kind !== "build") return
      const told: Build = m.data
      if (told.id === cause) set(old => ({...old, cause: old.cause && newer(old.cause, told)}))
      else if (told.parent === b.id) set(old => ({...old, came: merge(old.came, told)}))
    },
  )
  const up = around.value?.cause
  const came = around.value?.came ?? []
  const triggered = b.triggered ?? []
  const others = came.filter(c => !triggered.some(t => t.id === c.id)).reverse()
  if (around.problem && !around.value) return <Trouble problem={around.problem} what="What came of it is not known" />
  if (!cause && triggered.length + others.length === 0) return null
  return (
    <section class="map" aria-label="What caused this build, and what it caused">
      {cause && (
        <>
          <span>
            <Link to={{view: "build", build: String(number ?? cause), ...(node && {step: node})}} class="box">
              {`${kind === "rerun" ? "rerun of " : kind === "after" ? "after " : ""}${number ? `#${number}` : "a build"}${up ? ` ${called(up)}` : ""}${node ? `, ${node}` : ""}`}
            </Link>{" "}
            {up && <State state={up.state} />}
          </span>
          <span aria-hidden="true">→</span>
        </>
      )}
      <span class="box here">{`#${b.number}`}</span>
      {triggered.length + others.length > 0 && (
        <>
          <span aria-hidden="true">→</span>
          <ul>
            {triggered.map(t => {
              const made = came.find(c => c.id === t.id) ?? t
              return (
                <li key={t.node}>
                  {made.number ? (
                    <Link to={{view: "build", build: String(made.number)}} class="box">
                      {`#${made.number} ${called(t)}`}
                    </Link>
                  ) : (
                    <span class="box">{called(t)}</span>
                  )}{" "}
                  {made.state ? <State state={made.state} /> : <span class="dim">being made</span>}
                  <span class="dim">{` by ${t.node}${t.wait ? ", which waits for it" : ""}`}</span>
                </li>
              )
            })}
            {others.map(c => (
              <li key={c.id}>
                <Link to={{view: "build", build: String(c.number)}} class="box">
                  {`#${c.number} ${called(c)}`}
                </Link>{" "}
                <State state={c.state} />
                <span class="dim">{c.cause.kind === "rerun" ? " runs it again" : c.cause.kind === "after" ? " comes after it" : ` by ${c.cause.node ?? c.cause.kind}`}</span>
              </li>
            ))}
          </ul>
        </>
      )}
    </section>
  )
}

function called(b: {project: string; pipeline?: string}): string {
  return b.project + (b.pipeline ? ` / ${b.pipeline}` : "")
}

// unseen is a build that was removed, or that is not for who asks.
function unseen(err: unknown): undefined {
  if (!(err instanceof Problem && err.status === 404)) throw err
}
