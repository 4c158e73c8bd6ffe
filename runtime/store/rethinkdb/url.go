package rethinkdb

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"net/url"
	"os"
	"regexp"
	"strings"
	"sync"

	"github.com/piper-build/piper/runtime/secret"
)

// Scheme begins the URL of a store in RethinkDB.
const Scheme = "rethinkdb"

const (
	defaultPort = "28015"
	defaultUser = "admin"
)

// An Address is where a database is, and who is to be let in.
type Address struct {
	Hosts    []string // "host:port", tried in turn
	Database string
	User     string
	TLS      *tls.Config // nil is none
}

var databaseForm = sync.OnceValue(func() *regexp.Regexp { return regexp.MustCompile(`^[A-Za-z0-9_-]{1,64}$`) })

// ParseURL reads what names a store:
//
//	rethinkdb://[user@]host[:port][,host[:port]...]/database[?tls=true][&ca=FILE]
//
// With ca the certificate of the server has to be signed by one in that file, else
// by one that the system trusts. A password has no place in it.
func ParseURL(text string) (a Address, err error) {
	defer func() {
		if err != nil {
			err = fmt.Errorf("store %s: %w", secret.RedactURL(text), err)
		}
	}()
	rest, ok := strings.CutPrefix(text, Scheme+"://")
	if !ok {
		return a, errors.New("it does not begin with " + Scheme + "://")
	}
	rest, query, _ := strings.Cut(rest, "?")
	hosts, database, ok := strings.Cut(rest, "/")
	if !ok || !databaseForm().MatchString(database) {
		return a, fmt.Errorf("a database has to follow the hosts, made of letters, digits, _ and -, as in %s://db1,db2/piper", Scheme)
	}
	a.Database, a.User = database, defaultUser
	if user, after, ok := strings.Cut(hosts, "@"); ok {
		if strings.Contains(user, ":") {
			return a, errors.New("a password in it would be in the list of processes: put it into a file, and name that with --store-password-file")
		}
		if a.User, err = url.PathUnescape(user); err != nil || a.User == "" {
			return a, fmt.Errorf("%q is no user", user)
		}
		hosts = after
	}
	for host := range strings.SplitSeq(hosts, ",") {
		address, err := hostPort(host)
		if err != nil {
			return a, err
		}
		a.Hosts = append(a.Hosts, address)
	}
	options, err := url.ParseQuery(query)
	if err != nil {
		return a, err
	}
	return a, a.set(options)
}

// hostPort is host with a port.
func hostPort(host string) (string, error) {
	name, port, err := net.SplitHostPort(host)
	if err != nil { // perhaps for want of a port
		if name, port, err = net.SplitHostPort(host + ":" + defaultPort); err != nil {
			return "", fmt.Errorf("%q is no host: %w", host, err)
		}
	}
	if name == "" || strings.ContainsAny(name, " /?#") {
		return "", fmt.Errorf("%q is no host", host)
	}
	if _, err := net.LookupPort("tcp", port); err != nil {
		return "", fmt.Errorf("%q is no port of %s", port, name)
	}
	return net.JoinHostPort(name, port), nil
}

// set takes in what follows the question mark.
func (a *Address) set(options url.Values) error {
	for name, values := range options {
		value := values[len(values)-1]
		switch {
		case name == "tls" && value == "true":
			if a.TLS == nil {
				a.TLS = &tls.Config{MinVersion: tls.VersionTLS12}
			}
		case name == "tls" && value == "false" && !options.Has("ca"):
		case name == "ca":
			pem, err := os.ReadFile(value)
			if err != nil {
				return fmt.Errorf("ca: %w", err)
			}
			roots := x509.NewCertPool()
			if !roots.AppendCertsFromPEM(pem) {
				return fmt.Errorf("ca: there is no certificate in %s", value)
			}
			a.TLS = &tls.Config{MinVersion: tls.VersionTLS12, RootCAs: roots}
		default:
			return fmt.Errorf("%s=%s is nothing that it may say; tls=true and ca=FILE are", name, value)
		}
	}
	return nil
}

// String is the URL, without options.
func (a Address) String() string {
	user := ""
	if a.User != defaultUser {
		user = url.PathEscape(a.User) + "@"
	}
	return Scheme + "://" + user + strings.Join(a.Hosts, ",") + "/" + a.Database
}

// failed is err with what it is about.
func (a Address) failed(what string, err error) error {
	return fmt.Errorf("%s store %s: %w", what, a, err)
}

// Loopback reports whether all hosts are this machine.
func (a Address) Loopback() bool {
	for _, address := range a.Hosts {
		name, _, _ := net.SplitHostPort(address)
		ip := net.ParseIP(name)
		if name != "localhost" && (ip == nil || !ip.IsLoopback()) {
			return false
		}
	}
	return true
}
