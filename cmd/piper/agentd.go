package main

import (
	"cmp"
	"context"
	"crypto/rand"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	goruntime "runtime"
	"slices"
	"strings"
	"syscall"
	"time"

	"github.com/piper-build/piper/agent"
	"github.com/piper-build/piper/agent/operator"
	"github.com/piper-build/piper/api"
	"github.com/piper-build/piper/runtime/facts"
	"github.com/piper-build/piper/runtime/logs"
	"github.com/piper-build/piper/runtime/plan"
	"github.com/piper-build/piper/runtime/process"
	"github.com/piper-build/piper/runtime/record"
	"github.com/piper-build/piper/runtime/runner"
	"github.com/piper-build/piper/runtime/secret"
	"github.com/piper-build/piper/runtime/store"
	"github.com/piper-build/piper/runtime/store/sqlite"
	"github.com/piper-build/piper/starlark"
	"github.com/piper-build/piper/web"
)

// A daemon is one call of piper agentd.
type daemon struct {
	*app
	listen     string
	store      *place
	logs       *logPlace
	dir        string
	name       string
	slots      int
	labels     []string
	noWorker   bool
	noAPI      bool
	insecure   bool
	cert, key  string
	hosts      []string
	maxLog     int // MiB
	keepFailed bool
	drain      time.Duration
	heartbeat  time.Duration
	lease      time.Duration
	debug      bool

	clockOffset time.Duration
}

func (a *app) agentdCommand() *command {
	c := a.newCommand("agentd", "[flags]")
	c.ShortHelp = "Run builds for others, and serve the API and the page."
	c.LongHelp = `It takes builds from a store that it may share with other agents, runs them, and
serves the API that the other commands ask, and the page. Its directory holds all
that is its own: the first token, which it makes (DIR/token), workspaces, mirrors,
and what its operator tells it (DIR/agent.yaml).

SIGTERM or Ctrl-C has it take no more builds and end when those that it runs have;
a second one gives them back at once.`
	c.examples = `
piper agentd                                              # everything in your own data directory
piper agentd --slots 4 --label gpu=h100
piper agentd --store sqlite:/srv/piper/piper.db --data-dir /srv/piper/a1 --name a1
piper agentd --store rethinkdb://db1,db2,db3/piper --store-password-file /etc/piper/db
piper agentd --logs elasticsearch+https://es1,es2/piper-logs?retention=90d --logs-api-key-file /etc/piper/es
piper agentd --no-worker --listen 127.0.0.1:7701          # only the API and the page
piper agentd --listen :7700 --tls-cert ci.crt --tls-key ci.key
`
	d := &daemon{app: a, store: c.stores(), logs: c.logPlace("also bring logs to, and search them in,")}
	c.FlagSet.StringVar(&d.listen, "listen", "127.0.0.1:7700", "serve the API at `ADDRESS`")
	c.FlagSet.StringVar(&d.dir, "data-dir", "", "keep what is the agent's own in `DIR`")
	c.FlagSet.StringVar(&d.name, "name", "", "the agent's `NAME`; that of the machine, unless given")
	c.number(&d.slots, "slots", 2, "run `N` builds at once")
	c.list(&d.labels, "label", "`NAME=VALUE`, which pipelines may require as labels.NAME; may be repeated", false)
	c.FlagSet.BoolVar(&d.noWorker, "no-worker", false, "run no builds")
	c.FlagSet.BoolVar(&d.noAPI, "no-api", false, "serve no API")
	c.FlagSet.BoolVar(&d.insecure, "insecure-http", false, "serve the API without TLS at an address that others reach: tokens can be read on the way")
	c.FlagSet.StringVar(&d.cert, "tls-cert", "", "serve the API with the certificate in `FILE`")
	c.FlagSet.StringVar(&d.key, "tls-key", "", "and its key in `FILE`")
	c.list(&d.hosts, "host", "`NAMES` that the API is called by, beside this machine's own; commas allowed", true)
	c.FlagSet.BoolVar(&d.keepFailed, "keep-failed", false, "keep the workspaces of builds that failed, in DIR/kept")
	c.number(&d.maxLog, "max-log", 1024, "keep `N` MiB of what a step writes in one attempt, and its end")
	c.FlagSet.DurationVar(&d.drain, "drain-timeout", 10*time.Minute, "let builds go on for a `TIME` once the agent is to end")
	c.FlagSet.DurationVar(&d.heartbeat, "heartbeat", 5*time.Second, "tell the others every `TIME` that this agent lives")
	c.FlagSet.DurationVar(&d.lease, "lease", 30*time.Second, "take another agent for dead that was silent for a `TIME`; the same for all of a store")
	c.FlagSet.DurationVar(&d.clockOffset, "clock-offset", 0, "write times down as if the clock were wrong by a `TIME`, to try what that does")
	c.FlagSet.BoolVar(&d.debug, "debug", false, "log more")
	c.lists["data-dir"], c.lists["tls-cert"], c.lists["tls-key"] = directories, files, files
	c.Exec = func(ctx context.Context, _ []string) error { return d.run(ctx) }
	return c
}

