package operator

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"sync"
	"syscall"
	"time"

	"gopkg.in/yaml.v3"

	"github.com/piper-build/piper/runtime/facts"
	"github.com/piper-build/piper/runtime/plan"
	"github.com/piper-build/piper/runtime/secret"
)

// maxFile is how long an agent.yaml may be.
const maxFile = 1 << 20

// unsaid is what a file says that says nothing.
var unsaid = File{LocalRepositories: true, Confine: Auto}

// Read reads an agent.yaml. One that is not there says nothing, and what it does
// not say of local_repositories is yes, and of confine auto. What is wrong with it
// is an *Error.
func Read(file string) (*File, error) {
	abs, err := filepath.Abs(file)
	if err != nil {
		return nil, fmt.Errorf("read %s: %w", file, err)
	}
	text, err := os.ReadFile(abs)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		unsaid := unsaid
		return &unsaid, nil
	case err != nil:
		return nil, fmt.Errorf("read what the operator says: %w", err)
	case len(text) > maxFile:
		return nil, fmt.Errorf("read what the operator says: %s is longer than %d KiB", file, maxFile>>10)
	}
	r := &reader{file: file, dir: filepath.Dir(abs), out: unsaid}
	if err := r.owned(abs, 0o022); err != nil {
		return nil, err
	}
	return r.read(text)
}

// A reader reads one agent.yaml.
type reader struct {
	file string // as it is shown
	dir  string // that paths are relative to
	out  File
}

// keys are what a mapping may hold, and what is done with each.
type keys map[string]func(*yaml.Node) error

func (r *reader) read(text []byte) (*File, error) {
	decoder := yaml.NewDecoder(bytes.NewReader(text))
	var document, more yaml.Node
	switch err := decoder.Decode(&document); {
	case errors.Is(err, io.EOF):
		return &r.out, nil // empty, or only comments
	case err != nil:
		return nil, fmt.Errorf("%s: %w", r.file, err)
	}
	if err := decoder.Decode(&more); !errors.Is(err, io.EOF) {
		return nil, r.errorf(&more, "", "there is more than one document")
	}
	err := r.mapping(document.Content[0], keys{
		"projects": func(n *yaml.Node) error { return r.each(n, r.project) },
		"secrets":  r.secrets,
		"environ": func(n *yaml.Node) error {
			return r.texts(n, &r.out.Environ, pattern(`^[A-Za-z_*][A-Za-z0-9_*]*$`, "the name of a variable, with * for any text"))
		},
		"private_hosts": func(n *yaml.Node) error {
			return r.texts(n, &r.out.PrivateHosts, pattern(`^[A-Za-z0-9*\[\]:.-]+$`, "a host, with * for any text"))
		},
		"local_repositories": r.truth(&r.out.LocalRepositories),
		"confine":            r.text(&r.out.Confine, oneOf([]string{Auto, Always, Never})),
		"hidden":             func(n *yaml.Node) error { return r.items(n, r.hidden) },
		"facts":              func(n *yaml.Node) error { return r.each(n, r.fact) },
	})
	if err == nil && r.out.Confine == Never && len(r.out.Hidden) > 0 {
		err = r.errorf(document.Content[0], "take one of them out", "hidden hides nothing where confine is never")
	}
	if err != nil {
		return nil, err
	}
	return &r.out, nil
}

