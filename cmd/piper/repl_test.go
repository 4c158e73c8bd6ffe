package main

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"
)

// TestRepl types into a real terminal, and has what is typed evaluated there and
// in another process.
func TestRepl(t *testing.T) {
	for name, flags := range map[string][]string{"here": nil, "isolated": {"--isolate"}} {
		t.Run(name, func(t *testing.T) { testRepl(t, flags...) })
	}
}

func testRepl(t *testing.T, flags ...string) {
	dir, state := t.TempDir(), t.TempDir()
	write(t, dir, "PIPER.star", `
lint = step("lint", run = "echo checked")
slow = step("slow", run = "echo begun; sleep 1000", grace = "1s")
pipeline(name = "build", steps = [parallel(lint, slow)])
`)
	write(t, dir, "limits.yaml", "max_steps: 1000000000000\nmax_time: 24h\n")
	start := func(env ...string) *terminal {
		env = append([]string{"TERM=xterm", "XDG_STATE_HOME=" + state, "PIPER_SECRET_TOK=hunter2"}, env...)
		s := startTerminal(t, dir, append([]string{"piper", "repl", "--config", "limits.yaml"}, flags...), env...)
		s.expect(":help lists the commands")
		s.expect(">>> ")
		return s
	}

	s := start()
	s.send("1 + 1\r")
	s.expect("\n2\n")

	// Several lines, up to an empty one.
	s.expect(">>> ")
	s.send("def twice(n):\r")
	s.expect("... ")
	s.send("\treturn n * 2\r") // a tab where nothing stands yet sets in
	s.expect("... ")
	s.send("\r")
	s.expect(">>> ")
	s.send("twice(\r")
	s.expect("... ")
	s.send("21)\r")
	s.expect("\n42\n")

	// Completion: of a name, an attribute, an argument, a command, a step.
	s.expect(">>> ")
	s.send("twi\t(4)\r")
	s.expect("\n8\n")
	s.expect(">>> ")
	s.send("ctx.proj\t.na\t\r")
	s.expect("\n\"\"\n")
	s.expect(">>> ")
	s.send("step('x', run = 'y', timeo\t'5m')\r")
	s.expect("\nstep(\"x\", run = \"y\", timeout = \"5m\")\n")
	s.expect(">>> ")
	s.send("st\t\t")
	s.expect("struct")
	s.send("\x03") // Ctrl-C drops the line
	s.expect("^C\n")
	s.expect(">>> ")
	s.send(":ru\tli\t\r")
	s.expect("1 ok, 0 failed")

	// An error has its caret; the prompt is back.
	s.expect(">>> ")
	s.send("nothing\r")
	s.expect("nothing is not defined")
	s.expect("^^^^^^^")

	// Ctrl-C drops what was begun, stops a loop, and a step that runs.
	s.expect(">>> ")
	s.send("x = [1,\r")
	s.expect("... ")
	s.send("\x03")
	s.expect(">>> ")
	s.send("x\r")
	s.expect("x is not defined")
	s.expect(">>> ")
	s.send("def f():\r")
	s.expect("... ")
	s.send("    print('endless')\r")
	s.expect("... ")
	s.send("    for i in range(1 << 40): pass\r")
	s.expect("... ")
	s.send("\r")
	s.expect(">>> ")
	s.send("f()\r")
	s.expect("\nendless\n")
	s.send("\x03")
	s.expect("piper: interrupted")
	s.expect(">>> ")
	s.send(":run slow\r")
	s.expect("begun")
	s.send("\x03")
	s.expect("CANCELLED")

	// History, without what is secret.
	s.expect(">>> ")
	s.send("'hunter2'\r")
	s.expect("\n\"hunter2\"\n")
	s.expect(">>> ")
	s.send(" 'set in'\r")
	s.expect("\n\"set in\"\n")
	s.expect(">>> ")
	s.send("\x1b[A\r") // up: the last line that was kept
	s.expect("begun")
	s.send("\x03")
	s.expect("CANCELLED")
	s.expect(">>> ")
	s.send("\x04")
	require.Equal(t, exitOK, s.exit())

	path := filepath.Join(state, "piper", "repl_history")
	info, err := os.Stat(path)
	require.NoError(t, err)
	require.Equal(t, os.FileMode(0o600), info.Mode())
	kept, err := os.ReadFile(path)
	require.NoError(t, err)
	require.Contains(t, string(kept), "twice(\n21)\n")
	require.NotContains(t, string(kept), "hunter2")
	require.NotContains(t, string(kept), "set in")

	// The next session knows them.
	s = start()
	s.send("\x12twice(\r") // Ctrl-R
	s.expect("twice is not defined")
	s.expect(">>> ")
	s.send(":quit\r")
	require.Equal(t, exitOK, s.exit())

	// A terminal that cannot edit still asks.
	s = start("TERM=dumb")
	s.send("2 + 2\n")
	s.expect("\n4\n")
	s.send("\x04")
	require.Equal(t, exitOK, s.exit())
}
