import {signal} from "@preact/signals"

const notices = signal<{id: number; text: string; bad: boolean}[]>([])
let count = 0

// say tells of what came of something that was asked for. What went wrong stays
// until it is closed.
export function say(text: string, bad = false) {
  const id = ++count
  notices.value = [...notices.value.slice(-3), {id, text, bad}]
  if (!bad) setTimeout(() => close(id), 6000)
}

function close(id: number) {
  notices.value = notices.value.filter(n => n.id !== id)
}

export function Notices() {
  return (
    <div class="notices" role="status" aria-live="polite">
      {notices.value.map(n => (
        <div key={n.id} class={n.bad ? "notice bad" : "notice"}>
          <span>{n.text}</span>
          <button class="plain" aria-label="Close this notice" onClick={() => close(n.id)}>
            ✕
          </button>
        </div>
      ))}
    </div>
  )
}

// attempt does something that was asked for, and says when it did not work.
export async function attempt<T>(what: string, f: () => Promise<T>): Promise<T | undefined> {
  try {
    return await f()
  } catch (err) {
    say(`${what}: ${err instanceof Error ? err.message : String(err)}`, true)
    return undefined
  }
}
