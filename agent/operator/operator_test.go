package operator_test

import (
	"context"
	"errors"
	"go/doc/comment"
	"go/parser"
	"go/token"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/piper-build/piper/agent/operator"
	"github.com/piper-build/piper/runtime/facts"
	"github.com/piper-build/piper/runtime/git"
	"github.com/piper-build/piper/runtime/plan"
	"github.com/piper-build/piper/runtime/secret"
	"github.com/piper-build/piper/runtime/store"
)

// place is a directory with an agent.yaml and all that it names.
func place(t *testing.T, text string) (dir, file string) {
	dir = t.TempDir()
	for name, text := range map[string]string{
		"shop.token": "t0ken\n", "corporation.pem": "x", "shop.hook": "0123456789abcdef\n", "id_lib": "key", "hosts": "x", "short": "abc", "secrets/registry": "hunter22", "vault/key": "x",
	} {
		path := filepath.Join(dir, name)
		require.NoError(t, os.MkdirAll(filepath.Dir(path), 0o700))
		require.NoError(t, os.WriteFile(path, []byte(text), 0o600))
	}
	file = filepath.Join(dir, "agent.yaml")
	require.NoError(t, os.WriteFile(file, []byte(text), 0o600))
	return dir, file
}

// example is the file of the package's doc.
func example(t *testing.T) string {
	f, err := parser.ParseFile(token.NewFileSet(), "operator.go", nil, parser.ParseComments|parser.PackageClauseOnly)
	require.NoError(t, err)
	for _, block := range new(comment.Parser).Parse(f.Doc.Text()).Content {
		if code, ok := block.(*comment.Code); ok {
			return code.Text
		}
	}
	require.Fail(t, "the package's doc has no example")
	return ""
}

// What the README of agents shows is the example.
func TestReadme(t *testing.T) {
	readme, err := os.ReadFile("../README.md")
	require.NoError(t, err)
	require.Contains(t, string(readme), "```yaml\n"+example(t)+"```\n")
}

func TestExample(t *testing.T) {
	dir, file := place(t, example(t))
	f, err := operator.Read(file)
	require.NoError(t, err)
	shop := operator.Project{
		Name: "shop", Host: "git.example.org",
		Credentials: git.Credentials{TokenFile: dir + "/shop.token", Username: "robot", CAFile: dir + "/corporation.pem"},
		Webhook:     &operator.Webhook{Kind: "github", SecretFile: dir + "/shop.hook"},
		Secrets: secret.Grants{
			{Projects: []string{"*"}, Names: []string{"registry*"}, Events: []string{"push", "tag", "manual"}},
			{Projects: []string{"*"}, Names: []string{"deploy", "aws/*"}, Events: []string{"*"}},
		},
	}
	lib := operator.Project{Name: "lib-*", Credentials: git.Credentials{SSHKey: dir + "/id_lib", KnownHosts: dir + "/hosts"}}
	require.Equal(t, &operator.File{
		Projects: []operator.Project{shop, lib}, Secrets: operator.Secrets{Directory: dir + "/secrets"},
		Environ: []string{"CI_NODE", "CI_ZONE_*"}, PrivateHosts: []string{"git.corp.example", "*.internal"},
		Confine: operator.Always, Hidden: []string{dir + "/vault"},
		Static: map[string]string{"zone": "eu-1"}, Commands: map[string]facts.Command{"gpu": {Argv: []string{"nvidia-smi", "-L"}, Refresh: 10 * time.Minute}},
	}, f)
	require.Equal(t, shop, f.Project("shop"))
	require.Equal(t, lib, f.Project("lib-a"))
	require.Zero(t, f.Project("other"))
	require.Equal(t, 10*time.Minute, f.Refresh())
	require.Equal(t, []string{dir + "/shop.token", dir + "/shop.hook", dir + "/id_lib", dir + "/secrets", dir + "/vault"}, f.Private())

	hook, err := f.Project("shop").Webhook.Secret()
	require.NoError(t, err)
	require.Equal(t, "0123456789abcdef", string(hook))
	_, err = (&operator.Webhook{SecretFile: dir + "/short"}).Secret()
	require.ErrorContains(t, err, "shorter than 16 bytes")
	_, err = (&operator.Webhook{SecretFile: dir + "/gone"}).Secret()
	require.ErrorIs(t, err, os.ErrNotExist)

	lookup := func(name string) (string, bool) { return "value of " + name, true }
	environ := f.LookupEnv(lookup)
	for name, want := range map[string]bool{"CI_NODE": true, "CI_ZONE_A": true, "CI_NODES": false, "PATH": false, "": false} {
		_, ok := environ(name)
		require.Equal(t, want, ok, name)
	}

	get := func(b secret.Build, name string) error {
		value, err := f.SecretsFor(b, lookup, nil)(name)
		if err == nil {
			require.Equal(t, "hunter22", value)
		}
		return err
	}
	require.NoError(t, get(secret.Build{Project: "shop", Event: "push"}, "registry"))
	require.ErrorIs(t, get(secret.Build{Project: "shop", Event: "push"}, "aws/key"), secret.ErrNotFound)
	require.ErrorIs(t, get(secret.Build{Project: "shop", Event: "push", Fork: true}, "registry"), secret.ErrNotGranted)
	require.ErrorIs(t, get(secret.Build{Project: "lib-a", Event: "push"}, "registry"), secret.ErrNotGranted)
	require.ErrorIs(t, get(secret.Build{Project: "other", Event: "push"}, "registry"), secret.ErrNotGranted)
}

