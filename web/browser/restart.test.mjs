// An agent goes away, and comes back.
import assert from "node:assert/strict"
import {after, test} from "node:test"
import {counts, cut, refused, World} from "./world.mjs"

const w = await World.begin({after})
const lost = page => page.getByText("reconnecting…")

test("the agent is killed amid a build, and the page goes on by itself", async t => {
  const n = await w.build("shop", "build", {gate: "killed"})
  const page = await w.open(t, `/builds/${n}`, {but: cut})
  const log = await page.context().newPage()
  await log.goto(`/builds/${n}/log?step=unit`)
  await log.getByText("testing").waitFor()
  const list = await page.context().newPage()
  await list.goto("/")
  for (const p of [page, list, log]) await p.evaluate(() => (window.stays = true))
  await page.locator(".rows .state.running").waitFor()
  await w.kill("SIGKILL")
  for (const p of [page, list, log]) await lost(p).waitFor()
  await page.getByText("unit", {exact: true}).first().waitFor() // what is known stays
  await w.let("killed")
  await w.serve()
  await w.until(n, "success")
  await page.locator("main > .head .state.success").waitFor()
  await list.locator("tbody tr", {hasText: `#${n}`}).locator(".state.success").waitFor()
  for (const p of [page, list, log]) {
    await lost(p).waitFor({state: "detached"})
    assert.equal(await p.evaluate(() => window.stays), true, "without a reload")
  }
  await counts(page.locator(".rows > li"), 4)
  await counts(list.getByRole("link", {name: `#${n}`, exact: true}), 1)

  // The step ran again, on another claim: the log says so rather than mix them.
  await log.getByRole("status").getByRole("link", {name: "Show it"}).click()
  await log.locator("[data-line]", {hasText: "all passed"}).waitFor()
  await counts(log.locator("[data-line]", {hasText: "testing"}), 1)
})

test("a list that was made longer stays so", async t => {
  for (let i = 0; i < 60; i++) await w.build("shop", "slow", {gate: "never"})
  const page = await w.open(t, "/?pipeline=slow&project=shop", {but: cut})
  await counts(page.locator("tbody tr"), 50)
  await page.getByRole("button", {name: "Older builds"}).click()
  await counts(page.locator("tbody tr"), 60)
  await w.kill("SIGKILL")
  await lost(page).waitFor()
  const listed = page.waitForResponse(r => r.url().includes("/v1/builds?")) // who comes back elsewhere lists again
  await w.serve()
  await listed
  await lost(page).waitFor({state: "detached"})
  await counts(page.locator("tbody tr"), 60)
  for (let i = 0; i < 60; i++) await page.evaluate(() => new Promise(requestAnimationFrame)) // what was listed is drawn
  await counts(page.locator("tbody tr"), 60)
  await Promise.all((await w.api("GET", "/v1/builds?project=shop&pipeline=slow&limit=200")).map(b => w.api("POST", `/v1/builds/${b.number}/cancel`, {force: true})))
})

test("each view says that nobody answers, and recovers", async t => {
  const n = await w.built("cargo", "land")
  const page = await w.open(t, "/", {but: cut})
  await page.getByRole("link", {name: `#${n}`, exact: true}).waitFor()
  await w.kill("SIGKILL")
  await lost(page).waitFor()
  const nav = page.getByRole("navigation", {name: "Main"})
  for (const name of ["Projects", "Agents"]) {
    await nav.getByRole("link", {name}).click()
    await page.getByRole("alert").getByText("the server does not answer. Trying again…").waitFor()
  }
  await nav.getByRole("link", {name: "Builds"}).click()
  await page.getByRole("alert").waitFor()
  await w.serve()
  await page.getByRole("link", {name: `#${n}`, exact: true}).waitFor()
  await page.getByRole("alert").waitFor({state: "detached"})
  await lost(page).waitFor({state: "detached"})
  for (const name of ["Projects", "Agents"]) {
    await nav.getByRole("link", {name}).click()
    await page.getByRole("heading", {name}).waitFor()
    await page.getByText(name === "Projects" ? "cargo" : "builder").first().waitFor()
  }
})

