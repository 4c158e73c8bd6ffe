package main

import (
	"os"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/piper-build/piper/runtime/store"
)

// A person at a terminal is asked whether the steps of a fork may run, and
// whatever the answer is, nothing stays behind.
func TestReproduceAsks(t *testing.T) {
	home, dir := t.TempDir(), t.TempDir()
	write(t, dir, "PIPER.star", `
project(name = "shop")
pipeline(name = "build", steps = [approve("ok"), step("say", run = "echo hello")])
`)
	r := &reader{T: t, dir: dir, environ: append(os.Environ(), "HOME="+home)}
	r.run("git init -q -b main; git add .; git -c user.name=a -c user.email=a@example.com commit -q -m first")
	require.NoError(t, piperIn(home, dir, "exec", "--yes").Run())
	s := opened(t, home)
	b, err := s.BuildNumbered(t.Context(), 1)
	require.NoError(t, err)
	fork := store.NewBuild("fork", 2, b.Request, time.Now().UTC())
	fork.Request.Cause.Trust, fork.Request.Here = "fork", ""
	fork.State, fork.Plan, fork.Commit = b.State, b.Plan, b.Commit
	_, err = s.Enqueue(t.Context(), fork)
	require.NoError(t, err)

	for _, test := range []struct {
		name, keys, shows string
		code              int
	}{
		{"yes", "y\n", "ok: go on? [y/N] ", exitOK}, // which is another question
		{"no", "n\n", "piper: nothing was run\n", exitFailed},
		{"just enter", "\n", "piper: nothing was run\n", exitFailed},
		{"end of input", "\x04", "piper: nothing was run: read the answer: EOF\n", exitFailed},
		{"interrupt", "\x03", "piper: nothing was run: interrupted\n", exitInterrupted},
	} {
		t.Run(test.name, func(t *testing.T) {
			temp := t.TempDir()
			s := startTerminal(t, dir, []string{"piper", "reproduce", "2"}, "HOME="+home, "TMPDIR="+temp)
			s.expect("piper: build 2 is of a fork: the steps of a stranger run here as you\n")
			s.expect("run them? [y/N] ")
			s.send(test.keys)
			s.expect(test.shows)
			if test.code == exitOK {
				s.send("y\n")
				s.expect("hello")
			}
			require.Equal(t, test.code, s.exit())
			left, err := os.ReadDir(temp)
			require.NoError(t, err)
			require.Empty(t, left)
		})
	}
}