func (d *daemon) run(ctx context.Context) (err error) {
	if d.noAPI && d.noWorker {
		return usagef("--no-api and --no-worker leave nothing to do")
	}
	if d.heartbeat <= 0 || d.lease < 3*d.heartbeat {
		return usagef("--lease %s: want three heartbeats (%s) at least, or one that is late is a death", d.lease, d.heartbeat)
	}
	labels, err := labelsOf(d.labels)
	if err != nil {
		return err
	}
	if d.dir != "" {
		d.dir = d.path(d.dir)
	} else if d.dir = d.dataDir(); d.dir == "" {
		return &usageError{message: "there is no home for an agent", hint: "--data-dir DIR names one"}
	}
	if err := os.MkdirAll(d.dir, 0o700); err != nil {
		return fmt.Errorf("make the agent's directory: %w", err)
	}
	if d.dir, err = filepath.EvalSymlinks(d.dir); err != nil { // which steps may be able to change
		return fmt.Errorf("find the agent's directory: %w", err)
	}
	if d.store.url == "" {
		d.store.url = "sqlite:" + filepath.Join(d.dir, "piper.db")
	}
	file, err := operator.Read(filepath.Join(d.dir, "agent.yaml"))
	if err != nil {
		return operatorFault(err)
	}
	kept := d.confine(file, private(d.dir, d.store, d.logs, d.key))
	if file.Confine == operator.Always && !d.noWorker && !kept.Confines() {
		return &usageError{message: "agent.yaml says confine: always, and steps cannot be kept from the agent's files: " + kept.open, hint: kept.remedy}
	}
	if err := process.Protect(); err != nil { // tokens and secrets are not for steps
		return err
	}
	level := slog.LevelInfo
	if d.debug {
		level = slog.LevelDebug
	}
	log := slog.New(slog.NewTextHandler(d.stderr, &slog.HandlerOptions{Level: level}))

	index, err := d.logs.open()
	if err != nil {
		return err
	}
	var found logs.Index // not a nil *elastic.Index
	if index != nil {
		found = index
		defer func() { err = errors.Join(err, index.Close()) }()
	}
	listener, err := d.open()
	if err != nil {
		return err
	}
	s, err := d.openStore(ctx)
	if err != nil {
		if listener != nil {
			err = errors.Join(err, listener.Close())
		}
		return err
	}
	defer func() { err = errors.Join(err, s.Close()) }()
	src := &sources{
		dir: filepath.Join(d.dir, "mirrors"), operator: file, lookupEnv: d.lookupEnv, blob: s.Blob,
		limits: d.settings.limits(false), apart: kept.Confines(),
	}
	// One child always waits for the next file. It ends with this process.
	src.evaluate = func(ctx context.Context, r starlark.Request) (starlark.Result, error) {
		defer d.isolated.Prepare(src.limits)
		began := time.Now()
		result, err := d.isolated.Evaluate(ctx, r)
		return result, paused(err, time.Since(began), src.limits.Time)
	}
	d.isolated.Prepare(src.limits)

	// The first signal drains: the agent ends, and then the API. The second one
	// ends all at once.
	ctx, signals := catch(ctx)
	defer signals.stop()
	ctx, end := context.WithCancel(ctx)
	defer end()
	serving, stop := context.WithCancel(context.WithoutCancel(ctx))
	defer stop()
	ended := make(chan error, 3)
	parts := 0
	live := &logs.Live{}
	if listener != nil {
		if err := d.mintToken(ctx, s); err != nil {
			return errors.Join(err, listener.Close())
		}
		server := &api.Server{Store: s, Sources: src, Live: live, Index: found, Webhook: webhooks(file, log), Page: web.Handler(), Hosts: d.hosts, Version: piperVersion(), Log: log, Now: d.now}
		fmt.Fprintf(d.stderr, "piper: listening on %s\n", d.url(listener))
		parts++
		go func() { ended <- api.Serve(serving, listener, server.Handler(), log) }()
	}
	if !d.noWorker {
		if kept.Confines() {
			log.Info("steps are kept from the agent's files"+kept.losses(), "files", kept.Hidden)
		} else {
			log.Warn("steps can read the agent's files, its token among them", "why", kept.open, "hint", kept.remedy)
		}
		runs := runners{ctx: ctx, command: &runner.Command{Env: allowed(d.environ, file), Confine: kept.Confinement},
			parallel: goruntime.NumCPU(), log: log, clockOffset: d.clockOffset}
		runs.prepare()
		worker := d.agent(s, src, live, file, runs, labels, log)
		worker.Index, worker.Hurry = found, signals.killed.Done()
		parts++
		go func() {
			err := worker.Run(ctx)
			stop()
			ended <- err
		}()
	} else {
		context.AfterFunc(ctx, stop)
	}
	defer context.AfterFunc(signals.killed, func() {
		fmt.Fprintln(d.stderr, "piper: builds are given back")
		time.Sleep(10 * time.Second) // the store may be away
		os.Exit(signals.exitCode())  // runners end with this process, and what they run with them
	})()
	if file, ok := s.(*sqlite.Store); ok {
		// All of a large file takes a while, which nobody has to wait for.
		checking, checked := context.WithCancel(ctx)
		defer checked()
		go func() {
			if err := file.Check(checking); errors.Is(err, sqlite.ErrDamaged) {
				log.Error("the store is damaged", "error", err)
				ended <- err
			}
		}()
	}
	for range parts {
		if failed := <-ended; failed != nil {
			err = errors.Join(err, failed)
			stop()
			end()
		}
	}
	return err
}

