package git_test

import (
	"context"
	"encoding/pem"
	"errors"
	"fmt"
	"net/http"
	"net/http/cgi"
	"net/http/httptest"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/piper-build/piper/runtime/git"
	"github.com/piper-build/piper/runtime/process"
)

// serve makes the repository one of an https server that wants a token.
func (w *world) serve(token string, also http.HandlerFunc) *httptest.Server {
	out, err := exec.Command("git", "--exec-path").Output()
	require.NoError(w, err)
	backend := filepath.Join(strings.TrimSpace(string(out)), "git-http-backend")
	if _, err := os.Stat(backend); err != nil {
		w.Skip("SKIPPED: git http-backend is needed to serve a repository")
	}
	w.run("config", "http.receivepack", "false")
	handler := &cgi.Handler{Path: backend, Env: []string{"GIT_PROJECT_ROOT=" + filepath.Dir(w.dir), "GIT_HTTP_EXPORT_ALL=1"}}
	s := httptest.NewTLSServer(http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
		if also != nil && strings.HasPrefix(r.URL.Path, "/also/") {
			also(rw, r)
			return
		}
		if _, password, ok := r.BasicAuth(); token != "" && (!ok || password != token) {
			rw.Header().Set("WWW-Authenticate", `Basic realm="shop"`)
			http.Error(rw, "who are you?", http.StatusUnauthorized)
			return
		}
		handler.ServeHTTP(rw, r)
	}))
	w.Cleanup(s.Close)
	ca := filepath.Join(w.TempDir(), "ca.pem")
	block := &pem.Block{Type: "CERTIFICATE", Bytes: s.Certificate().Raw}
	require.NoError(w, os.WriteFile(ca, pem.EncodeToMemory(block), 0o600))
	w.mirror.URL, w.mirror.Local, w.mirror.Private = s.URL+"/shop/.git", false, true
	w.mirror.Credentials.CAFile = ca
	return s
}

// token writes a file with a token.
func (w *world) token(text string) string {
	path := filepath.Join(w.TempDir(), "the token's file")
	require.NoError(w, os.WriteFile(path, []byte(text), 0o600))
	return path
}

func TestMirrorByToken(t *testing.T) {
	const token = "s3cret/+='\"\\$(id)token"
	for _, end := range []string{"", "\n"} {
		t.Run(fmt.Sprintf("%q", end), func(t *testing.T) {
			w := newWorld(t)
			w.serve(token, nil)
			w.mirror.Credentials.TokenFile = w.token(token + end)
			var mu sync.Mutex
			var said strings.Builder // all that anybody can see of what was started
			w.mirror.Output = func(ctx context.Context, dir string, env []string, argv ...string) ([]byte, error) {
				mu.Lock()
				fmt.Fprintln(&said, dir, env, argv)
				mu.Unlock()
				return process.Output(ctx, dir, env, argv...)
			}
			w.fetch()
			three := w.commit("three", "a.txt", "three\n")
			w.fetch(three)
			require.Equal(t, three, w.resolve("main"))
			tree := filepath.Join(t.TempDir(), "tree")
			require.NoError(t, w.mirror.Checkout(t.Context(), git.Checkout{Dir: tree, Commit: three}))
			require.NotContains(t, said.String(), "s3cret")
			for _, dir := range []string{tree, w.mirror.Dir} {
				require.NoError(t, filepath.WalkDir(dir, func(path string, d os.DirEntry, err error) error {
					if err == nil && d.Type().IsRegular() {
						text, err := os.ReadFile(path)
						require.NoError(t, err)
						require.NotContains(t, string(text), "s3cret", path)
					}
					return err
				}))
			}
		})
	}
}

