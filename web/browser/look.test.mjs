// How it looks, on what screen ever: without findings of axe-core, without
// scrolling to the side, and drawn into shots/.
import assert from "node:assert/strict"
import {mkdir, readFile} from "node:fs/promises"
import {createRequire} from "node:module"
import {after, test} from "node:test"
import {join} from "node:path"
import {World} from "./world.mjs"

const axe = await readFile(createRequire(import.meta.url).resolve("axe-core/axe.min.js"), "utf8")
const shots = join(import.meta.dirname, "shots")
await mkdir(shots, {recursive: true})

const w = await World.begin({after})
await w.let("open")
const done = await w.built("shop", "build", {gate: "open"})
const failed = await w.built("shop", "broken", {}, "failed")
await w.built("shop", "news", {gate: "open"})
const news = await w.built("shop", "news", {}, "failed")
const release = await w.built("shop", "release")
await w.built("shop", "deploy", {version: "v1.2.0"})
const paint = await w.built("shop", "coloured")
const nowhere = await w.build("shop", "nowhere")
const asks = await w.build("shop", "ask")
const running = await w.build("shop", "build", {gate: "shut"})
const cancelled = await w.build("shop", "slow")
await w.api("POST", `/v1/builds/${cancelled}/cancel`, {})
await w.until(cancelled, "cancelled")

// A view: its address, what is there once it can be looked at, and what is done before.
const views = {
  builds: ["/", "tbody tr"],
  filtered: ["/?project=nothing", ".empty"],
  running: [`/builds/${running}`, ".rows .state.running"],
  failed: [`/builds/${failed}`, ".failures .excerpt"],
  graph: [`/builds/${done}?view=graph`, ".graph .node.success"],
  timeline: [`/builds/${done}?view=timeline`, ".timeline li"],
  triggered: [`/builds/${release}`, ".map .state.success"],
  approval: [`/builds/${asks}`, ".card.asks"],
  waiting: [`/builds/${nowhere}`, ".card ul, .card details"],
  cancelled: [`/builds/${cancelled}`, ".head .state.cancelled"],
  nobuild: ["/builds/9999", ".empty"],
  log: [`/builds/${failed}/log?step=test#L199-L201`, "[data-line='201']"],
  search: [`/builds/${failed}/log?step=test&search=22`, "[data-line] mark"],
  news: [`/builds/${news}/log?step=check&against=last`, ".fresh"],
  nogreen: [`/builds/${failed}/log?step=test&against=last`, ".empty"],
  colours: [`/builds/${paint}/log?step=paint`, "[data-line='1']"],
  projects: ["/projects", "tbody tr"],
  project: ["/projects/shop?pipeline=deploy", ".card form:visible"],
  agents: ["/agents?agent=builder", ".card .facts:visible"],
  everywhere: ["/search?text=error", ".hits li"],
  unknown: ["/somewhere", "main h1"],
  keys: ["/", "tbody tr", page => page.keyboard.press("?")],
  changes: [`/builds/${failed}`, ".actions", async page => {
    await page.getByText("More", {exact: true}).click()
    await page.getByRole("button", {name: "Rerun with changes…"}).click()
    await page.getByRole("dialog").getByLabel("gate").waitFor()
  }],
  menu: [`/builds/${failed}`, ".failures .excerpt", page => page.getByText("More", {exact: true}).click()],
}
const screens = {
  "wide-light": {width: 1280, height: 800, colorScheme: "light"},
  "wide-dark": {width: 1280, height: 800, colorScheme: "dark"},
  "narrow-light": {width: 320, height: 640, colorScheme: "light"},
  "narrow-dark": {width: 320, height: 640, colorScheme: "dark"},
}

for (const [screen, options] of Object.entries(screens)) {
  test(`each view, ${screen}`, async t => {
    const page = await w.open(t, "/", {...options, but: [/status of 404/]})
    for (const [name, view] of Object.entries(views)) await t.test(name, () => look(page, `${name}-${screen}`, view))
    await t.test("signin", async t => look(await w.open(t, "/signin", {...options, token: ""}), `signin-${screen}`, ["/signin", "form"]))
  })
}

async function look(page, name, [path, shown, act]) {
  await page.goto(path)
  await page.locator(shown).first().waitFor()
  await act?.(page)
  await page.screenshot({path: join(shots, name + ".png"), fullPage: !path.includes("/log?"), animations: "disabled"})
  const wide = await page.evaluate(() => document.scrollingElement.scrollWidth - innerWidth)
  assert.ok(wide <= 0, `the page is ${wide} px too wide`)
  await page.evaluate(axe)
  const {violations} = await page.evaluate(() => axe.run(document, {resultTypes: ["violations"]}))
  assert.deepEqual(violations.map(v => `${v.id}: ${v.help}: ${v.nodes.map(n => `${n.html.slice(0, 200)} ${n.any[0]?.message ?? n.failureSummary}`).join("; ")}`), [])
}

test("whoever wants no motion gets none", async t => {
  const page = await w.open(t, `/builds/${running}`, {reducedMotion: "reduce"})
  await page.locator(".rows .state.running").waitFor()
  assert.equal(await page.evaluate(() => document.getAnimations().length), 0)
  const other = await w.open(t, `/builds/${running}`, {reducedMotion: "no-preference"})
  await other.locator(".rows .state.running").waitFor()
  assert.ok((await other.evaluate(() => document.getAnimations().length)) > 0)
})
