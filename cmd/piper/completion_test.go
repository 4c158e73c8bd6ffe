package main

import (
	"bytes"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// A typing is what a person types, <TAB> and all, and what piper is then called
// with.
type typing struct{ name, keys, want string }

var typed = []typing{
	{"command", "piper ver<TAB>", "<version>"},
	{"flag", "piper exec --keep<TAB>", "<exec> <--keep-going>"},
	{"value of a flag", "piper exec --progress qu<TAB>", "<exec> <--progress> <quiet>"},
	{"value of a flag with =", "piper exec --progress=qu<TAB>", "<exec> <--progress=quiet>"},
	{"pipeline", "piper exec rel<TAB>", "<exec> <release>"},
	{"environment", "piper exec release b<TAB>", "<exec> <release> <box>"},
	{"parameter and choice", "piper exec release -p ki<TAB>f<TAB>", "<exec> <release> <-p> <kind=fast>"},
	{"choice after two =", "piper exec release --param=kind=s<TAB>", "<exec> <release> <--param=kind=slow>"},
	{"step", "piper exec release --only build/am<TAB>", "<exec> <release> <--only> <build/amd64>"},
	{"step after a comma", "piper exec release --only=lint,build/ar<TAB>", "<exec> <release> <--only=lint,build/arm64>"},
	{"step with a colon in another word", "piper exec release --branch a:b --only lin<TAB>", "<exec> <release> <--branch> <a:b> <--only> <lint>"},
	{"in the middle of a line", "piper exec rel --dry-run<LEFT 10><TAB>", "<exec> <release> <--dry-run>"},
	{"file", "piper list --file oth<TAB>", "<list> <--file> <other.star>"},
	{"directory", "piper list -C dir<TAB>", "<list> <-C> <directory/>"},
	{"nothing that fits", "piper exec zzz<TAB>", "<exec> <zzz>"},
}

// shells are those that have a completion script, and what they are told first.
var shells = []struct {
	name  string
	argv  []string
	setup string
}{
	{"bash", []string{"bash", "--norc", "--noprofile", "-i"}, `
		bind 'set bell-style none'; bind 'set enable-bracketed-paste off'
		eval "$(piper completion bash)"
		piper() { if [ "$1" = __complete ]; then command piper "$@"; else printf '@@'; printf '<%s> ' "$@"; echo '@@'; fi; }`},
	{"zsh", []string{"zsh", "-f", "-i"}, `
		unsetopt beep prompt_sp prompt_cr auto_remove_slash; zstyle ':completion:*' menu no; zmodload zsh/complist
		autoload -Uz compinit; compinit -u -D
		eval "$(piper completion zsh)"
		piper() { if [ "$1" = __complete ]; then command piper "$@"; else printf '@@'; printf '<%s> ' "$@"; echo '@@'; fi; }`},
	{"fish", []string{"fish", "--no-config", "-i"}, `
		function fish_prompt; end; set -g fish_autosuggestion_enabled 0
		piper completion fish | source
		function piper; if test "$argv[1]" = __complete; command piper $argv; else; printf '@@'; printf '<%s> ' $argv; echo '@@'; end; end`},
}

// TestShells types into real shells that have the completion script.
func TestShells(t *testing.T) {
	dir := t.TempDir()
	write(t, dir, "PIPER.star", `
environment("box", kind = host())
lint = step("lint", run = "true")
builds = [step("build/" + arch, run = "true") for arch in ("amd64", "arm64")]
pipeline(name = "test", doc = "Lint and unit tests", steps = [lint])
pipeline(name = "release", params = {"kind": param.enum(choices = ["fast", "slow"], default = "fast")}, steps = [lint] + builds)
`)
	write(t, dir, "other.star", "")
	require.NoError(t, os.Mkdir(filepath.Join(dir, "directory"), 0o777))
	typeIntoShells(t, dir, typed)
}

// TestShellsAskServer types into shells where a server knows more than there is in
// the directory.
func TestShellsAskServer(t *testing.T) {
	r := &reader{T: t, dir: t.TempDir(), home: t.TempDir()}
	address := "127.0.0.1:" + strconv.Itoa(freePort())
	server := []string{"PIPER_SERVER=http://" + address, "PIPER_TOKEN_FILE=" + filepath.Join(r.home, ".local/share/piper/token")}
	r.environ = append([]string{"PATH=" + os.Getenv("PATH"), "HOME=" + r.home, "GORACE=atexit_sleep_ms=0"}, server...)
	require.NoError(t, os.Mkdir(filepath.Join(r.dir, "shop"), 0o777))
	write(t, r.dir, "shop/PIPER.star", `
project(name = "shop")
environment("box", kind = host())
pipeline(name = "release", params = {"kind": param.enum(choices = ["fast", "slow"], default = "fast")}, steps = [step("lint", run = "true")])
`)
	r.run("git -C shop init -q -b main; git -C shop add .; git -C shop -c user.name=a -c user.email=a@example.com commit -q -m first")
	r.start("piper agentd --listen "+address).wait(t, `msg="agent started"`)
	r.run("piper project add shop --repo shop")
	r.run("piper build release --watch")
	r.run("mkdir empty")
	typeIntoShells(t, filepath.Join(r.dir, "empty"), []typing{
		{"pipeline", "piper build rel<TAB>", "<build> <release>"},
		{"environment", "piper build release b<TAB>", "<build> <release> <box>"},
		{"parameter and choice", "piper build release -p ki<TAB>s<TAB>", "<build> <release> <-p> <kind=slow>"},
		{"build and step", "piper why <TAB>li<TAB>", "<why> <1> <lint>"},
		{"step of a build", "piper logs 1 --step l<TAB>", "<logs> <1> <--step> <lint>"},
		{"build to show", "piper show <TAB>", "<show> <1>"},
		{"build to cancel", "piper cancel <TAB>", "<cancel> <1>"},
		{"build to run again", "piper rerun <TAB>", "<rerun> <1>"},
		{"project", "piper build --project sh<TAB>", "<build> <--project> <shop>"},
	}, server...)
}

func typeIntoShells(t *testing.T, dir string, lines []typing, env ...string) {
	for _, shell := range shells {
		t.Run(shell.name, func(t *testing.T) {
			if _, err := exec.LookPath(shell.argv[0]); err != nil {
				t.Skipf("COMPLETION IS NOT TESTED IN %s: it is not installed", strings.ToUpper(shell.name))
			}
			s := startTerminal(t, dir, shell.argv, env...)
			for line := range strings.Lines(shell.setup) {
				s.send(strings.TrimSpace(line) + "\n")
			}
			s.send("echo re''ady\n")
			s.expect("\nready")
			for _, c := range lines {
				// One after the other: the shell reads a key when it is done
				// with the last, so nothing here depends on how long it takes.
				s.send(keys(c.keys) + "\n")
				s.expect("\n@@")
				got := strings.TrimSpace(s.expect("@@"))
				require.Equal(t, c.want, got, "%s: %s", c.name, c.keys)
			}
		})
	}
}

// A server that does not answer is not waited for: what is here is offered.
func TestCompletionDoesNotWaitForAServer(t *testing.T) {
	silent, err := net.Listen("tcp", "127.0.0.1:0") // takes a connection, and says nothing
	require.NoError(t, err)
	defer silent.Close()
	dir := t.TempDir()
	write(t, dir, "PIPER.star", `pipeline(name = "release", steps = [])`)
	var stdout bytes.Buffer
	a := &app{stdin: strings.NewReader(""), stdout: &output{to: &stdout}, stderr: io.Discard, patience: 2 * time.Second,
		environ: []string{"HOME=" + t.TempDir(), "PIPER_SERVER=http://" + silent.Addr().String(), "PIPER_TOKEN=x"}}
	require.Equal(t, exitOK, a.run(t.Context(), []string{"__complete", "-C", dir, "build", ""}))
	require.Equal(t, "release\n:4\n", stdout.String())
}

// keys puts what a terminal sends in the place of names of keys.
func keys(s string) string {
	s = strings.ReplaceAll(s, "<TAB>", "\t")
	for n := range 20 {
		s = strings.ReplaceAll(s, fmt.Sprintf("<LEFT %d>", n), strings.Repeat("\x02", n)) // Ctrl-B
	}
	return s
}
