package builtins

import (
	"crypto/md5"
	"crypto/sha1"
	"crypto/sha256"
	"crypto/sha512"
	"encoding/hex"
	"errors"
	"fmt"
	"regexp"
	"strconv"
	"strings"

	starjson "go.starlark.net/lib/json"
	starmath "go.starlark.net/lib/math"
	"go.starlark.net/starlark"
	"go.starlark.net/starlarkstruct"
)

// upstream calls the function of the same name in go.starlark.net's json or
// math. What it is given and what it gives must be known now.
func upstream(c *call) (starlark.Value, error) {
	space, name, _ := strings.Cut(c.Name, ".")
	module := starjson.Module
	if space == "math" {
		module = starmath.Module
	}
	var args starlark.Tuple
	var kwargs []starlark.Tuple
	for i := range c.Params {
		switch v := c.args[i]; {
		case v == nil:
		case c.Params[i].Named:
			kwargs = append(kwargs, starlark.Tuple{starlark.String(c.Params[i].Name), v})
		default:
			args = append(args, v)
		}
		if s, ok := c.args[i].(starlark.String); ok {
			if _, ok := c.plain(i, nil, s); !ok {
				return starlark.String(""), nil
			}
		}
	}
	if c.wrong > 0 {
		return starlark.None, nil
	}
	v, err := starlark.Call(c.thread, module.Members[name], args, kwargs)
	if err != nil {
		var failed *starlark.EvalError
		if errors.As(err, &failed) {
			err = errors.New(failed.Msg)
		}
		return nil, err
	}
	if s, ok := v.(starlark.String); ok && !isPlain(string(s)) {
		if text, err := c.ev.unmark(string(s)); err != nil || text.parts != nil {
			c.badHint(0, nil, "not-known-yet", "give it to a step in env", "%s is given a secret or an output, whose value is known only when the build runs", c.Name)
			return starlark.String(""), nil
		}
	}
	return v, nil
}

func hashText(c *call) (starlark.Value, error) {
	s := c.str(0)
	if c.wrong > 0 {
		return starlark.String(""), nil
	}
	var sum []byte
	switch c.Name {
	case "hash.md5":
		h := md5.Sum([]byte(s))
		sum = h[:]
	case "hash.sha1":
		h := sha1.Sum([]byte(s))
		sum = h[:]
	case "hash.sha256":
		h := sha256.Sum256([]byte(s))
		sum = h[:]
	default:
		h := sha512.Sum512([]byte(s))
		sum = h[:]
	}
	return starlark.String(hex.EncodeToString(sum)), nil
}

// A regexpOrError is a compiled pattern.
type regexpOrError struct {
	*regexp.Regexp
	err error
}

// compiled returns argument 0 as a pattern, or nil when it is none.
func (c *call) compiled() *regexp.Regexp {
	pattern := c.str(0)
	if c.wrong > 0 {
		return nil
	}
	re, ok := c.ev.regexps[pattern]
	if !ok {
		re.Regexp, re.err = regexp.Compile(pattern)
		if c.ev.regexps == nil {
			c.ev.regexps = make(map[string]regexpOrError)
		}
		c.ev.regexps[pattern] = re
	}
	if re.err != nil {
		c.bad(0, nil, "bad-pattern", "pattern %s is not a regular expression: %s", quote(pattern), strings.TrimPrefix(re.err.Error(), "error parsing regexp: "))
		return nil
	}
	return re.Regexp
}

func reSearch(c *call) (starlark.Value, error) {
	re, text := c.compiled(), c.str(1)
	if re == nil || c.wrong > 0 {
		return starlark.None, nil
	}
	found := re.FindStringSubmatchIndex(text)
	if found == nil || c.Name == "re.match" && found[0] != 0 {
		return starlark.None, nil
	}
	groups := make(starlark.Tuple, len(found)/2)
	for i := range groups {
		groups[i] = starlark.None
		if found[2*i] >= 0 {
			groups[i] = starlark.String(text[found[2*i]:found[2*i+1]])
		}
	}
	return groups, nil
}

