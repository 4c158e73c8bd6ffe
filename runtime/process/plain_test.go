package process_test

import (
	"bytes"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"github.com/piper-build/piper/runtime/process"
)

func TestPlain(t *testing.T) {
	for script, want := range map[string][]string{
		"/bin/true":                    {"/bin/true"},
		"./build.sh --all":             {"./build.sh", "--all"},
		"../x/y":                       {"../x/y"},
		"bin/x":                        {"bin/x"},
		"go test ./...":                {"go", "test", "./..."},
		"  go\tvet  ./... \n":          {"go", "vet", "./..."},
		"make -j2 V=1 all":             {"make", "-j2", "V=1", "all"},
		"npm run build:web":            {"npm", "run", "build:web"},
		"go build -ldflags=-s -o a,b":  {"go", "build", "-ldflags=-s", "-o", "a,b"},
		"7z x a.7z":                    {"7z", "x", "a.7z"},
		"g++ -c a.cc":                  {"g++", "-c", "a.cc"},
		"git log -1 --format=%H @ a+b": {"git", "log", "-1", "--format=%H", "@", "a+b"},
		"if/then":                      {"if/then"},
		"/bin/echo if then":            {"/bin/echo", "if", "then"},
		"_tool x":                      {"_tool", "x"},

		"": nil, " \n\t": nil,
		"a\nb": nil, "a\r": nil, "a\\b": nil, "a;b": nil, "a&": nil, "a|b": nil, "a<b": nil, "a>b": nil,
		"a (b)": nil, "a {b}": nil, "a{b,c}": nil, "a $b": nil, "a `b`": nil, "a \"b\"": nil, "a 'b'": nil,
		"a *": nil, "a ?": nil, "a [b]": nil, "a ~": nil, "a b:~": nil, "a # b": nil, "a !": nil, "! a": nil, "a ^b": nil,
		"a\x00b": nil, "a \xff": nil, "a ü": nil, "a\u00a0b": nil, "a\vb": nil, "a\fb": nil, "a\x7f": nil,
		"A=b": nil, "A=b c": nil, "A=/b c": nil, "A/b=c d": nil, "A+=b": nil, "a =b": nil,
		"-x": nil, "+x": nil, ".": nil, ". x": nil, "..": nil, ":": nil, "%1": nil, "@x": nil, ",": nil, "dir/": nil,
		"if": nil, "then x": nil, "case a": nil, "time x": nil, "function f": nil, "select x": nil, "coproc x": nil,
		"echo hello": nil, "true": nil, "false": nil, "test -f x": nil, "cd x": nil, "exit 3": nil, "export": nil,
		"printf x": nil, "kill 1": nil, "pwd": nil, "read x": nil, "source x": nil, "exec x": nil, "command ls": nil,
		"umask": nil, "ulimit -a": nil, "wait": nil, "local x": nil, "sleep 1": nil, "cat x": nil, "let x": nil,
	} {
		argv, ok := process.Plain(script)
		require.Equal(t, want, argv, "%q", script)
		require.Equal(t, want != nil, ok, "%q", script)
	}
}

// TestPlainBytes has every byte in every place of a command.
func TestPlainBytes(t *testing.T) {
	const inWords = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_-./,:+@%="
	for b := range 256 {
		s := string([]byte{byte(b)})
		_, ok := process.Plain("/x a" + s + "b")
		require.Equal(t, strings.Contains(inWords+" \t", s), ok, "inside %q", s)
		_, ok = process.Plain("/x " + s + "b")
		require.Equal(t, s != "=" && strings.Contains(inWords+" \t\n", s) && s != "\n", ok, "first in a word %q", s)
		_, ok = process.Plain("/x b" + s)
		require.Equal(t, strings.Contains(inWords+" \t\n", s), ok, "last %q", s)
	}
}

