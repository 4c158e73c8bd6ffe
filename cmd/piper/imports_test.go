package main

import (
	"encoding/json"
	"errors"
	"io"
	"os/exec"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

const module = "github.com/piper-build/piper/"

// mayImport is which way imports point: each package and the packages of
// Piper that it may name. cmd/piper, which puts all of them together, may name
// any.
var mayImport = map[string][]string{
	"stdlib":                                {},
	"runtime/plan":                          {},
	"runtime/build":                         {"runtime/plan"},
	"runtime/layout":                        {"runtime/plan"},
	"runtime/simulate":                      {"runtime/plan", "runtime/build"},
	"builtins":                              {"runtime/plan", "runtime/build", "runtime/simulate"},
	"starlark":                              {"builtins", "stdlib", "runtime/plan"},
	"starlark/isolate":                      {"builtins", "starlark", "starlark/test", "runtime/process/landlock", "runtime/plan"},
	"starlark/format":                       {"starlark", "runtime/plan"},
	"starlark/lint":                         {"starlark", "builtins", "runtime/plan"},
	"starlark/test":                         {"starlark", "builtins", "runtime/plan", "runtime/simulate"},
	"starlark/repl":                         {"starlark", "runtime/plan"},
	"runtime":                               {"runtime/plan", "runtime/build"},
	"runtime/secret":                        {},
	"runtime/remove":                        {},
	"runtime/process":                       {"runtime", "runtime/process/landlock", "runtime/process/vfork", "runtime/plan", "runtime/build"},
	"runtime/process/landlock":              {},
	"runtime/process/vfork":                 {},
	"runtime/logs":                          {"runtime/store", "runtime/plan", "runtime/build"},
	"runtime/logs/archive":                  {"runtime/logs", "runtime/store", "runtime/plan", "runtime/build"},
	"runtime/logs/elastic":                  {"runtime/logs", "runtime/store", "runtime/build", "runtime/secret"},
	"runtime/logs/elastic/elastictest":      {"runtime/logs/elastic"},
	"runtime/logs/logstest":                 {"runtime/logs", "runtime/store", "runtime/plan", "runtime/build"},
	"runtime/store":                         {"runtime/plan", "runtime/build"},
	"runtime/stream":                        {"runtime/build"},
	"runtime/git":                           {"runtime/process", "runtime/remove"},
	"runtime/facts":                         {"runtime/process", "runtime/plan"},
	"runtime/placement":                     {"runtime/store", "runtime/facts", "runtime/plan", "runtime/build"},
	"runtime/environment":                   {"runtime", "runtime/process", "runtime/remove", "runtime/plan", "runtime/build"},
	"runtime/store/sqlite":                  {"runtime/store", "runtime/build"},
	"runtime/store/rethinkdb":               {"runtime/store", "runtime/build", "runtime/secret"},
	"runtime/store/rethinkdb/rethinkdbtest": {"runtime/store/rethinkdb", "runtime/store/rethinkdb/rethinkdbtest/server"},
	"runtime/store/rethinkdb/rethinkdbtest/server": {},
	"runtime/store/fsck":                           {"runtime/store", "runtime/plan", "runtime/build"},
	"runtime/record":                               {"runtime/logs", "runtime/store", "runtime/build"},
	"runtime/store/transfer":                       {"runtime/store", "runtime/build"},
	"runtime/store/storetest":                      {"runtime/store", "runtime/plan", "runtime/build"},
	"runtime/runner": {"runtime", "runtime/environment", "runtime/facts", "runtime/logs", "runtime/process",
		"runtime/remove", "runtime/secret", "runtime/stream", "runtime/plan", "runtime/build"},
	"agent":              {"runtime", "runtime/store", "runtime/placement", "runtime/facts", "runtime/logs", "runtime/remove", "runtime/plan", "runtime/build"},
	"api/webhook":        {"runtime/plan"},
	"api":                {"api/webhook", "runtime/layout", "runtime/store", "runtime/logs", "runtime/logs/archive", "runtime/placement", "runtime/plan", "runtime/build"},
	"api/apitest":        {"api"},
	"api/client":         {"api", "runtime/layout", "runtime/store", "runtime/plan", "runtime/build"},
	"web":                {},
	"web/conform":        {"api/apitest"},
	"agent/operator":     {"runtime/store", "runtime/facts", "runtime/git", "runtime/secret", "runtime/plan"},
	"cmd/piper/progress": {"runtime/logs", "runtime/stream", "runtime/plan", "runtime/build"},
}

// onlyIn is where a foreign package may be named: there, and nowhere else.
var onlyIn = map[string][]string{
	"github.com/adhocore/gronx":   {"agent"},
	"github.com/anishathalye/":    {"runtime/store/storetest"},
	"github.com/peterh/liner":     {"starlark/repl"},
	"go.starlark.net/":            {"builtins", "starlark"},
	"os/exec":                     {"runtime/process", "runtime/store/rethinkdb/rethinkdbtest", "runtime/logs/elastic/elastictest"},
	"modernc.org/sqlite":          {"runtime/store/sqlite"},
	"github.com/labstack/echo/":   {"api"},
	"github.com/getkin/":          {"api"},
	"testing":                     {"runtime/store/storetest", "runtime/store/rethinkdb/rethinkdbtest", "runtime/logs/logstest", "runtime/logs/elastic/elastictest"},
	"gopkg.in/rethinkdb/":         {"runtime/store/rethinkdb"},
	"github.com/elastic/":         {"runtime/logs/elastic"},
	"github.com/bazelbuild/":      {"starlark/format"},
	"github.com/peterbourgon/ff/": {"cmd/piper"},
}

type listed struct {
	ImportPath, Doc string
	Imports, Deps   []string
}

// TestImports holds the direction of imports, which door each side effect has,
// and that each package has one doc comment.
func TestImports(t *testing.T) {
	out, err := exec.Command("go", "list", "-json=ImportPath,Doc,Imports,Deps", module+"...").Output()
	require.NoError(t, err)
	for dec := json.NewDecoder(strings.NewReader(string(out))); ; {
		var p listed
		err := dec.Decode(&p)
		if errors.Is(err, io.EOF) {
			break
		}
		require.NoError(t, err)
		name := strings.TrimPrefix(p.ImportPath, module)
		if strings.Contains(name, "testdata") {
			continue
		}
		t.Run(name, func(t *testing.T) {
			require.NotEmpty(t, p.Doc, "a package doc says what the package is")
			allowed, ok := mayImport[name]
			require.True(t, ok || name == "cmd/piper", "the package has no row in mayImport")
			for _, imp := range p.Imports {
				if own, ok := strings.CutPrefix(imp, module); ok && name != "cmd/piper" {
					require.Contains(t, allowed, own, "imports point down")
				}
				for foreign, homes := range onlyIn {
					if imp == foreign || strings.HasSuffix(foreign, "/") && strings.HasPrefix(imp, foreign) {
						require.True(t, slices.ContainsFunc(homes, func(h string) bool { return name == h || strings.HasPrefix(name, h+"/") }),
							"%s is for %v alone", imp, homes)
					}
				}
			}
			if name == "cmd/piper" {
				require.NotContains(t, p.Deps, "testing", "the binary does not reach the test framework")
			}
		})
	}
}
