package builtins

import (
	"strings"

	"go.starlark.net/starlark"
)

// narrow is how many bytes of a value stand on one line. A larger one is
// written out, a member a line.
const narrow = 72

// maxShown is how many bytes of a value are shown.
const maxShown = 256 << 10

// show returns v for people to read and to compare: on one line, or, when it is
// large, with a member on each.
func show(v starlark.Value) string {
	var b strings.Builder
	write(&b, v, "", "", 0)
	text := b.String()
	if len(text) > maxShown {
		text = strings.ToValidUTF8(text[:maxShown], "") + "…"
	}
	return Visible(text)
}

// write writes v, and end after it. indent is what a line begins with.
func write(b *strings.Builder, v starlark.Value, indent, end string, depth int) {
	const deepest = 20
	if b.Len() > maxShown { // or a list that holds itself twice would have no end
		return
	}
	s, isText := v.(starlark.String)
	if isText && strings.Contains(string(s), "\n") {
		b.WriteString("\"\"\"" + strings.ReplaceAll(string(s), "\n", "\n"+indent) + "\"\"\"" + end)
		return
	}
	line := v.String()
	if len(line) <= narrow || depth > deepest {
		b.WriteString(line + end)
		return
	}
	inner := indent + "  "
	switch v := v.(type) {
	case *starlark.List, starlark.Tuple:
		list, _ := elements(v)
		b.WriteString("[\n")
		for _, m := range members(list) {
			b.WriteString(inner)
			write(b, m, inner, ",\n", depth+1)
		}
		b.WriteString(indent + "]" + end)
	case *starlark.Dict:
		b.WriteString("{\n")
		for _, item := range v.Items() {
			b.WriteString(inner + item[0].String() + ": ")
			write(b, item[1], inner, ",\n", depth+1)
		}
		b.WriteString(indent + "}" + end)
	default:
		b.WriteString(line + end)
	}
}

// The bounds of a diff: lines around a change that show where it is, and how
// much is compared.
const (
	around   = 3
	maxCells = 1 << 22
)

// diff returns the lines that turn want into got: with "-" those that only want
// has, with "+" those that only got has.
func diff(want, got string) string {
	a, b := strings.Split(want, "\n"), strings.Split(got, "\n")
	var head, tail int
	for head < min(len(a), len(b)) && a[head] == b[head] {
		head++
	}
	for tail < min(len(a), len(b))-head && a[len(a)-1-tail] == b[len(b)-1-tail] {
		tail++
	}
	changes := edit(a[head:len(a)-tail], b[head:len(b)-tail])
	var all []string
	for _, s := range a[:head] {
		all = append(all, "  "+s)
	}
	all = append(all, changes...)
	for _, s := range a[len(a)-tail:] {
		all = append(all, "  "+s)
	}
	return strings.Join(cut(all), "\n")
}

// edit returns the shortest way from a to b, found by their longest common
// subsequence; of what is too large to compare, all of both.
func edit(a, b []string) []string {
	var out []string
	if len(a)*len(b) > maxCells {
		for _, s := range a {
			out = append(out, "- "+s)
		}
		for _, s := range b {
			out = append(out, "+ "+s)
		}
		return out
	}
	width := len(b) + 1
	common := make([]int32, (len(a)+1)*width) // of a[i:] and b[j:]
	for i := len(a) - 1; i >= 0; i-- {
		for j := len(b) - 1; j >= 0; j-- {
			if a[i] == b[j] {
				common[i*width+j] = common[(i+1)*width+j+1] + 1
			} else {
				common[i*width+j] = max(common[(i+1)*width+j], common[i*width+j+1])
			}
		}
	}
	i, j := 0, 0
	for i < len(a) || j < len(b) {
		switch {
		case i < len(a) && j < len(b) && a[i] == b[j]:
			out = append(out, "  "+a[i])
			i, j = i+1, j+1
		case j == len(b) || i < len(a) && common[(i+1)*width+j] >= common[i*width+j+1]:
			out = append(out, "- "+a[i])
			i++
		default:
			out = append(out, "+ "+b[j])
			j++
		}
	}
	return out
}

// cut leaves out what is far from every change.
func cut(all []string) []string {
	near := make([]bool, len(all))
	for i, line := range all {
		if line[0] != ' ' {
			for k := max(0, i-around); k <= min(len(all)-1, i+around); k++ {
				near[k] = true
			}
		}
	}
	var out []string
	for i, line := range all {
		switch {
		case near[i]:
			out = append(out, line)
		case i == 0 || near[i-1]:
			out = append(out, "  …")
		}
	}
	return out
}
