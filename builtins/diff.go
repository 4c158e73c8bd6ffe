package builtins

import (
	"fmt"
	"strings"
)

// The bounds of a diff: lines around a change that show where it is, how much
// is compared, and how much is shown.
const (
	around   = 3
	maxCells = 1 << 22
	maxLines = 200
)

// diff returns the lines that turn want into got, the first ones of many: with
// "-" those that only want has, with "+" those that only got has.
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
	return strings.Join(few(cut(all), maxLines, "  "), "\n")
}

// few returns the first of lines, and how many more there are, behind a sign.
func few(lines []string, most int, sign string) []string {
	if len(lines) <= most {
		return lines
	}
	return append(lines[:most:most], fmt.Sprintf("%s… %d more lines", sign, len(lines)-most))
}

// edit returns the shortest way from a to b, found by their longest common
// subsequence; of what is too large to compare, how both begin.
func edit(a, b []string) []string {
	var out []string
	if len(a)*len(b) > maxCells {
		for _, s := range few(a, maxLines/3, "") {
			out = append(out, "- "+s)
		}
		for _, s := range few(b, maxLines/3, "") {
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
