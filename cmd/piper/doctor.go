package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"github.com/piper-build/piper/agent"
	"github.com/piper-build/piper/agent/operator"
	"github.com/piper-build/piper/api"
	"github.com/piper-build/piper/api/client"
	"github.com/piper-build/piper/runtime/facts"
	"github.com/piper-build/piper/runtime/placement"
	"github.com/piper-build/piper/runtime/store"
	"github.com/piper-build/piper/runtime/store/rethinkdb"
	"github.com/piper-build/piper/runtime/store/sqlite"
)

// A finding is what a check came to.
type finding struct {
	Level   string `json:"level"` // "ok", "warning" or "error"
	Check   string `json:"check"` // what was looked at
	Message string `json:"message"`
	Hint    string `json:"hint,omitempty"` // what to do
}

// String is the finding in a line.
func (f finding) String() string {
	line := fmt.Sprintf("%-7s  %-10s  %s", f.Level, f.Check, f.Message)
	if f.Hint != "" {
		line += ": " + f.Hint
	}
	return line
}

func fine(check, format string, args ...any) finding {
	return finding{"ok", check, fmt.Sprintf(format, args...), ""}
}

func warning(check, hint, format string, args ...any) finding {
	return finding{"warning", check, fmt.Sprintf(format, args...), hint}
}

func broken(check, hint, format string, args ...any) finding {
	return finding{"error", check, fmt.Sprintf(format, args...), hint}
}

// A doctor is one call of piper doctor.
type doctor struct {
	*app
	ask     *remote
	logs    *logPlace
	dir     string
	lease   time.Duration
	sockets []string // of engines that are root
	tell    func(finding)
}

func (a *app) doctorCommand() *command {
	c := a.newCommand("doctor", "[flags]")
	c.ShortHelp = "Look whether what runs builds here is in order, and say what to mend."
	c.LongHelp = `It looks at this machine, at an agent's directory, at the store, the index of logs
if one is named, and at what the store says of agents and of builds that wait. A
server, if one is named, is asked whether it can read each project's repository.
It changes nothing, but that a file of an older piper is brought up to date as by
every command. It exits with 1 when something is wrong, and warns of what may be
as it is meant to be. Run it as the user of the agent.`
	c.examples = `
piper doctor                                      # of your own agent and store
piper doctor --data-dir /var/lib/piper --store rethinkdb://db1,db2,db3/piper
piper doctor --server https://ci.example.org --token-file ci.token
piper doctor --logs elasticsearch+https://es1/piper-logs --logs-api-key-file /etc/piper/es
piper doctor --json
`
	d := &doctor{app: a, ask: c.asksServer(), logs: c.logPlace("also look at"), sockets: []string{"/var/run/docker.sock", "/run/podman/podman.sock"}}
	c.FlagSet.StringVar(&d.dir, "data-dir", "", "the agent's own `DIR`")
	c.FlagSet.DurationVar(&d.lease, "lease", placement.Lease, "what agentd was told: an agent that is silent for a `TIME` is taken for dead")
	asJSON := c.FlagSet.Bool("json", false, "print the findings as a JSON array")
	c.lists["data-dir"] = directories
	c.Exec = func(ctx context.Context, _ []string) error {
		if d.lease <= 0 {
			return usagef("--lease %s: want a length of time", d.lease)
		}
		found := []finding{}
		count := map[string]int{}
		d.tell = func(f finding) {
			count[f.Level]++
			if found = append(found, f); !*asJSON {
				fmt.Fprintln(a.stdout, f)
			}
		}
		if err := d.run(ctx); err != nil {
			return err
		}
		if *asJSON {
			if err := a.printJSON(found); err != nil {
				return err
			}
		}
		fmt.Fprintf(a.stderr, "piper: %s, %s\n", counted(count["error"], "error"), counted(count["warning"], "warning"))
		if count["error"] > 0 {
			return exitStatus(exitFailed)
		}
		return nil
	}
	return c
}

