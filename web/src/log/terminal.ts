// A line as a terminal would be left showing it, minus all that could drive a
// terminal: the same rules as the server's for `piper logs`.
//
// A carriage return goes back to the start of the line, so of a progress bar its
// last state is left; backspace, and erasing to the end of the line, work too.
// Every other escape sequence is swallowed, a string such as a window's title or
// the target of a link until its end or the line's. Other control characters are
// shown as pictures (␀), and what turns the direction of writing around is left
// out.

import {apply, type Style} from "./ansi"

// maxColumns bounds a line: what a longer one writes beyond is not shown.
export const maxColumns = 1 << 18

// maxParams bounds the parameters of a sequence. A longer one has no effect.
const maxParams = 128

// A Row is a line as it is shown.
export interface Row {
  text: string
  runs: Run[] // they cover text, in order
  source: number[] | undefined // for each unit of text, where it stood in the line; undefined: in the same place
  after: Style // at the start of the next line
  full: boolean // it wrote beyond maxColumns
}

// A Run is what looks alike, up to an index into the text.
export interface Run {
  to: number
  style: Style
}

const special = /[\0-\x08\x0a-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069]/

// read reads a line that begins in a style. It takes linear time.
export function read(line: string, style: Style): Row {
  if (line.length <= maxColumns && !special.test(line)) {
    return {text: line, runs: line ? [{to: line.length, style}] : [], source: undefined, after: style, full: false}
  }
  const terminal = new Terminal(style, maxColumns)
  terminal.write(line)
  return terminal.row()
}

// carry is the style in which the next line begins.
export function carry(line: string, style: Style): Style {
  if (!line.includes("\x1b")) return style
  const terminal = new Terminal(style, 0)
  terminal.write(line)
  return terminal.style
}

// State is where in an escape sequence a Terminal stands.
const enum State {
  plain,
  escape, // after ESC
  control, // in a control sequence: after ESC [
  text, // in a string that nobody sees
  textEnd, // after an ESC in such a string
}

class Terminal {
  private cells: string[] = []
  private styles: Style[] = []
  private source: number[] = []
  private column = 0
  private full = false
  private state = State.plain
  private params = ""
  private at = 0 // of the character under way

  constructor(
    public style: Style,
    private readonly columns: number,
  ) {}

  write(line: string) {
    for (const c of line) {
      this.take(c, c.codePointAt(0)!)
      this.at += c.length
    }
  }

  row(): Row {
    const runs: Run[] = []
    const source: number[] = []
    let to = 0
    this.cells.forEach((c, i) => {
      for (let unit = 0; unit < c.length; unit++) source.push(this.source[i]! + unit)
      to += c.length
      const run = runs.at(-1)
      if (run && run.style === this.styles[i]) run.to = to
      else runs.push({to, style: this.styles[i]!})
    })
    return {text: this.cells.join(""), runs, source, after: this.style, full: this.full}
  }

  private take(c: string, code: number) {
    const esc = 0x1b, bel = 0x07, can = 0x18, sub = 0x1a, st = 0x9c // prettier-ignore
    if (code === can || code === sub) {
      this.state = State.plain
    } else if (this.state === State.text) {
      if (code === bel || code === st) this.state = State.plain
      else if (code === esc) this.state = State.textEnd
    } else if (this.state === State.textEnd && c === "\\") {
      this.state = State.plain
    } else if (code === esc) {
      this.state = State.escape
    } else if (this.state === State.plain) {
      this.show(c, code)
    } else if (this.state === State.control) {
      this.control(c, code)
    } else {
      this.escape(c, code) // an ESC in a string ends it, whatever follows
    }
  }

  // escape takes a character after ESC.
  private escape(c: string, code: number) {
    if (c === "[") {
      this.state = State.control
      this.params = ""
    } else if (c === "]" || c === "P" || c === "X" || c === "^" || c === "_") {
      this.state = State.text
    } else if (c >= " " && c <= "/") {
      this.state = State.escape // more of it follows
    } else {
      this.state = State.plain
      if (c < "0" || c > "~") this.show(c, code)
    }
  }

