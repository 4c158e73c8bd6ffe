// What the whole page knows, and how what it hears changes that.

import {signal} from "@preact/signals"
import {get, onUnauthorized, path, Problem, serverTime} from "./api"
import {format, parse, type Route} from "./route"
import type {Build, Role, Session} from "./types"

export const route = signal<Route>({view: "builds"})
// session is undefined until it is known, and null when one has to sign in.
export const session = signal<Session | null | undefined>(undefined)
// now is the server's time. It ticks, for what says how long ago something was.
export const now = signal(serverTime())

// go shows something else. replace is for what is not worth going back to.
export function go(to: Route, replace = false) {
  const url = format(to)
  if (replace) history.replaceState(null, "", url)
  else if (url !== here()) history.pushState(null, "", url)
  route.value = parse(url)
}

export function here(): string {
  return location.pathname + location.search + location.hash
}

const ranks: Role[] = ["read", "trigger", "admin"]

// may tells whether who is signed in has a role: the server decides, this hides
// what it would refuse.
export function may(role: Role, everywhere = false): boolean {
  const s = session.value
  return !!s && ranks.indexOf(s.role) >= ranks.indexOf(role) && !(everywhere && s.projects?.length)
}

export async function loadSession() {
  try {
    session.value = await get<Session>(path(["session"]))
  } catch (err) {
    if (err instanceof Problem && err.status === 401) return // onUnauthorized has said it
    throw err
  }
}

export function start() {
  route.value = parse(here())
  addEventListener("popstate", () => {
    route.value = parse(here())
    if (session.value === null && route.value.view !== "signin") go({view: "signin", to: here()}, true) // it has signed out since
  })
  addEventListener("hashchange", () => (route.value = parse(here())))
  setInterval(() => (now.value = serverTime()), 1000)
  onUnauthorized(() => {
    session.value = null
    if (route.value.view !== "signin") go({view: "signin", to: here()}, true)
  })
}

export function ended(state: string): boolean {
  return state !== "queued" && state !== "running" && state !== "pending" && state !== "waiting" && state !== ""
}

// newer takes what is told of a build, unless something newer is known.
export function newer(old: Build | undefined, told: Build): Build {
  return old && told.rev < old.rev ? old : told
}

// What only the answer about one build has, or has better.
const whole = ["pipeline", "params", "fence", "steps", "triggered", "approvals", "diagnostics"] as const

// brief takes what the stream tells of a build that is known as a whole.
export function brief(old: Build, told: Build): Build {
  if (told.rev < old.rev) return old
  return {...told, ...Object.fromEntries(whole.filter(field => old[field] !== undefined).map(field => [field, old[field]]))}
}

// merge puts a build into a list, newest first.
export function merge(list: Build[], told: Build): Build[] {
  const i = list.findIndex(b => b.id === told.id)
  if (i >= 0) return list.with(i, newer(list[i], told))
  const at = list.findIndex(b => b.number < told.number)
  return at < 0 ? [...list, told] : list.toSpliced(at, 0, told)
}
