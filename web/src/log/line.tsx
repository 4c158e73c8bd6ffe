import {look, unstyled} from "./ansi"
import {pieces, read, type Row, type Spans} from "./terminal"

// Of a long line the page shows a part: so many characters, and so many pieces that
// look different. Whoever shows lines one by one shows more when asked to.
export const characters = 4000
export const mostPieces = 80

// LineText is a line as a terminal would show it, or its beginning.
export function LineText({text}: {text: string}) {
  return <code class="line">{nodes(read(text, unstyled), [], 1).nodes}</code>
}

// nodes are what shows a row, so many times as much of it as usual; rest is how
// many characters remain.
export function nodes(row: Row, marks: Spans, times: number) {
  const shown = pieces(row, marks, characters * times, mostPieces * times)
  return {
    rest: shown.rest,
    nodes: shown.pieces.map(p => {
      const {class: classes, style} = look(p.style)
      const text = classes ? (
        <span class={classes} style={style}>
          {p.text}
        </span>
      ) : (
        p.text
      )
      return p.hit ? <mark>{text}</mark> : text
    }),
  }
}
