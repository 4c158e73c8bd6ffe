// Package elastictest gives tests an Elasticsearch server: the one that
// PIPER_TEST_ELASTICSEARCH names by its URL, or else one of their own. That is
// started from the directory that PIPER_TEST_ELASTICSEARCH_HOME names, or from the
// archive that Maven keeps of
// org.elasticsearch.distribution.integ-test-zip:elasticsearch, with the java on
// PATH. Where there is none of these, tests that need one are skipped.
package elastictest

import (
	"archive/zip"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/piper-build/piper/runtime/logs/elastic"
)

// The environment variables that name a server, or where there is one to start.
const (
	Variable     = "PIPER_TEST_ELASTICSEARCH"
	HomeVariable = "PIPER_TEST_ELASTICSEARCH_HOME"
)

// ErrNone says that there is no server to be had.
var ErrNone = errors.New("neither " + Variable + " nor " + HomeVariable + ", and no archive of it in Maven's repository")

// Main runs the tests of a package, and ends the server that they used. It is for
// TestMain.
func Main(m interface{ Run() int }) int {
	defer Clean()
	return m.Run()
}

// Clean ends the server that tests share, and removes what was unpacked to start
// servers.
func Clean() {
	if shared.server != nil {
		shared.server.End()
	}
	if shared.unpacked != "" {
		os.RemoveAll(shared.unpacked)
	}
}

var shared struct {
	once   sync.Once
	url    string
	err    error
	server *Server

	unpacking sync.Once
	home      string
	unpacked  string // to be removed
	missing   error
}

// URL returns that of the server that the tests of this process share. A short
// test is skipped.
func URL(t testing.TB) string {
	t.Helper()
	if testing.Short() {
		t.Skip("it takes a server")
	}
	shared.once.Do(func() {
		if shared.url = os.Getenv(Variable); shared.url != "" {
			return
		}
		var dir string
		if _, shared.err = home(); shared.err != nil {
			return
		}
		if dir, shared.err = os.MkdirTemp("", "piper-elasticsearch-"); shared.err != nil {
			return
		}
		if shared.server, shared.err = Start(dir, nil); shared.err == nil {
			shared.url = shared.server.URL()
		}
	})
	skip(t, shared.err)
	return shared.url
}

func skip(t testing.TB, err error) {
	t.Helper()
	if errors.Is(err, ErrNone) {
		t.Skip(err)
	}
	require.NoError(t, err)
}

// Address returns that of a stream that nobody else has, on the server at url.
func Address(t testing.TB, url string) elastic.Address {
	t.Helper()
	a, err := elastic.ParseURL(elastic.Scheme + url + "/test-" + strings.ToLower(rand.Text()[:12]))
	require.NoError(t, err)
	return a
}

// Open returns an index in a stream of its own.
func Open(t testing.TB, a elastic.Address) *elastic.Index {
	t.Helper()
	x, err := elastic.Open(a, elastic.Options{})
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, x.Close()) })
	return x
}

// Patience is how long a test waits for what a server does by and by.
const Patience = time.Minute

// Refuse puts a dead letter beside a stream.
func Refuse(t testing.TB, a elastic.Address) {
	t.Helper()
	letter := strings.NewReader(`{"@timestamp":"2026-03-01T12:00:00Z","reason":"it does not fit","document":{}}`)
	r, err := http.Post(a.Nodes[0].String()+"/"+a.Stream+"-dead/_doc?refresh=true", "application/json", letter)
	require.NoError(t, err)
	require.NoError(t, r.Body.Close())
	require.Equal(t, http.StatusCreated, r.StatusCode)
}

// New returns a server of the test's own, which it may do anything with. settings
// are lines of elasticsearch.yml.
func New(t testing.TB, settings ...string) *Server {
	t.Helper()
	_, err := home()
	skip(t, err)
	dir, err := os.MkdirTemp("", "piper-elasticsearch-")
	require.NoError(t, err)
	s, err := Start(dir, settings)
	require.NoError(t, err)
	t.Cleanup(s.End)
	return s
}

// The users whom a secured server lets in: one who may do anything, and one who may
// do with the stream Secured what Piper has to.
const (
	User     = "root"
	Limited  = "piper"
	Secured  = "secured"
	Password = "a password of tests"
	hash     = "$2a$10$1GgEmMPV8.HRWxum93Flw.Ha1O5JYGWMAiJxQ0DqgS1ILBq.uxJk6" // bcrypt's, of Password
)