// shells are those that are here, as sh and as themselves.
func shells(t *testing.T) [][]string {
	var found [][]string
	for _, s := range [][]string{{"sh"}, {"dash"}, {"bash"}, {"bash", "--posix"}, {"busybox", "sh"}, {"ksh"}, {"mksh"}, {"yash"}, {"zsh"}} {
		if path, err := exec.LookPath(s[0]); err == nil {
			found = append(found, append([]string{path}, s[1:]...))
		}
	}
	require.NotEmpty(t, found)
	return found
}

// TestPlainShellWords asks each shell that is here for the words that it knows.
func TestPlainShellWords(t *testing.T) {
	words := map[string]bool{}
	for _, list := range [][]string{{"bash", "-c", "compgen -bk"}, {"bash", "--posix", "-c", "compgen -bk"}, {"zsh", "-c", "print -l ${(k)builtins} ${reswords}"}} {
		out, err := exec.Command(list[0], list[1:]...).Output()
		if err != nil {
			continue
		}
		for word := range strings.FieldsSeq(string(out)) {
			words[word] = true
		}
	}
	for word := range words {
		_, ok := process.Plain(word)
		require.False(t, ok, word)
	}

	// And the other way: a word that passes is none that a shell knows itself.
	dir := t.TempDir()
	for _, word := range strings.Fields("go make npm cargo git docker python3 node yarn pnpm mvn gradle cmake ninja pytest tox ruff gofmt tsc jest bazel meson ls find") {
		_, ok := process.Plain(word)
		require.True(t, ok, word)
		for _, shell := range shells(t) {
			if strings.HasSuffix(shell[0], "busybox") {
				continue
			}
			cmd := exec.Command(shell[0], append(shell[1:], "-e", "-c", word)...)
			cmd.Env = []string{"PATH=" + dir}
			var exit *exec.ExitError
			require.ErrorAs(t, cmd.Run(), &exit)
			require.Equal(t, 127, exit.ExitCode(), "%s in %s", word, shell)
		}
	}
}

// TestPlainLikeShell draws scripts, and has those that are plain run by shells,
// which must start the same command with the same arguments.
func TestPlainLikeShell(t *testing.T) {
	dir := t.TempDir()
	for _, name := range []string{"tool", "x", "A", "7z", "g++", "a.b", "if.x"} {
		require.NoError(t, os.WriteFile(filepath.Join(dir, name),
			fmt.Appendf(nil, "#!/bin/sh\nprintf '%%s\\0' \"$0\" \"$@\"\n"), 0o755))
	}
	word := rapid.StringOfN(rapid.RuneFrom([]rune(`abzAZ09_-./,:+@%=*$"'#~!`)), 0, 6, -1)
	first := rapid.OneOf(rapid.SampledFrom([]string{"tool", "x", "A", "7z", "g++", "a.b", "if.x", "./tool", "./x", "../" + filepath.Base(dir) + "/A"}), word)
	blank := rapid.SampledFrom([]string{" ", "\t", "  ", " \t "})
	known := shells(t)
	rapid.Check(t, func(t *rapid.T) {
		script := first.Draw(t, "command")
		for range rapid.IntRange(0, 4).Draw(t, "words") {
			script += blank.Draw(t, "blank") + word.Draw(t, "word")
		}
		argv, ok := process.Plain(script)
		if !ok {
			return
		}
		want := start(t, dir, argv)
		for _, shell := range known {
			require.Equal(t, want, start(t, dir, append(shell[:len(shell):len(shell)], "-e", "-c", script)), "%q in %s", script, shell)
		}
	})
}

// start runs a command in dir with dir as its PATH, and returns what it wrote:
// its arguments, or that it was not to be had.
func start(t *rapid.T, dir string, argv []string) string {
	path := argv[0]
	if !strings.Contains(path, "/") {
		path = filepath.Join(dir, path)
	}
	var out bytes.Buffer
	cmd := exec.Cmd{Path: path, Args: argv, Dir: dir, Env: []string{"PATH=" + dir}, Stdout: &out}
	if err := cmd.Run(); err != nil {
		return "cannot be run"
	}
	name, rest, _ := strings.Cut(out.String(), "\x00")
	return filepath.Base(name) + "\x00" + rest
}
