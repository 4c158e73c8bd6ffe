package main

import (
	"bytes"
	"encoding/json"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/piper-build/piper/runtime/plan"
)

// The PIPER.star of Piper itself plans, and what it plans is what a release
// has to be.
func TestOwnPipelines(t *testing.T) {
	planned := func(args ...string) map[string]plan.Node {
		var stdout, stderr bytes.Buffer
		code := run(t.Context(), append([]string{"-C", "../..", "plan", "--json"}, args...), nil, &stdout, &stderr, "PATH=/usr/bin:/bin", "HOME="+t.TempDir())
		require.Equal(t, exitOK, code, stderr.String())
		var p plan.Plan
		require.NoError(t, json.Unmarshal(stdout.Bytes(), &p))
		nodes := map[string]plan.Node{}
		for _, n := range p.Nodes {
			nodes[n.Name] = n
		}
		return nodes
	}

	require.Len(t, planned("build"), 1)
	require.Len(t, planned("test"), 4)

	release := planned("release")
	require.Contains(t, release, "test", "a release is tested")
	for _, platform := range []string{"linux-amd64", "linux-arm64", "darwin-amd64", "darwin-arm64"} {
		require.Contains(t, release, "compile/"+platform)
		require.Equal(t, []string{"compile/" + platform}, release["archive/"+platform].Needs)
	}
	require.NotEmpty(t, release["checksums"].Needs, "every archive is there when they are summed up")
	require.NotContains(t, planned("release", "--param", "check=false"), "test")
}

// The tests of those pipelines pass, and go through every line of them.
func TestOwnTests(t *testing.T) {
	var stdout, stderr bytes.Buffer
	code := run(t.Context(), []string{"-C", "../..", "test", "--cover"}, nil, &stdout, &stderr, "PATH=/usr/bin:/bin", "HOME="+t.TempDir())
	require.Equal(t, exitOK, code, "%s%s", &stdout, &stderr)
	require.Regexp(t, `(?m)^PIPER\.star +100\.0%$`, stdout.String())
}
