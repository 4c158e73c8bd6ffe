import type {Diagnostic} from "../types"

// Diagnosis shows what is wrong in a PIPER.star the way the command line does.
export function Diagnosis({of}: {of: Diagnostic[] | undefined}) {
  return (
    <>
      {of?.map(d => (
        <pre class="diagnostic" role="note">{`${d.file ? `${d.file}:${d.line ?? 0}:${d.column ?? 0}: ` : ""}${d.severity}: ${d.message}${d.excerpt ? `\n${d.excerpt}` : ""}${d.hint ? `\nhint: ${d.hint}` : ""}`}</pre>
      ))}
    </>
  )
}
