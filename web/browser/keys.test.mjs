// Without a mouse.
import assert from "node:assert/strict"
import {after, test} from "node:test"
import {World} from "./world.mjs"

const w = await World.begin({after})
const failed = await w.built("shop", "broken", {}, "failed")
const landed = await w.built("cargo", "land")
const focus = page => page.evaluate(() => document.activeElement.textContent)

// tab presses Tab until the focus is on something that is called so.
async function tab(page, name) {
  for (let i = 0; i < 80; i++) {
    await page.keyboard.press("Tab")
    if (await page.evaluate(name => (document.activeElement.getAttribute("aria-label") ?? document.activeElement.textContent) === name, name)) return
  }
  assert.fail(`Tab does not reach ${name}`)
}

test("from signing in to a line, by Tab and Enter alone", async t => {
  const page = await w.open(t, "/signin", {token: ""})
  await page.getByLabel("Token").waitFor()
  await page.keyboard.type(w.token)
  await page.keyboard.press("Enter")
  await page.getByRole("link", {name: `#${failed}`, exact: true}).waitFor()
  await tab(page, `#${failed}`)
  assert.notEqual(await page.evaluate(() => getComputedStyle(document.activeElement).outlineStyle), "none", "one sees where one is")
  await page.keyboard.press("Enter")
  await page.getByRole("article", {name: "test"}).getByText("error: expected 4, got 5").waitFor()
  assert.match(await focus(page), /^#\d+ shop \/ broken/, "the heading has the focus")
  await tab(page, "Line 201")
  await page.keyboard.press("Enter")
  await page.waitForURL(/#L201$/)
})

test("the first Tab skips to the content", async t => {
  const page = await w.open(t, "/")
  await page.getByRole("link", {name: `#${failed}`, exact: true}).waitFor()
  await page.evaluate(() => document.activeElement.blur())
  await page.reload()
  await page.getByRole("link", {name: `#${failed}`, exact: true}).waitFor()
  await page.keyboard.press("Tab")
  assert.equal((await focus(page)).trim(), "Skip to the content")
  await page.keyboard.press("Enter")
  assert.equal(await page.evaluate(() => document.activeElement.id), "main")
})

test("a form is filled and sent", async t => {
  const page = await w.open(t, "/projects/shop?pipeline=deploy")
  await page.getByLabel("version").focus()
  await page.keyboard.type("v1.2.3")
  await page.keyboard.press("Tab")
  await page.keyboard.press("Control+a")
  await page.keyboard.type("5")
  await page.keyboard.press("Enter")
  await page.locator("main > .head .state.success").waitFor()
  await page.getByText("version=v1.2.3").waitFor()
})

test("? lists the keys, Escape closes the list", async t => {
  const page = await w.open(t, "/")
  await page.getByRole("link", {name: `#${failed}`, exact: true}).waitFor()
  await page.keyboard.press("?")
  await page.getByRole("dialog", {name: "Keys"}).waitFor()
  await page.keyboard.press("j")
  await page.keyboard.press("Escape")
  await page.getByRole("dialog", {name: "Keys"}).waitFor({state: "hidden"})
  await page.keyboard.press("?")
  await page.keyboard.press("?")
  await page.keyboard.press("Enter")
  await page.getByRole("dialog", {name: "Keys"}).waitFor({state: "hidden"})
})

test("g leads to each view, j and k through its rows", async t => {
  const page = await w.open(t, "/")
  await page.getByRole("link", {name: `#${landed}`, exact: true}).waitFor()
  for (const [key, name] of [["p", "Projects"], ["a", "Agents"], ["s", "Search"]]) {
    await page.locator("h1").first().focus()
    await page.keyboard.press("g")
    await page.keyboard.press(key)
    await page.getByRole("heading", {name, level: 1}).waitFor()
  }
  assert.equal(await page.evaluate(() => document.activeElement.name), "text", "a search begins with what to look for")
  await page.keyboard.type("gb?jk")
  assert.equal(await page.getByLabel("What to look for in all logs").inputValue(), "gb?jk", "whoever types is left alone")
  await page.goto("/")
  const rows = await page.locator("tbody th a").allInnerTexts().then(async texts => texts.length ? texts : (await page.locator("tbody th a").first().waitFor(), page.locator("tbody th a").allInnerTexts()))
  await page.keyboard.press("j")
  assert.equal(await focus(page), rows[0])
  await page.keyboard.press("j")
  assert.equal(await focus(page), rows[1])
  await page.keyboard.press("j")
  await page.keyboard.press("k")
  await page.keyboard.press("k")
  assert.equal(await focus(page), rows[0])
  await page.keyboard.press("k")
  assert.equal(await focus(page), rows[0])
  await page.keyboard.press("j")
  await page.keyboard.press("Enter")
  await page.getByRole("heading", {name: /^#\d+/}).waitFor()
  await page.locator(".rows > li").first().waitFor()
  await page.keyboard.press("j")
  assert.equal(await page.evaluate(() => document.activeElement.closest(".rows") !== null), true)
})

test("a log's own keys", async t => {
  const page = await w.open(t, `/builds/${failed}/log?step=test`)
  const line = n => page.locator(`[data-line="${n}"]`)
  await line(201).waitFor()
  await page.keyboard.press("/")
  await page.keyboard.type("22")
  await page.keyboard.press("Enter")
  const found = page.locator(".found")
  await found.getByText(/ of 12$/).waitFor() // 22, 122, 220 to 229
  await page.keyboard.press("Escape")
  await page.keyboard.press("e")
  await found.getByText(/1 error/).waitFor()
  await page.keyboard.press(":")
  await page.keyboard.type("7")
  await page.keyboard.press("Enter")
  await line(7).waitFor()
  await page.keyboard.press("G")
  await line(230).waitFor()
  const wrap = page.getByRole("button", {name: "Wrap"})
  const was = await wrap.getAttribute("aria-pressed")
  await page.keyboard.press("w")
  await page.getByRole("button", {name: "Wrap", pressed: was !== "true"}).waitFor()
  await page.keyboard.press("t")
  await page.getByRole("button", {name: "Times since start"}).waitFor()
})

test("keys can be turned off, and on again, for good", async t => {
  const page = await w.open(t, "/")
  await page.getByRole("link", {name: `#${landed}`, exact: true}).waitFor()
  const dialog = page.getByRole("dialog", {name: "Keys"})
  const turn = async to => {
    await page.getByRole("button", {name: "Keys"}).click()
    await dialog.getByRole("checkbox", {name: "Keys do this"}).setChecked(to)
    await page.keyboard.press("Escape")
    await dialog.waitFor({state: "hidden"})
    await page.locator("h1").first().focus()
  }
  await turn(false)
  await page.reload()
  await page.getByRole("link", {name: `#${landed}`, exact: true}).waitFor()
  for (const key of ["?", "j", "g", "p"]) await page.keyboard.press(key)
  assert.equal(await dialog.isVisible(), false)
  assert.equal(new URL(page.url()).pathname, "/")
  assert.equal(await page.evaluate(() => document.activeElement.closest("table")), null)
  await page.goto(`/builds/${failed}/log?step=test`)
  await page.locator("[data-line='201']").waitFor()
  const was = await page.getByRole("button", {name: "Wrap"}).getAttribute("aria-pressed")
  await page.keyboard.press("w")
  assert.equal(await page.getByRole("button", {name: "Wrap"}).getAttribute("aria-pressed"), was)
  await page.goto("/")
  await turn(true)
  await page.keyboard.press("?")
  await dialog.waitFor()
})