// run makes all checks. The error is of the command line, or of ctx.
func (d *doctor) run(ctx context.Context) (err error) {
	where, given := d.ask.store, d.dir != ""
	named := given || where.url != ""
	if d.dir = d.path(d.dir); !given {
		d.dir = d.dataDir()
	}
	if where.url == "" && d.dir != "" {
		where.url = "sqlite:" + filepath.Join(d.dir, "piper.db")
	}
	// Who names a server asks that, unless an agent works here.
	here := named || d.ask.server == "" || exists(filepath.Join(d.dir, "lock"))
	if err := where.check(); here && err != nil {
		return err
	}
	var remote *client.Client
	if d.ask.server != "" {
		if remote, err = d.client(d.ask); err != nil {
			return err
		}
	}

	d.machine(ctx)
	var s store.Store
	if here {
		if d.dir != "" {
			d.directory(given)
		}
		if s = d.open(ctx, named); s != nil {
			defer func() { err = errors.Join(err, s.Close()) }()
		}
	}
	if err := d.logIndex(ctx); err != nil {
		return err
	}
	if remote != nil && !d.server(ctx, remote) {
		remote = nil
	}
	switch {
	case s != nil:
		d.agents(ctx, d.served(s))
		d.leftovers(ctx, s)
	case remote != nil:
		d.agents(ctx, remote)
	}
	if remote != nil {
		d.projects(ctx, remote)
	}
	return ctx.Err()
}

// machine looks at what an agent needs of its machine.
func (d *doctor) machine(ctx context.Context) {
	m := &facts.Machine{Environ: d.environ}
	version, there, err := m.Get(ctx, "tools.git")
	if err != nil {
		d.tell(broken("git", "", "%v", err))
	} else {
		d.tell(gitFinding(version, there))
	}
	var engines []string
	for _, name := range []string{"podman", "docker"} {
		if version, there, err := m.Get(ctx, "tools."+name); err == nil && there {
			engines = append(engines, strings.TrimSpace(name+" "+version))
		}
	}
	if len(engines) > 0 {
		d.tell(fine("containers", "%s", strings.Join(engines, ", ")))
	} else {
		d.tell(fine("containers", "neither podman nor docker is installed, which only steps in a container need"))
	}
	open := false
	for _, path := range d.sockets {
		if unix.Access(path, unix.R_OK) == nil || unix.Access(path, unix.W_OK) == nil {
			open = true
			d.tell(warning("socket", "run the agent as a user who may not, and containers without root",
				"this user may use %s: every step may be root through it", path))
		}
	}
	if !open {
		d.tell(fine("socket", "this user may use no container engine that is root"))
	}
}

// What package git asks of the program: below the first there are commands that
// fail. Below the second an address is looked up once more after it was allowed,
// as git does not know http.curloptResolve, and may be another one then.
const (
	oldestGit  = "2.30"
	carefulGit = "2.37"
)

func gitFinding(version string, there bool) finding {
	const hint = "install git " + carefulGit + " or later"
	switch {
	case !there:
		return broken("git", hint, "git is not installed")
	case version == "":
		return warning("git", hint, "git does not tell its version")
	case facts.CompareVersions(version, oldestGit) < 0:
		return broken("git", hint, "git is %s, and %s is the least that agents work with", version, oldestGit)
	case facts.CompareVersions(version, carefulGit) < 0:
		return warning("git", hint, "git is %s, which can be led to a private address by a host name that changes: it is %s that keeps to what was allowed", version, carefulGit)
	}
	return fine("git", "git is %s", version)
}

