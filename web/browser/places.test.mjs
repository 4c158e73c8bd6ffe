// Addresses: what they hold, how one goes back and forth, and what is not there.
import assert from "node:assert/strict"
import {after, test} from "node:test"
import {counts, refused, World} from "./world.mjs"

const w = await World.begin({after})

test("a store with nothing in it names the next command", async t => {
  const page = await w.open(t, "/")
  await page.getByText("Nothing was built yet.").waitFor()
  assert.deepEqual(await page.locator(".copy code").allInnerTexts(), ["piper project add shop --repo /srv/git/shop", "piper build --project shop"])
  await page.getByRole("button", {name: "Copy piper build --project shop"}).waitFor()
  await page.goto("/?project=shop")
  await page.getByText("No build is like that.").waitFor()
  await page.goto("/search")
  await page.getByLabel("What to look for in all logs").fill("anything")
  await page.keyboard.press("Enter")
  await page.getByText(/^Nothing in 0 lines of 0 builds/).waitFor()
})

test("what it needs first is asked for once, before the script has run", async t => {
  const n = await w.built("cargo", "land")
  const page = await w.open(t, "/")
  for (const [address, first, shows] of [["/", "/v1/builds?limit=50", "table"], [`/builds/${n}`, `/v1/builds/${n}`, ".rows"]]) {
    await page.goto(address)
    await page.locator(shows).waitFor()
    await page.getByRole("button", {name: "Sign out"}).waitFor()
    const asked = await page.evaluate(() => performance.getEntriesByType("resource").map(r => [r.name.replace(location.origin, ""), r.initiatorType]))
    for (const want of ["/v1/session", first]) assert.deepEqual(asked.filter(([name]) => name === want), [[want, "link"]])
  }
})

test("there is no picture of nothing before the one of what came with the page", async t => {
  await w.built("cargo", "land")
  const page = await w.open(t, "/")
  await page.addInitScript(() => {
    window.pictures = []
    const look = () => {
      if (document.querySelector(".top")) window.pictures.push(document.querySelectorAll("main tbody tr").length)
      requestAnimationFrame(look)
    }
    look()
  })
  await page.route("**/app.js", async route => {
    await new Promise(come => setTimeout(come, 500)) // the rest comes before it
    await route.continue()
  })
  await page.goto("/")
  await page.locator("tbody tr").first().waitFor()
  assert.notEqual(await page.evaluate(() => window.pictures[0]), 0)
})

test("without a project it says how to add one", async t => {
  for (const name of ["shop", "cargo"]) await w.piper("project", "remove", name)
  const page = await w.open(t, "/projects")
  await page.getByText("There is no project yet.").waitFor()
  await page.getByText(/^piper project add/).waitFor()
  // It is there once it is added.
  for (const name of ["shop", "cargo"]) await w.piper("project", "add", name, "--repo", `${w.dir}/repositories/${name}`)
  await page.getByRole("link", {name: "shop", exact: true}).click()
  await page.getByRole("heading", {name: "shop"}).waitFor()
  await page.getByText("One parameter of each type").waitFor()
})

test("what a command says is copied", async t => {
  const n = await w.built("cargo", "land")
  const page = await w.open(t, `/builds/${n}`, {permissions: ["clipboard-read", "clipboard-write"]})
  await page.getByText("More", {exact: true}).click()
  await page.getByRole("button", {name: `Copy piper reproduce ${n}`}).click()
  await page.getByText("Copied").waitFor()
  assert.equal(await page.evaluate(() => navigator.clipboard.readText()), `piper reproduce ${n}`)
})

