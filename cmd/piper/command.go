package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"io/fs"
	"os"
	"slices"
	"strconv"
	"strings"

	"github.com/peterbourgon/ff/v3/ffcli"
)

// An entry is one line of the table of commands. The command itself is made
// when it is asked for, so that starting piper costs the same however many
// there are.
type entry struct {
	name    string
	summary string // "" for one that people do not type
	make    func(*app) *command
}

// commands is the table, in the order in which help shows it.
func commands() []entry {
	return []entry{
		{"exec", "run a pipeline on this machine", (*app).execCommand},
		{"init", "write a PIPER.star for this repository", (*app).initCommand},
		{"list", "list the pipelines", (*app).listCommand},
		{"plan", "show what a pipeline would do", (*app).planCommand},
		{"explain", "explain a step: where it comes from, when and how it runs", (*app).explainCommand},
		{"check", "look for mistakes in the PIPER.star", (*app).checkCommand},
		{"fmt", "format .star files", (*app).fmtCommand},
		{"lint", "look for what is most likely a mistake in .star files", (*app).lintCommand},
		{"test", "test the pipelines", (*app).testCommand},
		{"repl", "try things out in the language", (*app).replCommand},
		{"doc", "explain a word of the language", (*app).docCommand},
		{"agentd", "run builds for others, and serve the API", (*app).agentdCommand},
		{"build", "have an agent run a pipeline", (*app).buildCommand},
		{"builds", "list builds", (*app).buildsCommand},
		{"show", "show one build", (*app).showCommand},
		{"logs", "show what the steps of a build wrote", (*app).logsCommand},
		{"watch", "show a build while it runs", (*app).watchCommand},
		{"cancel", "end a build", (*app).cancelCommand},
		{"rerun", "build the same again", (*app).rerunCommand},
		{"reproduce", "run a build of an agent again on this machine", (*app).reproduceCommand},
		{"approve", "answer a build that waits for a person", (*app).approveCommand},
		{"why", "say why a build does not run", (*app).whyCommand},
		{"agents", "list the agents", (*app).agentsCommand},
		{"drain", "have an agent take no more builds", (*app).drainCommand},
		{"project", "list, add and remove projects", (*app).projectCommand},
		{"token", "list, make and revoke tokens", (*app).tokenCommand},
		{"gc", "delete old builds now", (*app).gcCommand},
		{"pin", "keep a build, however old it gets", (*app).pinCommand},
		{"doctor", "look whether what runs builds here is in order", (*app).doctorCommand},
		{"fsck", "look whether what a store keeps is sound", (*app).fsckCommand},
		{"backup", "copy a store while it is used", (*app).backupCommand},
		{"db", "make, update, check and fill a database that machines share", (*app).dbCommand},
		{"config", "show the settings and where they come from", (*app).configCommand},
		{"completion", "print a completion script for a shell", (*app).completionCommand},
		{"version", "print the version", (*app).versionCommand},
		{"help", "explain a command", (*app).helpCommand},
		{"__complete", "", (*app).completeCommand},
	}
}

// lookup finds a command by its name.
func lookup(name string) (entry, bool) {
	all := commands()
	i := slices.IndexFunc(all, func(e entry) bool { return e.name == name })
	if i < 0 {
		return entry{}, false
	}
	return all[i], true
}

// commandNames returns the names that people type.
func commandNames() []string {
	var names []string
	for _, e := range commands() {
		if e.summary != "" {
			names = append(names, e.name)
		}
	}
	return names
}

// A command is a command of ffcli with what that has no room for: flags that
// may stand anywhere, one-letter names, examples, and the live values that
// completion offers. ShortUsage is what follows the command's name.
type command struct {
	ffcli.Command
	examples string            // lines of "command line  # what it does"
	letters  map[string]string // by one-letter name, the long one
	lists    map[string]lister // by long name, what completion offers as a flag's value
	args     lister            // what it offers as an argument
	max      int               // arguments it takes; -1 is any number
	app      *app              // that it belongs to
	settings bool              // flags left out take their values from the configuration
	prepares bool              // what will evaluate may be started before Exec
	raw      bool              // arguments are handed over unparsed
}

