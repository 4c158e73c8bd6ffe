package elastic

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"net/url"
	"os"
	"regexp"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/piper-build/piper/runtime/secret"
)

// Scheme begins the URL of an index: Scheme+https, or Scheme+http on this machine.
const Scheme = "elasticsearch+"

const (
	defaultPort   = "9200"
	defaultStream = "piper-logs"
	day           = 24 * time.Hour
)

// An Address is where an index is, and who is to be let in.
type Address struct {
	Nodes  []*url.URL // tried in turn
	Stream string     // the data stream
	User   string     // "" is nobody, or whom an API key stands for
	TLS    *tls.Config
	Keeps  time.Duration // how long lines are kept, in whole days; 0 is for ever
}

// The names that Elasticsearch takes, as far as they are of any use here.
var streamForm = sync.OnceValue(func() *regexp.Regexp { return regexp.MustCompile(`^[a-z0-9][a-z0-9_-]{0,99}$`) })

// ParseURL reads what names an index:
//
//	elasticsearch+https://[user@]host[:port][,host[:port]...][/stream][?ca=FILE][&retention=DAYSd]
//
// With ca the certificate of a node has to be signed by one in that file, else by
// one that the system trusts. elasticsearch+http is for nodes on this machine. A
// password has no place in it.
func ParseURL(text string) (a Address, err error) {
	defer func() {
		if err != nil {
			err = fmt.Errorf("logs %s: %w", secret.RedactURL(text), err)
		}
	}()
	rest, ok := strings.CutPrefix(text, Scheme)
	scheme, rest, found := strings.Cut(rest, "://")
	if !ok || !found || scheme != "https" && scheme != "http" {
		return a, fmt.Errorf("want %shttps://HOST/STREAM", Scheme)
	}
	rest, query, _ := strings.Cut(rest, "?")
	hosts, stream, _ := strings.Cut(rest, "/")
	if a.Stream = defaultStream; stream != "" {
		a.Stream = stream
	}
	if !streamForm().MatchString(a.Stream) {
		return a, fmt.Errorf("%q is no name of a data stream: small letters, digits, _ and - make one", a.Stream)
	}
	if user, after, ok := strings.Cut(hosts, "@"); ok {
		if strings.Contains(user, ":") {
			return a, errors.New("a password in it would be in the list of processes: put it into a file, and name that with --logs-password-file")
		}
		if a.User, err = url.PathUnescape(user); err != nil || a.User == "" {
			return a, fmt.Errorf("%q is no user", user)
		}
		hosts = after
	}
	for host := range strings.SplitSeq(hosts, ",") {
		node, err := nodeOf(scheme, host)
		if err != nil {
			return a, err
		}
		a.Nodes = append(a.Nodes, node)
	}
	if scheme == "https" {
		a.TLS = &tls.Config{MinVersion: tls.VersionTLS12}
	} else if !a.loopback() {
		return a, fmt.Errorf("what is sent without TLS can be read on the way: %shttps://, or nodes on this machine", Scheme)
	}
	options, err := url.ParseQuery(query)
	if err != nil {
		return a, err
	}
	return a, a.set(options)
}

// nodeOf is the URL of a host, with a port.
func nodeOf(scheme, host string) (*url.URL, error) {
	name, port, err := net.SplitHostPort(host)
	if err != nil { // perhaps for want of a port
		if name, port, err = net.SplitHostPort(host + ":" + defaultPort); err != nil {
			return nil, fmt.Errorf("%q is no host: %w", host, err)
		}
	}
	if name == "" || strings.ContainsAny(name, " /?#") {
		return nil, fmt.Errorf("%q is no host", host)
	}
	if n, err := strconv.ParseUint(port, 10, 16); err != nil || n == 0 {
		return nil, fmt.Errorf("%q is no port of %s", port, name)
	}
	return &url.URL{Scheme: scheme, Host: net.JoinHostPort(name, port)}, nil
}

// set takes in what follows the question mark.
func (a *Address) set(options url.Values) error {
	for name, values := range options {
		value := values[len(values)-1]
		switch name {
		case "ca":
			if a.TLS == nil {
				return errors.New("ca is for https")
			}
			pem, err := os.ReadFile(value)
			if err != nil {
				return fmt.Errorf("ca: %w", err)
			}
			a.TLS.RootCAs = x509.NewCertPool()
			if !a.TLS.RootCAs.AppendCertsFromPEM(pem) {
				return fmt.Errorf("ca: there is no certificate in %s", value)
			}
		case "retention":
			days, ok := strings.CutSuffix(value, "d")
			n, err := strconv.ParseUint(days, 10, 16)
			if !ok || err != nil || n == 0 {
				return fmt.Errorf("retention=%s: want days, such as 90d", value)
			}
			a.Keeps = time.Duration(n) * day
		default:
			return fmt.Errorf("%s=%s is nothing that it may say; ca=FILE and retention=90d are", name, value)
		}
	}
	return nil
}

// String is the URL, without options.
func (a Address) String() string {
	user, scheme := "", "http"
	if a.User != "" {
		user = url.PathEscape(a.User) + "@"
	}
	if a.TLS != nil {
		scheme = "https"
	}
	var hosts []string
	for _, node := range a.Nodes {
		hosts = append(hosts, node.Host)
	}
	return Scheme + scheme + "://" + user + strings.Join(hosts, ",") + "/" + a.Stream
}

// loopback reports whether all nodes are on this machine.
func (a Address) loopback() bool {
	for _, node := range a.Nodes {
		ip := net.ParseIP(node.Hostname())
		if node.Hostname() != "localhost" && (ip == nil || !ip.IsLoopback()) {
			return false
		}
	}
	return true
}
