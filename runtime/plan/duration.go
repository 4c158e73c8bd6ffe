package plan

import (
	"fmt"
	"strings"
	"time"
)

// A Duration is a length of time that is written as text: "1m30s".
type Duration time.Duration

// DefaultGrace is how long a step has between the interrupt and the kill.
const DefaultGrace = Duration(10 * time.Second)

// DefaultReadyTimeout is how long a service has until it is ready.
const DefaultReadyTimeout = Duration(time.Minute)

// ParseDuration reads a duration as a PIPER.star writes one: a number and a
// unit (h, m, s, ms, us, ns), or several of them in a row. It must be positive.
func ParseDuration(s string) (Duration, error) {
	d, err := time.ParseDuration(s)
	switch {
	case err != nil:
		return 0, fmt.Errorf(`%s is no duration: want a number and a unit, such as "90s" or "1h30m", at most "2562047h"`, excerpt(s))
	case d <= 0:
		return 0, fmt.Errorf("duration %s is not positive", excerpt(s))
	}
	return Duration(d), nil
}

// String returns the shortest text that reads as d: "10m", not "10m0s".
func (d Duration) String() string {
	s := time.Duration(d).String()
	if strings.HasSuffix(s, "m0s") {
		s = strings.TrimSuffix(s, "0s")
	}
	if strings.HasSuffix(s, "h0m") {
		s = strings.TrimSuffix(s, "0m")
	}
	return s
}

// MarshalText returns d.String().
func (d Duration) MarshalText() ([]byte, error) { return []byte(d.String()), nil }

// UnmarshalText reads what MarshalText writes. Zero is allowed, less is not.
func (d *Duration) UnmarshalText(text []byte) (err error) {
	if string(text) == "0s" {
		*d = 0
		return nil
	}
	*d, err = ParseDuration(string(text))
	return err
}
