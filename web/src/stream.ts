// What happens, as it happens: one stream of server-sent events for the whole
// tab. Whoever shows something follows topics; the stream is opened anew when
// they change, and goes on where it was. A browser allows an origin few
// connections over all its tabs, so a tab that nobody sees lets go of its own
// and looks now and then.

import {signal} from "@preact/signals"
import {Problem, send} from "./api"

export interface Message {
  kind: string // "open", "reset", or an event of GET /v1/events
  data: any
}

// Contact is how it stands with the server.
export type Contact = "none" | "live" | "lost"
export const contact = signal<Contact>("none")

interface Follower {
  topics: string[]
  hear: (m: Message) => void
  opened: boolean
}

const silence = 45_000 // the server says something every 15 s, or is not there any more

const followers = new Set<Follower>()
let connection: {topics: Set<string>; abort: AbortController} | undefined
let last = "" // Last-Event-ID
let failures = 0
let timer: ReturnType<typeof setTimeout> | undefined

// follow hears of topics, until the answer is called. "open" is heard once what
// happens from now on will be heard; "reset" when something may have been missed:
// at either, list again.
export function follow(topics: string[], hear: (m: Message) => void): () => void {
  const follower: Follower = {topics, hear, opened: false}
  followers.add(follower)
  const open = connection?.topics
  if (!open || topics.some(t => !open.has(t))) plan(0)
  else if (contact.value === "live") queueMicrotask(() => followers.has(follower) && opened(follower))
  return () => {
    followers.delete(follower)
    plan(2000) // the next view may want the same
  }
}

function plan(delay: number) {
  clearTimeout(timer)
  timer = setTimeout(connect, delay)
}

function wanted(): Set<string> {
  return new Set([...followers].flatMap(f => f.topics))
}

function connect() {
  const topics = wanted()
  if (connection && topics.size === connection.topics.size && [...topics].every(t => connection!.topics.has(t))) return
  connection?.abort.abort()
  connection = undefined
  if (topics.size === 0) {
    contact.value = "none"
    last = ""
    return
  }
  if (hidden) return
  const abort = new AbortController()
  connection = {topics, abort}
  void read(topics, abort)
}

async function read(topics: Set<string>, abort: AbortController) {
  try {
    const headers: Record<string, string> = last ? {"Last-Event-ID": last} : {}
    const answer = await send("GET", "/v1/events?topics=" + [...topics].map(encodeURIComponent).join(","), {headers, signal: abort.signal})
    failures = 0
    contact.value = "live"
    for (const f of followers) opened(f)
    const parser = new EventParser()
    const reader = answer.body!.pipeThrough(new TextDecoderStream()).getReader()
    for (;;) {
      const waiting = setTimeout(() => void reader.cancel().catch(() => {}), silence)
      const {value, done} = await reader.read().finally(() => clearTimeout(waiting))
      if (done) break
      for (const event of parser.feed(value)) {
        if (event.id) last = event.id
        if (event.kind) tell({kind: event.kind, data: JSON.parse(event.data)})
      }
    }
  } catch (err) {
    if (abort.signal.aborted) return
    if (err instanceof Problem && err.status === 400 && last) last = "" // of a server that is not there any more
    else if (err instanceof Problem && refused(err)) {
      connection = undefined // the view says so
      contact.value = "none"
      return
    }
  }
  if (abort.signal.aborted) return
  connection = undefined
  contact.value = "lost"
  // A server that starts anew is met by all its pages at once: not in the same moment.
  plan(Math.min(10_000, 250 * 2 ** failures++) * (0.5 + Math.random()))
}

// refused tells whether to ask again is of no use.
function refused({status}: Problem): boolean {
  return status >= 400 && status < 500 && status !== 429
}

function opened(f: Follower) {
  if (f.opened || !connection || f.topics.some(t => !connection!.topics.has(t))) return
  f.opened = true
  f.hear({kind: "open", data: undefined})
}

function tell(m: Message) {
  for (const f of followers) if (f.opened) f.hear(m)
}

// EventParser cuts a stream into events. A field that it does not know is
// skipped, as is a comment.
export class EventParser {
  private rest = ""

  feed(text: string): {kind: string; id: string; data: string}[] {
    const blocks = (this.rest + text).split("\n\n")
    this.rest = blocks.pop()!
    return blocks.map(block => {
      const event = {kind: "", id: "", data: ""}
      for (const line of block.split("\n")) {
        if (line.startsWith("event: ")) event.kind = line.slice(7)
        else if (line.startsWith("id: ")) event.id = line.slice(4)
        else if (line.startsWith("data: ")) event.data += (event.data && "\n") + line.slice(6)
      }
      return event
    })
  }
}

const glance = 15_000 // between two looks of a tab that nobody sees
const patience = 30_000 // until a hidden tab lets go
let hidden = false

export function watchVisibility() {
  let waiting: ReturnType<typeof setTimeout> | undefined
  let looking: ReturnType<typeof setInterval> | undefined
  document.addEventListener("visibilitychange", () => {
    clearTimeout(waiting)
    clearInterval(looking)
    if (document.visibilityState === "hidden") {
      waiting = setTimeout(() => {
        hidden = true
        connection?.abort.abort()
        connection = undefined
        looking = setInterval(() => tell({kind: "reset", data: undefined}), glance)
      }, patience)
    } else if (hidden) {
      hidden = false
      plan(0)
    }
  })
}
