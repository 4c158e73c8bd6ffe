import type {Route} from "../route"
import type {Build, Plan, Step} from "../types"

// What each of the three views of a build is given.
export interface Inside {
  build: Build
  plan: Plan | undefined
  steps: Map<string, Step>
  names: string[] // in the plan's order
  path: Set<string> // the critical one
  chosen: string | undefined
}

// placeOf is where to look into a step: in its log, or in the build that it triggered.
export function placeOf(number: number, name: string, step: Step | undefined): Route {
  return step?.child ? {view: "build", build: step.child} : {view: "log", build: String(number), step: name}
}

// outcome is how a step's process ended, where that says more than its state.
export function outcome(step: Step | undefined): string | undefined {
  if (!step) return undefined
  const words = [step.signal ? `signal ${step.signal}` : step.exit ? `exit ${step.exit}` : "", step.allowed ? "allowed" : "", step.infra ? "the machine failed" : ""]
  return words.filter(Boolean).join(", ") || undefined
}

// lineOf is a position in a file without its column.
export function lineOf(pos: string): string {
  return pos.replace(/:\d+$/, "")
}