// openStore opens the store, and waits for one that is away: whoever starts a
// machine does not know which part of it is there first.
func (d *daemon) openStore(ctx context.Context) (s store.Store, err error) {
	var said time.Time
	err = store.Insist(ctx, func() error {
		s, err = d.store.open(ctx, true)
		if errors.Is(err, store.ErrInDoubt) && time.Since(said) > time.Minute {
			said = time.Now()
			fmt.Fprintf(d.stderr, "piper: %v\npiper: the agent waits for its store\n", err)
		}
		return err
	})
	return s, err
}

// paused is err, unless that blames a file for being slow, and so much more time
// than its limit went by that this machine, or all of its piper, was stopped
// meanwhile: then it is nobody's fault, and to be tried again.
func paused(err error, took, limit time.Duration) error {
	var wrong plan.Diagnostics
	if took < cmp.Or(limit, 5*time.Second)+2*time.Second || !errors.As(err, &wrong) {
		return err
	}
	if !slices.ContainsFunc(wrong, func(d plan.Diagnostic) bool { return d.Code == "too-slow" }) {
		return err
	}
	return fmt.Errorf("evaluation was held up for %s by something else", took.Round(time.Second))
}

// operatorFault is what is wrong with agent.yaml.
func operatorFault(err error) error {
	var fault *operator.Error
	if !errors.As(err, &fault) {
		return err
	}
	return &usageError{message: fault.Error(), hint: fault.Hint()}
}

// labelsOf reads NAME=VALUE.
func labelsOf(given []string) (map[string]string, error) {
	labels := map[string]string{}
	for _, label := range given {
		name, value, ok := strings.Cut(label, "=")
		if !ok || name == "" || value == "" || strings.ContainsAny(name, " \t\n") {
			return nil, usagef("--label %q: want NAME=VALUE", label)
		}
		if _, twice := labels[name]; twice {
			return nil, usagef("--label gives %s twice", name)
		}
		labels[name] = value
	}
	return labels, nil
}

// open listens, unless there is to be no API. What others reach has to be said.
func (d *daemon) open() (net.Listener, error) {
	if d.noAPI {
		return nil, nil
	}
	if (d.cert == "") != (d.key == "") {
		return nil, usagef("--tls-cert and --tls-key go together")
	}
	host, _, err := net.SplitHostPort(d.listen)
	if err != nil {
		return nil, usagef("--listen %q: want HOST:PORT", d.listen)
	}
	if ip := net.ParseIP(host); d.cert == "" && !d.insecure && host != "localhost" && (ip == nil || !ip.IsLoopback()) {
		return nil, &usageError{
			message: fmt.Sprintf("--listen %s is reached by others, and tokens would be sent in the clear", d.listen),
			hint:    "--tls-cert and --tls-key, or --insecure-http where something before it speaks TLS",
		}
	}
	l, err := net.Listen("tcp", d.listen)
	if err != nil {
		if errors.Is(err, syscall.EADDRINUSE) {
			return nil, &usageError{message: fmt.Sprintf("--listen %s: somebody listens there already", d.listen), hint: "another agent, perhaps: --listen HOST:PORT takes another port"}
		}
		return nil, fmt.Errorf("listen: %w", err)
	}
	if d.cert == "" {
		return l, nil
	}
	pair, err := tls.LoadX509KeyPair(d.path(d.cert), d.path(d.key))
	if err != nil {
		return nil, errors.Join(usagef("--tls-cert: %w", err), l.Close())
	}
	return tls.NewListener(l, &tls.Config{Certificates: []tls.Certificate{pair}, MinVersion: tls.VersionTLS12, NextProtos: []string{"http/1.1"}}), nil
}