  // control takes a character of a control sequence.
  private control(c: string, code: number) {
    if (code < 0x20) {
      this.show(c, code) // a terminal obeys it in passing
    } else if (code < 0x40) {
      if (this.params.length <= maxParams) this.params += c
    } else {
      this.state = State.plain
      if (code > 0x7e) this.show(c, code)
      else if (this.params.length <= maxParams) this.execute(c)
    }
  }

  // execute carries out a control sequence, if it is one of the few.
  private execute(final: string) {
    const params = this.params
    if (final === "m") {
      if (/^[\d;:]*$/.test(params)) this.style = apply(this.style, params)
    } else if (final === "K" && (params === "" || params === "0")) {
      this.erase(this.column)
    } else if (final === "K" && params === "2") {
      this.erase(0)
      this.column = 0 // a carriage return goes with it
    } else if (final === "G" && (params === "" || params === "0" || params === "1")) {
      this.column = 0
    }
  }

  private erase(from: number) {
    if (from >= this.cells.length) return
    this.cells.length = this.styles.length = this.source.length = from
    this.full = false
  }

  // show puts a character on the line, or does what a control character does.
  private show(c: string, code: number) {
    if (c === "\r") this.column = 0
    else if (c === "\b") this.column = Math.max(this.column - 1, 0)
    else if (c === "\x07") return
    else if (c === "\t") this.put(c)
    else if (code < 0x20) this.put(String.fromCharCode(0x2400 + code))
    else if (code === 0x7f) this.put("␡")
    else if (code >= 0x80 && code < 0xa0) this.put("\ufffd")
    else if (!special.test(c)) this.put(c) // else it turns the direction of writing around, or breaks the line
  }

  private put(c: string) {
    if (this.column >= this.columns) {
      this.full = true
      return
    }
    this.cells[this.column] = c
    this.styles[this.column] = this.style
    this.source[this.column] = this.at
    this.column++
  }
}

// A Piece is what of a row is one node on the page.
export interface Piece {
  text: string
  style: Style
  hit: boolean
}

// Spans are parts of a line, in order and apart: from, to.
export type Spans = [from: number, to: number][]

// pieces cuts the beginning of a row into what looks alike; marks are parts of the
// line that it shows which stand out. It ends after so many characters, or pieces;
// rest is how many characters remain.
export function pieces(row: Row, marks: Spans, characters: number, most: number): {pieces: Piece[]; rest: number} {
  let end = Math.min(row.text.length, characters)
  if (end < row.text.length && /[\ud800-\udbff]/.test(row.text[end - 1] ?? "")) end--
  const list: Piece[] = []
  let from = 0
  for (let i = 0; i < row.runs.length && from < end; i++) {
    const {to, style} = row.runs[i]!
    while (from < to && from < end) {
      if (list.length === most) return {pieces: list, rest: row.text.length - from}
      const [hit, until] = marked(row, marks, from, Math.min(to, end))
      list.push({text: row.text.slice(from, until), style, hit})
      from = until
    }
  }
  return {pieces: list, rest: row.text.length - from}
}

// marked tells whether the unit at from is marked, and up to where that is so.
function marked(row: Row, marks: Spans, from: number, to: number): [boolean, number] {
  const at = (i: number) => {
    const place = row.source ? row.source[i]! : i
    let low = 0
    let high = marks.length // of the first mark that ends behind place
    while (low < high) {
      const middle = (low + high) >> 1
      if (marks[middle]![1] > place) high = middle
      else low = middle + 1
    }
    return low < marks.length && marks[low]![0] <= place
  }
  if (marks.length === 0) return [false, to]
  const hit = at(from)
  let until = from + 1
  while (until < to && at(until) === hit) until++
  return [hit, until]
}