// directory looks at an agent's directory.
func (d *doctor) directory(given bool) {
	info, err := os.Stat(d.dir)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		f := fine("data-dir", "%s is not there: no agent has worked here", d.dir)
		if given {
			f = warning("data-dir", `"piper agentd" makes it`, "%s is not there", d.dir)
		}
		d.tell(f)
		return
	case err != nil:
		d.tell(broken("data-dir", "", "%v", err))
		return
	case !info.IsDir():
		d.tell(broken("data-dir", "", "%s is not a directory", d.dir))
		return
	}
	stat, ok := info.Sys().(*syscall.Stat_t)
	mine := !ok || int(stat.Uid) == os.Geteuid()
	if !mine {
		d.tell(warning("owner", "run piper doctor as the user of the agent, or chown it", "%s belongs to user %d, and this is user %d", d.dir, stat.Uid, os.Geteuid()))
	}
	switch mode := info.Mode().Perm(); {
	case mode&0o022 != 0:
		d.tell(broken("data-dir", "chmod go= "+d.dir, "others may change what is in %s (mode %04o)", d.dir, mode))
	case mode&0o077 != 0:
		d.tell(warning("data-dir", "chmod go= "+d.dir, "others may look into %s (mode %04o)", d.dir, mode))
	default:
		d.tell(fine("data-dir", "%s is its owner's alone", d.dir))
	}
	token := filepath.Join(d.dir, "token")
	if info, err := os.Stat(token); err == nil {
		if mode := info.Mode().Perm(); mode&0o077 != 0 {
			d.tell(broken("token", `chmod go= it, and "piper token" revokes it if somebody may have read it`, "%s can be read or written by others (mode %04o)", token, mode))
		} else {
			d.tell(fine("token", "%s is its owner's alone", token))
		}
	}
	var s unix.Statfs_t
	if err := unix.Statfs(d.dir, &s); err != nil {
		d.tell(broken("disk", "", "look at the file system of %s: %v", d.dir, err))
	} else {
		d.tell(diskFinding(uint64(s.Bavail)*uint64(s.Bsize), uint64(s.Blocks)*uint64(s.Bsize)))
	}
	if file := d.operator(filepath.Join(d.dir, "agent.yaml")); file != nil && mine && (file.Confine != operator.Auto || exists(filepath.Join(d.dir, "work"))) {
		d.tell(confineFinding(d.confine(file, private(d.dir, d.ask.store, d.logs)), file.Confine))
	}
}

// confineFinding says whether steps are kept from what is the agent's, as far as
// they were to be.
func confineFinding(k keep, said string) finding {
	switch {
	case k.Confines():
		return fine("confine", "steps are kept from the agent's files%s", k.losses())
	case said == operator.Always:
		return broken("confine", k.remedy, "no agent starts, as agent.yaml says confine: always, and steps cannot be kept from its files: %s", k.open)
	}
	return warning("confine", k.remedy, "steps run as this user, so they can read the agent's files, and with its token do what an admin can: %s", k.open)
}

func diskFinding(free, total uint64) finding {
	if free < agent.LeastFree(total) {
		return broken("disk", "free some, or give --data-dir a file system of its own", "no build is claimed: %d of %d MiB are free", free>>20, total>>20)
	}
	return fine("disk", "%d of %d MiB are free", free>>20, total>>20)
}

// operator looks at what the operator tells the agent, and returns it; nil is that
// it is wrong.
func (d *doctor) operator(path string) *operator.File {
	file, err := operator.Read(path)
	info, unseen := os.Stat(path)
	if err == nil && errors.Is(unseen, fs.ErrNotExist) {
		return file
	}
	err = cmp.Or(err, unseen)
	var wrong *operator.Error
	switch {
	case errors.As(err, &wrong):
		d.tell(broken("agent.yaml", wrong.Hint(), "%v", err))
	case err != nil:
		d.tell(broken("agent.yaml", "", "%v", err))
	case info.Mode().Perm()&0o044 != 0:
		d.tell(warning("agent.yaml", "chmod go= "+path, "%s can be read by others (mode %04o)", path, info.Mode().Perm()))
	default:
		d.tell(fine("agent.yaml", "%s is sound", path))
	}
	return file
}

// check sees whether the place can be one.
func (p *place) check() error {
	if p.shared() {
		_, _, err := p.address()
		return err
	}
	if p.passwordFile != "" {
		return usagef("--store-password-file is for a database, and the store is a file")
	}
	_, err := p.file()
	return err
}

// fsckHint says what is not looked at here.
const fsckHint = `"piper fsck" looks at each build in it`

