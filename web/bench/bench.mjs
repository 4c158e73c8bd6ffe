// Measures PERFORMANCE's section "web page" in a headless Chromium, against a
// real agent, and prints one table. README.md says what each figure is.

import {readdir, readFile} from "node:fs/promises"
import {createServer} from "node:http"
import {cpus, loadavg} from "node:os"
import {join} from "node:path"
import {setTimeout as sleep} from "node:timers/promises"
import {gzipSync} from "node:zlib"
import {eventually, World} from "../browser/world.mjs"

const rounds = Number(process.env.ROUNDS ?? 7)
const table = []
const ends = []
const hooks = {after: f => ends.unshift(f)}

// row puts a figure into the table; samples are told by their median, the least
// and the greatest.
function row(what, goal, unit, samples, holds) {
  const sorted = [...samples].sort((a, b) => a - b)
  const median = sorted[Math.floor(sorted.length / 2)]
  const text = n => n.toFixed(unit.startsWith("ms") && n < 100 ? 1 : 0)
  const spread = sorted.length > 1 ? ` (${text(sorted[0])} to ${text(sorted.at(-1))})` : ""
  table.push([what, goal, `${text(median)} ${unit}${spread}`, holds ? (holds(median) ? "yes" : "NO") : ""])
  console.error(table.at(-1).join(" | "))
}

const below = most => n => n < most
const within = most => n => n <= most

// after does something on the page, and gives the time in ms from the input that
// the browser gets until what is wanted is there and was painted.
async function until(page, wanted, arg, act) {
  await page.evaluate(
    ([wanted, arg]) => {
      const there = new Function("arg", `return (${wanted})(arg)`)
      window.took = new Promise(done => {
        let began
        for (const kind of ["click", "keydown"]) addEventListener(kind, e => (began ??= e.timeStamp), {capture: true, once: true})
        const look = () => (began !== undefined && there(arg) ? requestAnimationFrame(() => setTimeout(() => done(performance.now() - began))) : requestAnimationFrame(look))
        look()
      })
    },
    [String(wanted), arg],
  )
  await act()
  return page.evaluate(() => window.took)
}

// computing answers with what tells how long the main thread of a page has computed
// since, in ms. It hardly depends on what else the machine does.
async function computing(page) {
  const cdp = await page.context().newCDPSession(page)
  await cdp.send("Performance.enable", {timeDomain: "threadTicks"})
  const time = async () => (await cdp.send("Performance.getMetrics")).metrics.find(m => m.name === "TaskDuration").value * 1000
  const before = await time()
  return async () => (await time()) - before
}

// tasks are those of the page's main thread while something is done: how long each
// took, and how long of that it computed, in ms.
async function tasks(page, act) {
  const cdp = await page.context().browser().newBrowserCDPSession()
  const events = []
  cdp.on("Tracing.dataCollected", e => events.push(...e.value))
  await cdp.send("Tracing.start", {traceConfig: {includedCategories: ["toplevel", "devtools.timeline"]}, transferMode: "ReportEvents"})
  await act()
  const complete = new Promise(done => cdp.once("Tracing.tracingComplete", done))
  await cdp.send("Tracing.end")
  await complete
  await cdp.detach()
  const thread = e => `${e.pid} ${e.tid}`
  const main = new Set(events.filter(e => e.name === "thread_name" && e.args.name === "CrRendererMain").map(thread))
  return events.filter(e => e.name.endsWith("RunTask") && e.tdur !== undefined && main.has(thread(e))).map(e => ({took: e.dur / 1000, computed: e.tdur / 1000}))
}

// peer is a page without a script, with as many rows: what the browser and the
// machine take at least.
async function peer() {
  const text = `<!doctype html><title>Peer</title><link rel="icon" href="data:,"><table><tbody>${"<tr><td>row</td></tr>".repeat(50)}</tbody></table>`
  const server = createServer((_, answer) => answer.setHeader("Content-Type", "text/html").end(text))
  await new Promise(listening => server.listen(0, "127.0.0.1", listening))
  hooks.after(() => server.close())
  return `http://127.0.0.1:${server.address().port}/`
}

