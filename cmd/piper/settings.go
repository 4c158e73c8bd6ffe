package main

import (
	"errors"
	"flag"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"time"

	"gopkg.in/yaml.v3"

	"github.com/piper-build/piper/cmd/piper/progress"
	"github.com/piper-build/piper/runtime/plan"
	"github.com/piper-build/piper/starlark"
)

// A setting is a choice that can be made once for all command lines. Its flag,
// where a command has one, is its name with dashes: log_dir is --log-dir.
type setting struct {
	name     string
	variable string // of the environment; "" for none
	initial  string
	doc      string
	list     bool
	personal bool // has no place in a project's file, which others read
	check    func(string) error
}

// settings is every setting, by name. The environment variables are few on
// purpose: the other PIPER_ names belong to steps, and piper runs inside steps
// too.
func settings() []setting {
	return []setting{
		{name: "color", initial: "auto", doc: "when to use colours", check: oneOf("auto", "always", "never")},
		{name: "isolate", initial: "false", doc: "evaluate in a process that can do no harm", personal: true, check: isTruth},
		{name: "keep_going", initial: "false", doc: "run what can still run after a failure, also where a group says fail_fast", check: isTruth},
		{name: "log_dir", doc: "a directory that gets a file per step"},
		{name: "max_memory", initial: "268435456", doc: "bytes of memory that evaluating may take, when isolated", check: isNumber},
		{name: "max_nodes", initial: strconv.Itoa(plan.MaxNodes), doc: "steps and other nodes that a plan may have", check: isNumber},
		{name: "max_output", initial: "1048576", doc: "bytes that evaluating a PIPER.star may print", check: isNumber},
		{name: "max_source", initial: "1048576", doc: "bytes that a source file may have", check: isNumber},
		{name: "max_steps", initial: "10000000", doc: "steps of the interpreter that evaluating may take", check: isNumber},
		{name: "max_time", initial: "5s", doc: "how long evaluating may take", check: isDuration},
		{name: "no_record", initial: "false", doc: "do not record what is run", check: isTruth},
		{name: "parallel", variable: "PIPER_PARALLEL", initial: strconv.Itoa(runtime.NumCPU()), doc: "how many steps run at once", check: isNumber},
		{name: "pass_env", doc: "environment variables that every step sees", list: true},
		{name: "progress", variable: "PIPER_PROGRESS", initial: "auto", doc: "how to show progress", check: oneOf(progress.Modes()...)},
		{name: "server", variable: "PIPER_SERVER", doc: "the address of a Piper server"},
		{name: "store", variable: "PIPER_STORE", doc: "the database that keeps builds"},
		{name: "token", variable: "PIPER_TOKEN", doc: "what the server knows you by", personal: true},
		{name: "token_file", variable: "PIPER_TOKEN_FILE", doc: "a file that holds the token", personal: true},
	}
}

func isNumber(s string) error {
	_, err := wholeNumber(s)
	return err
}

func isTruth(s string) error {
	if s != "true" && s != "false" {
		return errors.New("want true or false")
	}
	return nil
}

func isDuration(s string) error {
	if d, err := time.ParseDuration(s); err != nil || d <= 0 {
		return errors.New(`want a length of time, such as "90s"`)
	}
	return nil
}

// A choice is the value of a setting and who made it.
type choice struct {
	setting
	values []string // one, unless it is a list
	source string
	shared bool // a project's file made it
}

// text is the value as a person writes it.
func (c *choice) text() string { return strings.Join(c.values, ",") }

// A configuration is the value of every setting, in the order of settings.
type configuration []choice

// configuration reads every place where a setting can be made but flags: what
// is read later counts more.
func (a *app) configuration() (configuration, error) {
	var conf configuration
	for _, s := range settings() {
		c := choice{setting: s, source: "default"}
		if s.initial != "" {
			c.values = []string{s.initial}
		}
		conf = append(conf, c)
	}

	system := a.env("XDG_CONFIG_DIRS")
	if system == "" {
		system = "/etc/xdg"
	}
	dirs := filepath.SplitList(system)
	slices.Reverse(dirs) // the first is the most important
	for _, dir := range dirs {
		if err := conf.read(filepath.Join(dir, "piper", "config.yaml"), optional); err != nil {
			return nil, err
		}
	}
	if dir := a.userDir("XDG_CONFIG_HOME", ".config"); dir != "" {
		if err := conf.read(filepath.Join(dir, "config.yaml"), optional); err != nil {
			return nil, err
		}
	}
	if err := conf.read(filepath.Join(a.projectDir(), ".piper.yaml"), optional|shared); err != nil {
		return nil, err
	}

	named := a.configFile
	if named == "" {
		named = a.env("PIPER_CONFIG")
	}
	if named != "" {
		if err := conf.read(a.path(named), 0); err != nil {
			return nil, err
		}
	}

	for i := range conf {
		c := &conf[i]
		if value := a.env(c.variable); c.variable != "" && value != "" {
			if c.check != nil {
				if err := c.check(value); err != nil {
					return nil, usagef("%s=%q: %w", c.variable, value, err)
				}
			}
			c.values, c.source, c.shared = []string{value}, "environment "+c.variable, false
		}
	}
	return conf, nil
}

