import assert from "node:assert/strict"
import {test} from "node:test"
import {apply, look, unstyled} from "../src/log/ansi"
import {carry, maxColumns, pieces, read} from "../src/log/terminal"

// shown writes a row down: what is styled stands in brackets behind its classes.
function shown(line: string, style = unstyled): string {
  return pieces(read(line, style), [], Infinity, Infinity)
    .pieces.map(p => {
      const {class: classes, style} = look(p.style)
      const how = [classes, ...Object.values(style ?? {})].filter(Boolean).join(" ")
      return how ? `[${how}:${p.text}]` : p.text
    })
    .join("")
}

// The same cases as those of the server's sanitizer.
const cases: [name: string, line: string, shown: string][] = [
  ["plain", "hello, world\t!", "hello, world\t!"],
  ["empty", "", ""],
  ["other scripts", "naïve 日本 🙂 e\u0301", "naïve 日本 🙂 e\u0301"],
  ["UTF-16", "h\x00i\x00", "h␀i␀"],
  ["control characters", "\x00\x01\v\f\x1f\x7f", "␀␁␋␌␟␡"],
  ["bell", "a\x07b", "ab"],
  ["C1", "a\u009b31mb\u0085", "a�31mb�"],
  ["direction of writing", "a\u202eb\u2066c\u200fd\u2028e", "abcde"],
  ["markup", "<img onerror=x>", "<img onerror=x>"],

  ["colour", "\x1b[31mred\x1b[0m not", "[f1:red] not"],
  ["colour left on", "\x1b[31mred", "[f1:red]"],
  ["colour of nothing", "a\x1b[31m", "a"],
  ["short reset", "\x1b[1;4;44mx\x1b[my", "[b u g4:x]y"],
  ["bright", "\x1b[97;100mx", "[f15 g8:x]"],
  ["palette", "\x1b[38;5;208;48;5;17mx", "[fx gx #ff8700 #00005f:x]"],
  ["palette with names, and greys", "\x1b[38;5;9mx\x1b[38;5;232my\x1b[38;5;255mz", "[f9:x][fx #080808:y][fx #eeeeee:z]"],
  ["exact", "\x1b[38;2;1;2;3;1mx", "[b fx #010203:x]"],
  ["colons", "\x1b[38:5:9;48:2::1:2:3mx\x1b[48:2:4:5:6my", "[f9 gx #010203:x][f9 gx #040506:y]"],
  ["off again", "\x1b[1;3;31;42mx\x1b[22;23;39;49my", "[b i f1 g2:x]y"],
  ["underlines", "\x1b[4:3mx\x1b[4:0my\x1b[21mz\x1b[58;5;1mz", "[u:x]y[u:zz]"],
  ["strike and dim", "\x1b[9;2mx\x1b[29my", "[d s:x][d:y]"],
  ["inverse", "\x1b[7mx\x1b[31my\x1b[44mz\x1b[27mz", "[fi gi:x][fi g1:y][f4 g1:z][f1 g4:z]"],
  ["blink and conceal", "\x1b[5;6;8mx", "x"],
  ["colours that are none", "\x1b[38;5;256mx\x1b[38;9;1my\x1b[38mz\x1b[999999999999mx", "x[b:yzx]"],
  ["no SGR", "\x1b[>4;2mx\x1b[?1mx\x1b[1$mx", "xxx"],

  ["cursor moves", "a\x1b[1000000000Cb\x1b[5A\x1b[Hc\x1b[2Jd", "abcd"],
  ["modes", "\x1b[?1049h\x1b[?2004ha\x1b[?25lb\x1bcc\x1b(Bd\x1b7\x1b8\x1b=", "abcd"],
  ["title", "\x1b]0;title\x07a\x1b]2;title\x1b\\b", "ab"],
  ["clipboard", "\x1b]52;c;aGk=\x07a", "a"],
  ["link", "\x1b]8;;javascript:x\x1b\\text\x1b]8;;\x1b\\", "text"],
  ["string without end", "a\x1b]0;title and all that", "a"],
  ["string cut short", "\x1b]0;title\x18a\x1bPq\x1ab", "ab"],
  ["string ended by a sequence", "\x1b]0;title\x1b[31mred", "[f1:red]"],
  ["string ended by C1", "\x1b]0;t\u009ca", "a"],
  ["sixel", "\x1bPq#0;2;0;0;0~~@@\x1b\\a", "a"],
  ["other strings", "\x1bXx\x1b\\a\x1b^x\x1b\\b\x1b_x\x1b\\c", "abc"],
  ["sequence without end", "a\x1b[31", "a"],
  ["lone escape", "a\x1b", "a"],
  ["escape and something", "a\x1b\x1b[1mb\x1b\tc\x1béd", "a[b:b\tcéd]"],
  ["control character in a sequence", "ab\x1b[3\r1mc", "[f1:c]b"],
  ["sequence broken off", "a\x1b[3éb\x1b[\x7fc", "aéb␡c"],
  ["long parameters", "\x1b[" + "1;".repeat(100) + "mx", "x"],

  ["carriage return", "10%\r100%", "100%"],
  ["carriage return at the end", "windows\r", "windows"],
  ["shorter than before", "100%\r 5%", " 5%%"],
  ["erase", "100%\r\x1b[K 5%", " 5%"],
  ["erase all", "100%\x1b[2K 5%", " 5%"],
  ["erase otherwise", "100%\x1b[1K!", "100%!"],
  ["column", "100%\x1b[1G\x1b[0K5%\x1b[Gx\x1b[7Gy", "xy"],
  ["backspace", "abc\b\bX\b\b\b\b\bY", "YXc"],
  ["colour goes with its text", "\x1b[31mab\x1b[0m\rx", "x[f1:b]"],
]

