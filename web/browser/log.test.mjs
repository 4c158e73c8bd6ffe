// What steps wrote: read, searched, shared.
import assert from "node:assert/strict"
import {after, test} from "node:test"
import {counts, eventually, World} from "./world.mjs"

const w = await World.begin({after})
const line = (page, n) => page.locator(`[data-line="${n}"]`)
const long = w.built("shop", "long", {}, "failed")

test("a line is shared, and opened fresh by somebody else", async t => {
  const n = await w.built("shop", "broken", {}, "failed")
  const page = await w.open(t, `/builds/${n}/log?step=test`)
  await line(page, 201).getByText("error: expected 4, got 5").waitFor() // it opens where the error is
  await page.locator(".log").evaluate(e => (e.stays = true))
  await line(page, 199).getByRole("link").click()
  await page.waitForURL(/&attempt=1&fence=1#L199$/) // another attempt has other lines
  await line(page, 201).getByRole("link").click({modifiers: ["Shift"]})
  await page.waitForURL(/&attempt=1&fence=1#L199-L201$/)
  assert.equal(await page.locator(".log").evaluate(e => e.stays), true, "nothing is drawn anew")
  const other = await w.open(t, new URL(page.url()).pathname + new URL(page.url()).search + "#L199-L201", {token: await w.mint("friend", "read")})
  await line(other, 201).getByText("error: expected 4, got 5").waitFor()
  for (const at of [199, 200, 201]) await other.locator(`.picked[data-line="${at}"], [aria-current][data-line="${at}"]`).waitFor()
  assert.equal(await line(other, 201).evaluate(e => e.getBoundingClientRect().top > 0 && e.getBoundingClientRect().bottom < innerHeight), true, "it is in sight")
})

test("a search counts exactly, and goes from hit to hit", async t => {
  const n = await w.built("shop", "broken", {}, "failed")
  const page = await w.open(t, `/builds/${n}/log?step=test`)
  await line(page, 201).waitFor()
  await page.getByLabel("Search this log").fill("11")
  await page.keyboard.press("Enter")
  // 11, 110 to 119, 211
  await page.locator(".found").getByText(/ of 12$/).waitFor()
  await page.getByRole("button", {name: "Next hit"}).click()
  await page.getByRole("button", {name: "Next hit"}).click()
  await page.getByRole("button", {name: "Previous hit"}).click()
  await page.locator(".found").getByText(/^\d+ of 12$/).waitFor()
  await page.getByLabel("Search this log").fill("^1.1$")
  await page.getByRole("button", {name: ".*", exact: true}).click()
  await page.locator(".found").getByText(/ of 10$/).waitFor()
  await page.getByLabel("Search this log").fill("nowhere")
  await page.getByLabel("Search this log").press("Enter")
  await page.locator(".found").getByText("not found").waitFor()
})

test("a log grows while one looks, and is followed", async t => {
  const n = await w.build("shop", "build", {gate: "grown"})
  const page = await w.open(t, `/builds/${n}/log?step=unit`)
  await line(page, 1).getByText("testing").waitFor()
  await page.getByRole("button", {name: "Follow", pressed: true}).waitFor()
  await w.let("grown")
  await line(page, 2).getByText("all passed").waitFor()
  await page.getByRole("button", {name: "Follow"}).waitFor({state: "detached"})
  await counts(line(page, 1), 1)
})

test("a log that is empty still says so, and fills by itself", async t => {
  const n = await w.build("shop", "silent", {gate: "spoken"})
  const page = await w.open(t, `/builds/${n}/log?step=after`)
  await page.getByText("Nothing yet: the step has not begun.").waitFor()
  await w.until(n, "running")
  await w.let("spoken")
  await line(page, 1).getByText("spoke").waitFor()
  await page.goto(`/builds/${n}/log?step=quiet`)
  await page.getByText("This step wrote nothing.").waitFor()
})

test("colours, folds and what a terminal would show", async t => {
  const n = await w.built("shop", "coloured")
  const page = await w.open(t, `/builds/${n}/log?step=paint`)
  await line(page, 1).getByText("bold green").waitFor()
  assert.equal(await line(page, 1).innerText().then(s => s.replace(/^1/, "").trim()), "red and bold green")
  const colours = await line(page, 1).locator("span").evaluateAll(all => all.map(e => getComputedStyle(e).color))
  assert.equal(new Set(colours).size, 2)
  const bar = await page.getByText("progress 30 %").innerText()
  assert.ok(!bar.includes("progress 10 %"), "a line shows what stood there last")
  const fold = page.getByRole("button", {name: /Details/})
  await fold.waitFor()
  await fold.click()
  await fold.click()
})

test("1,000,000 lines: an error, a jump, few nodes", async t => {
  const n = await long
  const page = await w.open(t, `/builds/${n}/log?step=count`)
  await line(page, 777777).getByText("error: line 777777 is wrong").waitFor()
  await page.getByLabel("Go to line").fill("500000")
  await page.keyboard.press("Enter")
  await line(page, 500000).waitFor()
  await page.keyboard.press("Escape")
  await page.locator(".log").focus()
  await page.keyboard.press("Home")
  await line(page, 1).waitFor()
  await page.keyboard.press("End")
  await line(page, 1000000).waitFor()
  assert.ok((await page.locator(".log *").count()) < 400)
  await page.getByLabel("Search this log").fill("99999")
  await page.keyboard.press("Enter")
  await page.locator(".found").getByText(/ of 19$/).waitFor() // 99999, 199999, …, 999990 to 999999
})

test("it is downloaded as it was written", async t => {
  const n = await w.built("shop", "deploy", {version: "v1"})
  const page = await w.open(t, `/builds/${n}/log?step=show`)
  await line(page, 1).waitFor()
  const [download] = await Promise.all([page.waitForEvent("download"), page.getByRole("link", {name: "Download"}).click()])
  const {readFile} = await import("node:fs/promises")
  assert.equal(await readFile(await download.path(), "utf8"), "v1 3 True staging a+b first line\nsecond line\n")
})

test("lines wrap or do not, and say when they came", async t => {
  const n = await w.built("shop", "coloured")
  const page = await w.open(t, `/builds/${n}/log?step=paint`)
  await line(page, 1).waitFor()
  const wrap = page.getByRole("button", {name: "Wrap"})
  const was = await wrap.getAttribute("aria-pressed")
  await wrap.click()
  assert.notEqual(await wrap.getAttribute("aria-pressed"), was)
  await page.getByRole("button", {name: "Times", exact: true}).click()
  await page.getByRole("button", {name: "Times since start"}).click()
  await page.getByRole("button", {name: "Clock times"}).waitFor()
  await line(page, 1).getByText(/\d\d:\d\d:\d\d/).waitFor()
  await page.reload()
  await page.getByRole("button", {name: "Clock times"}).waitFor()
})

test("the attempts of a step each have their log", async t => {
  const n = await w.built("shop", "retried")
  const page = await w.open(t, `/builds/${n}/log?step=flaky`)
  await page.getByText("This step wrote nothing.").waitFor()
  await page.getByLabel("Attempt").selectOption("1")
  await line(page, 1).getByText("error: not yet").waitFor()
  assert.match(page.url(), /attempt=1/)
})

test("a link to a line that is not there", async t => {
  const n = await w.built("cargo", "land")
  const page = await w.open(t, `/builds/${n}/log?step=unload#L99`)
  await line(page, 1).getByText("unloaded").waitFor()
  await page.getByText("There is no line 99: the log ends with line 1.").waitFor()
})
