package secret_test

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/piper-build/piper/runtime/secret"
)

func TestDirectory(t *testing.T) {
	outside := filepath.Join(t.TempDir(), "outside")
	require.NoError(t, os.WriteFile(outside, []byte("0utside value"), 0o600))
	dir := t.TempDir()
	for name, text := range map[string]string{
		"plain": "hunter22", "line": "hunter22\n", "lines": "hunter\n22\n\n", "crlf": "hunter22\r\n", "aws/key.id": "AKIA1234",
		"short": "abc\n", "long": strings.Repeat("x", secret.MaxBytes) + "yy\n", "longest": strings.Repeat("x", secret.MaxBytes) + "\n", "data/v1": "hunter33",
	} {
		path := filepath.Join(dir, name)
		require.NoError(t, os.MkdirAll(filepath.Dir(path), 0o700))
		require.NoError(t, os.WriteFile(path, []byte(text), 0o600))
	}
	require.NoError(t, os.Symlink(outside, filepath.Join(dir, "absolute")))
	require.NoError(t, os.Symlink("../"+filepath.Base(filepath.Dir(outside))+"/outside", filepath.Join(dir, "relative")))
	require.NoError(t, os.Symlink("data/v1", filepath.Join(dir, "inside")))
	require.NoError(t, syscall.Mkfifo(filepath.Join(dir, "fifo"), 0o600))

	source := secret.Directory(dir)
	for _, test := range []struct {
		name, value string
		is          error
		err         string
	}{
		{name: "plain", value: "hunter22"},
		{name: "line", value: "hunter22"},
		{name: "lines", value: "hunter\n22\n"},
		{name: "crlf", value: "hunter22"},
		{name: "aws/key.id", value: "AKIA1234"},
		{name: "longest", value: strings.Repeat("x", secret.MaxBytes)},
		{name: "inside", value: "hunter33"},
		{name: "missing", is: secret.ErrNotFound},
		{name: "a/b/c", is: secret.ErrNotFound},
		{name: "short", is: secret.ErrTooShort, err: dir + "/short"},
		{name: "long", is: secret.ErrTooLong},
		{name: "absolute", err: "escapes"},
		{name: "relative", err: "escapes"},
		{name: "x/../../outside", err: ""},
		{name: "fifo", err: "not a regular file"},
		{name: "data", err: "not a regular file"},
		{name: "../outside", err: "is not allowed there"},
	} {
		t.Run(test.name, func(t *testing.T) {
			value, err := source(test.name)
			if test.value != "" {
				require.NoError(t, err)
				require.Equal(t, test.value, value)
				return
			}
			require.Error(t, err)
			require.Empty(t, value)
			require.ErrorContains(t, err, test.err)
			if test.is != nil {
				require.ErrorIs(t, err, test.is)
			}
			require.NotContains(t, err.Error(), "0utside value")
		})
	}
	_, err := secret.Directory(dir + "-gone")("plain")
	require.Error(t, err)
	require.NotErrorIs(t, err, secret.ErrNotFound, "a directory that is not there is a mistake")
}

func TestPrefixed(t *testing.T) {
	source := secret.Prefixed("CI_", func(name string) (string, bool) {
		return "hunter22", name == "CI_AWS_KEY"
	})
	value, err := source("aws/key")
	require.NoError(t, err)
	require.Equal(t, "hunter22", value)
	_, err = source("AWS")
	require.ErrorIs(t, err, secret.ErrNotFound)
}

// exited is the error of a program that failed.
type exited struct{ stderr string }

func (e exited) Error() string { return e.stderr }
func (e exited) ExitCode() int { return 7 }

