package main

import (
	"flag"
	"strings"
	"testing"
)

// A usage names the value of its flag in backticks: package flag makes up a name
// for one that does not, and in lower case.
func TestFlagsNameTheirValues(t *testing.T) {
	for _, e := range commands() {
		e.make(&app{}).FlagSet.VisitAll(func(f *flag.Flag) {
			if name, _ := flag.UnquoteUsage(f); !isBool(f) && name != strings.ToUpper(name) {
				t.Errorf("piper %s %s: the value is called %q", e.name, dashes(f.Name), name)
			}
		})
	}
}
