import {path, post} from "../api"
import {attempt} from "../parts/notice"
import {Ago} from "../parts/time"
import {may} from "../state"
import type {Approval, Build} from "../types"

// Approvals are what the build asks people.
export function Approvals({build}: {build: Build}) {
  return (
    <>
      {build.approvals?.map(a => (
        <One key={a.node} build={build} approval={a} />
      ))}
    </>
  )
}

function One({build, approval: a}: {build: Build; approval: Approval}) {
  if (a.state !== "waiting") {
    return (
      <p class="dim">
        {`${a.node}: ${a.state}${a.by ? ` by ${a.by}` : ""}${a.reason ? `, ${a.reason}` : ""} `}
        <Ago time={a.at} />
      </p>
    )
  }
  const submit = (e: SubmitEvent) => {
    e.preventDefault()
    const refuse = (e.submitter as HTMLButtonElement).value === "refuse"
    const reason = String(new FormData(e.currentTarget as HTMLFormElement).get("reason")).trim()
    void attempt(a.node, () => post(path(["builds", build.number, "approve"]), {node: a.node, refuse, ...(reason && {reason})}))
  }
  return (
    <section class="card asks" aria-label={`Approval ${a.node}`}>
      <h2>{a.node}</h2>
      <p>{a.prompt ?? "Shall it go on?"}</p>
      {may("trigger") ? (
        <form class="filters" onSubmit={submit}>
          <input name="reason" aria-label="Reason" placeholder="reason, if any" size={32} />
          <button class="primary" value="approve">
            Approve
          </button>
          <button value="refuse">Refuse</button>
        </form>
      ) : (
        <p class="dim">It waits for somebody who may trigger builds.</p>
      )}
    </section>
  )
}
