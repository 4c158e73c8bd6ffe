package builtins

import (
	"cmp"
	"fmt"
	"slices"
	"strings"

	"go.starlark.net/starlark"
	"go.starlark.net/starlarkstruct"
)

// A version is a semantic version, or the beginning of one.
type version struct {
	number     [3]int64
	prerelease []string
	build      string
}

// parseVersion reads "1.2.3-rc.1+build", with or without a leading v; missing
// numbers are 0.
func parseVersion(s string) (version, bool) {
	var v version
	s, build, hasBuild := strings.Cut(strings.TrimPrefix(s, "v"), "+")
	if hasBuild {
		if !identifiers(build) {
			return v, false
		}
		v.build = build
	}
	s, pre, hasPre := strings.Cut(s, "-")
	if hasPre {
		if !identifiers(pre) {
			return v, false
		}
		v.prerelease = strings.Split(pre, ".")
	}
	numbers := strings.Split(s, ".")
	if len(numbers) > 3 {
		return v, false
	}
	for i, n := range numbers {
		if n == "" || len(n) > 18 {
			return v, false
		}
		for _, c := range []byte(n) {
			if c < '0' || c > '9' {
				return v, false
			}
			v.number[i] = v.number[i]*10 + int64(c-'0')
		}
	}
	return v, true
}

// compare orders versions as semver.org says: what comes before a release is
// less than it, and builds do not count.
func (v version) compare(w version) int {
	if n := slices.Compare(v.number[:], w.number[:]); n != 0 {
		return n
	}
	switch {
	case len(v.prerelease) == 0 && len(w.prerelease) == 0:
		return 0
	case len(v.prerelease) == 0:
		return 1
	case len(w.prerelease) == 0:
		return -1
	}
	return slices.CompareFunc(v.prerelease, w.prerelease, func(a, b string) int {
		x, xNumber := digits(a)
		y, yNumber := digits(b)
		switch {
		case xNumber && yNumber:
			return cmp.Or(cmp.Compare(len(x), len(y)), cmp.Compare(x, y))
		case xNumber:
			return -1
		case yNumber:
			return 1
		}
		return cmp.Compare(a, b)
	})
}

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
