package starlark

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"
)

// TestCoverage marks each line of a file with what is said of it: + ran, - could
// have run. Other lines have nothing to run.
func TestCoverage(t *testing.T) {
	const marked = `
  load("//lib.star", "word")
+ x = 1
+ y = (2 +
+     3)

  # A comment.
+ def _build(ctx):
      """What it is for."""
+     if ctx.event.kind == "tag":
-         z = word()
-         return []
+     elif x == 2:
-         return [
-             step("never", run = "true")
-         ]
      else:
          # Here.
+         steps = []
+     for i in range(3):
+         if i > 5:
-             continue
+         steps.append(step("s%d" % i, run = "true"))
+     names = [
-         word(n)
+         for n in []
+     ]
+     empty = {
-         n: word(n) for n in []
+     }
+     pick = (
+         steps if x == 1
-         else []
+     )
+     return pick

+ def unused():
-     return word()

+ pipeline(name = "build", impl = _build)
+ pipeline(
+     name = "other",
-     impl = lambda ctx: [
-         step("a", run = "true"),
-     ],
+ )
+ one = lambda: 1; one()
- two = lambda: 2
`
	var source strings.Builder
	var ran, missed []int
	for i, line := range strings.Split(strings.Trim(marked, "\n"), "\n") {
		mark, text := "", ""
		if line != "" {
			mark, text = line[:1], line[2:]
		}
		source.WriteString(text + "\n")
		switch mark {
		case "+":
			ran = append(ran, i+1)
		case "-":
			missed = append(missed, i+1)
		}
	}
	dir := writeTree(t, "-- PIPER.star --\n"+source.String()+"-- lib.star --\ndef word(n = \"\"):\n    return n\n")
	c := &Coverage{}
	for _, name := range []string{"PIPER.star", "lib.star"} {
		text, err := os.ReadFile(filepath.Join(dir, name))
		require.NoError(t, err)
		c.Include(name, text)
	}
	_, err := Evaluate(t.Context(), Request{Root: dir, Pipeline: "build", Coverage: c})
	require.NoError(t, err)
	require.Equal(t, []FileCoverage{
		{File: "PIPER.star", Ran: ran, Missed: missed},
		{File: "lib.star", Ran: []int{1}, Missed: []int{2}},
	}, c.Files())

	// Another text of the same name says nothing of the file.
	_, err = Evaluate(t.Context(), Request{Root: dir, Source: []byte("pipeline(name = \"other\", steps = [])\n" + strings.Repeat("\n", 50) + "x = 1\n"), Coverage: c})
	require.NoError(t, err)
	require.Equal(t, missed, c.Files()[0].Missed)

	broken := &Coverage{}
	broken.Include("broken.star", []byte("x = ("))
	require.Equal(t, []FileCoverage{{File: "broken.star"}}, broken.Files())
}

// TestCoverageChangesNothing evaluates the files of this package's tests with
// probes and without: the same plans, and the same problems.
func TestCoverageChangesNothing(t *testing.T) {
	files, err := filepath.Glob("testdata/*.star")
	require.NoError(t, err)
	examples, err := filepath.Glob("../testdata/examples/*/PIPER.star")
	require.NoError(t, err)
	files = append(files, examples...)
	files = append(files, "../PIPER.star")
	require.Greater(t, len(files), 5)
	for _, file := range files {
		t.Run(file, func(t *testing.T) {
			text, err := os.ReadFile(file)
			require.NoError(t, err)
			r := Request{Root: filepath.Dir(file), File: filepath.Base(file), Git: fakeGit{}, CatalogOnly: true}
			catalog, _ := Evaluate(t.Context(), r)
			r.CatalogOnly = false
			names := []string{""}
			for _, p := range catalog.Catalog.Pipelines {
				names = append(names, p.Name)
			}
			for _, name := range names {
				r.Pipeline, r.Coverage = name, nil
				plain, plainErr := Evaluate(t.Context(), r)
				r.Coverage = &Coverage{}
				r.Coverage.Include(r.File, text)
				covered, coveredErr := Evaluate(t.Context(), r)
				require.Equal(t, plainErr, coveredErr)
				require.Equal(t, plain.Catalog, covered.Catalog)
				require.Equal(t, plain.Plan, covered.Plan)
			}
		})
	}
}

func TestRanges(t *testing.T) {
	require.Equal(t, "", Ranges(nil))
	require.Equal(t, "3, 7-9, 11", Ranges([]int{3, 7, 8, 9, 11}))
	rapid.Check(t, func(t *rapid.T) {
		lines := rapid.SliceOfNDistinct(rapid.IntRange(1, 99), 1, 20, rapid.ID[int]).Draw(t, "lines")
		require.NotEmpty(t, Ranges(lines))
	})
}
