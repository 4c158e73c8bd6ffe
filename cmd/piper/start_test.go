package main

import (
	"regexp"
	"strconv"
	"testing"

	"github.com/stretchr/testify/require"
)

// Whatever a package makes before main runs, every command waits for. Bytes stand
// for the time, which a test must not depend on.
func TestNoPackageMakesMuchBeforeMain(t *testing.T) {
	const most = 6 << 10
	version := piperIn(t.TempDir(), t.TempDir(), "version")
	version.Env = append(version.Env, "GODEBUG=inittrace=1")
	trace, err := version.CombinedOutput()
	require.NoError(t, err, "%s", trace)
	ours := regexp.MustCompile(`(?m)^init `+module+`(\S+) .* (\d+) bytes`).FindAllStringSubmatch(string(trace), -1)
	require.NotEmpty(t, ours)
	for _, of := range ours {
		if of[1] == "cmd/piper" {
			continue // with its tests
		}
		bytes, err := strconv.Atoi(of[2])
		require.NoError(t, err)
		require.LessOrEqual(t, bytes, most, "%s: make it when it is first used, such as with sync.OnceValue", of[1])
	}
}
