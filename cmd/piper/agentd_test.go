package main

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"math/big"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/piper-build/piper/api"
	"github.com/piper-build/piper/api/client"
	"github.com/piper-build/piper/runtime/plan"
	"github.com/piper-build/piper/runtime/store"
	"github.com/piper-build/piper/runtime/store/rethinkdb"
	"github.com/piper-build/piper/runtime/store/rethinkdb/rethinkdbtest"
)

// What others reach has to be said, or to speak TLS.
func TestOpen(t *testing.T) {
	certFile, keyFile, _ := certificate(t)
	for name, test := range map[string]struct {
		daemon
		fault string
	}{
		"this machine":    {daemon{listen: "127.0.0.1:0"}, ""},
		"by name":         {daemon{listen: "localhost:0"}, ""},
		"any address":     {daemon{listen: "0.0.0.0:0"}, "is reached by others"},
		"none":            {daemon{listen: ":0"}, "is reached by others"},
		"any, in six":     {daemon{listen: "[::]:0"}, "is reached by others"},
		"a name":          {daemon{listen: "localhost.example:0"}, "is reached by others"},
		"said aloud":      {daemon{listen: "0.0.0.0:0", insecure: true}, ""},
		"with TLS":        {daemon{listen: "0.0.0.0:0", cert: certFile, key: keyFile}, ""},
		"no key":          {daemon{listen: "127.0.0.1:0", cert: certFile}, "--tls-cert and --tls-key go together"},
		"the wrong key":   {daemon{listen: "127.0.0.1:0", cert: certFile, key: certFile}, "--tls-cert: "},
		"no port":         {daemon{listen: "127.0.0.1"}, "want HOST:PORT"},
		"no such address": {daemon{listen: "192.0.2.1:1", insecure: true}, "listen: "},
	} {
		t.Run(name, func(t *testing.T) {
			test.daemon.app = &app{}
			l, err := test.daemon.open()
			if test.fault != "" {
				require.ErrorContains(t, err, test.fault)
				return
			}
			require.NoError(t, err)
			require.NoError(t, l.Close())
		})
	}
}

// With TLS the API is as without, and older versions of it are refused.
func TestOpenWithTLS(t *testing.T) {
	certFile, keyFile, roots := certificate(t)
	d := &daemon{app: &app{}, listen: "127.0.0.1:0", cert: certFile, key: keyFile}
	l, err := d.open()
	require.NoError(t, err)
	go api.Serve(t.Context(), l, (&api.Server{Store: store.NewMemory(), Version: "1"}).HandlerAs(store.Token{Role: store.Read}), nil)
	asked := func(most uint16) error {
		transport := &http.Transport{TLSClientConfig: &tls.Config{RootCAs: roots, MinVersion: tls.VersionTLS10, MaxVersion: most}, ForceAttemptHTTP2: true}
		defer transport.CloseIdleConnections()
		got, err := (&client.Client{URL: d.url(l), HTTP: &http.Client{Transport: transport}}).Version(t.Context())
		if err == nil {
			require.Equal(t, "1", got.Version)
		}
		return err
	}
	require.NoError(t, asked(0))
	require.NoError(t, asked(tls.VersionTLS12))
	require.ErrorContains(t, asked(tls.VersionTLS11), "protocol version")
}

// certificate is one for 127.0.0.1, and the pool that trusts it.
func certificate(t *testing.T) (certFile, keyFile string, roots *x509.CertPool) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	require.NoError(t, err)
	template := &x509.Certificate{SerialNumber: big.NewInt(1), NotAfter: time.Now().Add(time.Hour), IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)}}
	cert, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	require.NoError(t, err)
	secret, err := x509.MarshalPKCS8PrivateKey(key)
	require.NoError(t, err)
	certText := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: cert})
	certFile, keyFile = filepath.Join(t.TempDir(), "crt"), filepath.Join(t.TempDir(), "key")
	require.NoError(t, os.WriteFile(certFile, certText, 0o600))
	require.NoError(t, os.WriteFile(keyFile, pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: secret}), 0o600))
	roots = x509.NewCertPool()
	require.True(t, roots.AppendCertsFromPEM(certText))
	return certFile, keyFile, roots
}

// The first token is for whoever owns the directory, and is made once.
func TestMintToken(t *testing.T) {
	d := &daemon{app: &app{}, dir: t.TempDir()}
	s := store.NewMemory()
	require.NoError(t, d.mintToken(t.Context(), s))
	path := filepath.Join(d.dir, "token")
	info, err := os.Stat(path)
	require.NoError(t, err)
	require.Equal(t, os.FileMode(0o600), info.Mode().Perm())
	first, err := os.ReadFile(path)
	require.NoError(t, err)
	require.NoError(t, d.mintToken(t.Context(), s))
	again, err := os.ReadFile(path)
	require.NoError(t, err)
	require.Equal(t, first, again)
	tokens, err := s.Tokens(t.Context())
	require.NoError(t, err)
	require.Len(t, tokens, 1)
	require.Equal(t, store.Admin, tokens[0].Role)
	require.NotContains(t, tokens[0].Hash, string(first[:20]))
}

