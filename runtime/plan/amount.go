package plan

import (
	"math"
	"strconv"
	"strings"
)

// Numeric reports whether a fact is an amount, not a version.
func Numeric(key string) bool { return key == "cpus" || key == "memory" }

// ParseAmount reads a number that may have a unit of bytes: 8GiB, 8G and 8Gi are
// 8 << 30, 8GB is 8e9.
func ParseAmount(s string) (float64, bool) {
	s = strings.TrimSpace(s)
	end := strings.LastIndexAny(s, "0123456789") + 1
	n, err := strconv.ParseFloat(s[:end], 64)
	if err != nil || n < 0 || math.IsInf(n, 0) {
		return 0, false
	}
	unit := strings.ToUpper(strings.TrimSpace(s[end:]))
	if unit == "" || unit == "B" {
		return n, true
	}
	power := strings.IndexByte("KMGTP", unit[0]) + 1
	switch {
	case power == 0:
		return 0, false
	case unit[1:] == "" || unit[1:] == "I" || unit[1:] == "IB":
		return n * math.Pow(1024, float64(power)), true
	case unit[1:] == "B":
		return n * math.Pow(1000, float64(power)), true
	}
	return 0, false
}