test("a line is shown as a terminal would be left", async t => {
  for (const [name, line, want] of cases) await t.test(name, () => assert.equal(shown(line), want))
})

test("a style goes on into the next line", () => {
  assert.equal(shown("still", carry("\x1b[31mred", unstyled)), "[f1:still]")
  assert.equal(carry("\x1b[0m", carry("\x1b[1;31mred", unstyled)).attrs, 0)
  assert.equal(carry("\x1b]0;\x1b[31", unstyled), unstyled)
  const red = apply(unstyled, "31")
  assert.equal(carry("plain", red), red)
  assert.equal(read("\x1b[1mx", red).after.fg, red.fg)
})

test("what is marked is found in what is shown", () => {
  const marked = (line: string, ...marks: [number, number][]) =>
    pieces(read(line, unstyled), marks, Infinity, Infinity).pieces.map(p => (p.hit ? `<${p.text}>` : p.text)).join("|")
  assert.equal(marked("a needle here", [2, 8]), "a |<needle>| here")
  assert.equal(marked("needle", [0, 6]), "<needle>")
  assert.equal(marked("aXbXc", [1, 2], [3, 4]), "a|<X>|b|<X>|c")
  const line = "\x1b[31mne\x1b[0medle \x1b[1mneedle"
  assert.equal(marked(line, [5, 15], [20, 26]), "<ne>|<edle>| |<needle>")
  assert.equal(marked("10% done\r100%", [4, 8]), "100%|<done>", "what was not written over")
  assert.equal(marked("done\r100%", [0, 4]), "100%", "what was written over")
  assert.equal(marked("🙂 \x1b[1m🙂", [7, 9]), "🙂 |<🙂>")
})

test("of a long line the beginning is shown", () => {
  const cut = (line: string, characters: number, most: number) => {
    const {pieces: list, rest} = pieces(read(line, unstyled), [], characters, most)
    return [list.map(p => p.text), rest]
  }
  assert.deepEqual(cut("abcdef", 4, 9), [["abcd"], 2])
  assert.deepEqual(cut("abc🙂f", 4, 9), [["abc"], 3])
  assert.deepEqual(cut("a\x1b[1mb\x1b[mc", 9, 2), [["a", "b"], 1])
  assert.deepEqual(cut("", 4, 9), [[], 0])
  assert.deepEqual(cut("abc", 3, 9), [["abc"], 0])
})

test("a line has bounded columns", () => {
  const row = read("x".repeat(maxColumns + 1), unstyled)
  assert.equal(row.text.length, maxColumns)
  assert.ok(row.full)
  assert.ok(!read("x".repeat(maxColumns), unstyled).full)
  assert.equal(read("é".repeat(maxColumns + 1) + "\r\x1b[Klast", unstyled).text, "last")
})

test("time is linear in what is written", () => {
  // A quadratic parser would take hours for these.
  const n = 1_000_000
  assert.equal(read("\x1b[5C".repeat(n), unstyled).text, "")
  assert.equal(read("\x1b[31;1m\x1b[0m".repeat(n / 2) + "x", unstyled).text, "x")
  assert.equal(read("\x1b]0;" + "x".repeat(n), unstyled).text, "")
  assert.equal(read("\x1b[" + "1".repeat(n) + "mx", unstyled).text, "x")
  assert.equal(read("x\r".repeat(n), unstyled).text, "x")
  assert.equal(read("x\b".repeat(n), unstyled).text, "x")
  assert.equal(pieces(read("\x1b[31mx\x1b[32my".repeat(n / 10), unstyled), [], Infinity, 100).pieces.length, 100)
  assert.equal(carry("\x1b[31m".repeat(n), unstyled).attrs, 0)
})
