package git

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/netip"
	"os"
	"strings"
)

// Credentials are what a repository is fetched with. All of them are in files:
// git and ssh are told their names, so that nothing secret is in a command line,
// an environment, an error or a repository.
type Credentials struct {
	// SSHKey is the private key for ssh, and no other is tried.
	SSHKey string
	// KnownHosts are the keys of hosts for ssh; "" is what the user and the
	// system know. A host that is not known is refused.
	KnownHosts string

	// TokenFile holds the password or token for https, on its first line.
	TokenFile string
	// Username goes with it; "" is "git", which forges do not look at.
	Username string
	// CAFile holds the certificates that sign the host's; "" is the system's.
	CAFile string
}

// maxToken is how long a token may be.
const maxToken = 16 << 10

// helper gives git the token. It is a program for sh, the same for everyone:
// what it needs it finds by the two variables.
const helper = `!f() { test "$1" = get || exit 0; IFS= read -r token <"$PIPER_TOKEN_FILE"; printf 'username=%s\npassword=%s\n' "$PIPER_TOKEN_USER" "$token"; }; f`

// token reads the token, to see that it is there, and to keep it out of errors.
func (c *Credentials) token() (string, error) {
	f, err := os.Open(c.TokenFile)
	if err != nil {
		return "", fmt.Errorf("read token: %w", err)
	}
	defer f.Close()
	text, err := io.ReadAll(io.LimitReader(f, maxToken+1))
	if err != nil {
		return "", fmt.Errorf("read token: %w", err)
	}
	token, _, ended := bytes.Cut(text, []byte("\n"))
	switch {
	case len(text) > maxToken:
		return "", fmt.Errorf("read token: %s is longer than %d KiB", c.TokenFile, maxToken>>10)
	case !ended: // read(1) gives it, but says that it failed
	case bytes.HasSuffix(token, []byte("\r")):
		return "", fmt.Errorf("read token: %s has lines that end with a carriage return: save it with line feeds", c.TokenFile)
	}
	if len(token) == 0 || bytes.IndexByte(token, 0) >= 0 {
		return "", fmt.Errorf("read token: the first line of %s is none", c.TokenFile)
	}
	return string(token), nil
}

// A door is how git gets to a remote: what to add to a command line and to an
// environment, and what must not be shown.
type door struct {
	options []string
	env     []string
	hidden  string
}

// door opens the way to r, for this one fetch.
func (m *Mirror) door(ctx context.Context, r remote) (door, error) {
	set := func(d *door, name, value string) { d.options = append(d.options, "-c", name+"="+value) }
	var d door
	// What git may talk to is said in two ways: whatever a setting allows, the
	// variable does not.
	d.env = append(d.env, "GIT_ALLOW_PROTOCOL="+r.transport)
	set(&d, "protocol.allow", "never")
	set(&d, "protocol."+r.transport+".allow", "always")
	set(&d, "credential.helper", "") // none of before
	if r.transport == "file" {
		return d, nil
	}
	var pinned []netip.Addr
	if !m.Private {
		var err error
		if pinned, err = m.addresses(ctx, r); err != nil {
			return door{}, err
		}
	}
	if r.transport == "ssh" {
		command, err := m.ssh(r, pinned)
		if err != nil {
			return door{}, err
		}
		d.env = append(d.env, "GIT_SSH_COMMAND="+command, "GIT_SSH_VARIANT=ssh")
		return d, nil
	}

	set(&d, "http.followRedirects", "false")
	set(&d, "http.lowSpeedLimit", "1000")
	set(&d, "http.lowSpeedTime", "60")
	set(&d, "http.proxy", "")
	port := r.port
	if port == "" {
		port = "443"
	}
	if _, err := netip.ParseAddr(strings.Trim(r.host, "[]")); err != nil && len(pinned) > 0 {
		list := make([]string, len(pinned))
		for i, a := range pinned {
			if list[i] = a.String(); a.Is6() {
				list[i] = "[" + list[i] + "]"
			}
		}
		set(&d, "http.curloptResolve", r.host+":"+port+":"+strings.Join(list, ","))
	}
	c := &m.Credentials
	if c.CAFile != "" {
		set(&d, "http.sslCAInfo", c.CAFile)
	}
	if c.TokenFile == "" {
		return d, nil
	}
	token, err := c.token()
	if err != nil {
		return door{}, err
	}
	user := c.Username
	if user == "" {
		user = "git"
	}
	if strings.ContainsAny(user, "\n\r\x00") {
		return door{}, errors.New("the name that goes with the token has more than one line")
	}
	d.hidden = token
	d.env = append(d.env, "PIPER_TOKEN_FILE="+c.TokenFile, "PIPER_TOKEN_USER="+user)
	// For this host alone.
	origin := "https://" + r.host
	if r.port != "" {
		origin += ":" + r.port
	}
	set(&d, "credential."+origin+".helper", helper)
	return d, nil
}

// ssh is the command line of ssh, for the shell that git has run it by.
func (m *Mirror) ssh(r remote, pinned []netip.Addr) (string, error) {
	argv := []string{"ssh", "-F", os.DevNull}
	option := func(name, value string) { argv = append(argv, "-o", name+"="+value) }
	for _, o := range [...][2]string{
		{"BatchMode", "yes"}, {"IdentitiesOnly", "yes"}, {"IdentityAgent", "none"}, {"StrictHostKeyChecking", "yes"}, {"UpdateHostKeys", "no"},
		{"ForwardAgent", "no"}, {"ForwardX11", "no"}, {"ClearAllForwardings", "yes"}, {"PermitLocalCommand", "no"}, {"ControlPath", "none"},
		{"ConnectTimeout", "30"}, {"ServerAliveInterval", "15"}, {"ServerAliveCountMax", "4"}, {"LogLevel", "ERROR"},
	} {
		option(o[0], o[1])
	}
	for _, file := range []struct{ option, path string }{
		{"IdentityFile", m.Credentials.SSHKey}, {"UserKnownHostsFile", m.Credentials.KnownHosts},
	} {
		if strings.ContainsAny(file.path, "\"\\\n\r\x00") {
			return "", fmt.Errorf("the file %q cannot be named to ssh: it has a quote, a backslash or a line end in its name", file.path)
		}
		if file.path != "" {
			option(file.option, `"`+strings.ReplaceAll(file.path, "%", "%%")+`"`)
		}
	}
	if m.Credentials.SSHKey == "" {
		option("IdentityFile", "none")
	}
	if m.Credentials.KnownHosts != "" {
		option("GlobalKnownHostsFile", os.DevNull)
	}
	if len(pinned) > 0 {
		// The name stays what its key is known by.
		alias := strings.Trim(r.host, "[]")
		if r.port != "" && r.port != "22" {
			alias = "[" + alias + "]:" + r.port
		}
		option("HostKeyAlias", alias)
		option("Hostname", pinned[0].String())
	}
	for i, arg := range argv {
		argv[i] = "'" + strings.ReplaceAll(arg, "'", `'\''`) + "'"
	}
	return strings.Join(argv, " "), nil
}