// newCommand makes a command that has the flags every command has.
func (a *app) newCommand(name, usage string) *command {
	c := &command{letters: map[string]string{}, lists: map[string]lister{}}
	c.Name, c.ShortUsage, c.app = name, usage, a
	c.FlagSet = flag.NewFlagSet(name, flag.ContinueOnError)
	c.FlagSet.SetOutput(io.Discard) // errors are worded here, not there
	c.choice(&a.color, "color", "auto", "`WHEN` to use colours: auto, always or never", "auto", "always", "never")
	c.FlagSet.StringVar(&a.configFile, "config", "", "read settings from `FILE` as well")
	c.FlagSet.Var((*directory)(a), "C", "run as if started in `DIR`")
	c.FlagSet.Bool("help", false, "explain the command")
	c.letters["h"] = "help"
	c.lists["config"], c.lists["C"] = files, directories
	return c
}

// global reports whether every command has the flag.
func global(name string) bool {
	return name == "color" || name == "config" || name == "C" || name == "help"
}

// letter gives the flag name a one-letter name too.
func (c *command) letter(letter, name string) { c.letters[letter] = name }

// choice adds a flag that takes one of a few words.
func (c *command) choice(p *string, name, value, usage string, choices ...string) {
	*p = value
	c.FlagSet.Var(&choiceValue{p, choices}, name, usage)
	c.lists[name] = words(choices...)
}

// number adds a flag that takes a whole number from 1 on.
func (c *command) number(p *int, name string, value int, usage string) {
	*p = value
	c.FlagSet.Var((*numberValue)(p), name, usage)
}

// list adds a flag that may be repeated; with commas, one may hold several
// values.
func (c *command) list(p *[]string, name, usage string, commas bool) {
	c.FlagSet.Var(&listValue{p, commas, func(string) error { return nil }}, name, usage)
}

type choiceValue struct {
	p       *string
	choices []string
}

func (v *choiceValue) String() string {
	if v.p == nil {
		return ""
	}
	return *v.p
}

func (v *choiceValue) Set(s string) error {
	if err := oneOf(v.choices...)(s); err != nil {
		return err
	}
	*v.p = s
	return nil
}

type numberValue int

func (v *numberValue) String() string { return strconv.Itoa(int(*v)) }

func (v *numberValue) Set(s string) error {
	n, err := wholeNumber(s)
	*v = numberValue(n)
	return err
}

func wholeNumber(s string) (int, error) {
	n, err := strconv.Atoi(s)
	if err != nil || n < 1 {
		return 0, errors.New("want a whole number from 1 on")
	}
	return n, nil
}

type listValue struct {
	p      *[]string
	commas bool
	check  func(string) error // of one value
}

func (v *listValue) String() string { return "" }

func (v *listValue) Set(s string) error {
	if !v.commas {
		*v.p = append(*v.p, s)
		return nil
	}
	for part := range strings.SplitSeq(s, ",") {
		if part = strings.TrimSpace(part); part == "" {
			return errors.New("a name is empty")
		}
		if err := v.check(part); err != nil {
			return err
		}
		*v.p = append(*v.p, part)
	}
	return nil
}

// directory is the flag -C of an app.
type directory app

func (d *directory) String() string { return "" }

func (d *directory) Set(s string) error {
	dir := (*app)(d).path(s)
	info, err := os.Stat(dir)
	if err == nil && !info.IsDir() {
		err = errors.New("not a directory")
	}
	if wrong := (*fs.PathError)(nil); errors.As(err, &wrong) {
		return wrong.Err // which flag has which path is said anyway
	}
	if err != nil {
		return err
	}
	d.dir = dir
	return nil
}

// oneOf returns a check that a value is one of a few words.
func oneOf(choices ...string) func(string) error {
	return func(s string) error {
		if slices.Contains(choices, s) {
			return nil
		}
		last := len(choices) - 1
		message := "want " + strings.Join(choices[:last], ", ") + " or " + choices[last]
		if near := nearest(s, choices); near != "" {
			message += fmt.Sprintf("; did you mean %q?", near)
		}
		return errors.New(message)
	}
}

// splitCommand finds the command's name in args, past the flags that every
// command has: "piper -C x list" is "piper list -C x".
func splitCommand(args []string) (name string, rest []string, err error) {
	for i := 0; i < len(args); i++ {
		arg := args[i]
		switch {
		case arg == "--version":
			return "version", append(slices.Clone(args[:i]), args[i+1:]...), nil
		case arg == "-h", arg == "--help":
			if i+1 == len(args) {
				return "help", args[:i], nil
			}
		case arg == "-C", arg == "--config", arg == "--color":
			i++ // its value
		case strings.HasPrefix(arg, "-C"), strings.HasPrefix(arg, "--config="), strings.HasPrefix(arg, "--color="):
		case strings.HasPrefix(arg, "-") && arg != "-":
			return "", nil, &usageError{
				message: fmt.Sprintf("unknown flag %s before a command", arg),
				hint:    "the flags of a command come after its name: piper COMMAND " + arg,
			}
		default:
			return arg, append(slices.Clone(args[:i]), args[i+1:]...), nil
		}
	}
	return "help", args, nil
}

