package main

import (
	"context"
	"os"
	"path/filepath"
	"strings"

	"github.com/piper-build/piper/runtime/secret"
	"github.com/piper-build/piper/runtime/store"
	"github.com/piper-build/piper/runtime/store/rethinkdb"
	"github.com/piper-build/piper/runtime/store/sqlite"
)

// A place is where builds are kept, as flags and settings name it: a file of this
// machine, or a database that machines share.
type place struct {
	*app
	name         string // what names it on the command line
	url          string // "" is the user's own file
	passwordFile string
}

// stores gives c the flags that say which store it works on.
func (c *command) stores() *place {
	p := &place{app: c.app, name: "--store"}
	c.FlagSet.StringVar(&p.url, "store", "", "the `STORE` that keeps builds: sqlite:PATH or rethinkdb://HOST/DATABASE")
	c.FlagSet.StringVar(&p.passwordFile, "store-password-file", "", "read the password for the store from `FILE`")
	c.lists["store"], c.lists["store-password-file"] = files, files
	c.settings = true
	return p
}

// dataDir is where Piper keeps what it was told to keep, and "" for a user
// without a home.
func (a *app) dataDir() string { return a.userDir("XDG_DATA_HOME", ".local/share") }

// shared reports whether the place is a database that machines share.
func (p *place) shared() bool { return strings.HasPrefix(p.url, rethinkdb.Scheme+":") }

// file is the file of a store of this machine.
func (p *place) file() (string, error) {
	if p.url == "" {
		dir := p.dataDir()
		if dir == "" {
			return "", &usageError{message: "there is no home for a store", hint: "--store sqlite:PATH names one"}
		}
		return filepath.Join(dir, "piper.db"), nil
	}
	scheme, path, ok := strings.Cut(p.url, ":")
	switch {
	case p.shared():
		return "", &usageError{message: p.name + " " + secret.RedactURL(p.url) + " is a database: this needs a file of this machine", hint: "--store sqlite:PATH names one"}
	case !ok, scheme != "sqlite":
		return "", usagef("%s %q: want sqlite:PATH or rethinkdb://HOST/DATABASE", p.name, secret.RedactURL(p.url))
	case path == "":
		return "", usagef("%s %q names no file", p.name, p.url)
	}
	return p.path(path), nil
}

// address is that of a database, and how it is opened.
func (p *place) address() (a rethinkdb.Address, o rethinkdb.Options, err error) {
	if a, err = rethinkdb.ParseURL(p.url); err != nil {
		return a, o, usagef("%s: %w", p.name, err)
	}
	if p.passwordFile != "" {
		text, err := os.ReadFile(p.path(p.passwordFile))
		if err != nil {
			return a, o, usagef("--store-password-file: %w", err)
		}
		o.Password = strings.TrimRight(string(text), "\r\n")
	}
	return a, o, nil
}

// open opens the store. A file that is not there is made if make.
func (p *place) open(ctx context.Context, make bool) (store.Store, error) {
	if p.shared() {
		address, o, err := p.address()
		if err != nil {
			return nil, err
		}
		return rethinkdb.Open(ctx, address, o)
	}
	if p.passwordFile != "" {
		return nil, usagef("--store-password-file is for a database, and the store is a file")
	}
	path, err := p.file()
	if err != nil {
		return nil, err
	}
	if !make && !exists(path) {
		return nil, &usageError{message: "there is no store " + path, hint: `"piper exec" and "piper agentd" make one`}
	}
	return sqlite.Open(ctx, path, sqlite.Options{})
}
