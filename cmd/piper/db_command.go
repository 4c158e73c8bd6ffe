package main

import (
	"context"
	"fmt"

	"github.com/piper-build/piper/runtime/store/rethinkdb"
)

func (a *app) dbCommand() *command {
	c := a.newCommand("db", "init | migrate | check [flags]")
	c.ShortHelp = "Make, update and check a database that machines share."
	c.LongHelp = `init makes the database, its tables and indexes as far as they are not there.
migrate brings those of an older piper up to date. check says what is not as it
should be, and exits with 1 when builds are not safe there. A store that is a file
needs none of this.`
	c.examples = `
piper db init --store rethinkdb://127.0.0.1/piper
piper db init --store rethinkdb://db1,db2,db3/piper --shards 3 --replicas 3
piper db check --store rethinkdb://db1,db2,db3/piper --store-password-file db.password
`
	where := c.stores()
	var l rethinkdb.Layout
	c.number(&l.Shards, "shards", 1, "spread each table over `N` servers")
	c.number(&l.Replicas, "replicas", 1, "keep each table on `N` servers")
	asJSON := c.FlagSet.Bool("json", false, "print what check finds as a JSON array")
	c.max, c.args = 1, words("init", "migrate", "check")
	c.Exec = func(ctx context.Context, args []string) error {
		if len(args) == 0 {
			return &usageError{message: "piper db needs to be told what to do", hint: "usage: piper db init | migrate | check"}
		}
		if err := oneOf("init", "migrate", "check")(args[0]); err != nil {
			return usagef("piper db %s: %w", args[0], err)
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
