package builtins

import (
	"errors"
	"strings"

	"go.starlark.net/starlark"
)

func shlexQuote(c *call) (starlark.Value, error) { return starlark.String(shellQuote(c.str(0))), nil }

func shlexJoin(c *call) (starlark.Value, error) {
	words := c.strs(0)
	for i, w := range words {
		words[i] = shellQuote(w)
	}
	return starlark.String(strings.Join(words, " ")), nil
}

// shellQuote returns s as one word of a POSIX shell.
func shellQuote(s string) string {
	safe := func(r rune) bool {
		return 'a' <= r|0x20 && r|0x20 <= 'z' || '0' <= r && r <= '9' || strings.ContainsRune("@%+=:,./-_", r)
	}
	if s != "" && strings.IndexFunc(s, func(r rune) bool { return !safe(r) }) < 0 {
		return s
	}
	return "'" + strings.ReplaceAll(s, "'", `'"'"'`) + "'"
}

func shlexSplit(c *call) (starlark.Value, error) {
	words, err := splitWords(c.str(0))
	if err != nil {
		c.bad(0, nil, "bad-value", "%v", err)
	}
	return newList(words), nil
}

// splitWords cuts s into words as a POSIX shell quotes them; nothing is
// expanded.
func splitWords(s string) ([]string, error) {
	var words []string
	var word strings.Builder
	open := false // a word has begun
	for i := 0; i < len(s); i++ {
		switch c := s[i]; c {
		case ' ', '\t', '\n', '\r':
			if open {
				words = append(words, word.String())
				word.Reset()
				open = false
			}
		case '\'':
			end := strings.IndexByte(s[i+1:], '\'')
			if end < 0 {
				return words, errors.New("a ' is not closed")
			}
			word.WriteString(s[i+1 : i+1+end])
			i += 1 + end
			open = true
		case '"':
			open = true
			for i++; ; i++ {
				if i >= len(s) {
					return words, errors.New(`a " is not closed`)
				}
				if s[i] == '"' {
					break
				}
				if s[i] == '\\' && i+1 < len(s) && strings.IndexByte("\"\\$`\n", s[i+1]) >= 0 {
					i++
				}
				word.WriteByte(s[i])
			}
		case '\\':
			if i+1 >= len(s) {
				return words, errors.New(`it ends with \`)
			}
			i++
			word.WriteByte(s[i])
			open = true
		default:
			word.WriteByte(c)
			open = true
		}
	}
	if open {
		words = append(words, word.String())
	}
	return words, nil
}
