package main

import (
	"bytes"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/rogpeppe/go-internal/txtar"
	"github.com/stretchr/testify/require"
)

// took is how long something took, in every form that tests are reported in.
var took = regexp.MustCompile(`in [0-9.µmsh]+\n|"seconds":[0-9.e-]+|time="[0-9.]+"`)

// TestIsolatedTests has the trees of script/test.txtar tested in this process
// and in others: all that is reported must be the same to the byte, but for how
// long it took.
func TestIsolatedTests(t *testing.T) {
	archive, err := txtar.ParseFile("testdata/script/test.txtar")
	require.NoError(t, err)
	root := t.TempDir()
	for _, f := range archive.Files {
		name := filepath.Join(root, f.Name)
		require.NoError(t, os.MkdirAll(filepath.Dir(name), 0o777))
		require.NoError(t, os.WriteFile(name, f.Data, 0o666))
	}
	test := func(tree string, args []string) (code int, said string) {
		var stdout, stderr bytes.Buffer
		args = append([]string{"-C", filepath.Join(root, tree), "test"}, args...)
		code = run(t.Context(), args, nil, &stdout, &stderr, "PATH=/usr/bin:/bin", "HOME="+root)
		said = stdout.String() + "\n---\n" + stderr.String()
		for _, report := range []string{"junit.xml", "lcov.info", "testdata/plan.golden", "testdata/run.golden"} {
			path := filepath.Join(root, tree, report)
			if text, err := os.ReadFile(path); err == nil {
				said += "\n--- " + report + "\n" + string(text)
				require.NoError(t, os.Remove(path))
			}
		}
		return code, took.ReplaceAllString(said, "in a while\n")
	}
	for _, tree := range []string{"ok", "bad", "golden", "none"} {
		for _, flags := range []string{
			"", "-v", "--json", "--junit junit.xml", "--cover", "--cover --json", "--cover-profile lcov.info", "--update -v",
			"--list", "--list --json", "--run eq", "--run nothing", "--timeout 0s", "nowhere",
		} {
			t.Run(tree+" "+flags, func(t *testing.T) {
				code, said := test(tree, strings.Fields(flags))
				isolated, again := test(tree, append(strings.Fields(flags), "--isolate"))
				require.Equal(t, said, again)
				require.Equal(t, code, isolated)
			})
		}
	}
}