// A token is shown to the host that it is for, whatever the address of its
// project has become.
func TestMirror(t *testing.T) {
	_, file := place(t, example(t))
	f, err := operator.Read(file)
	require.NoError(t, err)
	for _, test := range []struct {
		project, repository string
		private             bool
		err                 string
	}{
		{"shop", "https://git.example.org/shop", false, ""},
		{"lib-a", "git@git.corp.example:lib", true, ""},
		{"lib-a", "ssh://git@a.internal:2222/lib", true, ""},
		{"other", "https://git.corp.example:8443/x", true, ""},
		{"other", "/srv/git/x", false, ""},
		{"shop", "https://evil.example/shop", false, "project shop is at evil.example, and its credentials are for git.example.org"},
		{"shop", "https://git.example.org:8443/shop", false, "project shop is at git.example.org:8443, and"},
		{"shop", "/srv/git/shop", false, "project shop is at a path of this machine, and"},
		{"shop", "ext::id", false, "it names a program"},
	} {
		m, err := f.Mirror(test.project, test.repository, "/mirrors/x")
		if test.err != "" {
			require.ErrorContains(t, err, test.err)
			require.Nil(t, m)
			continue
		}
		require.NoError(t, err, test.repository)
		require.Equal(t, &git.Mirror{Dir: "/mirrors/x", URL: test.repository, Private: test.private, Credentials: f.Project(test.project).Credentials}, m)
	}
	m, err := (&operator.File{}).Mirror("x", "/srv/git/x", "/mirrors/x")
	require.NoError(t, err)
	require.ErrorContains(t, m.Fetch(t.Context()), "a path of this machine is not allowed")
}

func TestSources(t *testing.T) {
	lookup := func(name string) (string, bool) { return "from " + name, name == "CI_SECRET_X" }
	for text, want := range map[string]string{
		"{environment: CI_SECRET_}":        "from CI_SECRET_X",
		`{command: [vault, "get={name}"]}`: "from vault get=x",
	} {
		_, file := place(t, "secrets: "+text+"\nprojects: {a: {secrets: [{name: x, events: [push]}]}}\n")
		f, err := operator.Read(file)
		require.NoError(t, err)
		value, err := f.SecretsFor(secret.Build{Project: "a", Event: "push"}, lookup, func(_ context.Context, _ string, _ []string, argv ...string) ([]byte, error) {
			return []byte("from " + strings.Join(argv, " ") + "\n"), nil
		})("x")
		require.NoError(t, err)
		require.Equal(t, want, value)
	}
	_, err := (&operator.File{}).SecretsFor(secret.Build{Project: "a", Event: "push"}, lookup, nil)("x")
	require.ErrorIs(t, err, secret.ErrNotGranted)
}

