// Package operator is what the operator of a machine tells its agent: how it may
// get at repositories, where secrets are and who may have them, and what else
// it is to know.
//
// All of it is in one file, agent.yaml in the agent's own directory. It stays on
// the machine: nothing of it is ever in the store, and nobody can change it
// through the API. Each key may be left out.
//
//	projects:                        # the first whose name matches counts, and no other
//	  shop:
//	    host: git.example.org        # where the token may be sent, with a port if there is one
//	    token_file: shop.token       # a password or token for https, on its first line
//	    username: robot              # goes with it; "git" unless it is said
//	    ca_file: corporation.pem     # who signs the certificate of the host
//	    webhook: {kind: github, secret_file: shop.hook}  # or gitlab, gitea, hmac; forks: true builds what strangers send
//	    secrets:                     # none is given that is not listed
//	      - {name: "registry*", events: [push, tag, manual]}
//	      - {name: [deploy, aws/*], events: ["*"]}
//	  "lib-*":
//	    ssh_key: id_lib              # a private key, and no other is tried
//	    known_hosts: hosts           # in place of those of the user and the system
//	secrets: {directory: secrets}    # a file for each; or {environment: CI_SECRET_},
//	                                 # or {command: [vault, read, "{name}"]}
//	environ: [CI_NODE, "CI_ZONE_*"]  # what os.environ sees
//	private_hosts: [git.corp.example, "*.internal"]  # may have addresses that are not of the internet
//	local_repositories: false        # no project may be a path of this machine, whatever an admin adds
//	confine: always                  # steps are kept from the agent's files, whatever else that takes from them; or never, auto
//	hidden: [vault]                  # and from what lies there
//	facts:
//	  zone: eu-1
//	  gpu: {command: [nvidia-smi, -L], refresh: 10m}
//
// A path is relative to the file's directory. A file of credentials that others
// can read is refused, and so is anything that others can write.
//
// Changes from forks are not built unless the webhook says forks: true, as whoever
// makes one has commands run on this machine. A build of one is given no secrets,
// whatever is listed. A build's event is
// one of push, tag, change_request, cron, webhook, manual, after and trigger.
package operator

import (
	"bytes"
	"cmp"
	"context"
	"fmt"
	"os"
	"path"
	"slices"
	"time"

	"github.com/piper-build/piper/runtime/facts"
	"github.com/piper-build/piper/runtime/git"
	"github.com/piper-build/piper/runtime/secret"
	"github.com/piper-build/piper/runtime/store"
)

// A File is an agent.yaml. The zero File allows nothing but what is public.
type File struct {
	Projects          []Project // in the order of the file
	Secrets           Secrets
	Environ           []string // globs
	PrivateHosts      []string // globs
	LocalRepositories bool
	Confine           string   // Auto, Always or Never
	Hidden            []string // what steps are kept from, beside Private
	Static            map[string]string
	Commands          map[string]facts.Command
}

// Whether steps are kept from the agent's files: where they lose no files of their
// own by that, whatever they lose, and not at all.
const (
	Auto   = "auto"
	Always = "always"
	Never  = "never"
)

// Private are the files that the file names and that no step is to read.
func (f *File) Private() (paths []string) {
	add := func(path string) {
		if path != "" {
			paths = append(paths, path)
		}
	}
	for _, p := range f.Projects {
		add(p.Credentials.SSHKey)
		add(p.Credentials.TokenFile)
		if p.Webhook != nil {
			add(p.Webhook.SecretFile)
		}
	}
	add(f.Secrets.Directory)
	return append(paths, f.Hidden...)
}

// A Project is what the file says of the projects that its name matches.
type Project struct {
	Name        string // a glob
	Host        string // that Credentials are for; "" is any, for ssh
	Credentials git.Credentials
	Webhook     *Webhook // nil takes none
	Secrets     secret.Grants
}

// Webhook is how to know that a webhook is of who it says.
type Webhook struct {
	Kind       string // "github", "gitlab", "gitea" or "hmac"
	SecretFile string
	Forks      bool // changes from forks are built
}

// Secrets is where secrets come from. At most one field is set.
type Secrets struct {
	Directory   string
	Environment string   // a prefix
	Command     []string // as secret.Program takes it
}

