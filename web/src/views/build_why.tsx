import {useEffect} from "preact/hooks"
import {get, path} from "../api"
import {Trouble, useLoad} from "../parts/load"
import type {Build, Why} from "../types"

// WhyQueued says what a build waits for.
export function WhyQueued({build}: {build: Build}) {
  const why = useLoad(() => get<Why>(path(["builds", build.number, "why"])), [build.id, build.rev], ["agents"], (_, {reload}) => reload())
  useEffect(() => {
    const timer = setInterval(why.reload, 5000)
    return () => clearInterval(timer)
  }, [])
  const w = why.value
  if (!w) return <Trouble problem={why.problem} what="Why it waits is not known" />
  return (
    <section class="card" aria-label="Why it waits">
      <p role="status">{w.summary}</p>
      {w.queue && w.queue.length > 0 && (
        <ul>
          {w.queue.map(q => (
            <li>{q}</li>
          ))}
        </ul>
      )}
      {w.agents && w.agents.length > 0 && (
        <details open={w.agents.length < 4}>
          <summary>{`What ${w.agents.length === 1 ? "the agent says" : `${w.agents.length} agents say`}`}</summary>
          <table>
            <thead>
              <tr>
                <th scope="col">Agent</th>
                <th scope="col">Can run it</th>
                <th scope="col">Because</th>
              </tr>
            </thead>
            <tbody>
              {w.agents.slice(0, 100).map(a => (
                <tr key={a.id}>
                  <th scope="row">{a.name}</th>
                  <td>{a.eligible ? (a.free > 0 ? "yes" : "when a slot is free") : "no"}</td>
                  <td>
                    {a.reasons?.join("; ")}
                    {a.checks
                      ?.filter(c => !c.met)
                      .map(c => (
                        <div>{`wants ${c.wanted}${c.found ? `, found ${c.found}` : ""}${c.reason ? ` (${c.reason})` : ""}${c.hint ? `: ${c.hint}` : ""}`}</div>
                      ))}
                  </td>
                </tr>
              ))}
            </tbody>
          </table>
        </details>
      )}
    </section>
  )
}