func reFindall(c *call) (starlark.Value, error) {
	re, text := c.compiled(), c.str(1)
	if re == nil || c.wrong > 0 {
		return newList(nil), nil
	}
	return newList(re.FindAllString(text, -1)), nil
}

func reSplit(c *call) (starlark.Value, error) {
	re, text := c.compiled(), c.str(1)
	if re == nil || c.wrong > 0 {
		return newList(nil), nil
	}
	return newList(re.Split(text, -1)), nil
}

func reSub(c *call) (starlark.Value, error) {
	re, with, text := c.compiled(), c.str(1), c.str(2)
	if re == nil || c.wrong > 0 {
		return starlark.String(""), nil
	}
	// \1 as in Python; a $ stands for itself.
	var template strings.Builder
	for i := 0; i < len(with); i++ {
		switch {
		case with[i] == '$':
			template.WriteString("$$")
		case with[i] == '\\' && i+1 < len(with) && with[i+1] >= '0' && with[i+1] <= '9':
			i++
			fmt.Fprintf(&template, "${%c}", with[i])
		default:
			template.WriteByte(with[i])
		}
	}
	return starlark.String(re.ReplaceAllString(text, template.String())), nil
}

func semverParse(c *call) (starlark.Value, error) {
	v, ok := c.version(0)
	if !ok {
		v = version{}
	}
	return starlarkstruct.FromStringDict(starlark.String("version"), starlark.StringDict{
		"major":      starlark.MakeInt64(v.number[0]),
		"minor":      starlark.MakeInt64(v.number[1]),
		"patch":      starlark.MakeInt64(v.number[2]),
		"prerelease": starlark.String(strings.Join(v.prerelease, ".")),
		"build":      starlark.String(v.build),
	}), nil
}

// version returns argument i.
func (c *call) version(i int) (version, bool) {
	s := c.str(i)
	if c.wrong > 0 || c.args[i] == nil {
		return version{}, false
	}
	v, ok := parseVersion(s)
	if !ok {
		c.badHint(i, nil, "bad-value", `such as "1.2.3" or "v1.2.3-rc.1"; semver.valid asks`, "%s is not a version", quote(s))
	}
	return v, ok
}

func semverCompare(c *call) (starlark.Value, error) {
	a, ok := c.version(0)
	b, alsoOK := c.version(1)
	if !ok || !alsoOK {
		return starlark.MakeInt(0), nil
	}
	return starlark.MakeInt(a.compare(b)), nil
}

func semverValid(c *call) (starlark.Value, error) {
	_, ok := parseVersion(c.str(0))
	return starlark.Bool(ok), nil
}

func semverBump(c *call) (starlark.Value, error) {
	v, ok := c.version(0)
	part := c.oneOf(1)
	if !ok || part == "" {
		return starlark.String(""), nil
	}
	n := &v.number
	switch part {
	case "major":
		n[0], n[1], n[2] = n[0]+1, 0, 0
	case "minor":
		n[1], n[2] = n[1]+1, 0
	case "patch":
		if len(v.prerelease) == 0 {
			n[2]++
		}
	}
	prefix := ""
	if strings.HasPrefix(c.str(0), "v") {
		prefix = "v"
	}
	return starlark.String(fmt.Sprintf("%s%d.%d.%d", prefix, n[0], n[1], n[2])), nil
}

// satisfies reports whether version have fits a condition such as
// ">=0.1, <2". A version that cannot be read, as a development build has, fits
// everything.
func satisfies(have, condition string) (bool, error) {
	v, known := parseVersion(have)
	ok := true
	for part := range strings.SplitSeq(condition, ",") {
		part = strings.TrimSpace(part)
		op := part[:len(part)-len(strings.TrimLeft(part, "<>=!"))]
		w, valid := parseVersion(strings.TrimSpace(part[len(op):]))
		if !valid {
			return false, fmt.Errorf("%q is not a version", part)
		}
		n := v.compare(w)
		fits := false
		switch op {
		case ">=":
			fits = n >= 0
		case ">":
			fits = n > 0
		case "<=":
			fits = n <= 0
		case "<":
			fits = n < 0
		case "", "==", "=":
			fits = n == 0
		case "!=":
			fits = n != 0
		default:
			return false, fmt.Errorf("%q is not a comparison", op)
		}
		ok = ok && fits
	}
	return ok || !known, nil
}

