// A world is a real agent with a store, repositories and a browser of its own.
// What its pages ask of the API is written to out/, for conform to look at.

import {chromium} from "playwright-core"
import assert from "node:assert/strict"
import {execFile, execFileSync, spawn} from "node:child_process"
import {createWriteStream} from "node:fs"
import {mkdir, mkdtemp, readFile, rm, writeFile} from "node:fs/promises"
import {tmpdir} from "node:os"
import {basename, dirname, join} from "node:path"
import {setTimeout as sleep} from "node:timers/promises"
import {promisify} from "node:util"

const run = promisify(execFile)
const here = import.meta.dirname
export const patience = Number(process.env.PATIENCE ?? 60_000) // in ms; a machine may be busy

// browserPath is that of the Chromium that is used, or "".
export function browserPath() {
  if (process.env.CHROMIUM) return process.env.CHROMIUM
  for (const name of ["chromium", "chromium-browser", "google-chrome"]) {
    try {
      return execFileSync("which", [name], {encoding: "utf8", stdio: ["ignore", "pipe", "ignore"]}).trim()
    } catch {}
  }
  return ""
}

// eventually asks until the answer is true, and gives it.
export async function eventually(what, ask, limit = patience) {
  for (const end = Date.now() + limit; ; await sleep(20)) {
    const got = await ask()
    if (got) return got
    if (Date.now() > end) assert.fail(`${what}: not within ${limit} ms`)
  }
}

// counts waits until a page has so many of something.
export async function counts(locator, want) {
  await eventually(`${want} of ${locator}`, async () => (await locator.count()) === want)
}

export class World {
  // begin makes a world for a file of tests, which ends with t.
  static async begin(t, {flags = [], projects = {}} = {}) {
    const w = new World()
    w.flags = flags
    w.dir = await mkdtemp(join(tmpdir(), "piper-web-"))
    w.gates = join(w.dir, "gates")
    await mkdir(w.gates)
    await mkdir(join(here, "out"), {recursive: true})
    w.record = createWriteStream(join(here, "out", basename(process.argv[1], ".mjs") + ".jsonl"))
    t.after(() => w.end())
    await w.serve()
    w.token = (await readFile(join(w.dir, "agent", "token"), "utf8")).trim()
    const files = await repositories(w.gates)
    for (const [name, text] of Object.entries({...files, ...projects})) await w.project(name, text)
    w.browser = await chromium.launch({
      executablePath: browserPath(),
      args: ["--headless", "--no-sandbox", "--disable-gpu", "--disable-background-networking"],
    })
    return w
  }

  async end() {
    await this.browser?.close()
    await this.kill("SIGKILL")
    await new Promise(done => this.record.end(done))
    await rm(this.dir, {recursive: true, force: true, maxRetries: 5, retryDelay: 200})
  }

  get env() {
    return {PATH: process.env.PATH, HOME: this.dir, LANG: "C.UTF-8", PIPER_SERVER: this.url ?? "", PIPER_TOKEN_FILE: join(this.dir, "agent", "token")}
  }

  // serve starts the agent, where it was before if it was.
  async serve() {
    const where = this.url ? new URL(this.url).host : "127.0.0.1:0"
    const piper = process.env.PIPER
    assert.ok(piper, "PIPER must name the binary to test")
    const args = ["agentd", "--data-dir", join(this.dir, "agent"), "--listen", where, "--name", "builder", "--heartbeat", "500ms", "--lease", "3s", "--slots", "4", ...this.flags]
    this.said = ""
    this.agent = spawn(piper, args, {env: this.env, stdio: ["ignore", "ignore", "pipe"]})
    const gone = new Promise(done => this.agent.once("exit", done))
    this.agent.gone = gone
    this.agent.stderr.setEncoding("utf8").on("data", text => (this.said += text))
    const found = await eventually("the agent listens", () => {
      if (this.agent.exitCode !== null) assert.fail(`agentd ended: ${this.said}`)
      return /listening on (http:\S+)/.exec(this.said)
    })
    this.url = found[1]
  }

  // kill ends the agent.
  async kill(signal = "SIGTERM") {
    if (!this.agent || this.agent.exitCode !== null || this.agent.signalCode !== null) return
    this.agent.kill(signal)
    await this.agent.gone
  }

  piper(...args) {
    return run(process.env.PIPER, args, {env: this.env})
  }

  // project makes a repository with a PIPER.star, and adds it.
  async project(name, text) {
    const dir = join(this.dir, "repositories", name)
    await mkdir(dir, {recursive: true})
    await this.git(dir, "init", "-q", "-b", "main")
    await this.commit(name, text)
    await this.piper("project", "add", name, "--repo", dir)
  }

  async commit(name, text, branch) {
    const dir = join(this.dir, "repositories", name)
    if (branch) await this.git(dir, "checkout", "-q", "-b", branch)
    await writeFile(join(dir, "PIPER.star"), text)
    await this.git(dir, "add", ".")
    await this.git(dir, "commit", "-q", "-m", "a commit")
    if (branch) await this.git(dir, "checkout", "-q", "main")
  }