test("filters are in the address, and work", async t => {
  const failed = await w.built("shop", "broken", {}, "failed")
  const landed = await w.built("cargo", "land")
  const page = await w.open(t, "/")
  const link = n => page.getByRole("link", {name: `#${n}`, exact: true})
  await link(failed).waitFor()
  await page.getByLabel("State").selectOption("failed")
  await page.waitForURL(/\/\?state=failed$/)
  await link(landed).waitFor({state: "detached"})
  await link(failed).waitFor()
  await page.getByLabel("Project, or project/pipeline").fill("shop/broken")
  await page.getByRole("button", {name: "Filter"}).click()
  await page.waitForURL(/\/\?project=shop&pipeline=broken&state=failed$/)
  await link(failed).waitFor()

  // Whoever is sent the address sees the same.
  const other = await page.context().newPage()
  await other.goto(page.url())
  await other.getByRole("link", {name: `#${failed}`, exact: true}).waitFor()
  await counts(other.locator("tbody tr"), 1)
  assert.equal(await other.getByLabel("State").inputValue(), "failed")
  assert.equal(await other.getByLabel("Project, or project/pipeline").inputValue(), "shop/broken")

  // A build that is not like that does not come in; one that is does.
  await w.built("cargo", "land")
  await page.getByLabel("Project, or project/pipeline").fill("shop/broken")
  const again = await w.built("shop", "broken", {}, "failed")
  await other.getByRole("link", {name: `#${again}`, exact: true}).waitFor()
  await counts(other.locator("tbody tr"), 2)

  // And back, one by one.
  await page.goBack()
  await page.waitForURL(/\/\?state=failed$/)
  await page.goBack()
  await page.waitForURL(/\/$/)
  await link(landed).waitFor()
  await page.goForward()
  await page.waitForURL(/\/\?state=failed$/)
  await link(landed).waitFor({state: "detached"})
})

test("a filter that nothing is like names the next command", async t => {
  const page = await w.open(t, "/?project=shop&pipeline=lift")
  await page.getByText("No build is like that.").waitFor()
  await page.getByText("piper build lift --project shop", {exact: true}).waitFor()
  await page.getByLabel("State").selectOption("failed")
  await page.getByText("piper build").waitFor({state: "detached"})
  await page.getByText("No build is like that.").waitFor()
})

test("back and forward go through builds and logs", async t => {
  const n = await w.built("shop", "broken", {}, "failed")
  const page = await w.open(t, "/")
  await page.getByRole("link", {name: `#${n}`, exact: true}).click()
  await page.getByRole("heading", {name: /shop \/ broken/}).waitFor()
  await page.locator(".rows").getByRole("link", {name: "compile", exact: true}).click()
  await page.locator("[data-line='41']", {hasText: "compiled"}).waitFor()
  await page.goBack()
  await page.getByRole("heading", {name: /shop \/ broken/}).waitFor()
  await page.goBack()
  await page.getByRole("heading", {name: "Builds"}).waitFor()
  await page.goForward()
  await page.getByRole("heading", {name: /shop \/ broken/}).waitFor()
  await page.goForward()
  await page.locator("[data-line='41']", {hasText: "compiled"}).waitFor()
})

test("a link with a modifier is the browser's", async t => {
  const n = await w.built("cargo", "land")
  const page = await w.open(t, "/")
  const [other] = await Promise.all([page.context().waitForEvent("page"), page.getByRole("link", {name: `#${n}`, exact: true}).click({modifiers: ["Control"]})])
  await other.getByRole("heading", {name: /cargo \/ land/}).waitFor()
  assert.match(page.url(), /\/$/)
})

test("a build that is not there", async t => {
  const page = await w.open(t, "/builds/9999", {but: refused(400, 404)})
  await page.getByText(/There is no build 9999, or it was removed/).waitFor()
  await page.goto("/builds/nothing")
  await page.getByRole("heading", {name: "Build nothing"}).waitFor()
  await page.getByText(/There is no build|The build is not known/).waitFor()
})

test("a step that is not there, and an attempt", async t => {
  const n = await w.built("cargo", "land")
  const page = await w.open(t, `/builds/${n}/log?step=nothing`, {but: refused(404, 422)})
  await page.getByRole("alert").waitFor()
  await page.goto(`/builds/${n}/log?step=unload&attempt=7`)
  await page.getByText("This step has no attempt 7.").waitFor()
  await page.goto(`/builds/9999/log?step=unload`)
  await page.getByRole("alert").waitFor()
})

