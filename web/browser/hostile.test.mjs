// What others wrote is shown, and does nothing.
import assert from "node:assert/strict"
import {readFile} from "node:fs/promises"
import {after, test} from "node:test"
import {join} from "node:path"
import {World} from "./world.mjs"

const star = await readFile(join(import.meta.dirname, "projects", "hostile.star"), "utf8")
const w = await World.begin({after}, {projects: {hostile: star}, flags: ["--label", "note=<img src=x onerror=alert(1)>"]})

// inert looks at the page for what others could have put into it.
async function inert(page) {
  const found = await page.evaluate(() => ({
    elements: [...document.querySelectorAll("img, script:not([src='/app.js']), iframe, object, embed, base, meta[http-equiv], style, link:not([rel=icon]):not([href='/app.css'])")].map(e => e.outerHTML),
    handlers: [...document.querySelectorAll("*")].filter(e => e.getAttributeNames().some(a => a.startsWith("on"))).map(e => e.outerHTML),
    links: [...document.querySelectorAll("a")].map(a => new URL(a.getAttribute("href"), location).href).filter(href => !href.startsWith(location.origin + "/")),
    alerted: window.alerted,
  }))
  assert.deepEqual(found, {elements: [], handlers: [], links: [], alerted: undefined})
}

test("names, docs and texts of a project", async t => {
  const page = await w.open(t, "/projects/hostile")
  await page.getByText("<script>window.alerted = 1</script>").first().waitFor()
  await inert(page)
  await page.goto("/agents?agent=builder")
  await page.getByText("<img src=x onerror=alert(1)>").waitFor()
  await inert(page)
})

test("a build of them", async t => {
  const {number} = await w.api("POST", "/v1/builds", {project: "hostile", pipeline: "texts", params: {who: "<img src=x onerror=alert(1)>"}})
  const page = await w.open(t, `/builds/${number}`)
  await page.getByText("Is it <b>fine</b>? javascript:alert(1)").waitFor()
  await page.getByText("who=<img src=x onerror=alert(1)>").waitFor()
  await inert(page)
  for (const as of ["graph", "timeline"]) {
    await page.goto(`/builds/${number}?view=${as}`)
    await page.locator(as === "graph" ? ".graph" : ".timeline").waitFor()
    await inert(page)
  }
  await page.goto(`/builds/${number}`)
  await page.getByLabel("Reason").fill("<script>window.alerted = 1</script>")
  await page.getByRole("button", {name: "Refuse"}).click()
  await page.getByText(/refused by .*<script>window.alerted = 1<\/script>/).first().waitFor()
  await inert(page)
  await page.goto("/")
  await page.locator("tbody tr").first().waitFor()
  await inert(page)
})

test("a log of markup, links and control sequences", async t => {
  const n = await w.built("hostile", "output", {}, "failed")
  const page = await w.open(t, `/builds/${n}`)
  await page.getByRole("article", {name: "print"}).getByText("<img src=x onerror=").waitFor()
  await inert(page)
  await page.goto(`/builds/${n}/log?step=print`)
  await page.locator("[data-line]", {hasText: "<script>window.alerted = 1</script>"}).first().waitFor()
  await inert(page)
  assert.doesNotMatch(await page.title(), /pwned/, "a title that a terminal would take")
  const text = await page.locator(".log").innerText()
  assert.match(text, /<a href="javascript:window.alerted=1">click<\/a>/)
  assert.match(text, /a link to nowhere/)
  assert.doesNotMatch(text, /\x1b|\x07|\x9b/, "no control sequence is left")
  assert.doesNotMatch(text, /[\u202a-\u202e\u2066-\u2069]/, "nor one that turns text around")
  await page.goto("/search?text=alerted&project=hostile")
  await page.locator(".hits li mark").first().waitFor()
  await inert(page)
})

test("10^6 cursor moves, and a line of megabytes", async t => {
  const n = await w.built("hostile", "flood")
  const page = await w.open(t, `/builds/${n}/log?step=moves`)
  await page.locator("[data-line]", {hasText: "after the moves"}).waitFor()
  await inert(page)
  assert.ok((await page.locator(".log *").count()) < 2000)
  await page.goto(`/builds/${n}/log?step=wide`)
  await page.locator("[data-line]", {hasText: "after the line"}).waitFor()
  await page.goto(`/builds/${n}`)
  await page.locator("main > .head .state.success").waitFor()
})

test("addresses that somebody else made", async t => {
  const page = await w.open(t, "/", {but: [/status of 4\d\d/]})
  for (const path of ["/projects/%3Cimg%20src=x%20onerror=alert(1)%3E", "/projects/img?of=%3Cimg%20src=x%20onerror=alert(1)%3E", "/search?text=%3Cscript%3Ealert(1)%3C/script%3E", "/?project=%3Cimg%20src=x%20onerror=alert(1)%3E&state=javascript:alert(1)", "/builds/1/log?step=%3Cimg%20src=x%3E&search=%3Cimg%3E#L1-L999999999999", "/agents?agent=%3Cimg%3E", "/builds/1?view=%3Cimg%3E&step=%3Cimg%3E"]) {
    await page.goto(path)
    await page.locator("main h1").waitFor()
    await inert(page)
  }
})
