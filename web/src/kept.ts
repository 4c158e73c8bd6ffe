// How somebody likes the page, kept by his browser.

export function kept(name: string): string | undefined {
  try {
    return localStorage.getItem(name) ?? undefined
  } catch {
    return undefined // it keeps nothing
  }
}

export function keep(name: string, value: string) {
  try {
    localStorage.setItem(name, value)
  } catch {
    return
  }
}