func TestMirrorDenied(t *testing.T) {
	w := newWorld(t)
	seen := make(chan string, 10)
	s := w.serve("right", func(rw http.ResponseWriter, r *http.Request) {
		switch _, password, _ := r.BasicAuth(); {
		case password != "":
			seen <- password
		}
		switch {
		case strings.HasPrefix(r.URL.Path, "/also/moved"):
			http.Redirect(rw, r, "https://localhost:1/elsewhere"+strings.TrimPrefix(r.URL.Path, "/also/moved"), http.StatusMovedPermanently)
		case strings.HasPrefix(r.URL.Path, "/also/broken"):
			http.Error(rw, "oh", http.StatusBadGateway)
		default: // what it sends back is what it was sent
			rw.WriteHeader(http.StatusForbidden)
		}
	})
	good := w.mirror.Credentials
	for _, test := range []struct {
		name  string
		path  string
		creds git.Credentials
		is    error
		says  string
		hint  string
	}{
		{"no token", "", git.Credentials{CAFile: good.CAFile}, git.ErrDenied, "could not read Username", "token_file"},
		{"wrong token", "", git.Credentials{CAFile: good.CAFile, TokenFile: w.token("wr0ng")}, git.ErrDenied, "Authentication failed", "is the token right"},
		{"other authority", "", git.Credentials{TokenFile: w.token("right")}, git.ErrRefused, "certificate", "ca_file"},
		{"moved", "/also/moved", git.Credentials{CAFile: good.CAFile, TokenFile: w.token("right")}, git.ErrRefused, "", "give the project its new address"},
		{"its own problem", "/also/broken", good, git.ErrUnreachable, "502", "of its own"},
		{"forbidden", "/also/x", good, git.ErrDenied, "403", "allowed to read"},
		{"not there", "/nope", git.Credentials{CAFile: good.CAFile, TokenFile: w.token("right")}, git.ErrDenied, "not found", "is the address right"},
		{"no token file", "", git.Credentials{CAFile: good.CAFile, TokenFile: "/nowhere/token"}, os.ErrNotExist, "read token", ""},
		{"empty token file", "", git.Credentials{CAFile: good.CAFile, TokenFile: w.token("\n")}, nil, "is none", ""},
		{"token of Windows", "", git.Credentials{CAFile: good.CAFile, TokenFile: w.token("right\r\n")}, nil, "carriage return", ""},
		{"huge token", "", git.Credentials{CAFile: good.CAFile, TokenFile: w.token(strings.Repeat("x", 20<<10))}, nil, "longer than 16 KiB", ""},
		{"user of two lines", "", git.Credentials{CAFile: good.CAFile, TokenFile: w.token("right"), Username: "a\npassword=b"}, nil, "more than one line", ""},
	} {
		t.Run(test.name, func(t *testing.T) {
			m := git.Mirror{Dir: t.TempDir(), URL: s.URL + "/shop/.git", Private: true, Credentials: test.creds}
			if test.path != "" {
				m.URL = s.URL + test.path
			}
			err := m.Fetch(t.Context())
			require.ErrorContains(t, err, test.says)
			if test.is != nil {
				require.ErrorIs(t, err, test.is)
			}
			require.Contains(t, advice(err), test.hint)
			require.NotContains(t, err.Error(), "wr0ng")
		})
	}
	s.Close()
	err := (&git.Mirror{Dir: t.TempDir(), URL: s.URL + "/shop/.git", Private: true}).Fetch(t.Context())
	require.ErrorIs(t, err, git.ErrUnreachable)
	require.Empty(t, seen, "a token was sent before it was asked for")
}

// Nothing is asked of this machine or its network for somebody who only names
// a host, whatever its name leads to.
func TestMirrorStaysOutside(t *testing.T) {
	lookup := map[string]string{
		"git.example.org": "93.184.216.34", "inner.example.org": "10.0.0.1", "six.example.org": "2606:2800:220:1:248:1893:25c8:1946",
		"mapped.example.org": "::ffff:127.0.0.1", "nat.example.org": "64:ff9b::7f00:1",
	}
	var started []string
	m := git.Mirror{Dir: t.TempDir(),
		Lookup: func(_ context.Context, host string) ([]netip.Addr, error) {
			if a, err := netip.ParseAddr(host); err == nil {
				return []netip.Addr{a}, nil
			}
			if a, ok := lookup[host]; ok {
				return []netip.Addr{netip.MustParseAddr(a)}, nil
			}
			return nil, errors.New("no such host")
		},
		Output: func(_ context.Context, _ string, env []string, argv ...string) ([]byte, error) {
			started = append(started, fmt.Sprint(env, argv))
			return nil, errors.New("not now")
		},
	}
	for _, url := range []string{"https://inner.example.org/x", "https://mapped.example.org/x", "https://nat.example.org/x", "https://169.254.169.254/x", "https://[::1]/x",
		"https://127.0.0.1:8443/x", "ssh://git@inner.example.org/x", "git@inner.example.org:x", "ssh://git@[fe80::1]/x", "https://[::ffff:10.0.0.1]/x", "https://0.0.0.0/x"} {
		m.URL = url
		err := m.Fetch(t.Context())
		require.ErrorIs(t, err, git.ErrRefused, url)
		require.Contains(t, advice(err), "private_hosts", url)
	}
	m.URL = "https://nowhere.example.org/x"
	require.ErrorIs(t, m.Fetch(t.Context()), git.ErrUnreachable)
	require.Empty(t, started)

	// Where a name led when it was looked at is where git goes.
	for url, want := range map[string]string{
		"https://git.example.org/x":          "http.curloptResolve=git.example.org:443:93.184.216.34 ",
		"https://six.example.org:8443/x":     "http.curloptResolve=six.example.org:8443:[2606:2800:220:1:248:1893:25c8:1946] ",
		"ssh://git@git.example.org:2222/x":   "'HostKeyAlias=[git.example.org]:2222' '-o' 'Hostname=93.184.216.34'",
		"git@git.example.org:group/shop.git": "'HostKeyAlias=git.example.org' '-o' 'Hostname=93.184.216.34'",
	} {
		started = nil
		m.URL = url
		require.ErrorIs(t, m.Fetch(t.Context()), git.ErrNoProgram)
		require.Len(t, started, 1)
		require.Contains(t, started[0], want)
	}
}

