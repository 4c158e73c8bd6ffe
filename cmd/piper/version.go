package main

import (
	"context"
	"fmt"
	"runtime"
	"runtime/debug"
	"strings"

	"github.com/piper-build/piper/starlark/isolate"
)

// version is set by the linker when Piper is packaged:
// -ldflags "-X main.version=v1.2.3".
var version string

// unpackaged is the version of a piper that was built from a source tree: the
// release that the tree leads to.
const unpackaged = "0.1.0"

// piperVersion returns the version of this program, without a "v".
func piperVersion() string {
	candidates := []string{version}
	if info, ok := debug.ReadBuildInfo(); ok {
		candidates = append(candidates, info.Main.Version) // of "go install …@v1.2.3"
	}
	for _, v := range candidates {
		// A version that was made up from a commit alone says nothing.
		v = strings.TrimPrefix(v, "v")
		if v != "" && '0' <= v[0] && v[0] <= '9' && strings.Contains(v, ".") && !strings.HasPrefix(v, "0.0.0-") {
			return v
		}
	}
	return unpackaged
}

// releaseVersion is the release that this program is, or comes after: what a
// project's requirement on piper is held against.
func releaseVersion() string {
	v := piperVersion()
	if i := strings.IndexAny(v, "-+"); i >= 0 {
		return v[:i]
	}
	return v
}

func (a *app) versionCommand() *command {
	c := a.newCommand("version", "[flags]")
	c.ShortHelp = "Print the version of piper."
	c.examples = `
piper version
piper version --json
piper version --isolation   # what --isolate keeps a PIPER.star from, on this machine
`
	asJSON := c.FlagSet.Bool("json", false, "print a JSON object")
	isolation := c.FlagSet.Bool("isolation", false, "say what a PIPER.star cannot do on this machine with --isolate")
	c.Exec = func(ctx context.Context, args []string) error {
		var held *isolate.Held
		if *isolation {
			found, err := a.isolated.Probe(ctx)
			if err != nil {
				return err
			}
			held = &found
		}
		v := struct {
			Version string `json:"version"`
			Commit  string `json:"commit,omitempty"`
			Go      string `json:"go"`
			OS      string `json:"os"`
			Arch    string `json:"arch"`

			Isolation *isolate.Held `json:"isolation,omitempty"`
		}{piperVersion(), builtFrom(), runtime.Version(), runtime.GOOS, runtime.GOARCH, held}
		if *asJSON {
			return a.printJSON(v)
		}
		fmt.Fprintf(a.stdout, "piper %s", v.Version)
		if v.Commit != "" {
			fmt.Fprintf(a.stdout, " (%s)", v.Commit)
		}
		fmt.Fprintf(a.stdout, " %s %s/%s\n", v.Go, v.OS, v.Arch)
		if held != nil {
			fmt.Fprintf(a.stdout, "isolation: %s\n", held)
		}
		return nil
	}
	return c
}

// builtFrom returns the commit that this program was built from, "" when that
// is not known.
func builtFrom() string {
	info, ok := debug.ReadBuildInfo()
	if !ok {
		return ""
	}
	commit, dirty := "", ""
	for _, s := range info.Settings {
		switch {
		case s.Key == "vcs.revision":
			commit = s.Value[:min(12, len(s.Value))]
		case s.Key == "vcs.modified" && s.Value == "true":
			dirty = "-dirty"
		}
	}
	if commit == "" {
		return ""
	}
	return commit + dirty
}
