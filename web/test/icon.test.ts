import assert from "node:assert/strict"
import {test} from "node:test"
import {icon} from "../src/icon"

test("the icon is that of a state, and plain where there is nothing to tell", () => {
  const link = {href: ""}
  Object.assign(globalThis, {document: {querySelector: () => link}})
  for (const [state, want] of [
    ["", "/icon.svg"],
    ["queued", "/icon.svg"],
    ["waiting", "/icon.svg"],
    ["skipped", "/icon.svg"],
    ["running", "/icon-running.svg"],
    ["success", "/icon-success.svg"],
    ["cancelled", "/icon-cancelled.svg"],
    ["failed", "/icon-failed.svg"],
    ["timed_out", "/icon-failed.svg"],
    ["lost", "/icon-failed.svg"],
  ] as const) {
    icon(state)
    assert.equal(link.href, want, state)
  }
})