// open looks at the store, and returns it if it can be asked.
func (d *doctor) open(ctx context.Context, named bool) store.Store {
	where := d.ask.store
	if where.shared() {
		return d.openDatabase(ctx)
	}
	path, err := where.file()
	if err != nil {
		d.tell(broken("store", "", "%v", err))
		return nil
	}
	info, err := os.Stat(path)
	switch {
	case errors.Is(err, fs.ErrNotExist) && !named:
		d.tell(warning("store", `"piper exec" and "piper agentd" make one`, "there is no store %s", path))
		return nil
	case err != nil:
		d.tell(broken("store", `"piper agentd" makes it, if the path is right`, "%v", err))
		return nil
	}
	s, err := where.open(ctx, false)
	if err != nil {
		d.tell(broken("store", "", "%v", err))
		return nil
	}
	if err := s.(*sqlite.Store).Check(ctx); err != nil {
		d.tell(broken("store", "", "%v", errors.Join(err, s.Close())))
		return nil
	}
	f := fine("store", "%s is sound, with tables as this piper makes them", path)
	f.Hint = fsckHint
	if mode := info.Mode().Perm(); mode&0o077 != 0 {
		f = warning("store", "chmod go= "+path, "%s is sound, and can be read or written by others (mode %04o)", path, mode)
	}
	d.tell(f)
	return s
}

// openDatabase is open for a database.
func (d *doctor) openDatabase(ctx context.Context) store.Store {
	address, o, err := d.ask.store.address()
	var found []rethinkdb.Finding
	if err == nil {
		found, err = rethinkdb.Check(ctx, address, o)
	}
	if err != nil {
		d.tell(broken("store", "", "%v", err))
		return nil
	}
	fatal := false
	for _, f := range found {
		as := warning
		if f.Fatal {
			fatal, as = true, broken
		}
		d.tell(as("store", f.Hint, "%s", f.What))
	}
	s, err := rethinkdb.Open(ctx, address, o)
	switch {
	case err != nil && !fatal: // which is why, else
		d.tell(broken("store", "", "%v", err))
		return nil
	case err != nil:
		return nil
	}
	f := fine("store", "%s can be used, with tables as this piper makes them", address)
	f.Hint = fsckHint
	d.tell(f)
	return s
}

// answerTime is how long a server may take for an answer.
const answerTime = 15 * time.Second

// server looks at the server, and reports whether it can be asked.
func (d *doctor) server(ctx context.Context, c *client.Client) bool {
	ctx, cancel := context.WithTimeout(ctx, answerTime)
	defer cancel()
	v, err := c.Version(ctx)
	var p *api.Problem
	switch {
	case errors.As(err, &p) && p.Status == http.StatusUnauthorized:
		d.tell(fine("server", "%s answers", c.URL))
		d.tell(broken("token", `--token-file names one; an agent writes its first to DIR/token, and "piper token add" makes others`, "the server does not let us in: %s", cmp.Or(p.Detail, p.Title)))
		return false
	case errors.As(err, &p) && p.Status == http.StatusMisdirectedRequest:
		d.tell(broken("server", `"piper agentd --host NAME" has it answer to a name`, "%s: %s", c.URL, cmp.Or(p.Detail, p.Title)))
		return false
	case err != nil:
		d.tell(broken("server", `is "piper agentd" at work there, and does it listen at that address?`, "%v", err))
		return false
	}
	d.tell(versionFinding(c.URL, v.Version, piperVersion()))
	// A token says what it was made for.
	role, _, _ := strings.Cut(strings.TrimPrefix(c.Token, "piper_"), "_")
	switch role := store.Role(role); role {
	case store.Read, store.Trigger, store.Admin:
		d.tell(fine("token", "the server takes it, with the role %s", role))
	default:
		d.tell(fine("token", "the server takes it"))
	}
	return true
}

func versionFinding(server, its, ours string) finding {
	if its == ours {
		return fine("server", "%s is piper %s, as this is", server, its)
	}
	return warning("server", "bring both to one release", "%s is piper %s, and this is %s", server, its, ours)
}