func TestProgram(t *testing.T) {
	var asked []string
	say, fail := "hunter22\n", error(nil)
	source := secret.Program([]string{"vault", "read", "--field={name}", "{name}"}, func(ctx context.Context, _ string, _ []string, argv ...string) ([]byte, error) {
		asked = argv
		_, bounded := ctx.Deadline()
		require.True(t, bounded)
		return []byte(say), fail
	})
	value, err := source("a/b")
	require.NoError(t, err)
	require.Equal(t, "hunter22", value)
	require.Equal(t, []string{"vault", "read", "--field=a/b", "a/b"}, asked)

	asked = nil
	for _, name := range []string{"-x", "$(id)", "a b", ""} {
		_, err = source(name)
		require.Error(t, err)
	}
	require.Nil(t, asked)

	say = ""
	_, err = source("x")
	require.ErrorIs(t, err, secret.ErrNotFound)
	say = "abc"
	_, err = source("x")
	require.EqualError(t, err, `secret "x" from vault: value is shorter than 4 bytes, which cannot be masked`)
	say, fail = "", exited{"hunter22 is wrong"}
	_, err = source("x")
	require.EqualError(t, err, `read secret "x": vault ended with exit status 7; started by hand it says why`)
	fail = errors.New("no such program")
	_, err = source("x")
	require.ErrorIs(t, err, fail)

	require.NoError(t, secret.CheckProgram([]string{"vault", "{name}"}))
	require.ErrorContains(t, secret.CheckProgram(nil), "no words")
	require.ErrorContains(t, secret.CheckProgram([]string{"vault"}), "does not say {name}")
	require.ErrorContains(t, secret.CheckProgram([]string{"{name}"}), "cannot be named by the secret")
}

func TestGrants(t *testing.T) {
	grants := secret.Grants{
		{Projects: []string{"shop"}, Events: []string{"push", "tag"}, Names: []string{"registry*", "aws/key"}},
		{Projects: []string{"lib-*", "group/*"}, Events: []string{"*"}, Names: []string{"*"}},
		{Projects: []string{"shop"}, Events: []string{"manual"}, Names: []string{"deploy"}},
	}
	for _, test := range []struct {
		project, event string
		fork           bool
		name           string
		err            string // "" when it is given
	}{
		{"shop", "push", false, "registry", ""},
		{"shop", "tag", false, "registry-token", ""},
		{"shop", "push", false, "registry/token", ""},
		{"shop", "push", false, "aws/key", ""},
		{"shop", "manual", false, "deploy", ""},
		{"lib-a", "change_request", false, "anything", ""},
		{"group/sub/x", "cron", false, "any/thing", ""},
		{"shop", "push", false, "aws/key2", `"aws/key2" is not for builds of shop`},
		{"shop", "push", false, "Registry", `"Registry" is not for builds of shop`},
		{"shop", "change_request", false, "registry", `"registry" is for builds of shop by push or tag, and this one is by change_request`},
		{"shop", "", false, "registry", "and this one is by "},
		{"shop", "push", false, "deploy", `"deploy" is for builds of shop by manual, and this one is by push`},
		{"shop2", "push", false, "registry", `"registry" is not for builds of shop2`},
		{"", "push", false, "registry", `"registry" is not for builds of `},
		{"shop", "push", true, "registry", `"registry": builds of forks are given none`},
		{"lib-a", "push", true, "x", "builds of forks are given none"},
	} {
		err := grants.Check(secret.Build{Project: test.project, Event: test.event, Fork: test.fork}, test.name)
		if test.err == "" {
			require.NoError(t, err, "%+v", test)
			continue
		}
		require.ErrorIs(t, err, secret.ErrNotGranted, "%+v", test)
		require.ErrorContains(t, err, test.err)
	}
	require.ErrorIs(t, secret.Grants(nil).Check(secret.Build{Project: "shop", Event: "push"}, "x"), secret.ErrNotGranted)

	asked := 0
	source := grants.Source(secret.Build{Project: "shop", Event: "push"}, func(name string) (string, error) {
		asked++
		return "value of " + name, nil
	})
	value, err := source("registry")
	require.NoError(t, err)
	require.Equal(t, "value of registry", value)
	_, err = source("deploy")
	require.ErrorIs(t, err, secret.ErrNotGranted)
	_, err = source("bad name")
	require.ErrorContains(t, err, "is not allowed there")
	require.Equal(t, 1, asked)

	require.NoError(t, secret.CheckGlob("registry*"))
	require.ErrorContains(t, secret.CheckGlob("["), "is not a glob")
	require.ErrorContains(t, secret.CheckGlob(""), "a name is empty")
}
