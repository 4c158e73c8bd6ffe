package main

import (
	"context"
	"errors"
	"fmt"

	"github.com/piper-build/piper/runtime/store/sqlite"
)

func (a *app) backupCommand() *command {
	c := a.newCommand("backup", "DIR [flags]")
	c.ShortHelp = "Copy a store while it is used."
	c.LongHelp = `DIR, which must be empty or not there, gets a database and the output of steps,
all as it was at one moment. To restore it, stop what uses the store, take away
its database, with the -wal and -shm beside it, and its logs, and move the copy
to where they were.`
	c.examples = `
piper backup /backup/monday
piper backup /backup/monday --store sqlite:/srv/piper.db
`
	where := c.stores()
	c.max, c.args = 1, directories
	c.Exec = func(ctx context.Context, args []string) (err error) {
		if len(args) == 0 {
			return &usageError{message: "piper backup needs a directory", hint: "usage: piper backup DIR"}
		}
		s, err := where.open(ctx, false)
		if err != nil {
			return err
		}
		defer func() { err = errors.Join(err, s.Close()) }()
		dir := a.path(args[0])
		file, ok := s.(*sqlite.Store)
		if !ok {
			return &usageError{message: "piper backup copies a store that is a file", hint: "rethinkdb dump copies a database"}
		}
		if err := file.Backup(ctx, dir); err != nil {
			return err
		}
		fmt.Fprintf(a.stderr, "piper: the store is copied to %s\n", dir)
		return nil
	}
	return c
}