func TestGrantee(t *testing.T) {
	for _, test := range []struct {
		request store.Request
		want    secret.Build
	}{
		{store.Request{Project: "a"}, secret.Build{Project: "a", Event: "manual"}},
		{store.Request{Project: "a", Event: plan.Event{Kind: "tag"}, Cause: store.Cause{Kind: "rerun"}}, secret.Build{Project: "a", Event: "tag"}},
		{store.Request{Project: "a", Event: plan.Event{Kind: "manual"}, Cause: store.Cause{Kind: "trigger"}}, secret.Build{Project: "a", Event: "trigger"}},
		{store.Request{Project: "a", Event: plan.Event{Kind: "change_request"}, Cause: store.Cause{Trust: "fork"}}, secret.Build{Project: "a", Event: "change_request", Fork: true}},
		{store.Request{Project: "a", Cause: store.Cause{Kind: "trigger", Trust: "fork"}}, secret.Build{Project: "a", Event: "trigger", Fork: true}},
	} {
		require.Equal(t, test.want, operator.Grantee(test.request))
	}
}

func TestNothing(t *testing.T) {
	dir, file := place(t, "# nothing\n")
	for _, name := range []string{file, filepath.Join(dir, "gone.yaml")} {
		f, err := operator.Read(name)
		require.NoError(t, err)
		require.Equal(t, &operator.File{LocalRepositories: true, Confine: operator.Auto}, f)
		require.Empty(t, f.Private())
		require.Zero(t, f.Refresh())
	}
	_, err := operator.Read(dir)
	require.Error(t, err)
}

func TestWrong(t *testing.T) {
	for _, test := range []struct{ text, err, hint string }{
		{"enviro: []", `:1: unknown key "enviro"`, `did you mean "environ"?`},
		{"\nprojects:\n  shop:\n    sshkey: x", `:4: unknown key "sshkey"`, `did you mean "ssh_key"?`},
		{"zzz: 1", `:1: unknown key "zzz"`, "the keys here are confine, environ, facts,"},
		{"environ: [A]\nenviron: [B]", ":2: environ stands on line 1 already", ""},
		{"environ: A", ":1: want a list", ""},
		{"environ:", ":1: environ has no value", "leave it out"},
		{"environ: [A B]", `:1: "A B" is not the name of a variable`, ""},
		{"environ: [{a: b}]", ":1: want a text", ""},
		{"- a", `:1: want lines of "key: value"`, ""},
		{"a: [", "did not find expected", ""},
		{"environ: []\n---\nenviron: []", ":2: there is more than one document", ""},
		{"private_hosts: [a/b]", `:1: "a/b" is not a host`, ""},
		{"local_repositories: 1", ":1: want true or false", ""},
		{"confine: sometimes", `:1: "sometimes" is none of auto, always, never`, ""},
		{"confine: never\nhidden: [vault]", ":1: hidden hides nothing where confine is never", "take one of them out"},
		{"hidden: vault", ":1: want a list", ""},
		{"hidden: [[vault]]", ":1: want a text", ""},
		{"\nhidden: [gone]", ":2: stat ", "a path is relative to "},
		{"projects: {'[': {}}", ":1: the name of a project", ""},
		{"projects:\n  a: {ssh_key: id_lib, token_file: shop.token, host: x}", ":2: project a has both", "ssh_key is for ssh://"},
		{"projects: {a: {token_file: shop.token}}", ":1: project a does not say which host its token is for", "sent nowhere else"},
		{"projects: {a: {username: x}}", ":1: username without a token_file", ""},
		{"projects: {a: {username: 'a\tb'}}", "is not one word", ""},
		{"projects: {a: {host: a/b}}", `:1: "a/b" is not a host`, ""},
		{"projects:\n  a:\n    ssh_key: gone", ":3: stat ", "a path is relative to "},
		{"projects: {a: {ssh_key: ''}}", ":1: want the name of a file", ""},
		{"projects: {a: {ssh_key: secrets}}", "secrets is not a regular file", ""},
		{"projects: {a: {webhook: {kind: bit}}}", `:1: "bit" is none of github, gitlab, gitea, hmac`, ""},
		{"projects: {a: {webhook: {secret_file: shop.hook}}}", ":1: the webhook has no kind", "it is one of github"},
		{"projects: {a: {webhook: {kind: hmac, secret_file: shop.hook, forks: 1}}}", ":1: want true or false", ""},
		{"projects: {a: {webhook: {kind: hmac}}}", ":1: the webhook has no secret_file", "anybody could send it"},
		{"projects: {a: {secrets: [{events: [push]}]}}", ":1: it names no secret", ""},
		{"projects: {a: {secrets: [{name: x}]}}", ":1: it names no events", `["*"] for all`},
		{"projects: {a: {secrets: [{name: x, events: [pull]}]}}", `:1: "pull" is none of push,`, ""},
		{"projects: {a: {secrets: [{name: '[', events: [push]}]}}", `:1: "[" is not a glob`, ""},
		{"secrets: {}", ":1: secrets come from one place", "name one of"},
		{"secrets: {environment: A_, directory: secrets}", ":1: secrets come from one place", "name one of"},
		{"secrets: {environment: a b}", `:1: "a b" is not the beginning of variables`, ""},
		{"secrets: {directory: shop.hook}", "shop.hook is not a directory", ""},
		{"secrets: {command: [vault]}", ":1: secrets: the command does not say {name}", `"{name}"`},
		{"facts: {a b: c}", `:1: "a b" is not the key of a fact`, ""},
		{"facts: {a: {refresh: 10m}}", ":1: the fact a has no command", ""},
		{"facts: {a: {command: [x], refresh: 1ms}}", `:1: refresh: "1ms" is none`, ""},
		{"facts: {a: [x]}", `:1: want lines of`, ""},
		{"facts: {a: }", ":1: want a text", ""},
		{"facts: &a {b: c}\nenviron: *a", ":2: want a list", ""},
	} {
		t.Run(test.text, func(t *testing.T) {
			_, file := place(t, test.text+"\n")
			_, err := operator.Read(file)
			require.ErrorContains(t, err, test.err)
			require.ErrorContains(t, err, "agent.yaml")
			var wrong *operator.Error
			if errors.As(err, &wrong) {
				require.Contains(t, wrong.Hint(), test.hint)
			}
		})
	}
}

