package main

import (
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	"gopkg.in/yaml.v3"

	"github.com/piper-build/piper/runtime/store/rethinkdb/rethinkdbtest"
)

// TestCompose starts a database as agent/deploy/compose.yaml does, and has the
// commands there reach it: nobody else may.
func TestCompose(t *testing.T) {
	text, err := os.ReadFile("../../agent/deploy/compose.yaml")
	require.NoError(t, err)
	type service struct {
		Entrypoint, Command wording
		Environment         map[string]string
		Secrets             []string
	}
	var compose struct {
		Services map[string]service
		Secrets  map[string]struct{ File string }
	}
	require.NoError(t, yaml.Unmarshal(text, &compose))

	// A secret is a file in each service that names it.
	password := filepath.Join(t.TempDir(), compose.Secrets["password"].File)
	require.NoError(t, os.WriteFile(password, []byte("0123456789abcdef\n"), 0o600))
	for name, s := range compose.Services {
		require.Equal(t, []string{"password"}, s.Secrets, name)
	}
	db := ""
	runs := func(command string) (string, error) {
		here := strings.NewReplacer("/run/secrets/password", password, " /piper ", " piper ", "//db/", "//"+db+"/")
		cmd := exec.CommandContext(t.Context(), "bash", "-c", here.Replace(command))
		cmd.Env = append(os.Environ(), "HOME="+t.TempDir(), "GORACE=atexit_sleep_ms=0")
		out, err := cmd.CombinedOutput()
		return string(out), err
	}

	// What the server is given to read lasts as long as the shell's command.
	_, config, found := strings.Cut(compose.Services["db"].Command[2], "--config-file <(")
	require.True(t, found)
	config, err = runs(strings.TrimSuffix(config, ")"))
	require.NoError(t, err)
	file := filepath.Join(t.TempDir(), "config")
	require.NoError(t, os.WriteFile(file, []byte(config), 0o600))
	db = rethinkdbtest.Start(t, "--config-file", file).Host

	out, err := runs("piper db init --store rethinkdb://db/piper")
	require.EqualError(t, err, "exit status 3")
	require.Contains(t, out, "is the password the one of this user?")
	out, err = runs(compose.Services["init"].Entrypoint[2])
	require.NoError(t, err, out)
	for _, name := range []string{"one", "two", "three"} {
		agent := compose.Services[name]
		at := slices.Index(agent.Command, "--store-password-file")
		require.Positive(t, at, name)
		out, err = runs("piper db check --store " + agent.Environment["PIPER_STORE"] + " " + strings.Join(agent.Command[at:at+2], " "))
		require.NoError(t, err, out)
		require.NotContains(t, out, "warning")
	}
}

// A wording is a list of words, or a line of them.
type wording []string

func (w *wording) UnmarshalYAML(node *yaml.Node) error {
	if node.Kind == yaml.ScalarNode {
		*w = strings.Fields(node.Value)
		return nil
	}
	return node.Decode((*[]string)(w))
}
