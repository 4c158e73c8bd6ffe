import {say} from "./notice"

// Copy is a command, ready to be copied.
export function Copy({text}: {text: string}) {
  const copy = async () => {
    try {
      await navigator.clipboard.writeText(text)
      say("Copied")
    } catch {
      say("The browser does not let this page copy: select the text", true)
    }
  }
  return (
    <span class="copy">
      <code>{text}</code>
      <button class="plain" aria-label={`Copy ${text}`} onClick={copy}>
        Copy
      </button>
    </span>
  )
}

// quote makes one word of a shell's command line of text.
export function quote(text: string): string {
  return /^[\w@%+=:,./-]+$/.test(text) ? text : "'" + text.replaceAll("'", "'\\''") + "'"
}