// execute runs c with the command line args.
func (a *app) execute(ctx context.Context, c *command, args []string) error {
	if !c.raw {
		positional, err := c.parse(args)
		if err != nil {
			return err
		}
		if c.FlagSet.Lookup("help").Value.String() == "true" {
			a.printHelp(c)
			return nil
		}
		if c.max >= 0 && len(positional) > c.max {
			return &usageError{
				message: fmt.Sprintf("unexpected argument %q", positional[c.max]),
				hint:    strings.TrimSpace(fmt.Sprintf("usage: piper %s %s", c.Name, c.ShortUsage)),
			}
		}
		if c.settings {
			if err := a.configure(c); err != nil {
				return err
			}
			if c.prepares {
				a.prepare(a.settings.limits(!a.isolate))
			}
		}
		args = positional
	}
	return c.ParseAndRun(ctx, append([]string{"--"}, args...))
}

// parse sets the flags that args name, wherever they stand, and returns the
// other arguments. What follows "--" is no flag.
func (c *command) parse(args []string) (positional []string, err error) {
	for len(args) > 0 {
		arg := args[0]
		args = args[1:]
		switch {
		case arg == "--":
			return append(positional, args...), nil
		case arg == "-" || !strings.HasPrefix(arg, "-"):
			positional = append(positional, arg)
		case strings.HasPrefix(arg, "--"):
			name, value, hasValue := strings.Cut(arg[2:], "=")
			f := c.FlagSet.Lookup(name)
			if f == nil || len(name) == 1 {
				return nil, c.unknownFlag("--" + name)
			}
			if !hasValue && isBool(f) {
				value, hasValue = "true", true
			}
			if args, err = c.set(f, "--"+name, value, hasValue, args); err != nil {
				return nil, err
			}
		default:
			if args, err = c.parseShort(arg[1:], args); err != nil {
				return nil, err
			}
		}
	}
	return positional, nil
}

// parseShort reads what follows a single dash: one-letter flags in a row, the
// last of which may have its value glued on.
func (c *command) parseShort(cluster string, args []string) (rest []string, err error) {
	whole := cluster
	for cluster != "" {
		f := c.short(cluster[:1])
		if f == nil {
			return nil, c.unknownFlag("-" + whole)
		}
		name := "-" + cluster[:1]
		cluster = cluster[1:]
		if isBool(f) && !strings.HasPrefix(cluster, "=") {
			if _, err := c.set(f, name, "true", true, nil); err != nil {
				return nil, err
			}
			continue
		}
		return c.set(f, name, strings.TrimPrefix(cluster, "="), cluster != "", args)
	}
	return args, nil
}

// short returns the flag with a one-letter name, or nil.
func (c *command) short(letter string) *flag.Flag {
	if name, ok := c.letters[letter]; ok {
		return c.FlagSet.Lookup(name)
	}
	return c.FlagSet.Lookup(letter)
}

// set gives a flag its value, taken from args when it has none yet.
func (c *command) set(f *flag.Flag, spelled, value string, hasValue bool, args []string) (rest []string, err error) {
	if !hasValue {
		if len(args) == 0 {
			return nil, usagef("flag %s needs a value", spelled)
		}
		value, args = args[0], args[1:]
	}
	err = c.FlagSet.Set(f.Name, value)
	if err != nil && isBool(f) {
		err = errors.New("want true or false")
	}
	if err != nil {
		return nil, usagef("%s %q: %w", spelled, value, err)
	}
	return args, nil
}

func (c *command) unknownFlag(spelled string) error {
	var names []string
	c.FlagSet.VisitAll(func(f *flag.Flag) { names = append(names, f.Name) })
	wanted, _, _ := strings.Cut(strings.TrimLeft(spelled, "-"), "=")
	near := nearest(wanted, names)
	if near != "" {
		near = dashes(near)
	}
	return &usageError{
		message: "unknown flag " + spelled,
		hint:    didYouMean(near, fmt.Sprintf("\"piper help %s\" lists its flags", c.Name)),
	}
}

// dashes spells a flag the way it is typed.
func dashes(name string) string {
	if len(name) == 1 {
		return "-" + name
	}
	return "--" + name
}

func isBool(f *flag.Flag) bool {
	b, ok := f.Value.(interface{ IsBoolFlag() bool })
	return ok && b.IsBoolFlag()
}
