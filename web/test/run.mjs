// Bundles the tests and runs them: they are TypeScript, node is not.
import {build} from "esbuild"
import {spawnSync} from "node:child_process"
import {mkdtemp, readdir, rm} from "node:fs/promises"
import {tmpdir} from "node:os"
import {join} from "node:path"

const here = import.meta.dirname
const out = await mkdtemp(join(tmpdir(), "piper-web-test-"))
const wanted = process.argv.slice(2)
const tests = (await readdir(here)).filter(name => name.endsWith(".test.ts") && (wanted.length === 0 || wanted.some(word => name.includes(word))))
await build({
  absWorkingDir: here,
  entryPoints: tests,
  outdir: out,
  outExtension: {".js": ".mjs"},
  bundle: true,
  platform: "node",
  format: "esm",
  target: "node20",
  jsx: "automatic",
  jsxImportSource: "preact",
  sourcemap: "inline",
  logLevel: "warning",
})
const files = tests.map(name => join(out, name.replace(/\.ts$/, ".mjs")))
const {status} = spawnSync(process.execPath, ["--enable-source-maps", "--test", ...files], {stdio: "inherit"})
await rm(out, {recursive: true})
process.exit(status ?? 1)