  git(dir, ...args) {
    return run("git", ["-c", "user.name=Ann", "-c", "user.email=ann@example.org", ...args], {cwd: dir, env: this.env})
  }

  // api asks as the admin, without the page; it is how tests arrange things.
  async api(method, path, body) {
    const init = {method, headers: {Authorization: `Bearer ${this.token}`, ...(body && {"Content-Type": "application/json"})}, ...(body && {body: JSON.stringify(body)})}
    const answer = await fetch(this.url + path, init)
    const text = await answer.text()
    assert.ok(answer.ok, `${method} ${path}: ${answer.status} ${text}`)
    return text && JSON.parse(text)
  }

  // build asks for a build and gives its number.
  async build(project, pipeline, params = {}) {
    return (await this.api("POST", "/v1/builds", {project, pipeline, params})).number
  }

  // until waits for a build to be in a state.
  until(number, ...states) {
    return eventually(`build ${number} is ${states}`, async () => {
      const b = await this.api("GET", `/v1/builds/${number}`)
      if (states.includes(b.state)) return b
      assert.ok(b.state === "queued" || b.state === "running", `build ${number} is ${b.state}, not ${states}: ${b.reason ?? ""}`)
    })
  }

  // built is a build that has ended.
  async built(project, pipeline, params, state = "success") {
    const number = await this.build(project, pipeline, params)
    await this.until(number, state)
    return number
  }

  // let opens a gate that steps wait at.
  async let(gate) {
    await writeFile(join(this.gates, gate), "")
  }

  // mint makes a token.
  async mint(name, role) {
    return (await this.piper("token", "add", name, "--role", role)).stdout.trim()
  }

  // open shows a path of the page to somebody: whoever has a token, who signs in,
  // or nobody if that is "". The test t fails for whatever a browser complains of,
  // other than errors of the console that match one of but.
  async open(t, path = "/", {token = this.token, width = 1280, height = 800, but = [], ...options} = {}) {
    const context = await this.browser.newContext({viewport: {width, height}, locale: "en-GB", timezoneId: "UTC", baseURL: this.url, ...options})
    context.setDefaultTimeout(patience)
    const faults = []
    const written = []
    await context.addInitScript(() => addEventListener("securitypolicyviolation", e => console.error(`policy ${e.violatedDirective} ${e.blockedURI}`)))
    context.on("console", m => m.type() === "error" && faults.push(`${m.text()} ${m.location().url}`))
    context.on("weberror", e => faults.push(`page error: ${e.error().stack ?? e.error()}`))
    context.on("dialog", d => (faults.push(`dialog: ${d.message()}`), d.dismiss()))
    context.on("request", r => {
      const u = new URL(r.url())
      if (u.origin !== this.url && u.protocol !== "data:") faults.push(`it asks ${u.origin}`)
    })
    context.on("response", r => written.push(this.exchange(r)))
    t.after(async () => {
      // A stream has no end, and what is asked still is of no use.
      await context.close()
      for (const line of await Promise.all(written)) if (line) this.record.write(line)
      assert.deepEqual(faults.filter(f => !but.some(b => b.test(f))), [], "the browser complains")
    })
    const page = await context.newPage()
    if (token === "") {
      await page.goto(path)
      return page
    }
    await page.goto("/signin?to=" + encodeURIComponent(path))
    await page.getByLabel("Token").fill(token)
    await page.getByRole("button", {name: "Sign in"}).click()
    await page.getByRole("button", {name: "Sign out"}).waitFor()
    return page
  }

  // exchange is a request to the API and its answer, as conform reads it.
  async exchange(response) {
    const request = response.request()
    if (!new URL(request.url()).pathname.startsWith("/v1/")) return ""
    const [asked, answer] = [request.headers(), response.headers()]
    const pick = (headers, names) => Object.fromEntries(names.filter(n => headers[n] !== undefined).map(n => [n, headers[n]]))
    const kind = answer["content-type"] ?? ""
    const body = kind.startsWith("text/event-stream") || response.status() === 204 ? null : await response.text().catch(() => null)
    return (
      JSON.stringify({
        method: request.method(),
        url: request.url(),
        headers: pick(asked, ["accept", "content-type", "idempotency-key", "last-event-id"]),
        sent: request.postData() ?? "",
        status: response.status(),
        answer: pick(answer, ["content-type", "etag", "link", "location", "retry-after", "x-next-cursor"]),
        body,
      }) + "\n"
    )
  }
}

// repositories are the PIPER.stars of the projects that every world has.
async function repositories(gates) {
  const found = {}
  for (const name of ["shop", "cargo"]) {
    const text = await readFile(join(here, "projects", name + ".star"), "utf8")
    found[name] = text.replaceAll("@GATES@", gates)
  }
  return found
}

// refused are complaints about answers that a test means to get.
export const refused = (...statuses) => statuses.map(s => new RegExp(`the server responded with a status of ${s} `))
// cut are complaints about a server that is not there.
export const cut = [/net::ERR_/]