// limits are what conf says of the limits of an evaluation. A zero limit is its
// default. The project's own file has no say in it where the project is not
// trusted.
func (conf configuration) limits(trusted bool) starlark.Limits {
	made := func(name string) string {
		for _, c := range conf {
			if c.name == name && c.shared && !trusted {
				return ""
			}
		}
		return conf.made(name)
	}
	number := func(name string) int {
		n, _ := strconv.Atoi(made(name)) // it was checked when it was read
		return n
	}
	t, _ := time.ParseDuration(made("max_time"))
	return starlark.Limits{
		Memory: number("max_memory"),
		Nodes:  number("max_nodes"),
		Output: number("max_output"),
		Source: number("max_source"),
		Steps:  uint64(number("max_steps")),
		Time:   t,
	}
}

// made is the value of a setting that somebody made, "" for its default.
func (conf configuration) made(name string) string {
	for _, c := range conf {
		if c.name == name && c.source != "default" {
			return c.text()
		}
	}
	return ""
}

// configure gives the flags of c that the command line left out the values of
// the configuration.
func (a *app) configure(c *command) error {
	conf, err := a.configuration()
	if err != nil {
		return err
	}
	a.settings = conf
	given := map[string]bool{}
	c.FlagSet.Visit(func(f *flag.Flag) { given[f.Name] = true })
	for _, choice := range conf {
		name := strings.ReplaceAll(choice.name, "_", "-")
		if given[name] || choice.source == "default" || c.FlagSet.Lookup(name) == nil {
			continue
		}
		if name == "server" && given["store"] {
			continue // a flag comes first, and says where to look
		}
		for _, value := range choice.values {
			if err := c.FlagSet.Set(name, value); err != nil {
				return usagef("%s: %s: %w", choice.source, choice.name, err)
			}
		}
	}
	return nil
}

// How a file of settings is read.
const (
	optional = 1 << iota // it need not be there
	shared               // others read it too
)

// read takes the settings that file makes.
func (conf configuration) read(file string, how int) error {
	source, err := os.ReadFile(file)
	if how&optional != 0 && errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return usagef("read settings: %w", err)
	}
	var document yaml.Node
	if err := yaml.Unmarshal(source, &document); err != nil {
		return usagef("read settings: %s: %w", file, err)
	}
	if len(document.Content) == 0 {
		return nil // empty, or only comments
	}
	mapping := document.Content[0]
	if mapping.Kind != yaml.MappingNode {
		return usagef("%s:%d: want lines of \"name: value\"", file, mapping.Line)
	}
	for i := 0; i < len(mapping.Content); i += 2 {
		if err := conf.take(file, mapping.Content[i], mapping.Content[i+1], how); err != nil {
			return err
		}
	}
	return nil
}

// take makes one setting.
func (conf configuration) take(file string, key, value *yaml.Node, how int) error {
	place := fmt.Sprintf("%s:%d", file, key.Line)
	i := slices.IndexFunc(conf, func(c choice) bool { return c.name == key.Value })
	if i < 0 {
		var names []string
		for _, c := range conf {
			names = append(names, c.name)
		}
		return &usageError{
			message: fmt.Sprintf("%s: unknown setting %q", place, key.Value),
			hint:    didYouMean(nearest(key.Value, names), "the settings are "+strings.Join(names, ", ")),
		}
	}
	c := &conf[i]
	if c.personal && how&shared != 0 {
		return &usageError{
			message: fmt.Sprintf("%s: %s has no place in a project's file", place, c.name),
			hint:    "put it into your own ~/.config/piper/config.yaml",
		}
	}

	var values []string
	switch {
	case value.Kind == yaml.ScalarNode && value.Tag == "!!null":
		return nil // "log_dir:" with nothing after it
	case value.Kind == yaml.ScalarNode:
		values = []string{value.Value}
	case value.Kind == yaml.SequenceNode && c.list:
		for _, item := range value.Content {
			if item.Kind != yaml.ScalarNode {
				return usagef("%s:%d: %s: want a list of words", file, item.Line, c.name)
			}
			values = append(values, item.Value)
		}
	case c.list:
		return usagef("%s: %s: want a list of words", place, c.name)
	default:
		return usagef("%s: %s: want one value", place, c.name)
	}
	if c.check != nil {
		if err := c.check(values[0]); err != nil {
			return usagef("%s: %s: %w", place, c.name, err)
		}
	}
	c.values, c.source, c.shared = values, place, how&shared != 0
	return nil
}
