package builtins

import (
	"fmt"
	"strconv"
	"strings"
)

// quote shows s the way a file would write it, with control characters escaped
// and no longer than a line can bear.
func quote(s string) string { return strconv.Quote(shorten(s)) }

// shorten cuts a text that is too long for a message.
func shorten(s string) string {
	const most = 80
	if len(s) <= most {
		return s
	}
	return strings.ToValidUTF8(s[:most], "") + "…"
}

func quoteAll(list []string) []string {
	out := make([]string, len(list))
	for i, s := range list {
		out[i] = quote(s)
	}
	return out
}

// count says "1 step", "2 steps".
func count(n int, thing string) string {
	if n == 1 {
		return "1 " + thing
	}
	return fmt.Sprintf("%d %ss", n, thing)
}
