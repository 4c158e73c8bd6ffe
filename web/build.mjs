// Makes dist from src: the same bytes from the same sources, anywhere.
import {build} from "esbuild"
import {copyFile, mkdir, readFile, rm, writeFile} from "node:fs/promises"

const dist = new URL("dist/", import.meta.url)
await rm(dist, {recursive: true, force: true})
await mkdir(dist)

await build({
  absWorkingDir: import.meta.dirname,
  entryPoints: [
    {in: "src/main.tsx", out: "app"},
    {in: "src/style.css", out: "app"},
  ],
  outdir: "dist",
  bundle: true,
  minify: true,
  format: "esm",
  target: "es2022",
  jsx: "automatic",
  jsxImportSource: "preact",
  legalComments: "none",
  logLevel: "warning",
})
for (const file of ["index.html", "icon.svg"]) {
  await copyFile(new URL(`src/${file}`, import.meta.url), new URL(file, dist))
}

// The icon in the colour of each state that a tab may show.
const icon = await readFile(new URL("src/icon.svg", import.meta.url), "utf8")
for (const [state, colour] of Object.entries({running: "#2563eb", success: "#15803d", failed: "#b91c1c", cancelled: "#92400e"})) {
  await writeFile(new URL(`icon-${state}.svg`, dist), icon.replace("#6b7280", colour))
}
