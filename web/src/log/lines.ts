// Lines that are pointed at: L120, L120-L140, as the fragment of a URL.

export interface Lines {
  from: number
  to: number
}

export function parse(text: string | undefined): Lines | undefined {
  const [, from, to = from] = /^L(\d{1,15})(?:-L(\d{1,15}))?$/.exec(text ?? "") ?? []
  const [a, b] = [Number(from), Number(to)]
  return a > 0 && b > 0 ? {from: Math.min(a, b), to: Math.max(a, b)} : undefined
}

export function format({from, to}: Lines): string {
  return from === to ? `L${from}` : `L${from}-L${to}`
}

// point is what is pointed at after a line was: with extend it is added to what
// was, from its first line on.
export function point(was: Lines | undefined, line: number, extend: boolean): Lines {
  if (!extend || !was) return {from: line, to: line}
  return line < was.from ? {from: line, to: was.to} : {from: was.from, to: line}
}

export function includes(lines: Lines | undefined, line: number): boolean {
  return !!lines && lines.from <= line && line <= lines.to
}
