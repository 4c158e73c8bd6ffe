// What a build wrote that an earlier one did not.
import assert from "node:assert/strict"
import {after, test} from "node:test"
import {counts, refused, World} from "./world.mjs"

const w = await World.begin({after})
await w.let("green")
await w.let("later")
const orphan = await w.built("shop", "broken", {}, "failed") // before any succeeded
const green = await w.built("shop", "news", {gate: "green"})
const red = await w.built("shop", "news", {}, "failed")
const same = await w.built("shop", "news", {gate: "later"})

const fresh = page => page.locator(".fresh")

test("what is new in a step that failed, from the build to the line", async t => {
  const page = await w.open(t, `/builds/${red}`)
  await page.getByRole("link", {name: "What is new since it last succeeded"}).click()
  await page.waitForURL(/\/log\?step=check&attempt=1&fence=1&against=last$/)
  await page.getByRole("status").getByText(`2 lines are new against build ${green}, the last that succeeded`).waitFor()
  await counts(fresh(page), 2)
  assert.deepEqual(await page.locator(".excerpt").allInnerTexts().then(all => all.map(s => s.replace(/\s+/g, " ").trim())), [
    "48 48 49 49 50 50 51 + error: it is broken 52 51 53 52 54 53",
    "100 99 101 100 102 done 103 + error: so is this",
  ])
  assert.match(await page.title(), /^failed: new in check, build \d+ · Piper$/)
  await page.getByText(`piper logs ${red} --diff --step check`, {exact: true}).waitFor()
  await page.getByRole("link", {name: "Line 51, new"}).click()
  await page.waitForURL(/\/log\?step=check&attempt=1&fence=1#L51$/)
  await page.locator('.picked[data-line="51"]').getByText("error: it is broken").waitFor()
  await page.goBack()
  await counts(fresh(page), 2)
})

test("with the keyboard alone", async t => {
  const page = await w.open(t, `/builds/${red}/log?step=check`)
  await page.locator('[data-line="51"]').waitFor()
  await page.keyboard.press("d")
  await counts(fresh(page), 2)
  assert.match(await page.evaluate(() => document.activeElement.textContent), /^check of build/, "the heading has the focus")
  const at = () => page.evaluate(() => document.activeElement.getAttribute("aria-label"))
  await page.keyboard.press("j")
  assert.equal(await at(), "Line 51, new")
  await page.keyboard.press("j")
  assert.equal(await at(), "Line 103, new")
  await page.keyboard.press("Enter")
  await page.waitForURL(/#L103$/)
  await page.locator('.picked[data-line="103"]').waitFor() // now keys are those of the log
  await page.keyboard.press("d")
  await counts(fresh(page), 2)
  await page.keyboard.press("d")
  await page.locator('[data-line="51"]').waitFor()
  await counts(fresh(page), 0)
})

test("nothing is new", async t => {
  const page = await w.open(t, `/builds/${same}/log?step=check&against=last`)
  await page.getByRole("status").getByText(`Nothing is new: each line has one like it in build ${green}, the last that succeeded`).waitFor()
  await counts(page.locator(".excerpt"), 0)
})

test("against another build, which is named in the address", async t => {
  const page = await w.open(t, `/builds/${red}/log?step=check`, {but: refused(404)})
  await page.getByRole("link", {name: "What is new", exact: true}).click()
  await counts(fresh(page), 2)
  const against = page.getByLabel("What is new against build")
  assert.equal(await against.inputValue(), String(green))
  await against.fill(String(orphan))
  await against.press("Enter")
  await page.waitForURL(new RegExp(`against=${orphan}$`))
  await page.getByRole("status").getByText(`103 lines are new against build ${orphan}, but for times, hashes and what else differs from run to run. The step wrote nothing there.`).waitFor()
  await counts(fresh(page), 20)
  await page.getByRole("button", {name: "Up to 1,000 new lines"}).click()
  await counts(fresh(page), 103)
  await against.fill("9999")
  await page.getByRole("button", {name: "Compare"}).click()
  await page.getByRole("alert").getByText(/build "?9999/).waitFor()
  await page.getByRole("link", {name: "Last that succeeded"}).click()
  await counts(fresh(page), 2)
})

test("no build has succeeded before", async t => {
  const page = await w.open(t, `/builds/${orphan}/log?step=test&against=last`, {but: refused(404)})
  await page.getByText("No build of this pipeline before this one has succeeded").waitFor()
  await page.getByRole("link", {name: "builds of this pipeline"}).click()
  await page.waitForURL(/\?project=shop&pipeline=broken$/)
})

test("a step that runs still is looked at again when it has ended", async t => {
  const n = await w.build("shop", "news", {gate: "ends", slow: "true"})
  const page = await w.open(t, `/builds/${n}/log?step=check&against=last`, {but: refused(409)})
  await page.getByText("The step runs: what it writes from now on is looked at when it has ended.").waitFor()
  await counts(fresh(page), 0)
  await w.let("ends")
  await page.getByRole("status").getByText("1 line is new").waitFor()
  await fresh(page).getByText("at last").waitFor()
})

test("a step that ends before the page hears anything of it is looked at again", async t => {
  const n = await w.build("shop", "news", {gate: "unheard", slow: "true"})
  const page = await w.open(t, "/projects", {but: refused(409)})
  let hear
  const heard = new Promise(done => (hear = done))
  await page.route(/\/v1\/events/, async route => {
    await heard
    await route.continue()
  })
  await page.goto(`/builds/${n}/log?step=check&against=${green}`)
  await page.getByText("The step runs: what it writes from now on is looked at when it has ended.").waitFor()
  await w.let("unheard")
  await w.until(n, "success")
  hear()
  await fresh(page).getByText("at last").waitFor()
})
