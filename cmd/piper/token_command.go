package main

import (
	"context"
	"fmt"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/piper-build/piper/api"
	"github.com/piper-build/piper/api/client"
	"github.com/piper-build/piper/runtime/plan"
	"github.com/piper-build/piper/runtime/store"
)

func (a *app) tokenCommand() *command {
	c := a.newCommand("token", "[add | revoke] [NAME] [flags]")
	c.ShortHelp = "List, make and revoke the tokens that let people and programs in."
	c.LongHelp = `A token is shown once, when it is made. Its role is read, trigger (builds may be
asked for and cancelled, too) or admin. It lasts 90 days, unless --expires says
how long.`
	c.examples = `
piper token                                      # list them
piper token add ada --role trigger --projects 'shop,web-*'
piper token add ci --role read --expires 2160h > ci.token
piper token revoke ada
`
	r := c.asksServer()
	q := api.TokenRequest{Role: store.Read}
	var expires string
	role := string(store.Read)
	c.choice(&role, "role", role, "what it may do: `ROLE` is read, trigger or admin", string(store.Read), string(store.Trigger), string(store.Admin))
	c.list(&q.Projects, "projects", "the `PROJECTS` that it is for; globs and commas allowed; all, unless given", true)
	c.lists["projects"] = serverProjects
	c.FlagSet.StringVar(&expires, "expires", "2160h", "how long it lasts: a `TIME`, or never")
	asJSON := c.FlagSet.Bool("json", false, "print JSON")
	c.max, c.args = 2, words("add", "revoke", "list")
	c.Exec = func(ctx context.Context, args []string) error {
		verb, name := "list", ""
		if len(args) > 0 {
			verb = args[0]
		}
		if len(args) > 1 {
			name = args[1]
		}
		if err := oneOf("list", "add", "revoke")(verb); err != nil {
			return usagef("piper token %s: %w", verb, err)
		}
		if verb != "list" && name == "" {
			return &usageError{message: "piper token " + verb + " needs a name", hint: "usage: piper token " + verb + " NAME"}
		}
		q.Name, q.Role = name, store.Role(role)
		if expires != "never" {
			d, err := plan.ParseDuration(expires)
			if err != nil {
				return usagef("--expires: %w", err)
			}
			q.Expires = time.Now().Add(time.Duration(d)).UTC().Truncate(time.Second)
		}
		return a.ask(ctx, r, func(s *client.Client) error {
			switch verb {
			case "add":
				t, err := s.CreateToken(ctx, q)
				if err != nil {
					return err
				}
				if *asJSON {
					return a.printJSON(t)
				}
				fmt.Fprintln(a.stdout, t.Secret)
				until := "and does not expire"
				if !t.Expires.IsZero() {
					until = "until " + stamp(t.Expires)
				}
				fmt.Fprintf(a.stderr, "piper: token %s may %s %s; it is not shown again\n", t.Name, t.Role, until)
				return nil
			case "revoke":
				if err := s.RevokeToken(ctx, name); err != nil {
					return err
				}
				fmt.Fprintf(a.stderr, "piper: token %s is revoked\n", name)
				return nil
			}
			tokens, err := s.Tokens(ctx)
			if err != nil {
				return err
			}
			if *asJSON {
				return a.printJSON(append([]api.Token{}, tokens...))
			}
			w := tabwriter.NewWriter(a.stdout, 0, 0, 2, ' ', 0)
			row(w, "TOKEN", "ROLE", "PROJECTS", "CREATED", "EXPIRES")
			for _, t := range tokens {
				row(w, t.Name, string(t.Role), strings.Join(t.Projects, ","), stamp(t.Created), stamp(t.Expires))
			}
			return w.Flush()
		})
	}
	return c
}
