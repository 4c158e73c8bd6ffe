package facts

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/piper-build/piper/runtime/process"
)

// toolTime bounds one question to a tool.
const toolTime = 30 * time.Second

// A tool is a program whose way to tell its version is known. ask holds the
// argument lists to try in turn; a word list parted by spaces.
type tool struct{ name, ask string }

// tools are the common programs. Any other is asked with --version, and with
// nothing else: to a program that nobody knows, a word may be an order.
var tools = [...]tool{
	{"ansible", "--version"},
	{"aws", "--version"},
	{"bash", "--version"},
	{"bazel", "--version"},
	{"buildah", "--version"},
	{"bun", "--version"},
	{"cargo", "--version"},
	{"clang", "--version"},
	{"cmake", "--version"},
	{"composer", "--version"},
	{"curl", "--version"},
	{"deno", "--version"},
	{"docker", "--version"},
	{"docker-compose", "--version"},
	{"dotnet", "--version"},
	{"ffmpeg", "-version"},
	{"g++", "--version"},
	{"gcc", "--version"},
	{"gh", "--version"},
	{"git", "--version"},
	{"git-lfs", "--version"},
	{"go", "version"},
	{"golangci-lint", "--version"},
	{"gradle", "--version"},
	{"helm", "version --short"},
	{"java", "-version"},
	{"javac", "-version"},
	{"jq", "--version"},
	{"kubectl", "version --client"},
	{"kustomize", "version"},
	{"lua", "-v"},
	{"make", "--version"},
	{"mvn", "--version"},
	{"nginx", "-v"},
	{"ninja", "--version"},
	{"node", "--version"},
	{"npm", "--version"},
	{"openssl", "version"},
	{"perl", "--version"},
	{"php", "--version"},
	{"pip", "--version"},
	{"pnpm", "--version"},
	{"podman", "--version"},
	{"protoc", "--version"},
	{"psql", "--version"},
	{"python", "--version"},
	{"python3", "--version"},
	{"rsync", "--version"},
	{"ruby", "--version"},
	{"rustc", "--version"},
	{"rustup", "--version"},
	{"sqlite3", "--version"},
	{"ssh", "-V"},
	{"swift", "--version"},
	{"tar", "--version"},
	{"terraform", "version"},
	{"tofu", "version"},
	{"unzip", "-v"},
	{"uv", "--version"},
	{"yarn", "--version"},
	{"zig", "version"},
	{"zip", "-v"},
}

// tool finds the version of a tool: the one that it told before, or else it is
// asked. It is to be found again after until; zero is never.
func (m *Machine) tool(ctx context.Context, name string) (version string, ok bool, until time.Time, err error) {
	path, ok := m.lookPath(name)
	if !ok {
		return "", false, until, nil
	}
	is, unseen := programAt(path)
	if m.Cache == "" || unseen != nil {
		version, _, err = m.ask(ctx, name, path)
		return version, err == nil, until, err
	}
	if version, until, ok = m.cache.get(m.Cache, name, path, is); ok {
		return version, true, until, nil
	}
	version, told, err := m.ask(ctx, name, path)
	if told {
		m.cache.put(m.Cache, path, entry{is, version})
	} else if err == nil {
		m.cache.put(m.Cache, path, entry{})
	}
	return version, err == nil, until, err
}

// ask asks a tool for its version. One that did not tell may do so the next time.
func (m *Machine) ask(ctx context.Context, name, path string) (version string, told bool, err error) {
	ask := "--version"
	if i, known := slices.BinarySearchFunc(tools[:], name, func(t tool, name string) int { return strings.Compare(t.name, name) }); known {
		ask = tools[i].ask
	}
	limited, cancel := context.WithTimeout(ctx, toolTime)
	defer cancel()
	// Some write to stderr. The shell is the one way to have both that needs no
	// more than one stream of the asker.
	argv := append([]string{"/bin/sh", "-c", `exec "$0" "$@" 2>&1`, path}, strings.Fields(ask)...)
	out, err := m.output(limited, m.toolEnv(), argv...)
	var exit *process.ExitError
	switch {
	case err == nil:
		return parseVersion(string(out)), true, nil
	case ctx.Err() != nil:
		return "", false, ctx.Err()
	case errors.As(err, &exit), limited.Err() != nil, errors.Is(err, process.ErrOutput):
		return "", false, nil // it is there, and does not tell
	}
	return "", false, err
}

// toolEnv is what a tool sees: what every step does, and a request to leave the
// network alone.
func (m *Machine) toolEnv() []string {
	env := []string{"CHECKPOINT_DISABLE=1", "DOTNET_CLI_TELEMETRY_OPTOUT=1", "GOTOOLCHAIN=local"}
	for _, entry := range m.environ() {
		switch name, _, _ := strings.Cut(entry, "="); name {
		case "PATH", "HOME", "USER", "LANG", "TERM", "TMPDIR":
			env = append(env, entry)
		}
	}
	return env
}

// lookPath finds a program on PATH. A name that holds a slash is none.
func (m *Machine) lookPath(name string) (string, bool) {
	if name == "" || strings.ContainsAny(name, "/\x00") {
		return "", false
	}
	search := ""
	for _, entry := range m.environ() {
		if value, ok := strings.CutPrefix(entry, "PATH="); ok {
			search = value
		}
	}
	for _, dir := range filepath.SplitList(search) {
		if !filepath.IsAbs(dir) {
			continue // what it is depends on who asks
		}
		path := filepath.Join(dir, name)
		if info, err := os.Stat(path); err == nil && info.Mode().IsRegular() && info.Mode().Perm()&0o111 != 0 {
			return path, true
		}
	}
	return "", false
}

var versionPattern = sync.OnceValue(func() *regexp.Regexp {
	return regexp.MustCompile(`[0-9]+(?:\.[0-9]+)+(?:[-_.]?(?:alpha|beta|rc|pre|dev|[_p])[-.]?[0-9]+)?`)
})

var numberPattern = sync.OnceValue(func() *regexp.Regexp {
	return regexp.MustCompile(`(?:^|[\sv(-])([0-9]+)(?:$|[\s,)])`)
})

// parseVersion returns the first dotted number of a text, with what marks it as
// a pre-release or a patch; or else the first whole number of its first line.
func parseVersion(text string) string {
	if version := versionPattern().FindString(text); version != "" {
		return version
	}
	first, _, _ := strings.Cut(strings.TrimSpace(text), "\n")
	if found := numberPattern().FindStringSubmatch(first); found != nil {
		return found[1]
	}
	return ""
}
