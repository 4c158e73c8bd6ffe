package main

import (
	"context"
	"path/filepath"
	"strings"

	"github.com/piper-build/piper/runtime/store/sqlite"
)

// stores gives c the flag that says which store it works on, and settings that
// may name it instead.
func (c *command) stores() *string {
	var where string
	c.FlagSet.StringVar(&where, "store", "", "the `STORE` that keeps builds: sqlite:PATH")
	c.lists["store"] = files
	c.settings = true
	return &where
}

// dataDir is where Piper keeps what it was told to keep, and "" for a user
// without a home.
func (a *app) dataDir() string { return a.userDir("XDG_DATA_HOME", ".local/share") }

// storePath is the file of the store that where names; "" names the user's own.
func (a *app) storePath(where string) (string, error) {
	if where == "" {
		dir := a.dataDir()
		if dir == "" {
			return "", &usageError{message: "there is no home for a store", hint: "--store sqlite:PATH names one"}
		}
		return filepath.Join(dir, "piper.db"), nil
	}
	scheme, path, ok := strings.Cut(where, ":")
	switch {
	case !ok, scheme != "sqlite":
		return "", usagef("--store %q: want sqlite:PATH", where)
	case path == "":
		return "", usagef("--store %q names no file", where)
	}
	return a.path(path), nil
}

// openStore opens a store that is there.
func (a *app) openStore(ctx context.Context, where string) (*sqlite.Store, error) {
	path, err := a.storePath(where)
	if err != nil {
		return nil, err
	}
	if !exists(path) {
		return nil, &usageError{message: "there is no store " + path, hint: `"piper exec" and "piper agentd" make one`}
	}
	return sqlite.Open(ctx, path, sqlite.Options{})
}

// makeStore opens a store, which is made when it is not there.
func (a *app) makeStore(ctx context.Context, where string) (*sqlite.Store, error) {
	path, err := a.storePath(where)
	if err != nil {
		return nil, err
	}
	return sqlite.Open(ctx, path, sqlite.Options{})
}
