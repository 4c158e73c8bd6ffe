import {signal} from "@preact/signals"
import {get, path, Problem} from "./api"
import {critical, needs, Run} from "./run"
import {brief, ended, newer} from "./state"
import {follow} from "./stream"
import type {Build, BuildEvent, Plan} from "./types"

const refresh = 1000 // between two looks at a build in which something happens
const childrenEvery = 5000 // of the builds that it triggered no event comes here

// Watched is a build that is followed.
export class Watched {
  build = signal<Build | undefined>(undefined)
  plan = signal<Plan | undefined>(undefined)
  problem = signal<Problem | undefined>(undefined)
  beat = signal(0) // counts the changes of run
  run = new Run()
  names: string[] = [] // of the steps: the plan's, and among them what expands found
  private planned = "" // the digest of plan
  private waits: Map<string, string[]> | undefined
  private timer: ReturnType<typeof setTimeout> | undefined
  private framed = false
  private due = 0 // when the timer rings
  private left = false

  constructor(private ref: string) {}

  watch(): () => void {
    void this.look()
    const leave = follow([`build:${this.ref}`], m => {
      if (m.kind === "open" || m.kind === "reset") void this.look()
      else if (m.kind === "event") this.event(m.data as BuildEvent)
      else if (m.kind === "build" && m.data.id === this.build.value?.id) this.told(m.data as Build)
    })
    return () => {
      this.left = true
      clearTimeout(this.timer)
      leave()
    }
  }

  private told(b: Build) {
    const old = this.build.value!
    const now = brief(old, b)
    this.build.value = ended(now.state) ? now : {...now, progress: this.progress(now)}
    if (b.state !== old.state || b.plan_digest !== old.plan_digest) this.soon(0)
  }

  private event(ev: BuildEvent) {
    if (ev.build !== this.build.value?.id) return
    this.run.hear(ev)
    this.soon(refresh)
    this.draw()
  }

  // draw shows what changed, once a frame.
  private draw() {
    if (this.framed) return
    this.framed = true
    requestAnimationFrame(() => {
      this.framed = false
      this.beat.value++
      const b = this.build.value
      if (b && !ended(b.state)) this.build.value = {...b, progress: this.progress(b)}
    })
  }

  private progress(b: Build): Build["progress"] {
    const p = {...b.progress, running: 0, done: 0, failed: 0, skipped: 0}
    for (const s of this.run.steps.values()) {
      if (s.state === "running") p.running++
      if (!ended(s.state)) continue
      p.done++
      if (s.state === "failed" || s.state === "timed_out") p.failed++
      if (s.state === "skipped") p.skipped++
    }
    return p
  }

  // soon looks again after a while, or earlier if that was planned.
  private soon(delay: number) {
    const due = Date.now() + delay
    if (this.timer !== undefined && this.due <= due) return
    clearTimeout(this.timer)
    this.due = due
    this.timer = setTimeout(() => void this.look(), delay)
  }

  // look asks for the build as it stands.
  private async look() {
    clearTimeout(this.timer)
    this.timer = undefined
    const since = this.run.seq
    try {
      const b = await get<Build>(path(["builds", this.ref]))
      if (b.plan_digest && b.plan_digest !== this.planned) {
        this.plan.value = await get<Plan>(path(["builds", this.ref, "plan"]))
        this.planned = b.plan_digest
        this.waits = undefined
      }
      if (this.left) return
      this.run.settle(b.steps ?? [], b.fence ?? 0, since)
      this.names = b.steps?.map(s => s.name) ?? []
      const told = this.build.value
      this.build.value = newer(told, b)
      this.problem.value = undefined
      this.beat.value++
      if (told && b.rev < told.rev) this.soon(refresh) // it knows more of the build, but not all
      else if (!ended(b.state) || b.triggered?.some(t => t.state && !ended(t.state))) this.soon(childrenEvery)
    } catch (err) {
      if (this.left) return
      this.problem.value = err instanceof Problem ? err : new Problem(0, {detail: String(err)})
      if (this.problem.value.passing) this.soon(2000)
    }
  }

  path(): Set<string> {
    if (!this.plan.value) return new Set()
    this.waits ??= needs(this.plan.value)
    return critical(this.waits, this.run.steps)
  }
}
