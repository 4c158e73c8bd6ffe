// Who is let in, and what he is shown.
import assert from "node:assert/strict"
import {after, test} from "node:test"
import {counts, refused, World} from "./world.mjs"

const w = await World.begin({after})
const done = await w.built("shop", "broken", {}, "failed")

test("who is not signed in is asked to, and goes on where he wanted to", async t => {
  const page = await w.open(t, `/builds/${done}/log?step=test#L201`, {token: "", but: refused(401)})
  await page.waitForURL(/\/signin\?to=/)
  await page.getByText("piper token add").waitFor()
  assert.equal(await page.getByLabel("Token").evaluate(e => e === document.activeElement), true)
  await page.getByLabel("Token").fill(` ${w.token}\n`)
  await page.keyboard.press("Enter")
  await page.waitForURL(new RegExp(`/builds/${done}/log\\?step=test#L201$`))
  await page.getByText("error: expected 4, got 5").waitFor()

  // The cookie is nothing that a script could read, or another site send.
  const [cookie, ...others] = await page.context().cookies()
  assert.deepEqual(others, [])
  assert.deepEqual([cookie.name, cookie.httpOnly, cookie.secure, cookie.sameSite, cookie.path], ["__Host-piper", true, true, "Strict", "/"])
  assert.equal(await page.evaluate(() => document.cookie), "")
  assert.ok(!JSON.stringify(await page.context().storageState()).includes("localStorage\":[{"), "nothing else is kept")

  // Back leads past the form.
  await page.reload()
  await page.getByText("error: expected 4, got 5").waitFor()
})

test("a wrong token is refused, and the next may be right", async t => {
  const page = await w.open(t, "/signin", {token: "", but: refused(401)})
  await page.getByLabel("Token").fill("piper_read_wrong")
  await page.getByRole("button", {name: "Sign in"}).click()
  await page.getByRole("alert").getByText("This token is not known.").waitFor()
  assert.equal(await page.getByLabel("Token").getAttribute("aria-invalid"), "true")
  await page.getByLabel("Token").fill(w.token)
  await page.getByRole("button", {name: "Sign in"}).click()
  await page.getByRole("heading", {name: "Builds"}).waitFor()
})

test("nobody is led elsewhere by the address", async t => {
  for (const to of ["https://evil.example/", "//evil.example/", "javascript:alert(1)", "/\\evil.example", "/.//evil.example/x"]) {
    const page = await w.open(t, "/signin?to=" + encodeURIComponent(to), {token: "", but: refused(401)})
    await page.getByLabel("Token").fill(w.token)
    await page.getByRole("button", {name: "Sign in"}).click()
    await page.getByRole("button", {name: "Sign out"}).waitFor()
    assert.equal(new URL(page.url()).origin, w.url)
  }
})

test("who signs out is out, in all tabs, and for good", async t => {
  const page = await w.open(t, "/projects", {but: refused(401)})
  const other = await page.context().newPage()
  await other.goto("/agents")
  await other.getByRole("heading", {name: "Agents"}).waitFor()
  await page.getByRole("button", {name: "Sign out"}).click()
  await page.waitForURL(/\/signin$/)
  assert.deepEqual(await page.context().cookies(), [])
  await page.goto("/projects")
  await page.waitForURL(/\/signin\?to=%2Fprojects$/)
  await other.waitForURL(/\/signin\?to=%2Fagents$/) // without being touched
})

test("a token that is revoked ends what is open", async t => {
  const token = await w.mint("leaver", "read")
  const page = await w.open(t, "/", {token, but: refused(401)})
  await page.getByRole("link", {name: `#${done}`, exact: true}).waitFor()
  await w.piper("token", "revoke", "leaver")
  await page.waitForURL(/\/signin\?to=%2F$/)
  await counts(page.getByRole("link", {name: `#${done}`}), 0)
})

test("who may only read is offered nothing that would be refused", async t => {
  const token = await w.mint("reader", "read")
  const waiting = await w.build("shop", "ask")
  const running = await w.build("shop", "slow")
  const page = await w.open(t, `/builds/${running}`, {token})
  const buttons = async () => (await page.getByRole("button").allInnerTexts()).filter(text => !/^(Keys|Sign out|Copy|Filter|Search|(all|failed|running|waiting) \d+)$/.test(text))
  await page.locator("main > .head .state.running").waitFor()
  assert.deepEqual(await buttons(), [])

  await page.goto(`/builds/${waiting}`)
  await page.getByText("It waits for somebody who may trigger builds.").waitFor()
  assert.deepEqual(await buttons(), [])

  await page.goto(`/builds/${done}`)
  await page.getByRole("article", {name: "test"}).waitFor()
  await page.getByText("More", {exact: true}).click()
  await page.getByText(`piper reproduce ${done}`).waitFor()
  assert.deepEqual(await buttons(), [])

  await page.goto("/projects/shop")
  await page.getByText("piper exec deploy").waitFor()
  await counts(page.getByText("Build…"), 0)

  await page.goto("/agents")
  await page.getByRole("heading", {name: "builder"}).waitFor()
  assert.deepEqual(await buttons(), [])
})

test("who may trigger does not manage agents", async t => {
  const page = await w.open(t, "/agents", {token: await w.mint("ann", "trigger")})
  await page.getByRole("heading", {name: "builder"}).waitFor()
  await counts(page.getByRole("button", {name: "Drain"}), 0)
  await page.goto(`/builds/${done}`)
  await page.getByRole("button", {name: "Rerun all"}).waitFor()
})

test("who may do all does: an agent is drained, and goes on", async t => {
  const page = await w.open(t, "/agents")
  await page.getByText("of 4 slots taken").first().waitFor()
  await page.getByRole("button", {name: "Drain"}).click()
  await page.getByText("draining", {exact: true}).waitFor()
  await page.getByRole("button", {name: "Resume"}).click()
  await page.getByRole("button", {name: "Drain"}).waitFor()
})

test("a page of elsewhere can neither ask nor frame it", async t => {
  const page = await w.open(t, "/")
  const answer = await fetch(w.url + "/v1/builds", {method: "POST", headers: {Origin: "https://evil.example", "Sec-Fetch-Site": "cross-site", "Content-Type": "application/json", Cookie: (await page.context().cookies()).map(c => `${c.name}=${c.value}`).join("; ")}, body: '{"project":"shop"}'})
  assert.equal(answer.status, 403)
  assert.match((await fetch(w.url)).headers.get("content-security-policy"), /default-src 'self'.*frame-ancestors 'none'/)
})
