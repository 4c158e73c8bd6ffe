import type {ComponentChildren} from "preact"
import {format, type Route} from "../route"
import {go} from "../state"

interface Props {
  to: Route
  class?: string | undefined
  title?: string | undefined
  label?: string | undefined
  current?: "page" | "true" | undefined
  replace?: boolean
  children: ComponentChildren
}

// Link goes to another place of the page without loading it anew; with a
// modifier it is the browser's link.
export function Link({to, class: cls, title, label, current, replace, children}: Props) {
  const click = (e: MouseEvent) => {
    if (e.defaultPrevented || e.button !== 0 || e.metaKey || e.ctrlKey || e.shiftKey || e.altKey) return
    e.preventDefault()
    go(to, replace)
    if (!replace) scrollTo(0, 0)
  }
  return (
    <a href={format(to)} class={cls} title={title} aria-label={label} aria-current={current} onClick={click}>
      {children}
    </a>
  )
}
