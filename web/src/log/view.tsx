import {get, path} from "../api"
import {Trouble, useLoad} from "../parts/load"
import type {Log} from "../types"
import {LineText} from "./line"

export function LogView({build, step, attempt, fence}: {build: string; step: string; attempt?: number; fence?: number}) {
  const log = useLoad(() => get<Log>(path(["builds", build, "log"], {step, attempt, fence})), [build, step, attempt, fence])
  return (
    <main id="main" tabIndex={-1}>
      <h1 tabIndex={-1}>{step}</h1>
      <Trouble problem={log.problem} what="The log is not known" />
      <pre class="excerpt">
        {log.value?.lines.map(l => (
          <div>
            <LineText text={l.text} />
          </div>
        ))}
      </pre>
    </main>
  )
}
