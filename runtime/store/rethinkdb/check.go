package rethinkdb

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"

	r "gopkg.in/rethinkdb/rethinkdb-go.v6"
)

// oldest is the first release of the server that this package works with.
var oldest = "2.4"

// A Finding is something about a database that is not as it should be.
type Finding struct {
	What  string `json:"what"`
	Hint  string `json:"hint,omitempty"`
	Fatal bool   `json:"fatal"` // what was acknowledged may be lost, or nothing works
}

// String is the finding in a line.
func (f Finding) String() string {
	kind := "warning"
	if f.Fatal {
		kind = "error"
	}
	if f.Hint == "" {
		return kind + ": " + f.What
	}
	return kind + ": " + f.What + ": " + f.Hint
}

// Check looks whether a database is as Init makes it, and its server one to be
// trusted with builds. It changes nothing. What the user may not look at is a
// finding, too.
func Check(ctx context.Context, address Address, o Options) ([]Finding, error) {
	s, err := connect(ctx, address, o)
	if err != nil {
		return nil, address.failed("check", err)
	}
	defer s.Close()
	if err := s.current(ctx); err != nil {
		return nil, address.failed("check", err)
	}
	var found []Finding
	for _, look := range []func(context.Context) ([]Finding, error){s.checkServers, s.checkTables, s.checkPassword} {
		some, err := look(ctx)
		if err != nil {
			return nil, address.failed("check", err)
		}
		found = append(found, some...)
	}
	return found, nil
}

// hidden is the finding that the user may not look at something; nil when err is
// another one.
func hidden(what string, err error) []Finding {
	if !strings.Contains(err.Error(), "permission") {
		return nil
	}
	return []Finding{{What: "this user may not look at " + what, Hint: "check as admin"}}
}

// refuse is an error when what was found is fatal.
func refuse(found []Finding, err error) error {
	for _, f := range found {
		if f.Fatal {
			err = errors.Join(err, errors.New(f.What+": "+f.Hint))
		}
	}
	return err
}

// checkServers looks at the servers that this one knows, without asking them.
func (s *Store) checkServers(ctx context.Context) (found []Finding, err error) {
	type server struct {
		Name    string `json:"name"`
		Process struct {
			Version string `json:"version"`
		} `json:"process"`
	}
	servers, err := many[server](ctx, s, r.DB("rethinkdb").Table("server_status").Pluck("name", map[string]any{"process": "version"}))
	if err != nil {
		if found := hidden("servers", err); found != nil {
			return found, nil
		}
		return nil, err
	}
	for _, one := range servers {
		found = append(found, versionFindings(one.Name, one.Process.Version)...)
	}
	return found, nil
}

// versionFindings are about what a server says of its version, as in "rethinkdb 2.4.4
// (GCC 12.2.0)".
func versionFindings(server, says string) []Finding {
	version, _, _ := strings.Cut(strings.TrimPrefix(strings.TrimPrefix(says, "rethinkdb "), "v"), " ")
	is, ok := release(version)
	if !ok {
		return []Finding{{What: fmt.Sprintf("server %s says that it is %q, which is no version", server, says), Hint: "piper needs RethinkDB " + oldest + " or later"}}
	}
	if needed, _ := release(oldest); slices.Compare(is[:], needed[:]) < 0 {
		return []Finding{{What: fmt.Sprintf("server %s is RethinkDB %s", server, version), Hint: "upgrade it: piper needs " + oldest + " or later", Fatal: true}}
	}
	return nil
}

// release are the first two numbers of a version.
func release(version string) (r [2]int, ok bool) {
	n, _ := fmt.Sscanf(version, "%d.%d", &r[0], &r[1])
	return r, n == len(r)
}

// A config is how a table is kept.
type config struct {
	Durability string          `json:"durability"`
	Acks       json.RawMessage `json:"write_acks"`
	Indexes    []string        `json:"indexes"`
}

func (s *Store) checkTables(ctx context.Context) (found []Finding, err error) {
	for _, t := range schema {
		c, err := one[config](ctx, s, "configuration of table", t.name, r.Table(t.name).Config())
		if err != nil {
			if found := hidden("how tables are kept", err); found != nil {
				return found, nil
			}
			return nil, err
		}
		found = append(found, c.findings(&t)...)
	}
	return found, nil
}

func (c *config) findings(t *table) (found []Finding) {
	if c.Durability != "hard" {
		found = append(found, Finding{What: fmt.Sprintf("table %s has durability %s: what was acknowledged may be lost", t.name, c.Durability),
			Hint: fmt.Sprintf(`r.table(%q).config().update({durability: "hard"})`, t.name), Fatal: true})
	}
	if acks := strings.Trim(string(c.Acks), `"`); acks != "majority" {
		found = append(found, Finding{What: fmt.Sprintf("table %s acknowledges writes of %s: they may be lost with one server", t.name, acks),
			Hint: fmt.Sprintf(`r.table(%q).config().update({write_acks: "majority"})`, t.name), Fatal: true})
	}
	there := map[string]bool{}
	for _, name := range c.Indexes {
		there[name] = true
	}
	for _, i := range t.indexes {
		if !there[i.name] {
			found = append(found, Finding{What: fmt.Sprintf("table %s has no index %s", t.name, i.name), Hint: "piper db init makes it", Fatal: true})
		}
	}
	return found
}

func (s *Store) checkPassword(ctx context.Context) ([]Finding, error) {
	type user struct {
		Password bool `json:"password"`
	}
	admin, err := one[user](ctx, s, "user", "admin", r.DB("rethinkdb").Table("users").Get("admin"))
	if err != nil {
		if found := hidden("users", err); found != nil {
			return found, nil
		}
		return nil, err
	}
	return passwordFindings(admin.Password, s.address), nil
}

// passwordFindings are about whether admin has a password, which a server that only
// its machine reaches may do without.
func passwordFindings(has bool, at Address) []Finding {
	if has {
		return nil
	}
	return []Finding{{What: "the user admin has no password: whoever reaches the server may do anything", Fatal: !at.Loopback(),
		Hint: `r.db("rethinkdb").table("users").get("admin").update({password: "..."})`}}
}
