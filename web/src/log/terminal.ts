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
export const maxColumns = 1 << 16

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

const esc = 0x1b
const bel = 0x07
const can = 0x18
const sub = 0x1a
const st = 0x9c

// Terminal takes one line. It works on code points: a line may be a megabyte.
class Terminal {
  private cells: number[] = []
  private styles: Style[] = []
  private source: number[] = []
  private column = 0
  private full = false
  private state = State.plain
  private params = "" // of the control sequence under way, up to start
  private start = 0
  private at = 0 // of the character under way
  private line = ""

  constructor(
    public style: Style,
    private readonly columns: number,
  ) {}

  write(line: string) {
    this.line = line
    while (this.at < line.length) {
      const code = line.codePointAt(this.at)!
      if (this.state === State.plain && code >= 0x20 && code < 0x7f) this.put(code)
      else this.take(code)
      this.at += code > 0xffff ? 2 : 1
    }
  }

  row(): Row {
    const runs: Run[] = []
    const source: number[] = []
    const parts: string[] = []
    for (let i = 0; i < this.cells.length; i++) {
      source.push(this.source[i]!)
      if (this.cells[i]! > 0xffff) source.push(this.source[i]! + 1)
      const run = runs.at(-1)
      if (run && run.style === this.styles[i]) run.to = source.length
      else runs.push({to: source.length, style: this.styles[i]!})
    }
    for (let i = 0; i < this.cells.length; i += 4096) parts.push(String.fromCodePoint(...this.cells.slice(i, i + 4096)))
    return {text: parts.join(""), runs, source, after: this.style, full: this.full}
  }

  private take(code: number) {
    if (code === can || code === sub) {
      this.state = State.plain
    } else if (this.state === State.text) {
      if (code === bel || code === st) this.state = State.plain
      else if (code === esc) this.state = State.textEnd
    } else if (this.state === State.textEnd && code === 0x5c) {
      this.state = State.plain
    } else if (code === esc) {
      this.state = State.escape
    } else if (this.state === State.plain) {
      this.show(code)
    } else if (this.state === State.control) {
      this.control(code)
    } else {
      this.escape(code) // an ESC in a string ends it, whatever follows
    }
  }

  // escape takes a character after ESC.
  private escape(code: number) {
    if (code === 0x5b) {
      this.state = State.control
      this.params = ""
      this.start = this.at + 1
    } else if (code === 0x5d || code === 0x50 || code === 0x58 || code === 0x5e || code === 0x5f) {
      this.state = State.text // after ] P X ^ _
    } else if (code >= 0x20 && code < 0x30) {
      this.state = State.escape // more of it follows
    } else {
      this.state = State.plain
      if (code < 0x30 || code > 0x7e) this.show(code)
    }
  }

  // control takes a character of a control sequence.
  private control(code: number) {
    if (code >= 0x20 && code < 0x40) return
    const params = this.params + this.line.slice(this.start, Math.min(this.at, this.start + maxParams + 1))
    if (code < 0x20) {
      this.show(code) // a terminal obeys it in passing
      this.params = params.slice(0, maxParams + 1)
      this.start = this.at + 1
      return
    }
    this.state = State.plain
    if (code > 0x7e) this.show(code)
    else if (params.length <= maxParams) this.execute(code, params)
  }

  // execute carries out a control sequence, if it is one of the few.
  private execute(final: number, params: string) {
    if (final === 0x6d) {
      this.style = apply(this.style, params)
    } else if (final === 0x4b && (params === "" || params === "0")) {
      this.erase(this.column) // K
    } else if (final === 0x4b && params === "2") {
      this.erase(0)
      this.column = 0 // a carriage return goes with it
    } else if (final === 0x47 && (params === "" || params === "0" || params === "1")) {
      this.column = 0 // G
    }
  }

  private erase(from: number) {
    if (from >= this.cells.length) return
    this.cells.length = this.styles.length = this.source.length = from
    this.full = false
  }

  // show puts a character on the line, or does what a control character does.
  private show(code: number) {
    if (code === 0x0d) this.column = 0
    else if (code === 0x08) this.column = Math.max(this.column - 1, 0)
    else if (code === bel) return
    else if (code === 0x09) this.put(code)
    else if (code < 0x20) this.put(0x2400 + code)
    else if (code === 0x7f) this.put(0x2421)
    else if (code >= 0x80 && code < 0xa0) this.put(0xfffd)
    else if (code < 0x61c || !special.test(String.fromCodePoint(code))) this.put(code) // else it turns the direction of writing around, or breaks the line
  }

  private put(code: number) {
    if (this.column >= this.columns) {
      this.full = true
      return
    }
    this.cells[this.column] = code
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
