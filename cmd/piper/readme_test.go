package main

import (
	"bytes"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/piper-build/piper/runtime/store/rethinkdb/rethinkdbtest"
)

// TestReadmeTesting follows the README's chapter on testing word by word: it
// writes the files and types the commands, and sees what stands there.
func TestReadmeTesting(t *testing.T) {
	readme, err := os.ReadFile("../../README.md")
	require.NoError(t, err)
	_, chapter, _ := strings.Cut(string(readme), "<!-- testing -->\n")
	chapter, _, found := strings.Cut(chapter, "<!-- /testing -->")
	require.True(t, found)

	dir := t.TempDir()
	took := regexp.MustCompile(`(?m) in [0-9.]+m?s$`)
	commands := 0
	for _, block := range regexp.MustCompile("(?s)(?:`([^`\n]+)`:\n\n)?```(python|console)\n(.*?)```").FindAllStringSubmatch(chapter, -1) {
		name, kind, text := block[1], block[2], block[3]
		if kind == "python" {
			require.NotEmpty(t, name, text)
			require.NoError(t, os.WriteFile(filepath.Join(dir, name), []byte(text), 0o666))
			continue
		}
		for _, part := range strings.Split("\n"+text, "\n$ ")[1:] {
			command, want, _ := strings.Cut(strings.TrimSuffix(part, "\n")+"\n", "\n")
			commands++
			switch words := strings.Fields(command); words[0] {
			case "piper":
				var stdout, stderr bytes.Buffer
				code := run(t.Context(), append([]string{"-C", dir}, words[1:]...), nil, &stdout, &stderr, "HOME="+t.TempDir())
				require.Equal(t, took.ReplaceAllString(want, ""), took.ReplaceAllString(stdout.String(), ""), command)
				require.Empty(t, stderr.String(), command)
				require.Equal(t, strings.Contains(want, "FAILED"), code == exitFailed, command)
			case "sed":
				part := regexp.MustCompile(`'s/(.*)/(.*)/' (\S+)`).FindStringSubmatch(command)
				require.NotNil(t, part, command)
				file := filepath.Join(dir, part[3])
				before, err := os.ReadFile(file)
				require.NoError(t, err)
				after := strings.ReplaceAll(string(before), part[1], part[2])
				require.NotEqual(t, string(before), after, command)
				require.NoError(t, os.WriteFile(file, []byte(after), 0o666))
			default:
				t.Fatalf("the README types a command that this test does not know: %s", command)
			}
		}
	}
	require.Equal(t, 5, commands)
}

// The README and piper help config name each variable that makes a setting.
func TestReadmeSettings(t *testing.T) {
	readme, err := os.ReadFile("../../README.md")
	require.NoError(t, err)
	help := (&app{}).configCommand().LongHelp
	for _, s := range settings() {
		if s.variable != "" {
			require.Contains(t, string(readme), "\n| `"+s.variable+"` | ")
			require.Regexp(t, `\b`+s.variable+`\b`, help)
		}
	}
}

// TestReadmePipelines plans what the README shows of the language.
func TestReadmePipelines(t *testing.T) {
	readme, err := os.ReadFile("../../README.md")
	require.NoError(t, err)
	for heading, pipelines := range map[string][]string{
		"## A pipeline in a minute": {"build", "deploy --param version=v1"},
		"## What a step gets":       {"test"},
	} {
		_, chapter, found := strings.Cut(string(readme), "\n"+heading+"\n")
		require.True(t, found, heading)
		_, source, _ := strings.Cut(chapter, "```python\n")
		source, _, _ = strings.Cut(source, "```")
		dir := t.TempDir()
		require.NoError(t, os.WriteFile(filepath.Join(dir, "PIPER.star"), []byte(source), 0o666))
		for _, args := range []string{"init -q", "-c user.name=a -c user.email=a@example.com commit -q --allow-empty -m first"} {
			out, err := exec.Command("git", append([]string{"-C", dir}, strings.Fields(args)...)...).CombinedOutput()
			require.NoError(t, err, "%s", out)
		}
		for _, pipeline := range pipelines {
			var stdout, stderr bytes.Buffer
			code := run(t.Context(), append([]string{"-C", dir, "plan"}, strings.Fields(pipeline)...), nil, &stdout, &stderr, "HOME="+t.TempDir())
			require.Equal(t, exitOK, code, stderr.String())
		}
	}
}

