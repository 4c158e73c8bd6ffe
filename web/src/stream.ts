// What happens, as it happens: one stream of server-sent events for the whole
// tab. Whoever shows something follows topics; the stream is opened anew when
// they change, and goes on where it was. A browser allows an origin few
// connections over all its tabs, so a tab that nobody sees lets go of its own
// and looks now and then.

import {signal} from "@preact/signals"
import {Problem, send} from "./api"

export interface Message {
  kind: string // an event of GET /v1/events
  data: any
}

// Contact is how it stands with the server.
export type Contact = "none" | "live" | "lost"
export const contact = signal<Contact>("none")

interface Follower {
  topics: string[]
  look: () => void
  hear: (m: Message) => void
  after: string // where it wants to go on; "" is where the stream is
  opened: boolean // it misses nothing any more
}

const silence = 45_000 // the server says something every 15 s, or is not there any more

const followers = new Set<Follower>()
let connection: {topics: Set<string>; resumed: Set<Follower>; abort: AbortController} | undefined
let last = "" // Last-Event-ID
let failures = 0
let timer: ReturnType<typeof setTimeout> | undefined
let due = 0 // when the timer rings

// follow looks at something, and then hears of topics what happened since, until the
// answer is called. look answers from where the stream goes on; when it does not know
// it is called again once the stream is open. It is called, too, when something may
// have been missed.
export function follow(topics: string[], look: () => Promise<string>, hear: (m: Message) => void): () => void {
  const follower: Follower = {topics, look: () => void look(), hear, after: "", opened: false}
  let left = false
  const begin = () => {
    followers.add(follower)
    if (!covered(topics)) plan(0)
    else if (contact.value === "live") opened(follower)
  }
  if (contact.value === "live" && covered(topics)) begin() // what is told while it looks is heard
  else {
    void look().then(at => {
      follower.after = at
      if (!left) begin()
    })
  }
  return () => {
    left = true
    if (followers.delete(follower)) plan(2000) // the next view may want the same
  }
}

function covered(topics: string[]): boolean {
  return !!connection && topics.every(t => connection!.topics.has(t))
}

// plan connects after a while, or earlier if that was planned.
function plan(delay: number) {
  const at = Date.now() + delay
  if (timer !== undefined && due <= at) return
  clearTimeout(timer)
  due = at
  timer = setTimeout(connect, delay)
}

function wanted(): Set<string> {
  return new Set([...followers].flatMap(f => f.topics))
}

function connect() {
  timer = undefined
  const topics = wanted()
  if (connection && topics.size === connection.topics.size && covered([...topics])) return
  connection?.abort.abort()
  connection = undefined
  if (topics.size === 0) {
    contact.value = "none"
    return
  }
  if (hidden) return
  if (![...followers].some(f => f.opened)) last = ""
  const resumed = new Set([...followers].filter(f => f.opened || f.after))
  const abort = new AbortController()
  connection = {topics, resumed, abort}
  void read(connection)
}

async function read({topics, resumed, abort}: NonNullable<typeof connection>) {
  try {
    const headers: Record<string, string> = last ? {"Last-Event-ID": last} : {}
    const after = [...resumed].filter(f => !f.opened).map(f => "&after=" + encodeURIComponent(f.after))
    const answer = await send("GET", "/v1/events?topics=" + [...topics].map(encodeURIComponent).join(",") + after.join(""), {headers, signal: abort.signal})
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
    if (err instanceof Problem && err.status === 400 && resumed.size > 0) {
      for (const f of resumed) forget(f) // of a server that is not there any more
    } else if (err instanceof Problem && refused(err)) {
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

// forget has a follower begin anew.
function forget(f: Follower) {
  f.opened = false
  f.after = ""
}

// refused tells whether to ask again is of no use.
function refused({status}: Problem): boolean {
  return status >= 400 && status < 500 && status !== 429
}

// opened tells a follower that it is told all from now on. What came before that it
// has missed, unless the stream went on where it was.
function opened(f: Follower) {
  if (f.opened || !covered(f.topics)) return
  f.opened = true
  if (!f.after || !connection!.resumed.has(f)) f.look()
}

function tell(m: Message) {
  for (const f of followers) {
    if (!f.opened) continue
    if (m.kind === "reset") f.look()
    else f.hear(m)
  }
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
