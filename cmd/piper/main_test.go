package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"math/rand/v2"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"syscall"
	"testing"
	"time"

	"github.com/rogpeppe/go-internal/testscript"

	"github.com/piper-build/piper/runtime/logs/elastic/elastictest"
	"github.com/piper-build/piper/runtime/process"
	"github.com/piper-build/piper/runtime/runner"
	"github.com/piper-build/piper/runtime/store/rethinkdb/rethinkdbtest"
	"github.com/piper-build/piper/starlark/isolate"
)

// TestMain makes this test binary a piper too, for scripts and shells to run.
// It is piper in all but two things: it has the patience for a slow machine, and
// its agents ask the tools of this one for their versions once, and not each time.
// Beside it there is "listen PORT", a server that says nothing, and "root FILE", which
// is root altogether if whoever owns it is, and then writes its pid down and stays.
func TestMain(m *testing.M) {
	if process.IsGuard() {
		os.Exit(process.GuardMain())
	}
	if isolate.IsChild() {
		os.Exit(isolate.ChildMain())
	}
	if runner.IsChild() {
		os.Exit(runner.ChildMain())
	}
	testscript.Main(tests{m}, map[string]func(){"piper": func() {
		a := &app{stdin: os.Stdin, stdout: &output{to: os.Stdout}, stderr: os.Stderr, environ: os.Environ(), patience: time.Minute}
		if self, err := exec.LookPath("piper"); err == nil { // in a directory of this run of the tests
			a.toolCache = filepath.Join(filepath.Dir(self), "tools.json")
		}
		os.Exit(a.run(context.Background(), os.Args[1:]))
	}, "listen": listen, "root": beRoot})
}

// tests are those of this package. They may share a database server.
type tests struct{ *testing.M }

func (t tests) Run() int { return elastictest.Main(rethinkdbs(t)) }

type rethinkdbs struct{ *testing.M }

func (t rethinkdbs) Run() int { return rethinkdbtest.Main(t.M) }

var update = flag.Bool("update", false, "rewrite the files that scripts compare output with")

// TestScripts runs testdata/script. Beside testscript's own commands there is
//
//	status N command...      run the command, which exits with N
//	await PATTERN command... run the command until PATTERN matches a line of what it prints
//	database VARIABLE        put the address of a database that is not made yet into the variable
//
// and the condition [rethinkdb], that there is a server for that.
func TestScripts(t *testing.T) {
	runScripts(t, testscript.Params{Dir: "testdata/script", UpdateScripts: *update})
}

// TestScriptsIsolated runs those of the commands that evaluate once more for a
// user who has all evaluated in other processes: they see no difference.
func TestScriptsIsolated(t *testing.T) {
	var scripts []string
	for _, name := range []string{"again", "check", "dry-run", "event", "exec", "list", "plan", "repl", "reproduce", "reproduce-odd", "secrets", "service", "test", "triggers"} {
		scripts = append(scripts, filepath.Join("testdata/script", name+".txtar"))
	}
	runScripts(t, testscript.Params{Files: scripts, Setup: func(env *testscript.Env) error {
		dir := filepath.Join(env.Getenv("HOME"), ".config", "piper")
		if err := os.MkdirAll(dir, 0o777); err != nil {
			return err
		}
		return os.WriteFile(filepath.Join(dir, "config.yaml"), []byte("isolate: true\n"), 0o666)
	}})
}

func runScripts(t *testing.T, p testscript.Params) {
	setup := p.Setup
	p.Cmds = map[string]func(ts *testscript.TestScript, neg bool, args []string){"status": status, "await": await, "database": database}
	p.Condition = func(name string) (bool, error) {
		switch name {
		case "race":
			return raceEnabled, nil
		case "rethinkdb":
			_, err := rethinkdbtest.Find()
			if errors.Is(err, rethinkdbtest.ErrNone) {
				return false, nil
			}
			return true, err
		}
		return false, fmt.Errorf("unknown condition %q", name)
	}
	p.Setup = func(env *testscript.Env) error {
		home := filepath.Join(env.WorkDir, ".home")
		env.Setenv("HOME", home)
		env.Setenv("XDG_CONFIG_DIRS", filepath.Join(env.WorkDir, ".system"))
		env.Setenv("GIT_CONFIG_GLOBAL", filepath.Join(home, ".gitconfig"))
		env.Setenv("PORT", strconv.Itoa(freePort()))
		env.Setenv("GORACE", "atexit_sleep_ms=0") // or each piper under -race lingers for a second
		if err := os.Mkdir(home, 0o777); err != nil || setup == nil {
			return err
		}
		return setup(env)
	}
	testscript.Run(t, p)
}

// listen takes connections at a port of this machine until it is told to end.
func listen() {
	l, err := net.Listen("tcp", "127.0.0.1:"+os.Args[1])
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	for {
		if conn, err := l.Accept(); err == nil {
			conn.Close()
		}
	}
}

func beRoot() {
	text := "none"
	if syscall.Setreuid(0, 0) == nil {
		text = strconv.Itoa(os.Getpid())
	}
	if err := os.WriteFile(os.Args[1], []byte(text), 0o644); err != nil || text == "none" {
		os.Exit(1)
	}
	time.Sleep(time.Hour)
}

// freePort is a port that nobody listens at, of those that no system gives to
// who does not ask for it.
func freePort() int {
	for {
		port := 10_000 + rand.IntN(20_000)
		if l, err := net.Listen("tcp", "127.0.0.1:"+strconv.Itoa(port)); err == nil {
			l.Close()
			return port
		}
	}
}

func database(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 1 {
		ts.Fatalf("usage: database VARIABLE")
	}
	host, err := rethinkdbtest.Find()
	ts.Check(err)
	a, err := rethinkdbtest.New(host)
	ts.Check(err)
	ts.Setenv(args[0], a.String())
}

func status(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) < 2 {
		ts.Fatalf("usage: status N command [argument...]")
	}
	want, err := strconv.Atoi(args[0])
	ts.Check(err)
	got := 0
	err = ts.Exec(args[1], args[2:]...)
	var exit *exec.ExitError
	if errors.As(err, &exit) {
		got = exit.ExitCode()
	} else {
		ts.Check(err)
	}
	if got != want {
		ts.Fatalf("exit code %d, want %d", got, want)
	}
}

// await is for what another process, such as an agent, does in its own time.
func await(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) < 2 {
		ts.Fatalf("usage: await PATTERN command [argument...]")
	}
	want, err := regexp.Compile("(?m)" + args[0])
	ts.Check(err)
	for end := time.Now().Add(patience); time.Now().Before(end); {
		ts.Exec(args[1], args[2:]...) // what it exits with, until it is as it is to be, is nobody's business
		if want.MatchString(ts.ReadFile("stdout")) || want.MatchString(ts.ReadFile("stderr")) {
			return
		}
		time.Sleep(20 * time.Millisecond) // between two looks
	}
	ts.Fatalf("%s never matches", args[0])
}
