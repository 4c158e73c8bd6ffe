import {useLayoutEffect, useState} from "preact/hooks"
import {Problem} from "../api"
import {Diagnosis} from "./diagnostic"
import {follow, type Message} from "../stream"

export interface Loaded<T> {
  value: T | undefined
  problem: Problem | undefined
  set: (f: (value: T) => T) => void
  reload: () => void
}

// useLoad loads something, and again when what happened may have been missed. When
// the server does not answer it asks until it does; what is there stays. load says
// from where the stream goes on, if it knows.
export function useLoad<T>(load: (from: (at: string) => void) => Promise<T>, deps: unknown[], topics: string[] = [], hear: (m: Message, loaded: Loaded<T>) => void = () => {}): Loaded<T> {
  const [value, setValue] = useState<T>()
  const [problem, setProblem] = useState<Problem>()
  const [loader] = useState(() => ({run: 0, timer: 0 as unknown as ReturnType<typeof setTimeout>, load, hear, heard: undefined as Message[] | undefined}))
  loader.load = load
  loader.hear = hear
  const set = (f: (value: T) => T) => setValue(old => (old === undefined ? old : f(old)))
  const reload = async () => {
    const run = ++loader.run
    const heard: Message[] = []
    let at = ""
    loader.heard = heard
    clearTimeout(loader.timer)
    try {
      const got = await loader.load(told => (at = told))
      if (run !== loader.run) return ""
      loader.heard = undefined
      setValue(() => got)
      setProblem(undefined)
      // The answer may be older than what was heard while it was on its way.
      heard.forEach(tell)
    } catch (err) {
      if (run !== loader.run) return ""
      loader.heard = undefined
      const why = err instanceof Problem ? err : new Problem(0, {detail: String(err)})
      setProblem(why)
      if (why.passing) loader.timer = setTimeout(reload, 2000)
    }
    return at
  }
  // What is heard while it loads is heard again after that: then is the time to load
  // once more.
  const tell = (m: Message) => loader.hear(m, {...loaded, reload: () => loader.heard || void reload()})
  const loaded: Loaded<T> = {value, problem, set, reload: () => void reload()}
  const topic = topics.join(",")
  // Not after a picture of what is not there yet.
  useLayoutEffect(() => {
    let leave = () => {}
    if (topics.length === 0) void reload()
    else {
      leave = follow(topics, reload, m => {
        loader.heard?.push(m)
        tell(m)
      })
    }
    return () => {
      loader.run++
      clearTimeout(loader.timer)
      leave()
    }
  }, [...deps, topic])
  return loaded
}

// Trouble says what keeps something from being shown.
export function Trouble({problem, what}: {problem: Problem | undefined; what: string}) {
  if (!problem) return null
  return (
    <div class="trouble" role="alert">
      <p>{problem.passing ? `${what}: ${problem.message}. Trying again…` : `${what}: ${problem.message}`}</p>
      <Diagnosis of={problem.diagnostics} />
    </div>
  )
}
