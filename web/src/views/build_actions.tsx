import {useEffect, useRef, useState} from "preact/hooks"
import {get, key, path, post, Problem} from "../api"
import {Copy} from "../parts/copy"
import {Fields, given} from "../parts/form"
import {Trouble, useLoad} from "../parts/load"
import {attempt, say} from "../parts/notice"
import {ended, go, may} from "../state"
import type {Build, Pipelines} from "../types"

let rerunning = false

// rerun asks for a build again, or for a part of it, and shows the new one. Pressed
// twice is one build.
export async function rerun(build: number, what: object) {
  if (rerunning) return
  rerunning = true
  await attempt("Rerun", async () => {
    const made = await post<Build>(path(["builds", build, "rerun"]), what, key())
    say(`Build ${made.number} runs it again`)
    go({view: "build", build: String(made.number)})
  })
  rerunning = false
}

// Actions are what can be done with a build. Who may not is offered none that
// the server would refuse.
export function Actions({build: b, chosen}: {build: Build; chosen: string | undefined}) {
  const [changing, setChanging] = useState(false)
  const menu = useRef<HTMLDetailsElement>(null)
  useEffect(() => {
    const close = (e: Event) => {
      const at = menu.current
      if (at?.open && (e instanceof KeyboardEvent ? e.key === "Escape" : !at.contains(e.target as Node))) at.open = false
    }
    document.addEventListener("click", close)
    document.addEventListener("keydown", close)
    return () => {
      document.removeEventListener("click", close)
      document.removeEventListener("keydown", close)
    }
  }, [])
  const changes = () => {
    if (menu.current) menu.current.open = false
    setChanging(true)
  }
  const cancel = (force: boolean) =>
    attempt("Cancel", async () => {
      await post(path(["builds", b.number, "cancel"]), {force})
      say(`Build ${b.number} is being cancelled`)
    })
  const over = ended(b.state)
  const bad = over && b.state !== "success"
  return (
    <span class="actions">
      {may("trigger") && !over && (
        <button onClick={() => cancel(b.cancel !== undefined)} title={b.cancel ? "Also without the steps that clean up" : "Steps that clean up still run"}>
          {b.cancel ? "Cancel at once" : "Cancel"}
        </button>
      )}
      {may("trigger") && over && bad && b.plan_digest && (
        <button class="primary" onClick={() => rerun(b.number, {failed: true})}>
          Rerun failed
        </button>
      )}
      {may("trigger") && over && <button onClick={() => rerun(b.number, {})}>Rerun all</button>}
      <details class="menu" ref={menu}>
        <summary>More</summary>
        <div>
          {may("trigger") && over && chosen && <button onClick={() => rerun(b.number, {from: [chosen]})}>{`Rerun from ${chosen}`}</button>}
          {may("trigger") && over && <button onClick={changes}>Rerun with changes…</button>}
          <p>
            Reproduce it here: <Copy text={`piper reproduce ${b.number}`} />
          </p>
        </div>
      </details>
      {changing && <Changes build={b} close={() => setChanging(false)} />}
    </span>
  )
}

// Changes is a rerun with other parameters, in a form made from their types.
function Changes({build: b, close}: {build: Build; close: () => void}) {
  const dialog = useRef<HTMLDialogElement>(null)
  const [problem, setProblem] = useState<Problem>()
  const [once] = useState(key)
  const catalog = useLoad(() => get<Pipelines>(path(["projects", b.project, "pipelines"], {ref: b.commit})), [b.id])
  useEffect(() => dialog.current?.showModal(), [])
  const params = catalog.value?.pipelines?.find(p => p.name === b.pipeline)?.params
  const submit = async (e: SubmitEvent) => {
    e.preventDefault()
    try {
      const made = await post<Build>(path(["builds", b.number, "rerun"]), {params: given(e.currentTarget as HTMLFormElement, params ?? [], b.params ?? {})}, once)
      close()
      go({view: "build", build: String(made.number)})
    } catch (err) {
      setProblem(err instanceof Problem ? err : new Problem(0, {detail: String(err)}))
    }
  }
  const errors = Object.fromEntries((problem?.errors ?? []).map(e => [e.field.replace(/^params\./, ""), e.message + (e.hint ? ` (${e.hint})` : "")]))
  return (
    <dialog ref={dialog} onClose={close} aria-labelledby="changes">
      <h2 id="changes">{`Build #${b.number} again, with changes`}</h2>
      <Trouble problem={catalog.problem} what="Its parameters are not known" />
      {!params && !catalog.problem && <p class="dim">Looking into the repository…</p>}
      {params && (
        <form class="params" onSubmit={submit}>
          {params.length === 0 && <p>The pipeline takes no parameters.</p>}
          <Fields params={params} values={b.params ?? {}} errors={errors} />
          {problem && !params.some(p => errors[p.name]) && <Trouble problem={problem} what="It was not asked for" />}
          <p>
            <button class="primary">Rerun</button>{" "}
            <button type="button" onClick={() => dialog.current?.close()}>
              Close
            </button>
          </p>
        </form>
      )}
    </dialog>
  )
}