// Project returns what the file says of a project: the first entry that its name
// matches. The zero Project is for one that has none.
func (f *File) Project(name string) Project {
	for _, p := range f.Projects {
		if matches(p.Name, name) {
			return p
		}
	}
	return Project{}
}

// Mirror prepares the mirror of a project's repository, in dir: with what it may
// show the repository's host, and none if that is another one than the operator
// said.
func (f *File) Mirror(project, repository, dir string) (*git.Mirror, error) {
	host, port, err := git.Host(repository)
	if err != nil {
		return nil, err
	}
	at := host
	if port != "" {
		at += ":" + port
	}
	p := f.Project(project)
	if p.Host != "" && p.Host != at {
		return nil, &Error{
			Message: fmt.Sprintf("project %s is at %s, and its credentials are for %s", project, cmp.Or(at, "a path of this machine"), p.Host),
			Advice:  "give the project its right address, or change its host in agent.yaml",
		}
	}
	return &git.Mirror{
		Dir: dir, URL: repository, Credentials: p.Credentials, Local: f.LocalRepositories,
		Private: slices.ContainsFunc(f.PrivateHosts, func(glob string) bool { return matches(glob, host) }),
	}, nil
}

// Grantee is what grants look at of a build. One that another build triggered is
// by trigger, whatever that one came of.
func Grantee(r store.Request) secret.Build {
	event := cmp.Or(r.Event.Kind, "manual")
	if r.Cause.Kind == "trigger" {
		event = r.Cause.Kind
	}
	return secret.Build{Project: r.Project, Event: event, Fork: r.Cause.Trust == "fork"}
}

// SecretsFor is the source of secrets for one build. It gives what is granted to
// it. lookup is os.LookupEnv or a stand-in, output process.Output.
func (f *File) SecretsFor(b secret.Build, lookup func(string) (string, bool), output func(ctx context.Context, dir string, env []string, argv ...string) ([]byte, error)) secret.Source {
	var from secret.Source
	switch s := f.Secrets; {
	case s.Directory != "":
		from = secret.Directory(s.Directory)
	case s.Environment != "":
		from = secret.Prefixed(s.Environment, lookup)
	case s.Command != nil:
		from = secret.Program(s.Command, output)
	default:
		from = secret.Values(nil)
	}
	return f.Project(b.Project).Secrets.Source(b, from)
}

// LookupEnv is what os.environ sees of lookup.
func (f *File) LookupEnv(lookup func(string) (string, bool)) func(string) (string, bool) {
	return func(name string) (string, bool) {
		if !slices.ContainsFunc(f.Environ, func(glob string) bool { return matches(glob, name) }) {
			return "", false
		}
		return lookup(name)
	}
}

// Secret reads what both sides of a webhook know. It is read each time, so that
// it can be changed.
func (w *Webhook) Secret() ([]byte, error) {
	text, err := os.ReadFile(w.SecretFile)
	if err != nil {
		return nil, fmt.Errorf("read the secret of a webhook: %w", err)
	}
	text = bytes.TrimRight(text, "\r\n")
	if len(text) < minHook {
		return nil, fmt.Errorf("read the secret of a webhook: %s is shorter than %d bytes, and could be guessed", w.SecretFile, minHook)
	}
	return text, nil
}

// minHook is how long the secret of a webhook has to be.
const minHook = 16

// Refresh is how often the facts are to be asked for again: as often as the one
// that changes fastest; 0 is never.
func (f *File) Refresh() (every time.Duration) {
	for _, c := range f.Commands {
		if c.Refresh > 0 && (every == 0 || c.Refresh < every) {
			every = c.Refresh
		}
	}
	return every
}

// matches reports whether a name matches a glob, in which a * goes over anything.
func matches(glob, name string) bool {
	ok, err := path.Match(glob, name)
	return err == nil && ok
}

// An Error says where the file is wrong, and what to do.
type Error struct {
	File    string // "" when it is not about one place
	Line    int
	Message string
	Advice  string
}

func (e *Error) Error() string {
	if e.File == "" {
		return e.Message
	}
	return fmt.Sprintf("%s:%d: %s", e.File, e.Line, e.Message)
}

// Hint says what to do.
func (e *Error) Hint() string { return e.Advice }
