package main

import (
	"context"
	"encoding/json"
	"flag"
	"fmt"
	"text/tabwriter"
)

func (a *app) configCommand() *command {
	c := a.newCommand("config", "[show] [flags]")
	c.ShortHelp = "Show every setting, its value and where the value comes from."
	c.LongHelp = `A setting is taken from the first place that makes it:

  1. a flag: parallel is --parallel
  2. the environment: PIPER_PROGRESS, PIPER_PARALLEL, PIPER_SERVER, PIPER_STORE,
     PIPER_TOKEN, PIPER_TOKEN_FILE
  3. the file that --config or PIPER_CONFIG names
  4. .piper.yaml beside the project's PIPER.star
  5. $XDG_CONFIG_HOME/piper/config.yaml, or ~/.config/piper/config.yaml
  6. $XDG_CONFIG_DIRS/piper/config.yaml, or /etc/xdg/piper/config.yaml

A file holds lines of "name: value". A name that is not a setting is an error.`
	c.examples = `
piper config show          # every setting
piper config show --json   # for programs
`
	asJSON := c.FlagSet.Bool("json", false, "print a JSON array")
	c.max, c.args = 1, words("show")
	c.Exec = func(ctx context.Context, args []string) error {
		if len(args) > 0 && args[0] != "show" {
			return &usageError{message: "config show is the one thing that config can do", hint: "usage: piper config show"}
		}
		conf, err := a.configuration()
		if err != nil {
			return err
		}
		c.FlagSet.Visit(func(f *flag.Flag) {
			for i := range conf {
				if conf[i].name == f.Name {
					conf[i].values, conf[i].source = []string{f.Value.String()}, "flag "+dashes(f.Name)
				}
			}
		})
		if *asJSON {
			return a.printConfigJSON(conf)
		}
		return a.printConfig(conf)
	}
	return c
}

// shown is the value to show: a token is nobody's to read over a shoulder.
func (c *choice) shown() string {
	if c.name == "token" && len(c.values) > 0 {
		return "***"
	}
	return c.text()
}

func (a *app) printConfig(conf configuration) error {
	w := tabwriter.NewWriter(a.stdout, 0, 0, 2, ' ', 0)
	for _, c := range conf {
		value := c.shown()
		if value == "" {
			value = "-"
		}
		fmt.Fprintf(w, "%s\t%s\t%s\n", c.name, value, c.source)
	}
	return w.Flush()
}

func (a *app) printConfigJSON(conf configuration) error {
	type entry struct {
		Name   string `json:"name"`
		Value  any    `json:"value"` // a string, or an array of strings
		Source string `json:"source"`
		Doc    string `json:"doc"`
	}
	entries := []entry{}
	for _, c := range conf {
		e := entry{Name: c.name, Value: c.shown(), Source: c.source, Doc: c.doc}
		if c.list {
			e.Value = append([]string{}, c.values...)
		}
		entries = append(entries, e)
	}
	return a.printJSON(entries)
}

// printJSON writes v as a result.
func (a *app) printJSON(v any) error {
	e := json.NewEncoder(a.stdout)
	e.SetEscapeHTML(false)
	e.SetIndent("", "  ")
	return e.Encode(v)
}
