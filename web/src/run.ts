// What happened inside one build.

import {ended} from "./state"
import type {BuildEvent, Plan, Retry, Step, StepState} from "./types"

// A Run is the steps of a build: as the server told them, and as its events change
// them. It is changed in place, as there can be hundreds of events a second; a step
// that changes is another object.
export class Run {
  fence = 0
  seq = 0 // of the newest event
  steps = new Map<string, Step>()
  retries = new Map<string, Retry>() // by step: when it is tried again
  private changed = new Map<string, number>() // by step: the event that did it

  // settle takes what the server says of the steps, asked for when the run was at
  // the event since: it knows what an event does not tell, such as that a step is
  // tried again, and why one waits.
  settle(steps: Step[], fence: number, since: number) {
    if (fence < this.fence) return
    if (fence > this.fence) this.begin(fence)
    for (const step of steps) {
      if ((this.changed.get(step.name) ?? 0) <= since) this.steps.set(step.name, step)
    }
  }

  // begin forgets what was lost with an agent: it runs again, under another fence.
  private begin(fence: number) {
    this.fence = fence
    this.seq = 0
    this.changed.clear()
    this.steps = new Map([...this.steps.keys()].map(name => [name, {name, state: "pending"}]))
  }

  // hear takes an event. One that is known changes nothing, so a stream may begin
  // anew.
  hear(ev: BuildEvent) {
    if (ev.fence < this.fence) return
    if (ev.fence > this.fence) this.begin(ev.fence)
    if (ev.seq <= this.seq) return
    this.seq = ev.seq
    if (ev.node === undefined) return
    const before = this.steps.get(ev.node) ?? {name: ev.node, state: "pending" as StepState}
    const attempt = before.attempt ?? 0
    let step: Step = {...before}
    switch (ev.kind) {
      case "attempt_started":
        if (attempt >= (ev.attempt ?? 1)) return
        step = {name: ev.node, state: "running", attempt: ev.attempt ?? 1, started: ev.time}
        break
      case "node_ready":
        step.ready = ev.time
        break
      case "attempt_ended":
        if (attempt > (ev.attempt ?? 1) || (attempt === ev.attempt && ended(before.state))) return
        step.state = (ev.state ?? "failed") as StepState
        step.ended = ev.time
        step.attempt = ev.attempt ?? 1
        for (const field of ["exit", "signal", "reason", "infra", "child", "by"] as const) {
          if (ev[field] !== undefined) Object.assign(step, {[field]: ev[field]})
        }
        if (again(this.retries.get(ev.node), ev)) Object.assign(step, {state: "waiting", why: "is tried again"})
        break
      case "node_skipped":
        if (ended(before.state)) return
        step.state = (ev.state ?? "skipped") as StepState
        step.ended = ev.time
        if (ev.reason !== undefined) step.reason = ev.reason
        break
      case "node_triggered":
        if (ev.child !== undefined) step.child = ev.child
        break
      default:
        return
    }
    this.changed.set(ev.node, ev.seq)
    this.steps.set(ev.node, step)
  }
}

// again tells whether an attempt that ended so is followed by another one, unless the
// build is called off.
function again(retry: Retry | undefined, ev: BuildEvent): boolean {
  if (!retry || ev.final || (ev.state !== "failed" && ev.state !== "timed_out") || (ev.attempt ?? 1) >= retry.attempts) return false
  if (!retry.on?.length || ev.infra) return true
  return retry.on.includes(ev.state === "timed_out" ? "timeout" : ev.signal ? "signal" : String(ev.exit))
}

// needs are the steps that each step of a plan waits for, groups taken apart.
export function needs(plan: Plan): Map<string, string[]> {
  const inside = new Map<string, string[]>()
  const parent = new Map((plan.groups ?? []).map(g => [g.name, g.group]))
  for (const g of parent.keys()) inside.set(g, [])
  for (const n of plan.nodes) {
    for (let g = n.group; g !== undefined; g = parent.get(g)) inside.get(g)?.push(n.name)
  }
  return new Map(plan.nodes.map(n => [n.name, (n.needs ?? []).flatMap(of => inside.get(of) ?? [of])]))
}

// critical is the path that a build's duration is the sum of: from the step that
// ended last, or runs longest, back over what each waited for last.
export function critical(waits: Map<string, string[]>, steps: Map<string, Step>): Set<string> {
  const end = (name: string) => {
    const s = steps.get(name)
    return s?.started ? (s.ended ? Date.parse(s.ended) : Infinity) : -1
  }
  const start = (name: string) => Date.parse(steps.get(name)?.started ?? "")
  const waited = (name: string, of: string) => before(name, waits, () => -1).has(of)
  const later = (a: string | undefined, b: string) => {
    if (a === undefined || end(b) !== end(a)) return a === undefined || end(b) > end(a) ? b : a
    if (waited(b, a) || waited(a, b)) return waited(b, a) ? b : a // in one millisecond
    return start(b) < start(a) ? b : a
  }
  const last = (names: Iterable<string>) => [...names].filter(name => end(name) >= 0).reduce<string | undefined>(later, undefined)
  const path = new Set<string>()
  for (let at = last(waits.keys()); at !== undefined; at = last(before(at, waits, end))) path.add(at)
  return path
}

// before are the steps that ran and that one waited for: through those that were
// skipped, too.
function before(name: string, waits: Map<string, string[]>, end: (name: string) => number): Set<string> {
  const seen = new Set<string>()
  const open = [...(waits.get(name) ?? [])]
  for (let at = open.pop(); at !== undefined; at = open.pop()) {
    if (seen.has(at)) continue
    seen.add(at)
    if (end(at) < 0) open.push(...(waits.get(at) ?? []))
  }
  return seen
}
