// Where a reader of many rows is. What is seen is fixed by an anchor, the row at
// the top of the view, and not by the scroll bar: that one moves over a spacer of
// bounded height, and rows that are wrapped have heights that nobody knows before
// they are there. A wheel moves the anchor by what it says; the scroll bar moves
// it to its share of all rows. Whoever goes to a row is there to the pixel.

// maxHeight is that of the spacer: browsers cap an element near 33 million pixels,
// some at 17, and place what is far down less exactly.
export const maxHeight = 4_000_000

export interface Anchor {
  row: number
  offset: number // pixels of the row that lie above the view
}

// A Scale is all rows and the view, in pixels; height is that of a usual row.
export interface Scale {
  rows: number
  height: number
  view: number
}

export function spacer({rows, height}: Scale): number {
  return Math.min(maxHeight, Math.ceil(rows * height))
}

// toTop is the scroll position for rows that lie above the view, in parts of one.
export function toTop(s: Scale, above: number): number {
  const room = Math.max(0, spacer(s) - s.view)
  const most = s.rows - s.view / s.height
  return most <= 0 ? 0 : Math.min(room, Math.max(0, (above / most) * room))
}

// toRows is the way back.
export function toRows(s: Scale, top: number): number {
  const room = spacer(s) - s.view
  return room <= 0 ? 0 : Math.min(1, Math.max(0, top / room)) * (s.rows - s.view / s.height)
}

// move moves an anchor by pixels over rows of such heights. It stops at the first
// row and at the last.
export function move({row, offset}: Anchor, by: number, rows: number, height: (row: number) => number): Anchor {
  offset += by
  while (offset < 0 && row > 0) offset += height(--row)
  while (row < rows - 1 && offset >= height(row)) offset -= height(row++)
  return {row, offset: Math.max(0, Math.min(offset, height(row)))}
}

// atEnd is the anchor at which the last row ends where the view does; the first
// row when there are too few.
export function atEnd(view: number, rows: number, height: (row: number) => number): Anchor {
  return move({row: Math.max(0, rows - 1), offset: rows > 0 ? height(rows - 1) : 0}, -view, rows, height)
}

// behind tells whether an anchor shows what lies behind the last row.
export function behind(a: Anchor, end: Anchor): boolean {
  return a.row > end.row || (a.row === end.row && a.offset >= end.offset)
}
