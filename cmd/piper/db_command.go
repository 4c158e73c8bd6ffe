package main

import (
	"context"
	"fmt"

	"github.com/piper-build/piper/runtime/store/rethinkdb"
)

func (a *app) dbCommand() *command {
	c := a.newCommand("db", "init | migrate | check | copy FROM TO | import FILE [flags]")
	c.ShortHelp = "Make, update, check and fill a database that machines share."
	c.LongHelp = `init makes the database, its tables and indexes as far as they are not there; it
moves no tables that are there, but says when they lie otherwise than it was told.
migrate brings those of an older piper up to date. check says what is not as it
should be, and exits with 1 when builds are not safe there. A store that is a file
needs none of this.

copy takes all that the store FROM keeps into the store TO, and then reads both to
see whether they are the same. Each is a file or a database. TO has to be empty, or
what a copy of FROM left that did not come to its end: then it goes on. Agents must
not be at work meanwhile.

import brings into a store, a file or a database, what piper logs --export wrote of
a build: the build under its own number, which has to be free there, and pinned. A
file that is not whole, or not as it was written, is refused.`
	c.examples = `
piper db init --store rethinkdb://127.0.0.1/piper
piper db init --store rethinkdb://db1,db2,db3/piper --shards 3 --replicas 3
piper db check --store rethinkdb://db1,db2,db3/piper --store-password-file db.password
piper db copy sqlite:/srv/piper.db rethinkdb://127.0.0.1/piper
piper db import 41.jsonl --store sqlite:/tmp/41/piper.db
`
	where := c.stores()
	var l rethinkdb.Layout
	c.number(&l.Shards, "shards", 0, "spread each table that init makes over `N` servers; 1, unless given")
	c.number(&l.Replicas, "replicas", 0, "keep each table that init makes on `N` servers; 1, unless given")
	asJSON := c.FlagSet.Bool("json", false, "print what check finds, copy compared, or import brought, as JSON")
	force := c.FlagSet.Bool("force", false, "copy although agents or builds are there")
	c.max, c.args = 3, words("init", "migrate", "check", "copy", "import")
	c.Exec = func(ctx context.Context, args []string) error {
		if len(args) == 0 {
			return &usageError{message: "piper db needs to be told what to do", hint: "usage: piper db " + c.ShortUsage}
		}
		if err := oneOf("init", "migrate", "check", "copy", "import")(args[0]); err != nil {
			return usagef("piper db %s: %w", args[0], err)
		}
		switch args[0] {
		case "copy":
			return a.copyStore(ctx, where, args[1:], *force, *asJSON)
		case "import":
			return a.importLogs(ctx, where, args[1:], *asJSON)
		}
		if len(args) > 1 {
			return usagef("unexpected argument %q", args[1])
		}
		if !where.shared() {
			return &usageError{message: "piper db is for a database", hint: "--store rethinkdb://HOST/DATABASE names it"}
		}
		address, o, err := where.address()
		if err != nil {
			return err
		}
		switch args[0] {
		case "init":
			err = rethinkdb.Init(ctx, address, o, l)
		case "migrate":
			err = rethinkdb.Migrate(ctx, address, o)
		case "check":
			return a.checkDatabase(ctx, address, o, *asJSON)
		}
		if err == nil {
			fmt.Fprintf(a.stderr, "piper: %s is ready\n", address)
		}
		return err
	}
	return c
}

// checkDatabase tells what is wrong with a database.
func (a *app) checkDatabase(ctx context.Context, address rethinkdb.Address, o rethinkdb.Options, asJSON bool) error {
	found, err := rethinkdb.Check(ctx, address, o)
	if err != nil {
		return err
	}
	fatal := false
	for _, f := range found {
		if fatal = fatal || f.Fatal; !asJSON {
			fmt.Fprintln(a.stdout, f)
		}
	}
	if asJSON {
		if err := a.printJSON(append([]rethinkdb.Finding{}, found...)); err != nil {
			return err
		}
	}
	if fatal {
		return exitStatus(exitFailed)
	}
	fmt.Fprintf(a.stderr, "piper: %s is sound\n", address)
	return nil
}
