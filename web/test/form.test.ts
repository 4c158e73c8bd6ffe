import assert from "node:assert/strict"
import {test} from "node:test"
import {given, text} from "../src/parts/form"
import type {Param} from "../src/types"

// A form, as far as given looks at one.
class Form {
  constructor(public fields: Record<string, string>) {}
}

globalThis.FormData = class {
  constructor(private form: Form) {}
  get(name: string) {
    return this.form.fields["param:" + name.replace(/^param:/, "")] ?? null
  }
} as never

function read(params: Param[], fields: Record<string, string>, defaults: Record<string, unknown> = {}) {
  const named = Object.fromEntries(Object.entries(fields).map(([k, v]) => ["param:" + k, v]))
  return given(new Form(named) as never, params, defaults)
}

const params: Param[] = [
  {name: "version", type: "string", required: true},
  {name: "count", type: "int", default: 3},
  {name: "push", type: "bool", default: true},
  {name: "dry", type: "bool"},
  {name: "target", type: "enum", choices: ["staging", "live"], default: "staging"},
  {name: "hosts", type: "list", default: ["a", "b"]},
]
const untouched = {version: "", count: "3", push: "on", target: "staging", hosts: "a\nb"}

test("what is as it was is not given", () => {
  assert.deepEqual(read(params, untouched), {})
})

test("what was changed is given as --param takes it", () => {
  assert.deepEqual(read(params, {version: "v1", count: "4", dry: "on", target: "live", hosts: " a \n\nc,d\n"}), {version: "v1", count: "4", push: "false", dry: "true", target: "live", hosts: '["a","c,d"]'})
})

test("of a build again, what differs from it", () => {
  const before = {version: "v1", count: 9, push: false, dry: true, target: "live", hosts: ["x"]}
  assert.deepEqual(read(params, {version: "v1", count: "9", dry: "on", target: "live", hosts: "x"}, before), {})
  assert.deepEqual(read(params, {...untouched, version: "v2"}, before), {version: "v2", count: "3", push: "true", dry: "false", target: "staging", hosts: '["a","b"]'})
})

test("a field that is emptied is given as empty", () => {
  assert.deepEqual(read(params, {...untouched, count: "", hosts: ""}), {count: "", hosts: "[]"})
})

test("text is what stands in a field", () => {
  assert.deepEqual([text(undefined), text(null), text(0), text(false), text(["a", 1]), text("x")], ["", "", "0", "false", "a\n1", "x"])
})