// An ssh of our own tells what it was started with.
func TestMirrorBySSH(t *testing.T) {
	w := newWorld(t)
	bin, log := t.TempDir(), filepath.Join(t.TempDir(), "log")
	script := "#!/bin/sh\nprintf '%s\\n' \"$@\" >>'" + log + "'\nfor last; do :; done\ncase $SSH_FAILS in '') exec sh -c \"$last\";; esac\necho \"$SSH_FAILS\" >&2; exit 255\n"
	require.NoError(t, os.WriteFile(filepath.Join(bin, "ssh"), []byte(script), 0o755))
	t.Setenv("PATH", bin+":"+os.Getenv("PATH"))
	w.mirror.URL, w.mirror.Local, w.mirror.Private = "git@git.example.org:"+w.dir, false, true
	w.mirror.Credentials = git.Credentials{SSHKey: "/etc/piper/it's 100% mine", KnownHosts: "/etc/piper/known"}
	w.fetch()
	require.Equal(t, w.run("rev-parse", "main"), w.resolve("main"))
	argv, err := os.ReadFile(log)
	require.NoError(t, err)
	for _, want := range []string{"-F\n/dev/null\n", "IdentitiesOnly=yes\n", "BatchMode=yes\n", "StrictHostKeyChecking=yes\n", "IdentityFile=\"/etc/piper/it's 100%% mine\"\n",
		"UserKnownHostsFile=\"/etc/piper/known\"\n", "GlobalKnownHostsFile=/dev/null\n", "\ngit@git.example.org\n"} {
		require.Contains(t, string(argv), want)
	}

	for said, test := range map[string]struct {
		is   error
		hint string
	}{
		"git@git.example.org: Permission denied (publickey).":                        {git.ErrDenied, "ssh_key"},
		"Host key verification failed.":                                              {git.ErrRefused, "ssh-keyscan"},
		"ssh: connect to host git.example.org port 22: Connection refused":           {git.ErrUnreachable, "firewall"},
		"ssh: Could not resolve hostname git.example.org: Name or service not known": {git.ErrUnreachable, "name server"},
	} {
		// The variable reaches the program by a file, as git is given no more
		// than it needs.
		require.NoError(t, os.WriteFile(filepath.Join(bin, "ssh"), []byte("#!/bin/sh\necho '"+said+"' >&2; exit 255\n"), 0o755))
		err := w.mirror.Fetch(t.Context())
		require.ErrorIs(t, err, test.is)
		require.ErrorContains(t, err, said)
		require.Contains(t, advice(err), test.hint)
	}
	w.mirror.Credentials.SSHKey = `/etc/a"b`
	require.ErrorContains(t, w.mirror.Fetch(t.Context()), "cannot be named to ssh")
}

// What is written on the other side does nothing to a terminal here.
func TestMirrorErrorsAreInert(t *testing.T) {
	w := newWorld(t)
	w.mirror.Output = func(context.Context, string, []string, ...string) ([]byte, error) {
		return nil, &process.ExitError{Program: "git", Exit: 128, Stderr: "remote: \x1b]0;pwn\x07\u202ehi\nfatal: Authentication failed\x1b[2J"}
	}
	err := w.mirror.Fetch(t.Context())
	require.ErrorIs(t, err, git.ErrDenied)
	require.NotContains(t, err.Error(), "\x1b")
	require.NotContains(t, err.Error(), "\u202e")
}