test("a project that is not there, and a branch", async t => {
  const page = await w.open(t, "/projects/nothing", {but: refused(404, 422)})
  await page.getByRole("alert").getByText(/no project "?nothing|not known/).waitFor()
  await page.goto("/projects/shop?of=nothing")
  await page.getByRole("alert").waitFor()
})

test("a path that the page does not know", async t => {
  const page = await w.open(t, "/builds/1/2/3")
  await page.getByText("The page knows no /builds/1/2/3.").waitFor()
  await page.getByRole("link", {name: "All builds"}).click()
  await page.getByRole("heading", {name: "Builds"}).waitFor()
})

test("a PIPER.star that is at fault says where", async t => {
  await w.project("broken", 'project(name = "broken")\npipeline(name = "a", step = 1)\n')
  const page = await w.open(t, "/projects/broken", {but: refused(422)})
  await page.getByRole("alert").getByText(/^PIPER\.star:2:22: error: pipeline has no parameter "step"[^]*did you mean steps\?/).waitFor()
})

test("an expression that is none", async t => {
  const page = await w.open(t, "/search?text=(a&regex=true", {but: refused(400)})
  await page.getByRole("alert").getByText(`regex "(a" is none: missing closing )`).waitFor()
})

test("what all logs say is found, and leads to the line", async t => {
  const n = await w.built("shop", "broken", {}, "failed")
  const page = await w.open(t, "/search")
  await page.getByLabel("What to look for in all logs").fill("EXPECTED 4")
  await page.getByLabel("Pipeline").fill("broken")
  await page.getByLabel("Project").fill("shop")
  await page.getByRole("button", {name: "Search"}).click()
  await page.waitForURL(/\/search\?text=EXPECTED\+4&project=shop&pipeline=broken$/)
  await page.getByRole("status").getByText(/match(es)? in [\d,]+ lines of \d+ builds?/).waitFor()
  await page.getByLabel("match case").check()
  await page.getByRole("button", {name: "Search"}).click()
  await page.waitForURL(/exact=true/)
  await page.getByRole("status").getByText(/^Nothing in/).waitFor()
  await page.getByLabel("What to look for in all logs").fill("expected 4")
  await page.getByLabel("Age of the builds").selectOption("of the last day")
  await page.getByRole("button", {name: "Search"}).click()
  await page.waitForURL(/\/search\?text=expected\+4&exact=true&since=1d&project=shop&pipeline=broken$/)
  const hit = page.locator(".hits li", {hasText: `#${n} `}).first()
  assert.equal(await hit.locator("mark").innerText(), "expected 4")
  await hit.getByRole("link").click()
  await page.waitForURL(/\/log\?step=test&attempt=1&fence=1&search=expected\+4&exact=true#L201$/) // when it runs again, they are others
})

test("lines that the index refused are told of", async t => {
  const page = await w.open(t, "/")
  const time = "2026-03-01T12:00:00Z"
  const answers = {search: {builds: 0, lines: 0, matches: 0, hits: [], index: "Elasticsearch", total: 0}, index: {name: "Elasticsearch", since: time, sent: 9, had: 0, retried: 0, refused: 2, behind: 0, dead_letters: 2, letters: [{time, reason: "text is no keyword", line: {}}]}}
  for (const [what, answer] of Object.entries(answers)) await page.route(`**/v1/logs/${what}*`, route => route.fulfill({json: answer}))
  await page.goto("/search?text=x")
  await page.getByText("Nothing, as Elasticsearch knows").waitFor()
  await page.getByText("Elasticsearch refused 2 lines, which only the store has: text is no keyword").waitFor()
})

test("what is found is marked, whatever letters stand before it", async t => {
  await w.built("shop", "grows")
  const page = await w.open(t, "/search?text=als+vier")
  await page.getByRole("link", {name: /part\/b · line 1/}).waitFor()
  for (const mark of await page.locator(".hits mark").allInnerTexts()) assert.equal(mark, "als vier")
})
