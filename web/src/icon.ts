const drawn = ["running", "success", "failed", "cancelled"] // what build.mjs makes of icon.svg

const plain = ["", "queued", "pending", "waiting", "skipped"] // of which there is nothing to tell yet, or ever

// icon makes the tab's icon carry a state; "" is none.
export function icon(state: string) {
  const name = drawn.includes(state) ? state : plain.includes(state) ? "" : "failed"
  const link = document.querySelector<HTMLLinkElement>("link[rel=icon]")
  if (link) link.href = name ? `/icon-${name}.svg` : "/icon.svg"
}
