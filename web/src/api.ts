// The one door to the server.

import {signal} from "@preact/signals"
import {query, type Query} from "./route"
import type {Diagnostic} from "./types"

// A Problem is an answer that says no (RFC 9457), or none at all.
export class Problem extends Error {
  status: number // 0: nobody answered
  type: string
  errors: {field: string; message: string; hint?: string}[]
  diagnostics: Diagnostic[] // of a PIPER.star that is at fault

  constructor(status: number, body: {type?: string; title?: string; detail?: string; errors?: Problem["errors"]; diagnostics?: Diagnostic[]}) {
    super(body.detail || body.errors?.map(e => `${e.field} ${e.message}${e.hint ? ` (${e.hint})` : ""}`).join("; ") || body.title || `the server answered ${status}`)
    this.status = status
    this.type = (body.type ?? "").replace("urn:piper:problem:", "")
    this.errors = body.errors ?? []
    this.diagnostics = body.diagnostics ?? []
  }

  // passing tells whether to ask again may help.
  get passing(): boolean {
    return this.status === 0 || this.status === 502 || this.status === 503 || this.status === 504
  }
}

// ahead is how far the server's clock is ahead of the browser's, in milliseconds.
let ahead = 0

// serverTime is what the server's clock says now: times of builds are its own.
export function serverTime(): number {
  return Date.now() + ahead
}

// setClock takes the header Date of an answer, which knows no parts of a second.
export function setClock(date: string | null) {
  const by = Date.parse(date ?? "") + 500 - Date.now()
  if (!Number.isNaN(by)) ahead = Math.abs(by) > 2000 ? by : 0
}

let unauthorized = () => {}

// onUnauthorized is told when the server does not know who asks.
export function onUnauthorized(f: () => void) {
  unauthorized = f
}

// path joins segments, each escaped, and a query.
export function path(segments: (string | number)[], values: Query = {}): string {
  return "/v1/" + segments.map(s => encodeURIComponent(String(s))).join("/") + query(values)
}

const patience = 3000

// overdue counts the answers that somebody has waited for longer than patience.
export const overdue = signal(0)

export async function send(method: string, url: string, init: RequestInit = {}): Promise<Response> {
  let answer: Response
  let late = 0
  const timer = setTimeout(() => (overdue.value += late = 1), patience)
  try {
    answer = await fetch(url, {method, credentials: "same-origin", ...init})
  } catch (err) {
    if (init.signal?.aborted) throw err
    throw new Problem(0, {detail: "the server does not answer"})
  } finally {
    clearTimeout(timer)
    overdue.value -= late
  }
  setClock(answer.headers.get("Date"))
  if (answer.ok) return answer
  const body = await answer.json().catch(() => ({}))
  if (answer.status === 401) unauthorized()
  throw new Problem(answer.status, body)
}

// An Answer has beside what was asked for where the next page of a list begins, and
// from where a stream goes on; "" is that there is none.
export interface Answer<T> {
  value: T
  next: string
  at: string
}

// along are the answers to what came with the page: the server has the browser ask for
// it before there is a script (web.go). Each is for who asks first.
const along = new Map<string, Promise<Answer<any>>>()

// withPage has whoever first draws something know what came along, if it has come:
// else there would be a picture with nothing in it before the one that is wanted.
export async function withPage(draw: () => void) {
  for (const r of performance.getEntriesByType("resource") as PerformanceResourceTiming[]) {
    const url = r.name.slice(location.origin.length)
    if (r.initiatorType === "link" && url.startsWith("/v1/")) along.set(url, ask(url))
  }
  await Promise.race([Promise.allSettled(along.values()), new Promise(enough => setTimeout(enough, 100))])
  draw()
  along.clear()
}

export async function ask<T>(url: string, signal?: AbortSignal): Promise<Answer<T>> {
  const there = along.get(url)
  if (there) {
    along.delete(url)
    return there
  }
  const answer = await send("GET", url, signal ? {signal} : {})
  return {value: await answer.json(), next: answer.headers.get("X-Next-Cursor") ?? "", at: answer.headers.get("X-Event-ID") ?? ""}
}

export async function get<T>(url: string, signal?: AbortSignal): Promise<T> {
  return (await ask<T>(url, signal)).value
}

export async function post<T>(url: string, body?: unknown, headers: Record<string, string> = {}): Promise<T> {
  const init: RequestInit = body === undefined ? {headers} : {headers: {"Content-Type": "application/json", ...headers}, body: JSON.stringify(body)}
  const answer = await send("POST", url, init)
  return answer.status === 204 ? (undefined as T) : answer.json()
}

// key is an Idempotency-Key: whoever asks twice with it gets one build.
export function key(): Record<string, string> {
  return {"Idempotency-Key": Array.from(crypto.getRandomValues(new Uint8Array(16)), b => b.toString(16).padStart(2, "0")).join("")}
}
