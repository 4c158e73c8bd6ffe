package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/url"
	"os"
	"strings"

	"github.com/piper-build/piper/api"
	"github.com/piper-build/piper/api/client"
	"github.com/piper-build/piper/runtime/store"
)

// A remote is whom a command asks: a server, or, when none is named, a store of
// this machine, over which this process serves the same routes to itself.
type remote struct {
	server    string
	tokenFile string
	store     *place
	make      bool // a store of this machine that is not there
}

// asksServer gives c the flags that say whom it asks.
func (c *command) asksServer() *remote {
	r := &remote{store: c.stores()}
	c.FlagSet.StringVar(&r.server, "server", "", "ask the Piper at `URL` instead of the store of this machine")
	c.FlagSet.StringVar(&r.tokenFile, "token-file", "", "read the token for the server from `FILE`")
	c.lists["token-file"] = files
	return r
}

// ask calls do with the one whom r names.
func (a *app) ask(ctx context.Context, r *remote, do func(*client.Client) error) (err error) {
	if r.server == "" {
		return a.askHere(ctx, r.store, r.make, do)
	}
	c, err := a.client(r)
	if err != nil {
		return err
	}
	return a.unreached(r, do(c))
}

// unreached is err, with a hint when nobody answers where r asks.
func (a *app) unreached(r *remote, err error) error {
	var dial *net.OpError
	if !errors.As(err, &dial) || dial.Op != "dial" {
		return err
	}
	from := "--server"
	for _, c := range a.settings {
		if c.name == "server" && c.source != "default" && c.text() == r.server {
			from = c.source
		}
	}
	return &hintedError{err, fmt.Sprintf("is \"piper agentd\" running there? The address is from %s", from)}
}

// client is how the server is asked that r names.
func (a *app) client(r *remote) (*client.Client, error) {
	at, err := url.Parse(r.server)
	if err != nil || at.Scheme != "http" && at.Scheme != "https" || at.Host == "" {
		return nil, usagef("--server %q: want an address such as http://127.0.0.1:7700", r.server)
	}
	token, err := a.token(r)
	if err != nil {
		return nil, err
	}
	return &client.Client{URL: strings.TrimSuffix(r.server, "/"), Token: token}, nil
}

// token is what the server knows us by: that of the file, or of the settings.
func (a *app) token(r *remote) (string, error) {
	if r.tokenFile == "" {
		return a.settings.made("token"), nil
	}
	text, err := os.ReadFile(a.path(r.tokenFile))
	if err != nil {
		return "", usagef("--token-file: %w", err)
	}
	token := strings.TrimSpace(string(text))
	if token == "" {
		return "", usagef("--token-file: %s is empty", r.tokenFile)
	}
	return token, nil
}

// askHere serves the routes over a store of this machine, to this process alone.
func (a *app) askHere(ctx context.Context, where *place, make bool, do func(*client.Client) error) (err error) {
	s, err := where.open(ctx, make)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, s.Close()) }()
	return do(a.served(s))
}

// served is how a store is asked that is open here.
func (a *app) served(s store.Store) *client.Client {
	server := &api.Server{Store: s, Version: piperVersion()}
	me := store.Token{Name: cmp.Or(a.env("USER"), "you"), Role: store.Admin}
	return client.InProcess(server.HandlerAs(me))
}

// refusal is the exit code of what a server refused.
func refusal(p *api.Problem) int {
	switch p.Status {
	case http.StatusUnauthorized, http.StatusForbidden:
		return exitDenied
	case http.StatusNotFound:
		return exitNotFound
	}
	if p.Status >= 500 || p.Status == http.StatusTooManyRequests {
		return exitInfra
	}
	return exitUsage
}

// printProblem tells why a server refused.
func (a *app) printProblem(p *api.Problem) {
	if len(p.Diagnostics) > 0 {
		if p.Detail != "" {
			fmt.Fprintf(a.stderr, "piper: %s\n", p.Detail)
		}
		a.printDiagnostics(p.Diagnostics)
		return
	}
	fmt.Fprintf(a.stderr, "piper: %s\n", p.Error())
	switch p.Status {
	case http.StatusUnauthorized:
		fmt.Fprintln(a.stderr, "hint: --token-file FILE, or PIPER_TOKEN_FILE; an agent writes its first token to DIR/token")
	case http.StatusMisdirectedRequest:
		fmt.Fprintln(a.stderr, `hint: "piper agentd --host NAME" has the server answer to a name`)
	case http.StatusForbidden:
		fmt.Fprintln(a.stderr, `hint: "piper token add" of somebody with the role admin makes a token that may`)
	}
}
