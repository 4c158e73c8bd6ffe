// Refuses what would let text become markup or code, wherever it stands.
import {readdir, readFile} from "node:fs/promises"

const forbidden = [
  [/\b(?:inner|outer)HTML\b|insertAdjacentHTML|dangerouslySetInnerHTML|document\.write|createContextualFragment|DOMParser|setHTML/, "makes markup of text: build nodes instead"],
  [/\beval\s*\(|new Function\b|\bset(?:Timeout|Interval)\s*\(\s*["'`]/, "makes code of text"],
  [/https?:\/\/(?!www\.w3\.org\/)/, "names another origin"],
]

let found = 0
for (const entry of await readdir(new URL("src/", import.meta.url), {recursive: true, withFileTypes: true})) {
  if (!entry.isFile()) continue
  const path = `${entry.parentPath}/${entry.name}`
  const lines = (await readFile(path, "utf8")).split("\n")
  for (const [i, line] of lines.entries()) {
    for (const [pattern, why] of forbidden) {
      if (!pattern.test(line)) continue
      console.error(`${path}:${i + 1}: ${why}: ${line.trim()}`)
      found++
    }
  }
}
if (found > 0) process.exit(1)
