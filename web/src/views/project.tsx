import {useEffect, useState} from "preact/hooks"
import {get, key, path, post, Problem} from "../api"
import {Copy} from "../parts/copy"
import {Fields, given} from "../parts/form"
import {Link} from "../parts/link"
import {Trouble, useLoad} from "../parts/load"
import {go, may} from "../state"
import type {Build, Pipeline, Pipelines} from "../types"

interface Props {
  project: string
  of?: string // a branch, a tag or a commit
  pipeline?: string // whose form is open
}

export function ProjectView({project, of: ref, pipeline: open}: Props) {
  const catalog = useLoad(() => get<Pipelines>(path(["projects", project, "pipelines"], {ref})), [project, ref])
  useEffect(() => {
    document.title = `${project} · Piper`
  }, [project])
  const c = catalog.value
  return (
    <main id="main" tabIndex={-1}>
      <div class="head">
        <h1 tabIndex={-1}>{project}</h1>
        <Link to={{view: "builds", project}}>Builds</Link>
        {c && (
          <span class="dim">
            {ref ?? "default branch"} at <code>{c.commit.slice(0, 8)}</code>
          </span>
        )}
      </div>
      <Trouble problem={catalog.problem} what="Its pipelines are not known" />
      {!c && !catalog.problem && <p class="dim">Looking into the repository…</p>}
      {c && (c.pipelines ?? []).length === 0 && <p class="empty">Its PIPER.star registers no pipeline.</p>}
      {c?.pipelines?.map(p => (
        <One key={p.name} project={project} of={ref} pipeline={p} environments={(c.environments ?? []).map(e => e.name)} open={open === p.name || c.pipelines!.length === 1} />
      ))}
    </main>
  )
}

function One({project, of, pipeline: p, environments, open}: {project: string; of: string | undefined; pipeline: Pipeline; environments: string[]; open: boolean}) {
  const [problem, setProblem] = useState<Problem>()
  const [busy, setBusy] = useState(false)
  const [once, setOnce] = useState(key) // pressed twice is one build
  const params = p.params ?? []
  const submit = async (e: SubmitEvent) => {
    e.preventDefault()
    const form = e.currentTarget as HTMLFormElement
    const data = new FormData(form)
    const ref = String(data.get("ref") ?? "").trim()
    const environment = String(data.get("environment") ?? "")
    setBusy(true)
    try {
      const build = await post<Build>(path(["builds"]), {project, pipeline: p.name, params: given(form, params, {}), ...(ref && {ref}), ...(environment && {environment})}, once)
      go({view: "build", build: String(build.number)})
    } catch (err) {
      setProblem(err instanceof Problem ? err : new Problem(0, {detail: String(err)}))
      if (!(err instanceof Problem && err.passing)) setOnce(key())
    }
    setBusy(false)
  }
  const errors = Object.fromEntries((problem?.errors ?? []).map(e => [e.field.replace(/^params\./, ""), e.message + (e.hint ? ` (${e.hint})` : "")]))
  const elsewhere = problem && !params.some(f => errors[f.name])
  return (
    <section class="card" aria-labelledby={`pipeline-${p.name}`}>
      <div class="head">
        <h2 id={`pipeline-${p.name}`}>
          <Link to={{view: "builds", project, pipeline: p.name}}>{p.name}</Link>
        </h2>
        {p.on?.map(on => (
          <span class="chip">{[on.kind.replace("_", " "), ...(on.branches ?? on.tags ?? []), on.schedule, on.pipeline, on.name].filter(Boolean).join(" ")}</span>
        ))}
      </div>
      {p.doc && <p class="doc">{p.doc}</p>}
      {may("trigger") ? (
        <details open={open}>
          <summary class="button">Build…</summary>
          <form class="params" onSubmit={submit}>
            <Fields params={params} values={{}} errors={errors} />
            {environments.length > 0 && (
              <div class="field">
                <label for={`environment-${p.name}`}>environment</label>
                <select id={`environment-${p.name}`} name="environment" aria-describedby={`environment-${p.name}-doc`}>
                  <option value="">as the pipeline says</option>
                  {["local", ...environments].map(name => (
                    <option>{name}</option>
                  ))}
                </select>
                <p class="dim" id={`environment-${p.name}-doc`}>
                  Where its steps run
                </p>
              </div>
            )}
            <div class="field">
              <label for={`ref-${p.name}`}>ref</label>
              <input id={`ref-${p.name}`} name="ref" defaultValue={of ?? ""} placeholder="default branch" autocomplete="off" spellcheck={false} />
              <p class="dim">A branch, a tag or a commit</p>
            </div>
            {elsewhere && <Trouble problem={problem} what="It was not asked for" />}
            <button class="primary" disabled={busy}>{`Build ${p.name}`}</button>
          </form>
        </details>
      ) : (
        <p class="dim">
          <Copy text={`piper exec ${p.name}`} />
        </p>
      )}
    </section>
  )
}