func TestCheckURL(t *testing.T) {
	for _, url := range []string{"https://git.example.org/group/shop.git", "https://git.example.org:8443/x", "https://[2001:db8::1]/x", "ssh://git@git.example.org/x",
		"ssh://git@git.example.org:2222/~a/x", "git@git.example.org:group/shop.git", "git.example.org:x", "git@[2001:db8::1]:x"} {
		require.NoError(t, git.CheckURL(url, false), url)
	}
	for _, url := range []string{"/srv/git/x", "file:///srv/git/x"} {
		require.NoError(t, git.CheckURL(url, true), url)
		require.ErrorContains(t, git.CheckURL(url, false), "a path of this machine is not allowed")
	}
	for url, want := range map[string]string{
		"":                                     "it is empty",
		"ext::sh -c id":                        "a character that no address has",
		"ext::sh":                              "it names a program",
		"fd::3":                                "it names a program",
		"ssh://-oProxyCommand=x":               "its host is none",
		"ssh://-oProxyCommand=x/y":             "its host is none",
		"ssh://a@-oProxyCommand=x/y":           "its host is none",
		"-oProxyCommand=x:y":                   "it begins with a dash",
		"git@-oProxyCommand=x:y":               "it is not an address",
		"-u@host:y":                            "it begins with a dash",
		"git@host:-x":                          "it is not an address",
		"ssh://git@host/-x":                    "its path is none",
		"ssh://-l@host/x":                      "its user is none",
		"git://host/x":                         "none of the protocols",
		"http://169.254.169.254/x":             "http can be read",
		"http://[::1]/x":                       "http can be read",
		"ftp://host/x":                         "none of the protocols",
		"https://user:pw@host/x":               "a user or a password",
		"https://user@host/x":                  "a user or a password",
		"ssh://git:pw@host/x":                  "a user or a password",
		"https://host/x?a=b":                   "its path is none",
		"https://host/x#f":                     "its path is none",
		"https://host":                         "its path is none",
		"https://2130706433/x":                 "its host is none",
		"https://0x7f.1/x":                     "its host is none",
		"https://0x7f000001/x":                 "its host is none",
		"https://127.1/x":                      "its host is none",
		"https://host./x":                      "its host is none",
		"https://h\u00f6st/x":                  "its host is none",
		"https://host:99999999/x":              "its port is none",
		"https://ho st/x":                      "a character that no address has",
		"https://host/x\n":                     "a character that no address has",
		"https://host/\x1b[2J":                 "a character that no address has",
		"https://host/" + "\\x":                "a character that no address has",
		"../x":                                 "it is not an address",
		"shop":                                 "it is not an address",
		"https://" + strings.Repeat("a", 5000): "more than 2000 bytes",
	} {
		err := git.CheckURL(url, true)
		require.ErrorContains(t, err, want, url)
		require.ErrorIs(t, err, git.ErrInvalid, url)
		require.NotEmpty(t, advice(err), url)
		require.NotContains(t, err.Error(), "pw@", url)
		require.Less(t, len(err.Error()), 300)
	}
}

func TestCheckRef(t *testing.T) {
	for _, ref := range []string{"main", "feature/x", "v1.0", "refs/pull/7/head", "a-b_c+d=e#f,g%h", "über", strings.Repeat("a", 40), "a@b"} {
		require.NoError(t, git.CheckRef(ref), ref)
	}
	for _, ref := range []string{"", "--upload-pack=x", "refs/heads/--upload-pack=x", "-", "a b", "$(id)", "`id`", "../x", "a/../b", "a..b", "a\nb", "a\x1b[2J", "a\x00b", "a\u202eb", "a\u200bb", "a\u00a0b", strings.Repeat("a", 5<<10),
		"@", "HEAD@{1}", "main~1", "main^", ":/x", "a?b", "*", "[a]", `a\b`, "/a", "a/", "a//b", ".a", "a.lock", "a.", "a;b", "a|b", "'a'", `"a"`, "a&b", "!a", "\xff"} {
		err := git.CheckRef(ref)
		require.Error(t, err, ref)
		require.Contains(t, advice(err), "name a branch")
		require.ErrorIs(t, err, git.ErrInvalid)
		require.NotContains(t, err.Error(), "\x1b")
		require.Less(t, len(err.Error()), 300)

		m := git.Mirror{Dir: t.TempDir(), URL: "https://git.example.org/x", Output: func(context.Context, string, []string, ...string) ([]byte, error) {
			t.Errorf("git was started for %q", ref)
			return nil, nil
		}}
		require.Error(t, m.Fetch(t.Context(), ref))
	}
}
