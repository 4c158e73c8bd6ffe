const drawn = ["running", "success", "failed", "cancelled"] // what build.mjs makes of icon.svg

// icon makes the tab's icon carry a state; "" is none.
export function icon(state: string) {
  const name = drawn.includes(state) ? state : state === "" || state === "queued" ? "" : "failed"
  const link = document.querySelector<HTMLLinkElement>("link[rel=icon]")
  if (link) link.href = name ? `/icon-${name}.svg` : "/icon.svg"
}
