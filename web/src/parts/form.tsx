import {useId} from "preact/hooks"
import type {Param} from "../types"

// text is a parameter's value the way --param takes it.
export function text(value: unknown): string {
  if (value === undefined || value === null) return ""
  return Array.isArray(value) ? value.map(String).join("\n") : String(value)
}

// given reads a form that Fields drew: what differs from the defaults, as the
// API takes it. A list has a line for each member.
export function given(form: HTMLFormElement, params: Param[], defaults: Record<string, unknown>): Record<string, string> {
  const data = new FormData(form)
  const values: Record<string, string> = {}
  for (const p of params) {
    const raw = String(data.get("param:" + p.name) ?? "")
    const before = text(defaults[p.name] ?? p.default)
    const value = p.type === "bool" ? String(raw === "on") : raw
    if (value === (p.type === "bool" ? before || "false" : before)) continue
    values[p.name] = p.type === "list" ? JSON.stringify(value.split("\n").map(s => s.trim()).filter(Boolean)) : value
  }
  return values
}

// Fields are the typed parameters of a pipeline.
export function Fields({params, values, errors}: {params: Param[]; values: Record<string, unknown>; errors: Record<string, string>}) {
  return (
    <>
      {params.map(p => (
        <Field key={p.name} param={p} value={values[p.name] ?? p.default} error={errors[p.name]} />
      ))}
    </>
  )
}

function Field({param: p, value, error}: {param: Param; value: unknown; error: string | undefined}) {
  const id = useId()
  const about = {id, name: "param:" + p.name, "aria-describedby": `${id}-doc`, "aria-invalid": error !== undefined}
  return (
    <div class="field">
      <label for={id}>
        {p.name}
        {p.required && <span class="dim"> required</span>}
      </label>
      {p.type === "bool" ? (
        <input type="checkbox" {...about} defaultChecked={value === true || value === "true"} />
      ) : p.choices && p.type !== "list" ? (
        <select {...about} defaultValue={text(value)}>
          {!p.required && value === undefined && <option value="" />}
          {p.choices.map(c => (
            <option value={c} selected={c === text(value)}>
              {c}
            </option>
          ))}
        </select>
      ) : p.type === "list" ? (
        <textarea {...about} rows={3} defaultValue={text(value)} placeholder={p.choices ? p.choices.join(", ") : "one a line"} />
      ) : text(value).includes("\n") ? (
        <textarea {...about} rows={3} defaultValue={text(value)} required={p.required ?? false} spellcheck={false} />
      ) : (
        <input {...about} defaultValue={text(value)} required={p.required ?? false} inputMode={p.type === "int" ? "numeric" : "text"} autocomplete="off" spellcheck={false} />
      )}
      <p id={`${id}-doc`} class={error ? "trouble" : "dim"}>
        {error ?? [p.doc, p.pattern && `matches ${p.pattern}`].filter(Boolean).join(" · ")}
      </p>
    </div>
  )
}