func (r *reader) project(key, n *yaml.Node) error {
	p := Project{Name: key.Value}
	if err := secret.CheckGlob(p.Name); err != nil {
		return r.errorf(key, "", "the name of a project: %v", err)
	}
	c := &p.Credentials
	var username *yaml.Node
	err := r.mapping(n, keys{
		"host":        r.text(&p.Host, pattern(`^[A-Za-z0-9\[][A-Za-z0-9.:\]-]*$`, "a host, such as git.example.org")),
		"ssh_key":     r.path(&c.SSHKey, 0o077),
		"known_hosts": r.path(&c.KnownHosts, 0o022),
		"token_file":  r.path(&c.TokenFile, 0o077),
		"ca_file":     r.path(&c.CAFile, 0o022),
		"username": func(n *yaml.Node) error {
			username = n
			return r.text(&c.Username, pattern(`^[^\s\x00-\x1f]+$`, "one word"))(n)
		},
		"webhook": func(n *yaml.Node) error { return r.webhook(n, &p) },
		"secrets": func(n *yaml.Node) error {
			return r.items(n, func(n *yaml.Node) error { return r.grant(n, &p) })
		},
	})
	switch {
	case err != nil:
		return err
	case c.SSHKey != "" && c.TokenFile != "":
		return r.errorf(key, "ssh_key is for ssh://, token_file for https://", "project %s has both an ssh_key and a token_file", p.Name)
	case c.TokenFile != "" && p.Host == "":
		return r.errorf(key, "write host: git.example.org, or whatever it is: the token is sent nowhere else, whoever changes the project's address", "project %s does not say which host its token is for", p.Name)
	case username != nil && c.TokenFile == "":
		return r.errorf(username, "it goes with a token_file; the user of ssh stands in the address", "username without a token_file")
	}
	r.out.Projects = append(r.out.Projects, p)
	return nil
}

func (r *reader) hidden(n *yaml.Node) error {
	name := ""
	if err := r.text(&name, nil)(n); err != nil {
		return err
	}
	if !filepath.IsAbs(name) {
		name = filepath.Join(r.dir, name)
	}
	if _, err := os.Stat(name); err != nil {
		return r.errorf(n, "a path is relative to "+r.dir+"; take out what this user cannot see, as its steps cannot either", "%v", err)
	}
	r.out.Hidden = append(r.out.Hidden, name)
	return nil
}

// hookKinds are those whose webhooks can be told from others'.
var hookKinds = []string{"github", "gitlab", "gitea", "hmac"}

func (r *reader) webhook(n *yaml.Node, p *Project) error {
	var w Webhook
	err := r.mapping(n, keys{
		"kind":        r.text(&w.Kind, oneOf(hookKinds)),
		"secret_file": r.path(&w.SecretFile, 0o077),
		"forks":       r.truth(&w.Forks),
	})
	switch {
	case err != nil:
		return err
	case w.Kind == "":
		return r.errorf(n, "it is one of "+strings.Join(hookKinds, ", "), "the webhook has no kind")
	case w.SecretFile == "":
		return r.errorf(n, "without one, anybody could send it", "the webhook has no secret_file")
	}
	p.Webhook = &w
	return nil
}

// eventKinds are what a grant may name.
var eventKinds = []string{"push", "tag", "change_request", "cron", "webhook", "manual", "after", "trigger", "*"}

func (r *reader) grant(n *yaml.Node, p *Project) error {
	g := secret.Grant{Projects: []string{"*"}} // of those that p is of
	err := r.mapping(n, keys{
		"name": func(n *yaml.Node) error {
			if n.Kind == yaml.ScalarNode {
				n = &yaml.Node{Kind: yaml.SequenceNode, Line: n.Line, Content: []*yaml.Node{n}}
			}
			return r.texts(n, &g.Names, secret.CheckGlob)
		},
		"events": func(n *yaml.Node) error { return r.texts(n, &g.Events, oneOf(eventKinds)) },
	})
	switch {
	case err != nil:
		return err
	case len(g.Names) == 0:
		return r.errorf(n, `write {name: registry, events: [push]}`, "it names no secret")
	case len(g.Events) == 0:
		return r.errorf(n, `name those whose builds may have it, or ["*"] for all`, "it names no events")
	}
	p.Secrets = append(p.Secrets, g)
	return nil
}

