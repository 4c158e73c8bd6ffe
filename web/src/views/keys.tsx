import {signal} from "@preact/signals"
import {useEffect, useRef} from "preact/hooks"
import {keep, kept} from "../kept"
import {go} from "../state"
import type {Route} from "../route"

// What a key does everywhere. Views have their own besides, and say so here.
const everywhere: Record<string, Route> = {b: {view: "builds"}, p: {view: "projects"}, a: {view: "agents"}, s: {view: "search"}}

const list: [string, string][] = [
  ["g then b, p, a, s", "builds, projects, agents, search"],
  ["j, k", "the next and the previous row"],
  ["?", "this list"],
  ["/", "in a log: search"],
  ["n, N", "the next and the previous match"],
  ["e", "the next error"],
  [":", "jump to a line"],
  ["G, f", "to the end, follow"],
  ["w, t", "wrap lines, show times"],
  ["d", "what is new in it, and back"],
]

// on is whether single keys do anything: who speaks to his machine, or meets them by
// accident, turns them off (WCAG 2.1.4).
const on = signal(kept("keys") !== "off")

export function Keys() {
  const dialog = useRef<HTMLDialogElement>(null)
  useEffect(() => {
    let went = 0 // when g was pressed
    const press = (e: KeyboardEvent) => {
      if (unwanted(e)) return
      if (Date.now() - went < 1500 && everywhere[e.key]) {
        e.preventDefault()
        e.stopImmediatePropagation()
        go(everywhere[e.key]!)
      } else if (e.key === "?") dialog.current?.showModal()
      else if (e.key === "j" || e.key === "k") step(e.key === "j" ? 1 : -1)
      went = e.key === "g" ? Date.now() : 0
    }
    document.addEventListener("keydown", press, true)
    return () => document.removeEventListener("keydown", press, true)
  }, [])
  return (
    <>
      <button class="plain" title="What keys do (?)" onClick={() => dialog.current?.showModal()}>
        Keys
      </button>
      <dialog ref={dialog} class="keys" aria-labelledby="keys">
        <h2 id="keys">Keys</h2>
        <dl>
          {list.map(([k, what]) => (
            <div>
              <dt>
                <kbd>{k}</kbd>
              </dt>
              <dd>{what}</dd>
            </div>
          ))}
        </dl>
        <label>
          <input
            type="checkbox"
            checked={on.value}
            onChange={e => {
              on.value = e.currentTarget.checked
              keep("keys", on.value ? "on" : "off")
            }}
          />{" "}
          Keys do this
        </label>
        <form method="dialog">
          <button autofocus>Close</button>
        </form>
      </dialog>
    </>
  )
}

// unwanted tells whether a key is not for the page: it is typed somewhere, or the
// browser's, or keys do nothing.
export function unwanted(e: KeyboardEvent): boolean {
  return !on.value || e.ctrlKey || e.metaKey || e.altKey || e.defaultPrevented || typing(e.target)
}

function typing(target: EventTarget | null): boolean {
  return target instanceof HTMLElement && (target.isContentEditable || /^(INPUT|TEXTAREA|SELECT)$/.test(target.tagName))
}

// step moves the focus to the first link of the next row.
function step(by: number) {
  const rows = [...document.querySelectorAll<HTMLElement>("main tbody tr th a, main .rows > li a:first-of-type, main .fresh > a")]
  const at = rows.indexOf(document.activeElement as HTMLElement)
  rows[at < 0 ? 0 : Math.max(0, Math.min(rows.length - 1, at + by))]?.focus()
}