func TestOpenToOthers(t *testing.T) {
	for _, test := range []struct {
		name      string
		mode      os.FileMode
		err, hint string // "" when it is allowed
	}{
		{"agent.yaml", 0o644, "", ""},
		{"agent.yaml", 0o664, ":1: ", "can be written by others"},
		{"agent.yaml", 0o606, ":1: ", "can be written by others"},
		{"shop.token", 0o400, "", ""},
		{"shop.token", 0o640, ":4: ", "can be read by others"},
		{"shop.token", 0o604, ":4: ", "can be read by others"},
		{"shop.hook", 0o640, ":7: ", "can be read by others"},
		{"id_lib", 0o644, ":12: ", "can be read by others"},
		{"hosts", 0o644, "", ""},
		{"hosts", 0o666, ":13: ", "can be written by others"},
		{"corporation.pem", 0o444, "", ""},
		{"corporation.pem", 0o646, ":6: ", "can be written by others"},
		{"secrets", 0o755, ":14: ", "can be read by others"},
	} {
		dir, file := place(t, example(t))
		require.NoError(t, os.Chmod(filepath.Join(dir, test.name), test.mode))
		_, err := operator.Read(file)
		if test.err == "" {
			require.NoError(t, err, test.name)
			continue
		}
		require.ErrorContains(t, err, "agent.yaml"+test.err+filepath.Join(dir, test.name)+" "+test.hint, "%v", test)
		var wrong *operator.Error
		require.ErrorAs(t, err, &wrong)
		require.Contains(t, wrong.Hint(), "chmod ")
	}
	if os.Geteuid() != 0 {
		return
	}
	dir, file := place(t, example(t))
	require.NoError(t, os.Chown(filepath.Join(dir, "shop.token"), 12345, -1))
	_, err := operator.Read(file)
	require.ErrorContains(t, err, "belongs to another user")
}
