import {signal} from "@preact/signals"
import {ask, get, path, Problem} from "./api"
import {critical, needs, Run} from "./run"
import {brief, ended, newer} from "./state"
import {follow} from "./stream"
import type {Build, BuildEvent, Plan} from "./types"

const refresh = 1000 // between two looks at a build in which something happens, at least
const share = 20 // and so many times as long as a look takes
const picture = 100 // between two pictures of it
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
  private drawing: ReturnType<typeof setTimeout> | undefined
  private drawn = -Infinity // when the last picture was made
  private took = 0 // how long the last look took
  private due = 0 // when the timer rings
  private looks = 0
  private taken = 0 // the newest look that was answered
  private left = false

  constructor(private ref: string) {}

  watch(): () => void {
    const leave = follow([`build:${this.ref}`], () => this.look(), m => {
      if (m.kind === "event") this.event(m.data as BuildEvent)
      else if (m.kind === "build" && m.data.id === this.build.value?.id) this.told(m.data as Build)
    })
    return () => {
      this.left = true
      clearTimeout(this.timer)
      clearTimeout(this.drawing)
      leave()
    }
  }

  private told(b: Build) {
    const old = this.build.value!
    const now = brief(old, b)
    this.build.value = ended(now.state) ? now : {...now, progress: this.progress(now)}
    if (b.state !== old.state || b.plan_digest !== old.plan_digest || b.progress.asking !== old.progress.asking) this.soon(0)
  }

  private event(ev: BuildEvent) {
    if (ev.build !== this.build.value?.id) return
    this.run.hear(ev)
    this.soon(refresh)
    this.draw()
  }

  // draw shows what changed, as often as somebody can see.
  private draw() {
    this.drawing ??= setTimeout(
      () => {
        this.drawing = undefined
        this.drawn = performance.now()
        this.beat.value++
        const b = this.build.value
        if (b && !ended(b.state)) this.build.value = {...b, progress: this.progress(b)}
      },
      Math.max(0, this.drawn + picture - performance.now()),
    )
  }

  private progress(b: Build): Build["progress"] {
    const p = {...b.progress, running: 0, done: 0, failed: 0, skipped: 0}
    for (const s of this.run.steps.values()) {
      if (s.state === "running") p.running++
      if (!ended(s.state)) continue
      p.done++
      if ((s.state === "failed" || s.state === "timed_out") && !s.allowed) p.failed++
      if (s.state === "skipped") p.skipped++
    }
    return p
  }

  // soon looks again after a while, or earlier if that was planned.
  private soon(delay: number) {
    delay = Math.max(delay, delay && this.took * share) // however large the build is
    const due = Date.now() + delay
    if (this.timer !== undefined && this.due <= due) return
    clearTimeout(this.timer)
    this.due = due
    this.timer = setTimeout(() => void this.look(), delay)
  }

  // look asks for the build as it stands, and answers from where the stream goes on.
  private async look(): Promise<string> {
    clearTimeout(this.timer)
    this.timer = undefined
    const look = ++this.looks
    const since = this.run.seq
    const began = performance.now()
    try {
      const {value: b, at} = await ask<Build>(path(["builds", this.ref]))
      if (b.plan_digest && (b.plan_digest !== this.planned || b.steps?.length !== this.plan.value?.nodes.length)) { // an expand found more
        this.plan.value = await get<Plan>(path(["builds", this.ref, "plan"], {grown: true}))
        this.planned = b.plan_digest
        this.run.retries = new Map(this.plan.value.nodes.flatMap(n => (n.step?.retry ? [[n.name, n.step.retry]] : [])))
        this.waits = undefined
      }
      if (this.left || look < this.taken) return "" // a later one was faster
      this.taken = look
      this.took = performance.now() - began
      this.run.settle(b.steps ?? [], b.fence ?? 0, since)
      this.names = b.steps?.map(s => s.name) ?? []
      const told = this.build.value
      this.build.value = newer(told, b)
      this.problem.value = undefined
      this.beat.value++
      if (told && b.rev < told.rev) this.soon(refresh) // it knows more of the build, but not all
      else if (!ended(b.state) || b.triggered?.some(t => t.state && !ended(t.state))) this.soon(childrenEvery)
      return at
    } catch (err) {
      if (this.left || look < this.taken) return ""
      this.problem.value = err instanceof Problem ? err : new Problem(0, {detail: String(err)})
      if (this.problem.value.passing) this.soon(2000)
      return ""
    }
  }

  path(): Set<string> {
    if (!this.plan.value) return new Set()
    this.waits ??= needs(this.plan.value)
    return critical(this.waits, this.run.steps)
  }
}
