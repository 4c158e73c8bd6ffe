// How states look: a word, a shape and a colour, so that none is needed alone.

const shapes: Record<string, string> = {
  queued: "◌",
  pending: "◌",
  waiting: "◔",
  running: "▶",
  success: "✓",
  failed: "✕",
  cancelled: "⊘",
  timed_out: "◷",
  skipped: "→",
  lost: "?",
  rejected: "!",
}

export function words(state: string): string {
  return state.replace("_", " ")
}

export function State({state, note}: {state: string; note?: string | undefined}) {
  return (
    <span class={`state ${state}`}>
      <span class="shape" aria-hidden="true">
        {shapes[state] ?? "·"}
      </span>
      {words(state)}
      {note && <span class="note"> {note}</span>}
    </span>
  )
}

// Mark is a State where its word stands elsewhere.
export function Mark({state}: {state: string}) {
  return (
    <span class={`state ${state}`} title={words(state)}>
      <span class="shape" aria-hidden="true">
        {shapes[state] ?? "·"}
      </span>
      <span class="hidden">{words(state)}</span>
    </span>
  )
}