func (r *reader) secrets(n *yaml.Node) error {
	s := &r.out.Secrets
	err := r.mapping(n, keys{
		"directory":   r.directory(&s.Directory),
		"environment": r.text(&s.Environment, pattern(`^[A-Za-z_][A-Za-z0-9_]*$`, "the beginning of variables, such as CI_SECRET_")),
		"command": func(n *yaml.Node) error {
			if err := r.texts(n, &s.Command, nil); err != nil {
				return err
			}
			if err := secret.CheckProgram(s.Command); err != nil {
				return r.errorf(n, `write [vault, read, "{name}"]`, "secrets: %v", err)
			}
			return nil
		},
	})
	if err != nil {
		return err
	}
	given := 0
	for _, is := range []bool{s.Directory != "", s.Environment != "", s.Command != nil} {
		if is {
			given++
		}
	}
	if given != 1 {
		return r.errorf(n, "name one of directory, environment and command", "secrets come from one place")
	}
	return nil
}

var factKey = sync.OnceValue(func() *regexp.Regexp { return regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9._-]*$`) })

func (r *reader) fact(key, n *yaml.Node) error {
	if !factKey().MatchString(key.Value) {
		return r.errorf(key, "write letters, digits and . _ -", "%q is not the key of a fact", key.Value)
	}
	if n.Kind == yaml.ScalarNode {
		value := ""
		err := r.text(&value, nil)(n)
		if r.out.Static == nil {
			r.out.Static = map[string]string{}
		}
		r.out.Static[key.Value] = value
		return err
	}
	var c facts.Command
	err := r.mapping(n, keys{
		"command": func(n *yaml.Node) error { return r.texts(n, &c.Argv, nil) },
		"refresh": func(n *yaml.Node) (err error) {
			if c.Refresh, err = time.ParseDuration(n.Value); err != nil || c.Refresh < time.Second {
				return r.errorf(n, `write a length of time of a second or more, such as "10m"`, "refresh: %q is none", n.Value)
			}
			return nil
		},
	})
	switch {
	case err != nil:
		return err
	case len(c.Argv) == 0 || c.Argv[0] == "":
		return r.errorf(n, "write {command: [nvidia-smi, -L]}", "the fact %s has no command", key.Value)
	}
	if r.out.Commands == nil {
		r.out.Commands = map[string]facts.Command{}
	}
	r.out.Commands[key.Value] = c
	return nil
}

// mapping reads a mapping of known keys.
func (r *reader) mapping(n *yaml.Node, known keys) error {
	return r.each(n, func(key, value *yaml.Node) error {
		take, ok := known[key.Value]
		if !ok {
			names := slices.Sorted(maps.Keys(known))
			hint := "the keys here are " + strings.Join(names, ", ")
			if near, ok := plan.Nearest(key.Value, names); ok {
				hint = fmt.Sprintf("did you mean %q?", near)
			}
			return r.errorf(key, hint, "unknown key %q", key.Value)
		}
		if value.Tag == "!!null" {
			return r.errorf(value, "leave it out, or give it a value", "%s has no value", key.Value)
		}
		return take(value)
	})
}

// each reads the entries of a mapping.
func (r *reader) each(n *yaml.Node, take func(key, value *yaml.Node) error) error {
	if n.Kind != yaml.MappingNode {
		return r.errorf(n, "", `want lines of "key: value"`)
	}
	lines := map[string]int{}
	for i := 0; i < len(n.Content); i += 2 {
		key, value := n.Content[i], n.Content[i+1]
		if first := lines[key.Value]; first != 0 {
			return r.errorf(key, "", "%s stands on line %d already", key.Value, first)
		}
		lines[key.Value] = key.Line
		if err := take(key, value); err != nil {
			return err
		}
	}
	return nil
}

// items reads the items of a list.
func (r *reader) items(n *yaml.Node, take func(*yaml.Node) error) error {
	if n.Kind != yaml.SequenceNode {
		return r.errorf(n, "", "want a list")
	}
	for _, item := range n.Content {
		if err := take(item); err != nil {
			return err
		}
	}
	return nil
}

func (r *reader) texts(n *yaml.Node, to *[]string, check func(string) error) error {
	return r.items(n, func(n *yaml.Node) error {
		text := ""
		err := r.text(&text, check)(n)
		*to = append(*to, text)
		return err
	})
}

func (r *reader) text(to *string, check func(string) error) func(*yaml.Node) error {
	return func(n *yaml.Node) error {
		if n.Kind != yaml.ScalarNode || n.Tag == "!!null" {
			return r.errorf(n, "", "want a text")
		}
		if check != nil {
			if err := check(n.Value); err != nil {
				return r.errorf(n, "", "%v", err)
			}
		}
		*to = n.Value
		return nil
	}
}

func (r *reader) truth(to *bool) func(*yaml.Node) error {
	return func(n *yaml.Node) error {
		if n.Tag != "!!bool" || n.Decode(to) != nil {
			return r.errorf(n, "", "want true or false")
		}
		return nil
	}
}

// path reads the name of a file, which must be there and not let others do what
// barred says.
func (r *reader) path(to *string, barred fs.FileMode) func(*yaml.Node) error {
	return func(n *yaml.Node) error {
		return r.place(n, to, barred, false)
	}
}

// directory reads the name of a directory of secrets.
func (r *reader) directory(to *string) func(*yaml.Node) error {
	return func(n *yaml.Node) error { return r.place(n, to, 0o077, true) }
}

func (r *reader) place(n *yaml.Node, to *string, barred fs.FileMode, dir bool) error {
	name := ""
	if err := r.text(&name, nil)(n); err != nil {
		return err
	}
	if name == "" {
		return r.errorf(n, "", "want the name of a file")
	}
	if !filepath.IsAbs(name) {
		name = filepath.Join(r.dir, name)
	}
	info, err := os.Stat(name)
	switch {
	case err != nil:
		return r.errorf(n, "a path is relative to "+r.dir, "%v", err)
	case dir && !info.IsDir():
		return r.errorf(n, "", "%s is not a directory", name)
	case !dir && !info.Mode().IsRegular():
		return r.errorf(n, "", "%s is not a regular file", name)
	}
	if err := r.owned(name, barred); err != nil {
		var wrong *Error
		if errors.As(err, &wrong) {
			wrong.Line = n.Line
		}
		return err
	}
	*to = name
	return nil
}

// owned reports whether a file is our own, or the system's, and lets others do
// nothing of what barred says.
func (r *reader) owned(name string, barred fs.FileMode) error {
	info, err := os.Stat(name)
	if err != nil {
		return fmt.Errorf("look at %s: %w", name, err)
	}
	if stat, ok := info.Sys().(*syscall.Stat_t); ok && stat.Uid != 0 && int(stat.Uid) != os.Geteuid() {
		return &Error{r.file, 1, name + " belongs to another user", "chown it to the user of the agent, or to root"}
	}
	if open := info.Mode().Perm() & barred; open != 0 {
		verb, mode := "written", "go-w"
		if barred&0o044 != 0 {
			verb, mode = "read", "go="
		}
		return &Error{r.file, 1, fmt.Sprintf("%s can be %s by others (mode %04o)", name, verb, info.Mode().Perm()), fmt.Sprintf("chmod %s %s", mode, name)}
	}
	return nil
}

func (r *reader) errorf(n *yaml.Node, advice, format string, args ...any) error {
	return &Error{r.file, max(n.Line, 1), fmt.Sprintf(format, args...), advice}
}

// pattern is a check of what a text has to be.
func pattern(expression, want string) func(string) error {
	return func(s string) error {
		if !regexp.MustCompile(expression).MatchString(s) {
			return fmt.Errorf("%q is not %s", s, want)
		}
		return nil
	}
}

// oneOf is a check of a text that is one of few.
func oneOf(words []string) func(string) error {
	return func(s string) error {
		if !slices.Contains(words, s) {
			return fmt.Errorf("%q is none of %s", s, strings.Join(words, ", "))
		}
		return nil
	}
}