// NewSecured is New for a server that wants TLS and to know who asks. certified
// makes the certificates of an authority and of this machine, and the key of that.
func NewSecured(t *testing.T, certified func(t *testing.T, dir string) (ca, cert, key string)) *Server {
	t.Helper()
	_, err := home()
	skip(t, err)
	dir, err := os.MkdirTemp("", "piper-elasticsearch-")
	require.NoError(t, err)
	config := filepath.Join(dir, "config")
	require.NoError(t, os.MkdirAll(config, 0o755))
	ca, cert, key := certified(t, config)
	for name, text := range map[string]string{
		"users":       User + ":" + hash + "\n" + Limited + ":" + hash + "\n",
		"users_roles": "superuser:" + User + "\npiper:" + Limited + "\n",
		"roles.yml": `piper:
  cluster: [manage_index_templates]
  indices:
  - names: [` + Secured + `, ` + Secured + `-dead]
    privileges: [auto_configure, create_doc, delete, maintenance, monitor, read, view_index_metadata]
`,
	} {
		require.NoError(t, os.WriteFile(filepath.Join(config, name), []byte(text), 0o644))
	}
	s := &Server{dir: dir, CA: ca}
	t.Cleanup(s.End)
	require.NoError(t, s.configure([]string{
		"xpack.security.enabled: true", "xpack.security.http.ssl.enabled: true",
		"xpack.security.http.ssl.certificate: " + cert, "xpack.security.http.ssl.key: " + key,
	}))
	require.NoError(t, s.Start())
	return s
}

// client trusts the server.
func (s *Server) client() *http.Client {
	if s.CA == "" {
		return http.DefaultClient
	}
	roots := x509.NewCertPool()
	if pem, err := os.ReadFile(s.CA); err == nil {
		roots.AppendCertsFromPEM(pem)
	}
	return &http.Client{Transport: &http.Transport{TLSClientConfig: &tls.Config{RootCAs: roots}}}
}

// home is where the server's program is.
func home() (string, error) {
	shared.unpacking.Do(func() {
		shared.home, shared.missing = findHome()
		if errors.Is(shared.missing, ErrNone) {
			fmt.Fprintln(os.Stderr, "SKIPPED: tests on Elasticsearch: "+shared.missing.Error())
		}
	})
	return shared.home, shared.missing
}

func findHome() (string, error) {
	if dir := os.Getenv(HomeVariable); dir != "" {
		return dir, nil
	}
	user, err := os.UserHomeDir()
	if err != nil {
		return "", ErrNone
	}
	archives, err := filepath.Glob(filepath.Join(user, ".m2/repository/org/elasticsearch/distribution/integ-test-zip/elasticsearch/8.*/elasticsearch-8.*.zip"))
	if err != nil || len(archives) == 0 {
		return "", ErrNone
	}
	if _, err := exec.LookPath("java"); err != nil {
		return "", fmt.Errorf("%w: no java on PATH", ErrNone)
	}
	dir, err := os.MkdirTemp("", "piper-elasticsearch-home-")
	if err != nil {
		return "", err
	}
	shared.unpacked = dir
	if err := os.Chmod(dir, 0o755); err != nil { // it is not run as root
		return "", err
	}
	if err := unpack(slices.Max(archives), dir); err != nil {
		return "", fmt.Errorf("unpack Elasticsearch: %w", err)
	}
	found, err := filepath.Glob(filepath.Join(dir, "elasticsearch-*"))
	if err != nil || len(found) != 1 {
		return "", fmt.Errorf("unpack Elasticsearch: there is not one directory in the archive, but %d", len(found))
	}
	return found[0], nil
}

func unpack(archive, dir string) error {
	r, err := zip.OpenReader(archive)
	if err != nil {
		return err
	}
	defer r.Close()
	for _, f := range r.File {
		if !filepath.IsLocal(f.Name) {
			return fmt.Errorf("%q leads out of the archive", f.Name)
		}
		to := filepath.Join(dir, f.Name)
		if f.FileInfo().IsDir() {
			if err := os.MkdirAll(to, 0o755); err != nil {
				return err
			}
			continue
		}
		if err := os.MkdirAll(filepath.Dir(to), 0o755); err != nil {
			return err
		}
		if err := unpackFile(f, to); err != nil {
			return err
		}
	}
	return nil
}

func unpackFile(f *zip.File, to string) error {
	in, err := f.Open()
	if err != nil {
		return err
	}
	defer in.Close()
	out, err := os.OpenFile(to, os.O_WRONLY|os.O_CREATE|os.O_EXCL, f.Mode().Perm()|0o444)
	if err != nil {
		return err
	}
	_, err = io.Copy(out, in)
	return errors.Join(err, out.Close())
}

// A Server is a server of one node on this machine.
type Server struct {
	CA string // the file that signs it, if it speaks TLS

	dir     string
	port    int
	command *exec.Cmd
	ended   chan struct{}
}

// nobody is whom the server runs as where the tests are root, which it refuses to.
const nobody = 65534

// Start starts a server that keeps all in dir.
func Start(dir string, settings []string) (*Server, error) {
	s := &Server{dir: dir}
	if err := s.configure(append([]string{"xpack.security.enabled: false"}, settings...)); err != nil {
		return nil, err
	}
	return s, s.Start()
}

