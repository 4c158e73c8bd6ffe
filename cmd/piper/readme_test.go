package main

import (
	"bytes"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
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