// TestReadmeMachines follows the README's chapter on build machines word by word,
// with an agent.
func TestReadmeMachines(t *testing.T) {
	for _, tool := range []string{"git", "curl", "openssl"} {
		if _, err := exec.LookPath(tool); err != nil {
			t.Skipf("THE CHAPTER ON BUILD MACHINES IS NOT FOLLOWED: %s is not installed", tool)
		}
	}
	r := newReader(t)
	address := "127.0.0.1:" + strconv.Itoa(freePort())
	r.reads("machines", "127.0.0.1:7700", address, "\n$ piper agentd &\n", "\n$ piper agentd --listen "+address+" &\n", "/home/ann/", r.dir+"/")
	require.Equal(t, 29, r.commands)
}

// TestReadmeManyMachines follows the chapter on many machines, with a database
// server that is there already.
func TestReadmeManyMachines(t *testing.T) {
	for _, tool := range []string{"git", "pkill"} {
		if _, err := exec.LookPath(tool); err != nil {
			t.Skipf("THE CHAPTER ON MANY MACHINES IS NOT FOLLOWED: %s is not installed", tool)
		}
	}
	const starts = "$ rethinkdb --no-http-admin --directory database > database.log &\n"
	changes := []string{"rethinkdb://127.0.0.1:28015/piper", rethinkdbtest.Address(t).String(), starts, ""}
	for _, port := range []string{"7701", "7702", "7703"} {
		changes = append(changes, "127.0.0.1:"+port, "127.0.0.1:"+strconv.Itoa(freePort()))
	}
	r := newReader(t)
	r.reads("many", changes...)
	require.Equal(t, 12, r.commands)
}

func newReader(t *testing.T) *reader {
	r := &reader{T: t, dir: t.TempDir(), home: t.TempDir()}
	r.environ = []string{"PATH=" + os.Getenv("PATH"), "HOME=" + r.home, "GIT_AUTHOR_NAME=Ann", "GIT_AUTHOR_EMAIL=ann@example.org",
		"GIT_COMMITTER_NAME=Ann", "GIT_COMMITTER_EMAIL=ann@example.org", "GORACE=atexit_sleep_ms=0"}
	return r
}

// reads follows what stands between two marks of the README, with some of it
// changed, as anybody may have the README's ports, and nobody its directory.
func (r *reader) reads(mark string, changes ...string) {
	readme, err := os.ReadFile("../../README.md")
	require.NoError(r, err)
	_, chapter, _ := strings.Cut(string(readme), "<!-- "+mark+" -->\n")
	chapter, _, found := strings.Cut(chapter, "<!-- /"+mark+" -->")
	require.True(r, found)
	for pair := range slices.Chunk(changes, 2) {
		require.Contains(r, chapter, pair[0])
		chapter = strings.ReplaceAll(chapter, pair[0], pair[1])
	}
	for _, block := range regexp.MustCompile("(?s)(?:`([^`\n]+)`:\n\n)?```(\\w+)\n(.*?)```").FindAllStringSubmatch(chapter, -1) {
		switch name, kind, text := block[1], block[2], block[3]; kind {
		case "sh":
			for line := range strings.Lines(text) {
				r.run(line)
			}
		case "console":
			parts := strings.Split("\n"+text, "\n$ ")
			if more := strings.TrimPrefix(parts[0], "\n"); more != "" {
				r.follows(strings.TrimSuffix(more, "\n") + "\n")
			}
			for _, part := range parts[1:] {
				r.types(strings.TrimSuffix(part, "\n") + "\n")
			}
		default:
			file := filepath.Join(r.dir, name)
			if rest, ok := strings.CutPrefix(name, "~/"); ok {
				file = filepath.Join(r.home, rest)
			}
			require.NoError(r, os.MkdirAll(filepath.Dir(file), 0o755))
			require.NoError(r, os.WriteFile(file, []byte(text), 0o644))
		}
	}
}

