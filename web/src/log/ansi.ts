// How characters look: what SGR sequences set.

// A Style is how a character looks. A colour is 0 for the page's own, one of the
// 16 with a name (named | 0 to 15), or exact | red, green and blue.
export interface Style {
  readonly fg: number
  readonly bg: number
  readonly attrs: number // a bit for each SGR number from 1 to 9
}

export const unstyled: Style = {fg: 0, bg: 0, attrs: 0}

const named = 1 << 24
const exact = 2 << 24

const bold = 1 << 1
const dim = 1 << 2
const italic = 1 << 3
const underline = 1 << 4
const inverse = 1 << 7
const strike = 1 << 9
// Blinking is a nuisance, and concealing would hide what was written.
const shown = bold | dim | italic | underline | inverse | strike

// apply is what a style becomes by the parameters of an SGR sequence. What is
// unknown changes nothing.
export function apply(style: Style, params: string): Style {
  if (params === "" || params === "0") return unstyled
  if (!/^[\d;:]*$/.test(params)) return style // a sequence of another kind
  let {fg, bg, attrs} = style
  const all = params.split(";")
  for (let i = 0; i < all.length; i++) {
    const sub = all[i]!.includes(":") ? all[i]!.split(":").map(number) : none
    const code = sub.length > 0 ? sub[0]! : number(all[i]!)
    if (code === 0) fg = bg = attrs = 0
    else if (code === 4 && sub[1] === 0) attrs &= ~underline
    else if (code >= 1 && code <= 9) attrs |= (1 << code) & shown
    else if (code === 21) attrs |= underline // twice
    else if (code === 22) attrs &= ~(bold | dim)
    else if (code >= 23 && code <= 29) attrs &= ~(1 << (code - 20))
    else if (code >= 30 && code <= 37) fg = named | (code - 30)
    else if (code >= 40 && code <= 47) bg = named | (code - 40)
    else if (code >= 90 && code <= 97) fg = named | (code - 82)
    else if (code >= 100 && code <= 107) bg = named | (code - 92)
    else if (code === 39) fg = 0
    else if (code === 49) bg = 0
    else if (code === 38 || code === 48 || code === 58) {
      // 58 is the underline's, which is not shown.
      const [colour, read] = sub.length > 0 ? extended(sub.length > 5 ? [sub[1]!, ...sub.slice(3)] : sub.slice(1)) : extended(all.slice(i + 1, i + 5).map(number))
      if (sub.length === 0) i += read
      if (colour && code === 38) fg = colour
      if (colour && code === 48) bg = colour
    }
  }
  return fg === style.fg && bg === style.bg && attrs === style.attrs ? style : fg || bg || attrs ? {fg, bg, attrs} : unstyled
}

const none: number[] = []

// number reads a parameter, of digits: an empty one is 0, one that is too large -1.
function number(param: string): number {
  return param.length > 4 ? -1 : Number(param)
}

// extended reads 5, n or 2, r, g, b: a colour, 0 if it is none, and how many
// parameters it took.
function extended(list: number[]): [colour: number, read: number] {
  const byte = (n: number | undefined): n is number => n !== undefined && n >= 0 && n <= 255
  const [kind, a, b, c] = list
  if (kind === 5) return [byte(a) ? indexed(a) : 0, 2]
  if (kind === 2) return [byte(a) && byte(b) && byte(c) ? exact | (a << 16) | (b << 8) | c : 0, 4]
  return [0, 1]
}

// indexed is one of the 256: 16 with names, a cube of 6 steps each, and greys.
function indexed(n: number): number {
  if (n < 16) return named | n
  if (n > 231) return exact | ((8 + (n - 232) * 10) * 0x010101)
  const step = (i: number) => (i === 0 ? 0 : 55 + 40 * i)
  n -= 16
  return exact | (step(Math.floor(n / 36)) << 16) | (step(Math.floor(n / 6) % 6) << 8) | step(n % 6)
}

// A Look is a Style as the page says it: classes, and what no class can say.
export interface Look {
  class: string
  style: Record<string, string> | undefined
}

// look gives a foreground the class f0 to f15, or fx and its colour as --f; a
// background g0 to g15, or gx and --g. fi and gi are the page's own colours,
// swapped.
export function look(s: Style): Look {
  const classes: string[] = []
  const style: Record<string, string> = {}
  for (const [bit, name] of attributes) if (s.attrs & bit) classes.push(name)
  const swap = s.attrs & inverse
  for (const [colour, letter] of [
    [swap ? s.bg : s.fg, "f"],
    [swap ? s.fg : s.bg, "g"],
  ] as const) {
    if (colour & exact) {
      classes.push(letter + "x")
      style["--" + letter] = "#" + (colour & 0xffffff).toString(16).padStart(6, "0")
    } else if (colour) classes.push(letter + (colour & 15))
    else if (swap) classes.push(letter + "i")
  }
  return {class: classes.join(" "), style: Object.keys(style).length > 0 ? style : undefined}
}

const attributes: [number, string][] = [
  [bold, "b"],
  [dim, "d"],
  [italic, "i"],
  [underline, "u"],
  [strike, "s"],
]
