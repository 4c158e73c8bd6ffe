package secret_test

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/piper-build/piper/runtime/secret"
)

func TestValues(t *testing.T) {
	source := secret.Values(map[string]string{
		"token": "hunter22", "four": "1234", "three": "123", "empty": "", "nul": "abc\x00def",
		"largest": strings.Repeat("x", secret.MaxBytes), "large": strings.Repeat("x", secret.MaxBytes+1),
		"newline": "kept\n", "bad name": "value",
	})
	tests := []struct {
		name  string
		value string
		is    error
		err   string
	}{
		{name: "token", value: "hunter22"},
		{name: "four", value: "1234"},
		{name: "newline", value: "kept\n"},
		{name: "largest", value: strings.Repeat("x", secret.MaxBytes)},
		{name: "missing", is: secret.ErrNotFound, err: `secret not found: "missing"`},
		{name: "three", is: secret.ErrTooShort, err: `secret "three": value is shorter than 4 bytes, which cannot be masked`},
		{name: "empty", is: secret.ErrTooShort},
		{name: "large", is: secret.ErrTooLong, err: `secret "large": value is longer than 64 KiB`},
		{name: "nul", is: secret.ErrNUL},
		{name: "bad name", err: `secret name "bad name": ' ' is not allowed there; use letters, digits, and _ . - / after the first`},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			value, err := source(test.name)
			require.Equal(t, test.value, value)
			if test.is != nil {
				require.ErrorIs(t, err, test.is)
			}
			if test.err != "" {
				require.EqualError(t, err, test.err)
			}
			require.Equal(t, test.is == nil && test.err == "", err == nil)
		})
	}
}

func TestFiles(t *testing.T) {
	dir := t.TempDir()
	content := map[string]string{
		"plain": "hunter22", "newline": "hunter22\n", "crlf": "hunter22\r\n", "two": "hunter22\n\n",
		"inner": "hun\nter\n", "short": "123\n", "four": "1234\n", "nul": "hunt\x00er",
		"largest": strings.Repeat("x", secret.MaxBytes) + "\n",
		"large":   strings.Repeat("x", secret.MaxBytes+1),
		"huge":    strings.Repeat("x", 4*secret.MaxBytes),
	}
	paths := map[string]string{"gone": filepath.Join(dir, "gone"), "dir": dir}
	for name, text := range content {
		paths[name] = filepath.Join(dir, name)
		require.NoError(t, os.WriteFile(paths[name], []byte(text), 0o600))
	}
	source := secret.Files(paths)

	for name, want := range map[string]string{
		"plain": "hunter22", "newline": "hunter22", "crlf": "hunter22", "two": "hunter22\n",
		"inner": "hun\nter", "four": "1234", "largest": strings.Repeat("x", secret.MaxBytes),
	} {
		value, err := source(name)
		require.NoError(t, err, name)
		require.Equal(t, want, value, name)
	}
	for name, want := range map[string]error{
		"short": secret.ErrTooShort, "large": secret.ErrTooLong, "huge": secret.ErrTooLong,
		"nul": secret.ErrNUL, "gone": fs.ErrNotExist, "unknown": secret.ErrNotFound,
	} {
		_, err := source(name)
		require.ErrorIs(t, err, want, name)
		require.ErrorContains(t, err, name)
	}
	_, err := source("dir")
	require.ErrorContains(t, err, `read secret "dir": `)
	require.ErrorContains(t, err, "is a directory")
	_, err = source("-")
	require.ErrorContains(t, err, `secret name "-"`)

	t.Run("unreadable", func(t *testing.T) {
		if os.Geteuid() == 0 {
			t.Skip("root reads every file")
		}
		require.NoError(t, os.Chmod(paths["plain"], 0))
		_, err := source("plain")
		require.ErrorIs(t, err, fs.ErrPermission)
	})
}

func TestEnviron(t *testing.T) {
	env := map[string]string{"PIPER_SECRET_MY_API_KEY_2": "hunter22", "PIPER_SECRET_EMPTY": ""}
	source := secret.Environ(func(name string) (string, bool) { v, ok := env[name]; return v, ok })
	for _, name := range []string{"my-api.key/2", "MY_API_KEY_2", "my_api_key_2"} {
		value, err := source(name)
		require.NoError(t, err, name)
		require.Equal(t, "hunter22", value)
	}
	_, err := source("other")
	require.ErrorIs(t, err, secret.ErrNotFound)
	_, err = source("empty")
	require.EqualError(t, err, `secret "empty" from $PIPER_SECRET_EMPTY: value is shorter than 4 bytes, which cannot be masked`)
	_, err = source("a=b")
	require.Error(t, err)
}

func TestFirst(t *testing.T) {
	broken := errors.New("disk on fire")
	source := secret.First(
		secret.Values(map[string]string{"a": "from one"}),
		secret.Values(map[string]string{"a": "from two", "b": "from two", "c": "no"}),
		func(name string) (string, error) { return "", broken },
	)
	value, err := source("a")
	require.NoError(t, err)
	require.Equal(t, "from one", value)
	value, err = source("b")
	require.NoError(t, err)
	require.Equal(t, "from two", value)
	_, err = source("c")
	require.ErrorIs(t, err, secret.ErrTooShort, "a source that has it ends the search")
	_, err = source("d")
	require.ErrorIs(t, err, broken)
	_, err = secret.First()("d")
	require.ErrorIs(t, err, secret.ErrNotFound)
}

func TestCheckName(t *testing.T) {
	for _, name := range []string{"a", "A9", "_x", "0", "registry.token", "prod/db-password", strings.Repeat("a", 200)} {
		require.NoError(t, secret.CheckName(name), name)
	}
	for _, name := range []string{"", "-a", ".a", "/a", "a b", "a=b", "a\n", "ä", "a\x00", "$a", strings.Repeat("a", 201)} {
		require.Error(t, secret.CheckName(name), name)
	}
}

// What a log line or a debugger's %v shows of a source must not be a value.
func TestNothingShowsAValue(t *testing.T) {
	path := filepath.Join(t.TempDir(), "file")
	require.NoError(t, os.WriteFile(path, []byte("canary-in-file"), 0o600))
	values := map[string]string{"a": "canary-value", "short": "cny"}
	sources := []secret.Source{
		secret.Values(values),
		secret.Files(map[string]string{"a": path}),
		secret.Environ(func(string) (string, bool) { return "canary-env", true }),
		secret.First(secret.Values(values)),
	}
	for _, source := range sources {
		for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%x"} {
			require.NotContains(t, fmt.Sprintf(verb, source), "canary")
		}
	}
	_, err := sources[0]("short")
	require.NotContains(t, err.Error(), "cny")
}