// url is where the API is to be found.
func (d *daemon) url(l net.Listener) string {
	if d.cert != "" {
		return "https://" + l.Addr().String()
	}
	return "http://" + l.Addr().String()
}

// mintToken makes the first token of the directory, unless it has one that is
// good still.
func (d *daemon) mintToken(ctx context.Context, s store.Store) error {
	path := filepath.Join(d.dir, "token")
	if exists(path) {
		return nil
	}
	secret, t := api.NewToken(store.Token{Name: "first-" + strings.ToLower(rand.Text()[:8]), Role: store.Admin, Created: now()})
	err := store.Insist(ctx, func() error {
		err := s.AddToken(ctx, t)
		if errors.Is(err, store.ErrInDoubt) {
			fmt.Fprintln(d.stderr, "piper: make the first token:", err)
		}
		return err
	})
	if err != nil {
		return fmt.Errorf("make the first token: %w", err)
	}
	return api.WriteToken(path, secret)
}

// webhooks says how forges sign what they send, as the operator said.
func webhooks(file *operator.File, log *slog.Logger) func(project string) (api.Webhook, bool) {
	return func(project string) (api.Webhook, bool) {
		hook := file.Project(project).Webhook
		if hook == nil {
			return api.Webhook{}, false
		}
		secret, err := hook.Secret()
		if err != nil {
			log.Warn("read the secret of a webhook", "project", project, "error", err)
			return api.Webhook{}, false
		}
		return api.Webhook{Kind: hook.Kind, Secret: secret, Forks: hook.Forks}, true
	}
}

// agent is what runs builds.
func (d *daemon) agent(s store.Store, src *sources, live *logs.Live, file *operator.File, runs runners, labels map[string]string, log *slog.Logger) agent.Agent {
	host, _ := os.Hostname()
	name := d.name
	if name == "" {
		name = host
	}
	machine := &facts.Machine{Static: file.Static, Commands: file.Commands, Environ: d.environ,
		Output: process.OutputAside, // builds go on meanwhile
		Cache:  cmp.Or(d.toolCache, filepath.Join(d.dir, "tools.json"))}
	return agent.Agent{
		Store:   s,
		Sources: runs.readied(src),
		Live:    live,
		Plan:    src.Plan,
		Runner:  runs,
		Record: func(b store.Build) (agent.Record, error) {
			return record.Open(s, b.ID, b.Fence, record.Options{SpoolDir: d.dir, Limit: int64(d.maxLog) << 20}), nil
		},
		Secrets: func(ctx context.Context, b store.Build, names []string) (map[string]string, error) {
			return secretValues(names, file.SecretsFor(operator.Grantee(b.Request), d.lookupEnv, process.Output))
		},
		Facts: func(ctx context.Context, keys []string) (map[string]string, error) {
			return factsOf(ctx, machine, keys)
		},
		Dir: d.dir, Name: name, Host: host, Version: piperVersion(), Labels: labels, Slots: d.slots,
		KeepFailed: d.keepFailed, Timings: agent.Timings{Drain: d.drain, Heartbeat: d.heartbeat, Lease: d.lease}, Log: log, Now: d.now,
	}
}

// now is what time it is, as it is written down.
func (d *daemon) now() time.Time { return time.Now().Add(d.clockOffset) }

// allowed is what of this process's environment a step may be let have: what
// every step gets, and what the operator lets through.
func allowed(environ []string, file *operator.File) []string {
	basic := []string{"PATH", "HOME", "USER", "LOGNAME", "LANG", "LC_ALL", "TERM", "TMPDIR", "TZ", "SHELL"}
	seen := file.LookupEnv(func(string) (string, bool) { return "", true })
	return slices.DeleteFunc(slices.Clone(environ), func(kv string) bool {
		name, _, _ := strings.Cut(kv, "=")
		_, let := seen(name)
		return !let && !slices.Contains(basic, name)
	})
}

// secretValues are the values of those secrets of names that the source has. One
// that it does not have fails the step that needs it, and says so.
func secretValues(names []string, from secret.Source) (map[string]string, error) {
	values := map[string]string{}
	for _, name := range names {
		value, err := from(name)
		switch {
		case errors.Is(err, secret.ErrNotFound):
		case err != nil:
			return nil, fmt.Errorf("secret %s: %w", name, err)
		default:
			values[name] = value
		}
	}
	return values, nil
}

// factsOf are the facts that any machine has, and those of keys.
func factsOf(ctx context.Context, m *facts.Machine, keys []string) (map[string]string, error) {
	all, err := m.All(ctx)
	if err != nil {
		return nil, err
	}
	for _, key := range keys {
		if _, known := all[key]; known {
			continue
		}
		if value, ok, err := m.Get(ctx, key); err == nil && (ok || value != "") {
			all[key] = value
		}
	}
	return all, nil
}