// configure finds a port, and writes what the server reads.
func (s *Server) configure(settings []string) error {
	program, err := home()
	if err != nil {
		return err
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return err
	}
	s.port = l.Addr().(*net.TCPAddr).Port
	if err := l.Close(); err != nil {
		return err
	}
	for _, sub := range []string{"config/jvm.options.d", "data", "logs", "tmp"} {
		if err := os.MkdirAll(filepath.Join(s.dir, sub), 0o755); err != nil {
			return err
		}
	}
	logging, err := os.ReadFile(filepath.Join(program, "config/log4j2.properties"))
	if err != nil {
		return err
	}
	for name, text := range map[string]string{
		"log4j2.properties": string(logging),
		"jvm.options":       fmt.Sprintf("-Xms512m\n-Xmx512m\n-XX:+UseSerialGC\n-Djava.io.tmpdir=%s\n", filepath.Join(s.dir, "tmp")),
		"elasticsearch.yml": strings.Join(append([]string{
			"cluster.name: test", "node.name: one", "discovery.type: single-node",
			"path.data: " + filepath.Join(s.dir, "data"), "path.logs: " + filepath.Join(s.dir, "logs"),
			"http.host: 127.0.0.1", fmt.Sprintf("http.port: %d", s.port), "transport.host: 127.0.0.1",
			"cluster.routing.allocation.disk.threshold_enabled: false", // the disk may be nearly full
		}, settings...), "\n") + "\n",
	} {
		if err := os.WriteFile(filepath.Join(s.dir, "config", name), []byte(text), 0o644); err != nil {
			return err
		}
	}
	return nil
}

// URL is where it answers.
func (s *Server) URL() string {
	if s.CA != "" {
		return fmt.Sprintf("https://127.0.0.1:%d", s.port)
	}
	return fmt.Sprintf("http://127.0.0.1:%d", s.port)
}

// startTime is how long a server may take to answer, on a machine that is busy.
const startTime = 5 * time.Minute

// Start starts it again, with what it had.
func (s *Server) Start() error {
	program, err := home()
	if err != nil {
		return err
	}
	java := os.Getenv("ES_JAVA_HOME")
	if java == "" {
		path, err := exec.LookPath("java")
		if err == nil {
			path, err = filepath.EvalSymlinks(path)
		}
		if err != nil {
			return err
		}
		java = filepath.Dir(filepath.Dir(path))
	}
	out, err := os.OpenFile(filepath.Join(s.dir, "output"), os.O_WRONLY|os.O_CREATE|os.O_APPEND, 0o644)
	if err != nil {
		return err
	}
	defer out.Close()
	s.command = exec.Command(filepath.Join(program, "bin/elasticsearch"))
	s.command.Dir = s.dir
	s.command.Env = []string{"PATH=" + os.Getenv("PATH"), "HOME=" + s.dir, "ES_TMPDIR=" + filepath.Join(s.dir, "tmp"),
		"ES_PATH_CONF=" + filepath.Join(s.dir, "config"), "ES_JAVA_HOME=" + java}
	s.command.Stdout, s.command.Stderr = out, out
	s.command.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	bind(s.command.SysProcAttr)
	if os.Geteuid() == 0 {
		s.command.SysProcAttr.Credential = &syscall.Credential{Uid: nobody, Gid: nobody}
		err := filepath.WalkDir(s.dir, func(path string, _ os.DirEntry, err error) error {
			return errors.Join(err, os.Lchown(path, nobody, nobody))
		})
		if err != nil {
			return err
		}
	}
	if err := s.command.Start(); err != nil {
		return err
	}
	s.ended = make(chan struct{})
	go func() {
		s.command.Wait()
		close(s.ended)
	}()
	for end := time.Now().Add(startTime); ; {
		if s.answers() {
			return nil
		}
		select {
		case <-s.ended:
			return s.failed("it has ended")
		case <-time.After(100 * time.Millisecond):
		}
		if time.Now().After(end) {
			s.Kill()
			return s.failed("it does not answer")
		}
	}
}

// answers reports whether it does, or says that it wants to know who asks.
func (s *Server) answers() bool {
	r, err := s.client().Get(s.URL() + "/_cluster/health?wait_for_status=yellow&timeout=1s")
	if err != nil {
		return false
	}
	r.Body.Close()
	return r.StatusCode == http.StatusOK || r.StatusCode == http.StatusUnauthorized
}

func (s *Server) failed(why string) error {
	text, err := os.ReadFile(filepath.Join(s.dir, "output"))
	return errors.Join(fmt.Errorf("start Elasticsearch: %s: %s", why, text[max(0, len(text)-4000):]), err)
}

// Kill ends it at once, as a power failure of its machine does.
func (s *Server) Kill() {
	if s.command == nil || s.command.Process == nil {
		return
	}
	syscall.Kill(-s.command.Process.Pid, syscall.SIGKILL)
	<-s.ended
	for deadline := time.Now().Add(time.Minute); time.Now().Before(deadline) && syscall.Kill(-s.command.Process.Pid, 0) == nil; {
		time.Sleep(10 * time.Millisecond) // the rest of its group
	}
}

// Pause has it stop amid whatever it does, until Resume.
func (s *Server) Pause() { syscall.Kill(-s.command.Process.Pid, syscall.SIGSTOP) }

// Resume has it go on.
func (s *Server) Resume() { syscall.Kill(-s.command.Process.Pid, syscall.SIGCONT) }

// End kills it and removes all that it kept.
func (s *Server) End() {
	s.Kill()
	os.RemoveAll(s.dir)
}