try {
  const dist = join(import.meta.dirname, "..", "dist")
  let size = 0
  for (const name of await readdir(dist)) size += gzipSync(await readFile(join(dist, name)), {level: 9}).length
  row("P29: all files, gzipped", "< 60", "KB", [size / 1000], below(60))

  const w = await World.begin(hooks)
  const chromium = w.browser.version()
  await w.let("open")
  for (let i = 0; i < 50; i++) await w.build("shop", "build", {gate: "open"})
  const page = await w.open(hooks, "/")
  const state = await page.context().storageState()

  // A tab that was never here, but for the cookie, and of the peer in turn. Time
  // begins as the browser goes to the address; that the tab is made comes before.
  const static50 = await peer()
  const [first, ours, theirs] = [[], [], []]
  for (let i = 0; i < 2 * rounds; i++) {
    const context = await w.browser.newContext({storageState: state, baseURL: w.url, viewport: {width: 1280, height: 800}})
    const fresh = await context.newPage()
    await fresh.addInitScript(() => {
      window.shown = new Promise(done => {
        const look = () => (document.querySelectorAll("tbody tr").length >= 50 ? requestAnimationFrame(() => setTimeout(() => done(performance.now()))) : requestAnimationFrame(look))
        look()
      })
    })
    await sleep(1000) // a new window first starts its own tool bars, as long as a core takes
    const computed = await computing(fresh)
    await fresh.goto(i % 2 ? "/" : static50, {waitUntil: "commit"})
    // What waits for a page in playwright's way computes in it.
    const cdp = await context.newCDPSession(fresh)
    const {result} = await cdp.send("Runtime.evaluate", {expression: "window.shown", awaitPromise: true})
    if (i % 2) {
      first.push(result.value)
      ours.push(await computed())
    } else theirs.push(result.value)
    await context.close()
  }
  row("first view: from the address to 50 builds", "≤ 300", "ms", first, within(300))
  row("- its main thread computes", "", "ms", ours)
  row("- a page without a script, with 50 rows", "", "ms", theirs)

  const long = await w.built("shop", "long", {}, "failed")
  const wide = await w.built("shop", "wide")
  const steps = []
  for (let i = 0; i < rounds; i++) {
    await page.goto("/")
    const link = page.getByRole("link", {name: `#${wide}`, exact: true})
    await link.waitFor()
    steps.push(await until(page, () => document.querySelectorAll(".rows > li .state.success").length >= 500, 0, () => link.click()))
  }
  row("a build of 1,000 steps: from the click to its list", "≤ 500", "ms", steps, within(500))

  const opened = []
  const jumps = []
  for (let i = 0; i < rounds; i++) {
    await page.goto(`/builds/${long}`)
    const link = page.locator(".rows").getByRole("link", {name: "count", exact: true})
    await link.waitFor()
    opened.push(await until(page, () => document.querySelectorAll("[data-line]").length > 10, 0, () => link.click()))
    await page.locator("[data-line='777777']").waitFor()
    for (const line of [100_000 + i, 900_000 + i]) {
      await page.getByLabel("Go to line").fill(String(line))
      jumps.push(await until(page, line => document.querySelector(`[data-line="${line}"]`)?.textContent.endsWith(String(line)), line, () => page.keyboard.press("Enter")))
    }
  }
  row("a log of 1,000,000 lines: from the click to its first lines", "≤ 300", "ms", opened, within(300))
  row("jump to a line of it that was not seen before", "≤ 100", "ms", jumps, within(100))
  row("nodes of the document", "< 400", "", [await page.evaluate(() => document.querySelectorAll("*").length)], below(400))

  // By the wheel, slowly and fast, and along the whole of it.
  const box = await page.locator(".log").boundingBox()
  await page.mouse.move(box.x + box.width / 2, box.y + box.height / 2)
  const scrolled = await tasks(page, async () => {
    for (let i = 0; i < 150; i++) {
      await page.mouse.wheel(0, i < 75 ? 200 : 4000)
      await sleep(16)
    }
    await page.locator(".log").evaluate(async log => {
      for (let i = 0; i <= 150; i++) {
        log.scrollTop = (log.scrollHeight * i) / 150
        await new Promise(requestAnimationFrame)
      }
    })
    await sleep(500)
  })
  row("the longest task while it scrolls", "≤ 50", "ms", [Math.max(...scrolled.map(t => t.took))], within(50))
  row("- what one computes at most", "", "ms", [Math.max(...scrolled.map(t => t.computed))])

  // Live, with somebody typing.
  const busy = await w.build("shop", "busy")
  const seen = async () => (await w.api("GET", `/v1/builds/${busy}`)).progress.done
  const rateOf = async act => {
    const [done, began] = [await seen(), Date.now()]
    await act()
    return (((await seen()) - done) * 3 * 1000) / (Date.now() - began) // ready, started, ended
  }
  await page.goto("about:blank")
  await eventually("it runs", async () => (await seen()) > 20)
  const alone = await rateOf(() => sleep(3000))
  await page.goto(`/builds/${busy}`)
  await page.locator(".rows .running").first().waitFor()
  await page.evaluate(() => {
    window.inputs = []
    new PerformanceObserver(list => window.inputs.push(...list.getEntries().filter(e => e.name === "keydown" || e.name === "input").map(e => e.duration))).observe({type: "event", durationThreshold: 16})
  })
  const field = page.getByLabel("Name of a step")
  await field.click()
  let typed = ""
  const lates = []
  const rate = await rateOf(async () => {
    for (let i = 0; i < 60; i++) {
      const key = i % 6 < 3 ? "part"[i % 6] : "Backspace"
      typed = key === "Backspace" ? typed.slice(0, -1) : typed + key
      await page.keyboard.press(key)
      lates.push(await page.evaluate(() => new Promise(ok => {
        const asked = performance.now()
        requestAnimationFrame(() => setTimeout(() => ok(performance.now() - asked)))
      })))
      await sleep(100)
    }
  })
  row("events of a build of 1,000 steps, shown while somebody types", "≥ 100", "a second", [rate], n => n >= 100)
  row("- while nobody looks", "", "a second", [alone])
  row("from a key to the next picture, the slowest of 60", "≤ 200", "ms", [Math.max(...lates, ...(await page.evaluate(() => window.inputs)))], within(200))
  row("keys that were lost", "0", "", [(await field.inputValue()) === typed ? 0 : 1], within(0))
  await w.api("POST", `/v1/builds/${busy}/cancel`, {force: true})

  // The API with much in its store, and many who listen.
  const quiet = await World.begin(hooks, {flags: ["--no-worker"]})
  for (let i = 0; i < 10_000; i += 50) await Promise.all(Array.from({length: 50}, () => quiet.build("cargo", "land")))
  const stop = new AbortController()
  hooks.after(() => stop.abort())
  const headers = {Authorization: `Bearer ${quiet.token}`}
  for (let i = 0; i < 100; i++) void fetch(quiet.url + "/v1/events?topics=builds", {headers, signal: stop.signal}).then(async r => { for await (const _ of r.body); }).catch(() => {})
  const [answers, words] = [[], []]
  const timed = async (path, list) => {
    const began = performance.now()
    await (await fetch(quiet.url + path, {headers})).text()
    list.push(performance.now() - began)
  }
  for (let i = 0; i < 500; i++) {
    await timed("/healthz", words)
    await timed("/v1/builds?limit=50", answers)
    if (i % 25 === 0) await quiet.build("cargo", "land")
  }
  const p99 = list => [list.sort((a, b) => a - b)[494]]
  row("newest 50 of 10,000 builds over the API, 100 listen; p99", "≤ 50", "ms", p99(answers), within(50))
  row("- of an answer that says only ok", "", "ms", p99(words))

  const widths = [0, 1, 2, 3].map(i => Math.max(...[["figure", "goal", "measured", "holds"], ...table].map(r => r[i].length)))
  const print = cells => console.log("| " + cells.map((c, i) => c.padEnd(widths[i])).join(" | ") + " |")
  console.log(`Chromium ${chromium}, Node ${process.version}, ${cpus().length} × ${cpus()[0].model}; medians of ${rounds} rounds (least to greatest); load ${loadavg()[0].toFixed(1)}.\n`)
  print(["figure", "goal", "measured", "holds"])
  print(widths.map(n => "-".repeat(n)))
  table.forEach(print)
} finally {
  for (const end of ends) await end()
}
process.exit(0)