// A reader types what a README shows, and looks at what comes.
type reader struct {
	*testing.T
	dir, home string
	environ   []string
	following *background // what goes on while other commands are typed
	shown     string      // what the README has shown of it
	commands  int
}

// A background is a command that goes on, and what it writes.
type background struct {
	watched
	ended chan struct{}
}

// changing is what is not the same each time.
var changing = regexp.MustCompile(`\b(([0-9]+m)?[0-9.]+m?s|[0-9a-f]{12}|[0-9a-f]{64}|[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}|first-[a-z0-9]{8})\b`)

// versionless is a tool that was too busy to tell its version to the agent.
var versionless = regexp.MustCompile(`(?m)^piper: differs: tools\.\S+: it without a version there, .*\n`)

func settled(s string) string {
	return changing.ReplaceAllString(versionless.ReplaceAllString(s, ""), "…")
}

// types types a command, which a line break after a backslash does not end, and
// expects what follows it. One that goes on is left to.
func (r *reader) types(text string) {
	command, want, _ := strings.Cut(strings.ReplaceAll(text, "\\\n", "\\\r"), "\n")
	command = strings.ReplaceAll(command, "\\\r", "\\\n")
	behind, back := strings.CutSuffix(command, " &")
	switch {
	case back || strings.HasSuffix(command, " -f"):
		r.commands++
		out := r.start(behind)
		require.Eventually(r, func() bool { return strings.Contains(settled(out.String()), settled(want)) }, patience, 5*time.Millisecond, "%s: %s", command, out.String())
		if back {
			out.wait(r.T, `msg="agent started"`) // which takes less time than to type the next command
		} else {
			r.following, r.shown = out, want
		}
	case strings.HasPrefix(command, "export "):
		for line := range strings.Lines(r.run(command + "; env")) {
			if line = strings.TrimSpace(line); strings.HasPrefix(line, "PIPER_") {
				r.environ = append(r.environ, line)
			}
		}
	default:
		if strings.Contains(command, " reproduce ") { // by when an agent has long told what it found
			require.Eventually(r, func() bool {
				out, err := r.command("piper agents --json").Output()
				return err == nil && strings.Contains(string(out), `"tools.git"`)
			}, patience, 50*time.Millisecond)
		}
		require.Equal(r, settled(want), settled(r.run(command)), command)
	}
}

// follows expects the rest of what the command writes that goes on, and its end.
func (r *reader) follows(more string) {
	require.NotNil(r, r.following, more)
	select {
	case <-r.following.ended:
	case <-time.After(patience):
		require.Fail(r, "it does not end", r.following.String())
	}
	require.Equal(r, settled(r.shown+more), settled(r.following.String()))
}

func (r *reader) command(line string) *exec.Cmd {
	cmd := exec.Command("sh", "-c", line)
	cmd.Dir, cmd.Env = r.dir, r.environ
	return cmd
}

func (r *reader) run(line string) string {
	r.commands++
	out, err := r.command(line).CombinedOutput()
	require.NoError(r, err, "%s: %s", line, out)
	return string(out)
}

// start starts a command that is killed at the end of the test, if it is still
// there.
func (r *reader) start(line string) *background {
	out := &background{ended: make(chan struct{})}
	cmd := r.command("exec " + line)
	cmd.Stdout, cmd.Stderr = out, out
	require.NoError(r, cmd.Start())
	go func() {
		cmd.Wait()
		close(out.ended)
	}()
	r.Cleanup(func() {
		cmd.Process.Kill()
		<-out.ended
	})
	return out
}