// A store that does not answer, as when another process holds its file, is asked
// again: an agent that has started is not to end for that.
func TestMintTokenInsists(t *testing.T) {
	var stderr strings.Builder
	d := &daemon{app: &app{stderr: &stderr}, dir: t.TempDir()}
	s := &silent{Store: store.NewMemory(), losses: 3}
	require.NoError(t, d.mintToken(t.Context(), s))
	require.Equal(t, 3, strings.Count(stderr.String(), "piper: make the first token: in doubt\n"))
	require.FileExists(t, filepath.Join(d.dir, "token"))
	tokens, err := s.Tokens(t.Context())
	require.NoError(t, err)
	require.Len(t, tokens, 1)

	d.dir = t.TempDir()
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	s.losses = 1
	require.ErrorContains(t, d.mintToken(ctx, s), "make the first token: ")
	require.NoFileExists(t, filepath.Join(d.dir, "token"))
}

// A database that is away is waited for; one that will never do is not.
func TestAnAgentWaitsForItsStore(t *testing.T) {
	start := func(t *testing.T, url string) (*exec.Cmd, *watched) {
		w, dir := &watched{}, t.TempDir()
		cmd := exec.Command("piper", "agentd", "--no-worker", "--listen", "127.0.0.1:0", "--store", url, "--data-dir", dir)
		cmd.Env, cmd.Stderr = append(os.Environ(), "HOME="+dir, "GORACE=atexit_sleep_ms=0"), w
		require.NoError(t, cmd.Start())
		return cmd, w
	}
	t.Run("in vain", func(t *testing.T) {
		cmd, w := start(t, "rethinkdb://127.0.0.1:1/piper")
		w.wait(t, "no server is reached: 127.0.0.1:1: ")
		w.wait(t, "\npiper: the agent waits for its store\n")
		require.NoError(t, cmd.Process.Signal(syscall.SIGTERM))
		require.EqualError(t, cmd.Wait(), "signal: terminated")
	})
	t.Run("until it is there", func(t *testing.T) {
		database := rethinkdbtest.Start(t)
		url := "rethinkdb://" + database.Host + "/piper"
		address, err := rethinkdb.ParseURL(url)
		require.NoError(t, err)
		require.NoError(t, rethinkdb.Init(t.Context(), address, rethinkdb.Options{}, rethinkdb.Layout{}))
		database.Kill()
		cmd, w := start(t, url)
		w.wait(t, "piper: the agent waits for its store\n")
		rethinkdbtest.StartAgain(t, database)
		w.wait(t, "piper: listening on ")
		require.NoError(t, cmd.Process.Signal(syscall.SIGTERM))
		require.NoError(t, cmd.Wait())
	})
}

// silent does what it is asked, and does not say so.
type silent struct {
	store.Store
	losses int
}

func (s *silent) AddToken(ctx context.Context, t store.Token) error {
	err := s.Store.AddToken(ctx, t)
	if s.losses > 0 {
		s.losses--
		return store.ErrInDoubt
	}
	return err
}

func TestAnUnknownHostSaysWhoGivesNames(t *testing.T) {
	var stderr strings.Builder
	a := &app{stderr: &stderr}
	a.printProblem(&api.Problem{Status: http.StatusMisdirectedRequest, Detail: `this server is not called "ci"`})
	require.Equal(t, "piper: this server is not called \"ci\"\nhint: \"piper agentd --host NAME\" has the server answer to a name\n", stderr.String())
}

func TestAPauseIsNoFaultOfTheFile(t *testing.T) {
	slow := plan.Diagnostics{{Code: "too-slow", Message: "evaluation takes longer than 5s"}}
	other := plan.Diagnostics{{Code: "unknown-step", Message: "no"}}
	require.NoError(t, paused(nil, time.Minute, 0))
	require.Equal(t, error(slow), paused(slow, 5500*time.Millisecond, 0))
	require.Equal(t, error(slow), paused(slow, 11*time.Second, 10*time.Second))
	require.Equal(t, error(other), paused(other, time.Minute, 0))
	err := paused(slow, 9*time.Second, 0)
	require.EqualError(t, err, "evaluation was held up for 9s by something else")
	require.False(t, errors.As(err, new(plan.Diagnostics)), "it is tried again")
}
