const escapes = /\x1b(?:\[[0-?]*[ -/]*[@-~]|\][^\x07\x1b]*(?:\x07|\x1b\\)?|[@-Z\\-_])/g

// LineText is what a line says.
export function LineText({text}: {text: string}) {
  return <code class="line">{text.replace(escapes, "")}</code>
}
