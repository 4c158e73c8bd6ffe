package git

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"net/url"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
)

// A remote is where a repository is, as CheckURL allows it.
type remote struct {
	url       string // as git is given it
	transport string // "https", "ssh" or "file"
	host      string
	port      string // "" is the transport's own
}

// maxURL is how many bytes an address may have.
const maxURL = 2000

var (
	hostPattern = sync.OnceValue(func() *regexp.Regexp {
		return regexp.MustCompile(`^(\[[0-9A-Fa-f:.]+\]|[A-Za-z0-9]([A-Za-z0-9.-]*[A-Za-z0-9])?)$`)
	})
	portPattern = sync.OnceValue(func() *regexp.Regexp { return regexp.MustCompile(`^[0-9]{1,5}$`) })
	userPattern = sync.OnceValue(func() *regexp.Regexp { return regexp.MustCompile(`^[A-Za-z0-9_][A-Za-z0-9_.-]*$`) })
	// The short form of an ssh address: git@host:path.
	shortPattern = sync.OnceValue(func() *regexp.Regexp { return regexp.MustCompile(`^(?:([^@/:]+)@)?([^@/:\[\]]+|\[[^\]]*\]):([^:].*)$`) })
)

// CheckURL reports whether a repository may be fetched from an address:
// https://HOST/PATH, ssh://USER@HOST/PATH or USER@HOST:PATH, without a password.
// An absolute path, or file:// and one, is allowed if local says so.
func CheckURL(address string, local bool) error {
	_, err := parseRemote(address, local)
	return aboutAddress(address, err)
}

// Host returns the host and the port of an address; "" where it names none, as a
// path of this machine does.
func Host(address string) (host, port string, err error) {
	r, err := parseRemote(address, true)
	return r.host, r.port, aboutAddress(address, err)
}

func aboutAddress(address string, err error) error {
	if err == nil {
		return nil
	}
	return fmt.Errorf("address %s: %w", quote(hidePassword(address)), err)
}

func parseRemote(address string, local bool) (remote, error) {
	r, err := readRemote(address)
	if err == nil && r.transport == "file" && !local {
		err = &advised{errors.New("a path of this machine is not allowed"), "write https://HOST/PATH or ssh://git@HOST/PATH"}
	}
	return r, err
}

func readRemote(address string) (remote, error) {
	forms := func(format string, args ...any) error {
		return invalid{&advised{fmt.Errorf(format, args...), "write https://HOST/PATH or ssh://git@HOST/PATH"}}
	}
	switch {
	case address == "":
		return remote{}, forms("it is empty")
	case len(address) > maxURL:
		return remote{}, forms("it has more than %d bytes", maxURL)
	case strings.ContainsFunc(address, func(r rune) bool { return r <= ' ' || r == 0x7f || r == '\\' || r == '\ufffd' }):
		return remote{}, forms("it holds a character that no address has")
	case address[0] == '-':
		return remote{}, forms("it begins with a dash")
	case filepath.IsAbs(address):
		return remote{url: address, transport: "file"}, nil
	case strings.Contains(address, "::"): // git would start git-remote-NAME
		if !strings.Contains(address, "[") {
			return remote{}, forms("it names a program")
		}
	}
	scheme, _, long := strings.Cut(address, "://")
	if !long {
		m := shortPattern().FindStringSubmatch(address)
		if m == nil {
			return remote{}, forms("it is not an address of a repository")
		}
		r := remote{url: address, transport: "ssh", host: m[2]}
		switch {
		case m[1] != "" && !userPattern().MatchString(m[1]), !isHost(r.host), m[3][0] == '-':
			return remote{}, forms("it is not an address of a repository")
		}
		return r, nil
	}
	u, err := url.Parse(address)
	if err != nil {
		return remote{}, forms("it is not an address of a repository")
	}
	r := remote{url: address, transport: scheme, host: u.Hostname(), port: u.Port()}
	if strings.Contains(r.host, ":") {
		r.host = "[" + r.host + "]"
	}
	_, password := u.User.Password()
	switch {
	case scheme == "file" && u.Host == "" && filepath.IsAbs(u.Path) && u.RawQuery == "" && u.Fragment == "":
		return r, nil
	case scheme == "http":
		return remote{}, forms("http can be read and changed on its way")
	case scheme != "https" && scheme != "ssh":
		return remote{}, forms("%s is none of the protocols that are allowed", quote(scheme))
	case password, scheme == "https" && u.User != nil:
		return remote{}, invalid{&advised{errors.New("it holds a user or a password"), "leave it out; credentials are read from files that the operator of the agent names"}}
	case u.User != nil && !userPattern().MatchString(u.User.Username()):
		return remote{}, forms("its user is none")
	case !isHost(r.host):
		return remote{}, forms("its host is none")
	case r.port != "" && !portPattern().MatchString(r.port):
		return remote{}, forms("its port is none")
	case u.RawQuery != "" || u.Fragment != "" || strings.Trim(u.Path, "/") == "" || strings.HasPrefix(strings.TrimLeft(u.Path, "/"), "-"):
		return remote{}, forms("its path is none of a repository")
	}
	return r, nil
}

