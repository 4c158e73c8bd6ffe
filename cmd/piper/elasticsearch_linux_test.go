package main

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/piper-build/piper/api"
	"github.com/piper-build/piper/runtime/build"
	"github.com/piper-build/piper/runtime/logs/elastic"
	"github.com/piper-build/piper/runtime/logs/elastic/elastictest"
)

// Elasticsearch is killed amid a build: all works without it, and says so, and once it
// is back it has every line once.
func TestElasticsearchDiesAmidABuild(t *testing.T) {
	if testing.Short() {
		t.Skip("it takes a server")
	}
	server := elastictest.New(t)
	const many = 300
	talk := fmt.Sprintf("i=1; while [ $i -le %d ]; do echo needle $i of $PIPER_STEP; i=$((i+1)); done", many)
	open := filepath.Join(t.TempDir(), "open")
	f := newFleet(t, fmt.Sprintf(`
talk = %q
compile = step("compile", run = talk)
pipeline(name = "build", steps = [compile, step("unit", depends_on = [compile], run = "while [ ! -e %s ]; do sleep 0.05; done; " + talk)])
`, talk, open))
	f.start("one", "--logs", elastic.Scheme+server.URL()+"/lines")
	asks := func(args ...string) (code int, stdout, stderr string) {
		var out, err bytes.Buffer
		cmd := piperIn(f.first.dir, f.dir, append(args, "--server", f.URL, "--token-file", filepath.Join(f.first.dir, "token"))...)
		cmd.Stdout, cmd.Stderr = &out, &err
		cmd.Run()
		return cmd.ProcessState.ExitCode(), out.String(), err.String()
	}
	// found is what piper logs shows of the needles of some steps.
	found := func(steps ...string) (want string) {
		for _, step := range steps {
			for i := range many {
				want += fmt.Sprintf("1 %s:%d: needle %d of %[1]s\n", step, i+1, i+1)
			}
		}
		return want
	}
	// total is how many needles Elasticsearch knows of.
	total := func() int64 {
		all, _, err := f.SearchLogs(t.Context(), api.LogsQuery{Text: "needle", Limit: 1}, "")
		require.NoError(t, err)
		if all.Total == nil {
			return -1
		}
		return *all.Total
	}

	b := f.ask("build", nil)
	f.await("all of the first step is found", func() bool { return total() == many })
	code, stdout, stderr := asks("logs", "--search", "needle")
	require.Zero(t, code, stderr)
	require.Equal(t, found("compile"), stdout)
	require.Equal(t, fmt.Sprintf("piper: %d lines match in all, as Elasticsearch knows\n", many), stderr)

	server.Kill()
	require.NoError(t, os.WriteFile(open, nil, 0o600))
	require.Equal(t, build.Success, f.ended(b.ID).State)
	f.await("who reads a log is told", func() bool {
		log, err := f.Log(t.Context(), "1", api.LogQuery{Step: "unit"})
		require.NoError(t, err)
		require.Len(t, log.Lines, many)
		return log.Notice != ""
	})
	code, stdout, stderr = asks("logs", "1", "--step", "unit", "--lines", "299:")
	require.Zero(t, code, stderr)
	require.Equal(t, "needle 299 of unit\nneedle 300 of unit\n", stdout)
	require.Regexp(t, `^piper: Elasticsearch is away since [^ ]+; this is from the store, which has all of it\n$`, stderr)
	code, stdout, stderr = asks("logs", "--search", "needle")
	require.Zero(t, code, stderr)
	require.Equal(t, found("compile", "unit"), stdout)
	require.Regexp(t, `^piper: the store was read: .*\npiper: 600 matches in 600 lines looked at\n$`, stderr)
	index, err := f.LogIndex(t.Context())
	require.NoError(t, err)
	require.NotEmpty(t, index.Away)

	require.NoError(t, server.Start())
	f.await("all of both is found", func() bool { return total() == 2*many })
	code, stdout, stderr = asks("logs", "--search", "needle")
	require.Zero(t, code, stderr)
	require.Equal(t, found("compile", "unit"), stdout, "each line once, in order")
	require.Equal(t, fmt.Sprintf("piper: %d lines match in all, as Elasticsearch knows\n", 2*many), stderr)
	f.await("the index knows that it has all", func() bool {
		index, err = f.LogIndex(t.Context())
		require.NoError(t, err)
		return index.Away == "" && index.Behind != nil && *index.Behind == 0
	})
	require.Zero(t, index.Refused)
	log, err := f.Log(t.Context(), "1", api.LogQuery{Step: "unit"})
	require.NoError(t, err)
	require.Empty(t, log.Notice)
}
