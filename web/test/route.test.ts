import assert from "node:assert/strict"
import {test} from "node:test"
import {format, parse, query, type Route} from "../src/route"

const there: [string, Route][] = [
  ["/", {view: "builds"}],
  ["/?project=shop&pipeline=release&state=failed", {view: "builds", project: "shop", pipeline: "release", state: "failed"}],
  ["/builds/41", {view: "build", build: "41"}],
  ["/builds/41?view=graph&step=build%2Flinux", {view: "build", build: "41", as: "graph", step: "build/linux"}],
  ["/builds/41?view=timeline", {view: "build", build: "41", as: "timeline"}],
  ["/builds/41/log?step=unit", {view: "log", build: "41", step: "unit"}],
  ["/builds/41/log?step=unit&attempt=2&fence=3&search=a+b&regex=true&exact=true#L120-L140", {view: "log", build: "41", step: "unit", attempt: 2, fence: 3, search: "a b", regex: true, exact: true, lines: "L120-L140"}],
  ["/builds/41/log?step=unit&fence=3&against=last", {view: "log", build: "41", step: "unit", fence: 3, against: "last"}],
  ["/projects", {view: "projects"}],
  ["/projects/shop", {view: "project", project: "shop"}],
  ["/projects/a%2Fb%3Fc?of=refs%2Fheads%2Fx&pipeline=release", {view: "project", project: "a/b?c", of: "refs/heads/x", pipeline: "release"}],
  ["/agents", {view: "agents"}],
  ["/agents?agent=a1", {view: "agents", agent: "a1"}],
  ["/search", {view: "search"}],
  ["/search?text=%3Cimg%3E&regex=true&exact=true&since=7d&project=shop&pipeline=p&step=s", {view: "search", text: "<img>", regex: true, exact: true, since: "7d", project: "shop", pipeline: "p", step: "s"}],
  ["/signin", {view: "signin"}],
  ["/signin?to=%2Fbuilds%2F41%2Flog%3Fstep%3Dunit%23L3", {view: "signin", to: "/builds/41/log?step=unit#L3"}],
  ["/nothing/here", {view: "unknown", path: "/nothing/here"}],
]

for (const [url, route] of there) {
  test(`${url} is read and written`, () => {
    assert.deepEqual(parse(url), route)
    assert.equal(format(route), url)
  })
}

test("a path that could be read as another origin is none", () => {
  assert.deepEqual(parse("/.//evil.example/x"), {view: "unknown", path: "/evil.example/x"})
})

test("what a URL says that means nothing is left out", () => {
  assert.deepEqual(parse("/builds/41?view=list"), {view: "build", build: "41"})
  assert.deepEqual(parse("/builds/41?view=<script>"), {view: "build", build: "41"})
  assert.deepEqual(parse("/builds/41/log?step=unit&attempt=x#top"), {view: "log", build: "41", step: "unit"})
  assert.deepEqual(parse("/builds/41/log?step=unit&against="), {view: "log", build: "41", step: "unit"})
  assert.deepEqual(parse("/builds/41/log"), {view: "unknown", path: "/builds/41/log"})
  assert.deepEqual(parse("/builds/"), {view: "unknown", path: "/builds/"})
  assert.deepEqual(parse("/builds/%zz"), {view: "unknown", path: "/builds/%zz"})
  assert.deepEqual(parse("/search?regex=false"), {view: "search"})
})

test("format leaves out the view that is the usual one", () => {
  assert.equal(format({view: "build", build: "41", as: "list"}), "/builds/41")
})

test("query escapes, and leaves out what is not set", () => {
  assert.equal(query({}), "")
  assert.equal(query({a: undefined, b: "", c: false}), "")
  assert.equal(query({a: "x&y=z", b: 0, c: true}), "?a=x%26y%3Dz&b=0&c=true")
})