// isHost reports whether s is a name, or an address as everybody reads it: to
// some 0x7f.1 and 2130706433 are addresses, too.
func isHost(s string) bool {
	if !hostPattern().MatchString(s) {
		return false
	}
	last := s[strings.LastIndexByte(s, '.')+1:]
	if s[0] == '[' || '0' <= last[0] && last[0] <= '9' {
		_, err := netip.ParseAddr(strings.Trim(s, "[]"))
		return err == nil
	}
	return true
}

// hidePassword is an address that may be shown. A user of https may be a token.
func hidePassword(address string) string {
	scheme, after, ok := strings.Cut(address, "://")
	end := strings.IndexAny(after, "/?#")
	if end < 0 {
		end = len(after)
	}
	at := strings.LastIndexByte(after[:end], '@')
	if !ok || at < 0 || scheme == "ssh" && !strings.Contains(after[:at], ":") {
		return address
	}
	return scheme + "://***" + after[at:]
}

// quote shows what was not asked for politely: no control character, not all of
// it when it is long.
func quote(s string) string {
	if len(s) > 100 {
		return fmt.Sprintf("%q...", strings.ToValidUTF8(s[:100], ""))
	}
	return fmt.Sprintf("%q", s)
}

// inner are the networks that nobody on the internet is in: those of this
// machine and of those around it, which trust them.
var inner = sync.OnceValue(func() (list []netip.Prefix) {
	for _, p := range []string{
		"0.0.0.0/8", "10.0.0.0/8", "100.64.0.0/10", "127.0.0.0/8", "169.254.0.0/16", "172.16.0.0/12", "192.0.0.0/24", "192.0.2.0/24",
		"192.168.0.0/16", "198.18.0.0/15", "198.51.100.0/24", "203.0.113.0/24", "224.0.0.0/4", "240.0.0.0/4",
		"::/128", "::1/128", "64:ff9b::/96", "64:ff9b:1::/48", "100::/64", "2001::/32", "2001:db8::/32", "2002::/16", "fc00::/7", "fe80::/10", "fec0::/10", "ff00::/8",
	} {
		list = append(list, netip.MustParsePrefix(p))
	}
	return list
})

func isInner(a netip.Addr) bool {
	a = a.Unmap().WithZone("")
	for _, p := range inner() {
		if p.Contains(a) {
			return true
		}
	}
	return false
}

// addresses are those of the remote's host. None of them is of an inner network:
// what is asked for over the network must not reach what only this machine can.
func (m *Mirror) addresses(ctx context.Context, r remote) ([]netip.Addr, error) {
	lookup := m.Lookup
	if lookup == nil {
		lookup = func(ctx context.Context, host string) ([]netip.Addr, error) {
			return net.DefaultResolver.LookupNetIP(ctx, "ip", host)
		}
	}
	host := strings.Trim(r.host, "[]")
	found, err := lookup(ctx, host)
	switch {
	case ctx.Err() != nil:
		return nil, context.Cause(ctx)
	case err != nil:
		return nil, &advised{fmt.Errorf("%w: %w", ErrUnreachable, err), "is the name right, and does this machine reach a name server?"}
	case len(found) == 0:
		return nil, &advised{fmt.Errorf("%w: %s has no address", ErrUnreachable, host), "is the name right?"}
	}
	for i, a := range found {
		if isInner(a) {
			return nil, &advised{fmt.Errorf("%w: %s has the address %s, which is not of the internet", ErrRefused, host, a.Unmap()), "the operator of the agent can allow the host: private_hosts in agent.yaml"}
		}
		found[i] = a.Unmap()
	}
	return found, nil
}
