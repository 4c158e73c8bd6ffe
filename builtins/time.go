package builtins

import (
	"errors"
	"fmt"
	"time"

	startime "go.starlark.net/lib/time"
	"go.starlark.net/starlark"
	"go.starlark.net/syntax"
)

// A moment is a time, always in UTC. go.starlark.net's own type can ask the
// machine for its time zone, and then the same file gives two plans.
type moment time.Time

func (m moment) String() string {
	return time.Time(m).Format("2006-01-02 15:04:05.999999999 -0700 MST")
}
func (m moment) Type() string          { return "time.time" }
func (m moment) Freeze()               {}
func (m moment) Truth() starlark.Bool  { return !starlark.Bool(time.Time(m).IsZero()) }
func (m moment) Hash() (uint32, error) { return starlark.MakeInt64(time.Time(m).UnixNano()).Hash() }

var momentAttrs = []string{"day", "format", "hour", "minute", "month", "nanosecond", "second", "unix", "unix_nano", "year"}

// AttrNames implements starlark.HasAttrs.
func (m moment) AttrNames() []string { return momentAttrs }

// Attr implements starlark.HasAttrs.
func (m moment) Attr(name string) (starlark.Value, error) {
	t := time.Time(m)
	var n int64
	switch name {
	case "year":
		n = int64(t.Year())
	case "month":
		n = int64(t.Month())
	case "day":
		n = int64(t.Day())
	case "hour":
		n = int64(t.Hour())
	case "minute":
		n = int64(t.Minute())
	case "second":
		n = int64(t.Second())
	case "nanosecond":
		n = int64(t.Nanosecond())
	case "unix":
		n = t.Unix()
	case "unix_nano":
		n = t.UnixNano()
	case "format":
		return starlark.NewBuiltin("format", func(_ *starlark.Thread, b *starlark.Builtin, args starlark.Tuple, kwargs []starlark.Tuple) (starlark.Value, error) {
			var layout string
			err := starlark.UnpackPositionalArgs(b.Name(), args, kwargs, 1, &layout)
			return starlark.String(t.Format(layout)), err
		}), nil
	case "in_location":
		return nil, errors.New("piper's times are in UTC, so that a plan is the same on every machine")
	default:
		return nil, nil
	}
	return starlark.MakeInt64(n), nil
}

// Cmp implements starlark.TotallyOrdered.
func (m moment) Cmp(v starlark.Value, _ int) (int, error) {
	other, ok := v.(moment)
	if !ok {
		return 0, fmt.Errorf("cannot compare %s with %s", m.Type(), v.Type())
	}
	return time.Time(m).Compare(time.Time(other)), nil
}

// Binary implements starlark.HasBinary: a time plus or minus a duration, the
// duration between two times.
func (m moment) Binary(op syntax.Token, other starlark.Value, side starlark.Side) (starlark.Value, error) {
	switch other := other.(type) {
	case startime.Duration:
		switch {
		case op == syntax.PLUS:
			return moment(time.Time(m).Add(time.Duration(other))), nil
		case op == syntax.MINUS && side == starlark.Left:
			return moment(time.Time(m).Add(-time.Duration(other))), nil
		}
	case moment:
		if op == syntax.MINUS && side == starlark.Left {
			return startime.Duration(time.Time(m).Sub(time.Time(other))), nil
		}
	}
	return nil, nil
}

func timeNow(c *call) (starlark.Value, error) { return c.ev.now(), nil }

func timeTime(c *call) (starlark.Value, error) {
	var part [7]int
	for i := range part {
		if n, ok := c.args[i].(starlark.Int); ok {
			if v, exact := n.Int64(); exact && -1e9 < v && v < 1e10 {
				part[i] = int(v)
				continue
			}
		}
		if c.given(i) {
			c.badType(i, nil, "an int", c.args[i])
		}
	}
	year, month, day := part[0], max(part[1], 1), max(part[2], 1)
	return moment(time.Date(year, time.Month(month), day, part[3], part[4], part[5], part[6], time.UTC)), nil
}

func timeParse(c *call) (starlark.Value, error) {
	const text, layout = 0, 1
	format := c.str(layout)
	if format == "" {
		format = time.RFC3339
	}
	t, err := time.Parse(format, c.str(text))
	if err != nil && c.wrong == 0 {
		c.bad(text, nil, "bad-value", "%s is not a time of the form %s", quote(c.str(text)), quote(format))
	}
	return moment(t.UTC()), nil
}

func timeFromTimestamp(c *call) (starlark.Value, error) {
	const most = 1 << 53
	return moment(time.Unix(int64(c.int(0, -most, most)), int64(c.int(1, 0, 999_999_999))).UTC()), nil
}

func timeParseDuration(c *call) (starlark.Value, error) {
	s := c.str(0)
	d, err := time.ParseDuration(s)
	if err != nil && c.wrong == 0 {
		c.badHint(0, nil, "bad-duration", `write "90s" or "1h30m"`, "%s is not a duration", quote(s))
	}
	return startime.Duration(d), nil
}

// constant returns the value of a word that is read, not called.
func constant(name string) starlark.Value {
	switch name {
	case "time.nanosecond":
		return startime.Duration(time.Nanosecond)
	case "time.microsecond":
		return startime.Duration(time.Microsecond)
	case "time.millisecond":
		return startime.Duration(time.Millisecond)
	case "time.second":
		return startime.Duration(time.Second)
	case "time.minute":
		return startime.Duration(time.Minute)
	case "time.hour":
		return startime.Duration(time.Hour)
	case "math.pi":
		return starlark.Float(3.141592653589793)
	case "math.e":
		return starlark.Float(2.718281828459045)
	}
	panic("no value for " + name)
}
