package secret_test

import (
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/piper-build/piper/runtime/secret"
)

func TestParse(t *testing.T) {
	tests := []struct {
		name string
		text string
		want map[string]string
		err  string
	}{
		{name: "empty", text: "", want: map[string]string{}},
		{name: "comments and blanks", text: "\n# TOKEN=abcd\n  \t\n  # x\n", want: map[string]string{}},
		{name: "plain", text: "TOKEN=hunter22\n", want: map[string]string{"TOKEN": "hunter22"}},
		{name: "no last newline", text: "TOKEN=hunter22", want: map[string]string{"TOKEN": "hunter22"}},
		{name: "crlf", text: "a=hunter22\r\n\r\nb=hunter33\r\n", want: map[string]string{"a": "hunter22", "b": "hunter33"}},
		{name: "byte order mark", text: "\ufeffa=hunter22", want: map[string]string{"a": "hunter22"}},
		{name: "spaces", text: "  a.b/c-d =  two words  \n", want: map[string]string{"a.b/c-d": "two words"}},
		{name: "everything counts", text: `a=x=#y"z'\n` + "\n", want: map[string]string{"a": `x=#y"z'\n`}},
		{name: "double quotes", text: `a="  \"x\" \\ \n\r\t# "` + "\n", want: map[string]string{"a": "  \"x\" \\ \n\r\t# "}},
		{name: "single quotes", text: `a='  "x" \n # '  ` + "\n", want: map[string]string{"a": `  "x" \n # `}},
		{name: "several lines", text: "a=\"one\ntwo\n\"\nb='three\nfour'\nc=five5\n",
			want: map[string]string{"a": "one\ntwo\n", "b": "three\nfour", "c": "five5"}},

		{name: "no equals", text: "a=hunter22\nnonsense", err: "f:2: want NAME=value"},
		{name: "no name", text: "=hunter22", err: "f:1: what stands before '=' is no secret's name"},
		{name: "export", text: "export A=hunter22", err: "f:1: what stands before '=' is no secret's name"},
		{name: "short", text: "\na=abc", err: `f:2: secret "a": value is shorter than 4 bytes, which cannot be masked`},
		{name: "short in quotes", text: `a="abc"`, err: `f:1: secret "a": value is shorter than 4 bytes, which cannot be masked`},
		{name: "long", text: "a=" + strings.Repeat("x", secret.MaxBytes+1), err: `f:1: secret "a": value is longer than 64 KiB`},
		{name: "nul", text: "a=abc\x00def", err: `f:1: secret "a": value holds a NUL byte, which no environment variable can`},
		{name: "twice", text: "a=hunter22\nb=hunter22\na=hunter22", err: `f:3: secret "a" stands on line 1 already`},
		{name: "open quote", text: "b=hunter22\na=\"hunter22\nmore\n", err: `f:2: secret "a": the closing quote is missing`},
		{name: "open quote after escape", text: `a="hunter22\`, err: `f:1: secret "a": the closing quote is missing`},
		{name: "text after quote", text: "a='one\ntwo' # x", err: `f:2: secret "a": text after the closing quote`},
		{name: "escape", text: `a="hunter\22"`, err: `f:1: secret "a": unknown escape; write \n \r \t \" or \\, or use single quotes`},
		{name: "line after a long value", text: "a='1\n2\n3\n'\nb", err: "f:5: want NAME=value"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			got, err := secret.Parse("f", []byte(test.text))
			if test.err != "" {
				require.EqualError(t, err, test.err)
				var syntax *secret.SyntaxError
				require.ErrorAs(t, err, &syntax)
				require.NotContains(t, err.Error(), "hunter")
				return
			}
			require.NoError(t, err)
			require.Equal(t, test.want, got)
		})
	}
}

func TestReadFile(t *testing.T) {
	path := filepath.Join(t.TempDir(), "secrets")
	require.NoError(t, os.WriteFile(path, []byte("a=hunter22\n"), 0o600))
	values, err := secret.ReadFile(path)
	require.NoError(t, err)
	require.Equal(t, map[string]string{"a": "hunter22"}, values)

	_, err = secret.ReadFile(path + "-gone")
	require.ErrorIs(t, err, fs.ErrNotExist)

	require.NoError(t, os.WriteFile(path, []byte(strings.Repeat("#\n", 1<<20)), 0o600))
	_, err = secret.ReadFile(path)
	require.EqualError(t, err, "read secrets: "+path+" is longer than 1024 KiB")
}

func FuzzParse(f *testing.F) {
	f.Add([]byte("a=hunter22\n# c\nb=\"x\\n\ny\"\nc='raw'\n"))
	f.Fuzz(func(t *testing.T, data []byte) {
		values, err := secret.Parse("f", data)
		if err != nil {
			return
		}
		for name, value := range values {
			require.NoError(t, secret.CheckName(name))
			require.NoError(t, secret.Check(value))
		}
	})
}