func trimV(s string) string { return strings.TrimPrefix(s, "v") }

func splitDots(s string) []string { return strings.Split(s, ".") }

// cutLast is strings.Cut; what follows sep is not empty where sep is there.
func cutLast(s, sep string) (before, after string, found bool) { return strings.Cut(s, sep) }

// identifiers reports whether s is what semver.org allows behind - and +.
func identifiers(s string) bool {
	for id := range strings.SplitSeq(s, ".") {
		if id == "" || badName("x"+id) != "" || strings.ContainsAny(id, "_/") {
			return false
		}
	}
	return true
}

// digits returns s without leading zeros when it is a number.
func digits(s string) (string, bool) {
	if strings.Trim(s, "0123456789") != "" {
		return "", false
	}
	return strings.TrimLeft(s, "0"), true
}

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

func makePrint(c *call) (starlark.Value, error) {
	const sep = 1
	between := " "
	if c.given(sep) {
		between = c.str(sep)
	}
	message := c.message(between)
	if c.wrong == 0 && c.ev.Print != nil {
		c.ev.Print(c.ev.position(c.site()), message)
	}
	return starlark.None, nil
}

func makeFail(c *call) (starlark.Value, error) {
	const sep = 1
	between := " "
	if c.given(sep) {
		between = c.str(sep)
	}
	return nil, &Failure{c.message(between)}
}

// A Failure is the error that fail makes.
type Failure struct{ Message string }

func (f *Failure) Error() string { return f.Message }

// message joins the positional arguments as print writes them, with control
// characters made visible.
func (c *call) message(sep string) string {
	var b strings.Builder
	for i, v := range c.rest {
		if i > 0 {
			b.WriteString(sep)
		}
		s, ok := starlark.AsString(v)
		if !ok {
			s = v.String()
		}
		text, err := c.ev.unmark(s)
		switch {
		case text.hasSecret:
			c.report(Problem{Param: c.Params[0].Name, Index: i, Code: "secret-misused", Message: c.Name + ": a secret cannot be shown"})
		case text.parts != nil:
			for _, p := range text.parts {
				if p.Output != nil {
					fmt.Fprintf(&b, "<output %s of %s>", p.Output.Key, p.Output.Step)
				} else {
					b.WriteString(p.Literal)
				}
			}
		case errors.Is(err, errPiece):
			c.report(Problem{Param: c.Params[0].Name, Index: i, Code: "bad-value", Message: c.Name + ": the text " + err.Error()})
		default:
			b.WriteString(s)
		}
	}
	return Visible(b.String())
}

// Visible returns s with everything that could steer a terminal, or make text
// look like other text, written as an escape.
func Visible(s string) string {
	hidden := func(r rune) bool {
		return r < ' ' && r != '\n' && r != '\t' || r >= 0x7f && r < 0xa0 || isBidi(r) || r == '\uFFFD'
	}
	if strings.IndexFunc(s, hidden) < 0 {
		return s
	}
	var b strings.Builder
	for _, r := range s {
		if hidden(r) {
			b.WriteString(strings.Trim(strconv.QuoteRuneToASCII(r), "'"))
		} else {
			b.WriteRune(r)
		}
	}
	return b.String()
}

// isBidi reports whether r changes the direction of the text after it.
func isBidi(r rune) bool {
	return r >= 0x202A && r <= 0x202E || r >= 0x2066 && r <= 0x2069 || r == 0x200E || r == 0x200F || r == 0x061C
}

// FirstBidi returns the index in source of the first character that changes the
// direction of text, or -1. What a reviewer sees must be what runs.
func FirstBidi(source []byte) int {
	for i := 0; i < len(source); i++ {
		switch c := source[i]; {
		case c == 0xD8 && i+1 < len(source) && source[i+1] == 0x9C:
			return i
		case c == 0xE2 && i+2 < len(source):
			if isBidi(rune(c&0x0F)<<12 | rune(source[i+1]&0x3F)<<6 | rune(source[i+2]&0x3F)) {
				return i
			}
		}
	}
	return -1
}
