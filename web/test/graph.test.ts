import assert from "node:assert/strict"
import {test} from "node:test"
import {fit} from "../src/views/build_graph"

test("what does not fit ends in an ellipsis", () => {
  assert.equal(fit("waits for bar", 96, 6), "waits for bar")
  assert.equal(fit("waits for a slot", 96, 6), "waits for a slot")
  assert.equal(fit("waits for a slots", 96, 6), "waits for a slo…")
  assert.equal(fit("waits for it", 66, 6), "waits for…")
  assert.equal(fit("😀😀😀", 12, 6), "😀…")
  assert.equal(fit("x", 0, 6), "…")
})