test("a server that keeps silent is told of", async t => {
  const page = await w.open(t, "/")
  const waiting = page.getByText("waiting for the server…")
  w.agent.kill("SIGSTOP")
  await page.getByRole("link", {name: "Projects"}).click()
  await waiting.waitFor()
  w.agent.kill("SIGCONT")
  await page.getByRole("link", {name: "cargo", exact: true}).waitFor()
  await waiting.waitFor({state: "detached"})
})

test("what is asked for while nobody answers says so, and can be asked again", async t => {
  const page = await w.open(t, "/projects/cargo", {but: cut})
  const button = page.getByRole("button", {name: "Build land"})
  await button.waitFor()
  await w.kill("SIGKILL")
  await button.click()
  await page.getByRole("alert").getByText("It was not asked for: the server does not answer").waitFor()
  await w.serve()
  await button.click()
  await page.locator("main > .head .state.success").waitFor()
})

test("an agent that goes away is told of", async t => {
  const page = await w.open(t, "/agents")
  await page.getByRole("heading", {name: "builder"}).waitFor()
  const n = await w.build("shop", "slow", {gate: "agents"})
  await page.getByRole("link", {name: `#${n} shop / slow`}).waitFor()
  await page.getByText("1 of 4 slots taken").first().waitFor()
  await w.let("agents")
  await page.getByText("Runs nothing.").waitFor()
})

test("an agent that ends is not asked to take builds again", async t => {
  const page = await w.open(t, "/agents", {but: [...cut, ...refused(503)]})
  await page.getByRole("button", {name: "Drain"}).waitFor()
  const n = await w.build("shop", "slow", {gate: "ending"})
  await page.getByRole("link", {name: `#${n} shop / slow`}).waitFor()
  const gone = w.kill()
  await page.getByText("ending", {exact: true}).waitFor()
  await counts(page.getByRole("button", {name: /Drain|Resume/}), 0)
  await w.let("ending")
  await gone
  await page.getByText("reconnecting…").waitFor()
  await w.serve()
  await page.getByRole("button", {name: "Drain"}).waitFor()
})

test("an agent that is not heard of any more", async t => {
  const page = await w.open(t, "/", {but: cut})
  await page.route("**/v1/agents", async route => {
    const answer = await route.fetch()
    const agents = (await answer.json()).map(a => ({...a, seen: new Date(Date.parse(a.seen) - 3_600_000).toISOString()}))
    await route.fulfill({response: answer, json: agents})
  })
  await page.route("**/v1/events?*", route => route.abort()) // what would tell that it lives
  await page.getByRole("navigation", {name: "Main"}).getByRole("link", {name: "Agents"}).click()
  await page.getByText("not heard of").waitFor()
})

test("a store that is down: each view says so, and recovers by itself", async t => {
  await w.let("store")
  const n = await w.built("shop", "build", {gate: "store"})
  const page = await w.open(t, "/", {but: refused(503)})
  let down = false
  await page.route("**/v1/**", route => {
    if (!down) return route.continue()
    const problem = {type: "urn:piper:problem:unavailable", title: "Service Unavailable", status: 503, detail: "the store does not answer: try again"}
    return route.fulfill({status: 503, contentType: "application/problem+json", headers: {"Retry-After": "2"}, body: JSON.stringify(problem)})
  })
  const place = name => page.getByRole("navigation", {name: "Main"}).getByRole("link", {name})
  const build = page.getByRole("link", {name: `#${n}`, exact: true})
  for (const [link, there] of [
    [place("Projects"), page.getByRole("link", {name: "cargo", exact: true})],
    [place("Agents"), page.getByRole("heading", {name: "builder"})],
    [place("Builds"), build],
    [build, page.locator(".rows .name").first()],
    [page.locator(".rows .name").first(), page.locator("[data-line]").first()],
  ]) {
    await link.waitFor()
    down = true
    await link.click()
    await page.getByRole("alert").getByText("the store does not answer").first().waitFor()
    down = false
    await there.waitFor()
    await counts(page.getByRole("alert"), 0)
  }
})
