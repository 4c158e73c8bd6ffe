package process_test

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"strconv"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	"github.com/piper-build/piper/runtime"
	"github.com/piper-build/piper/runtime/process"
)

// The test binary is also each program that a test needs: "helper", a mode,
// and what that takes.
func TestMain(m *testing.M) {
	switch {
	case process.IsGuard():
		os.Exit(process.GuardMain())
	case len(os.Args) > 2 && os.Args[1] == "helper":
		os.Exit(helper(os.Args[2], os.Args[3:]))
	}
	os.Exit(m.Run())
}

func helper(mode string, args []string) int {
	switch mode {
	case "wait": // DIR TOKEN: say so in DIR, and never end
		ready(args[0])
		wait()
	case "stubborn": // DIR TOKEN: the same, whatever signal comes
		signal.Ignore()
		ready(args[0])
		wait()
	case "daemon": // FLAGS MODE DIR TOKEN: become one, all traces shed, as MODE
		return daemon(args[0], args[1:])
	case "bush": // DIR TOKEN DEPTH WIDTH: a tree of processes, each in a session of its own
		return bush(args)
	case "argv": // write the arguments
		fmt.Printf("%q\n", args)
	case "flood": // MEBIBYTES LINE: write so much, in lines of so many bytes
		return flood(args)
	case "piper": // SCRIPT [DIR]: run a step and a guard, and leave a file in DIR when that knows of the process of the only file there
		return piper(args)
	case "step": // ARGV: run it as a step and write what it wrote
		return asStep(args)
	case "unkillable": // DIR PROGRAM: run a step that leaves a process behind which nobody can kill, and another step
		return leaveUnkillable(args[0], args[1])
	case "stuck": // DIR PROGRAM: talk with a program that nobody can kill
		return talkToUnkillable(args[0], args[1])
	case "asked": // DIR PROGRAM: want the output of a program that nobody can kill
		return askUnkillable(args[0], args[1])
	case "root": // DIR: be root altogether, and stay
		if err := syscall.Setreuid(0, 0); err != nil {
			os.WriteFile(filepath.Join(args[0], "none"), nil, 0o600)
			return 1
		}
		ready(args[0])
		wait()
	case "protected": // run a step that looks into this process
		return protected()
	case "interactive": // run a shell that waits for Ctrl-C, and say whether the terminal came back
		return interactive()
	case "inherited": // write the open file descriptors
		for fd := range 1024 {
			// Those that the Go runtime opens for itself are closed on exec.
			if flags, err := unix.FcntlInt(uintptr(fd), unix.F_GETFD, 0); err == nil && flags&unix.FD_CLOEXEC == 0 {
				fmt.Println(fd)
			}
		}
	default:
		fmt.Fprintln(os.Stderr, "no such helper:", mode)
		return 2
	}
	return 0
}

// ready leaves a file named after this process in dir.
func ready(dir string) {
	if err := os.WriteFile(filepath.Join(dir, strconv.Itoa(os.Getpid())), nil, 0o600); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(2)
	}
}

// wait never returns.
func wait() {
	for {
		time.Sleep(time.Hour)
	}
}

// daemon forks twice. Flags: "s" starts a session, "e" clears the environment,
// "o" holds the output open.
func daemon(flags string, as []string) int {
	if strings.HasPrefix(flags, "2") {
		flags = flags[1:]
	} else {
		flags, as = "2"+flags, append([]string{"daemon", flags}, as...)
		as[1] = "2" + as[1]
	}
	null, err := os.OpenFile(os.DevNull, os.O_RDWR, 0)
	if err != nil {
		return 2
	}
	attr := &os.ProcAttr{Env: os.Environ(), Files: []*os.File{null, null, null}, Sys: &syscall.SysProcAttr{}}
	if strings.Contains(flags, "s") {
		attr.Sys.Setsid = true
	}
	if strings.Contains(flags, "e") {
		attr.Env = []string{}
	}
	if strings.Contains(flags, "o") {
		attr.Files = []*os.File{null, os.Stdout, os.Stderr}
	}
	if _, err := os.StartProcess(self(), append([]string{self(), "helper"}, as...), attr); err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 2
	}
	return 0
}

func bush(args []string) int {
	dir, token := args[0], args[1]
	depth, _ := strconv.Atoi(args[2])
	width, _ := strconv.Atoi(args[3])
	for range width {
		if depth == 0 {
			break
		}
		cmd := exec.Command(self(), "helper", "bush", dir, token, strconv.Itoa(depth-1), args[3])
		cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
		if err := cmd.Start(); err != nil {
			return 2
		}
	}
	ready(dir)
	wait()
	return 0
}

func flood(args []string) int {
	mebibytes, _ := strconv.Atoi(args[0])
	line, _ := strconv.Atoi(args[1])
	block := bytes.Repeat([]byte("x"), 1<<20)
	for at := line - 1; line > 0 && at < len(block); at += line {
		block[at] = '\n'
	}
	for range mebibytes {
		if _, err := os.Stdout.Write(block); err != nil {
			return 1
		}
	}
	return 0
}

func piper(args []string) int {
	guard, err := process.GuardCommand()
	if err != nil {
		return 2
	}
	go func() {
		for len(args) == 2 {
			time.Sleep(time.Millisecond)
			entries, _ := os.ReadDir(args[1])
			for _, entry := range entries {
				if pid, _ := strconv.Atoi(entry.Name()); process.Noted(pid) {
					os.WriteFile(filepath.Join(args[1], "noted"), nil, 0o600)
					return
				}
			}
		}
	}()
	if link := os.Getenv("PIPER_TEST_GUARD"); link != "" {
		guard[0] = link // so that the test finds it
	}
	e := &process.Executor{Guard: guard}
	r := e.Execute(context.Background(), runtime.Task{
		Argv:      []string{"sh", "-e", "-c", args[0]},
		Env:       os.Environ(),
		Workspace: os.TempDir(),
		Output:    &keeper{},
	})
	fmt.Println(show(r))
	if err := e.Close(); err != nil {
		return 3
	}
	return 0
}

func interactive() int {
	signal.Notify(make(chan os.Signal, 1), os.Interrupt) // it may have been ignored, which a shell cannot undo
	script := `trap "echo caught; exit 0" INT; echo ready; while :; do sleep 0.01; done`
	if err := process.Interactive(context.Background(), "", os.Environ(), []string{"sh", "-c", script}, os.Stdin, os.Stdout, os.Stderr); err != nil {
		fmt.Println(err)
		return 1
	}
	if group, err := unix.IoctlGetInt(0, unix.TIOCGPGRP); err == nil && group == unix.Getpgrp() {
		fmt.Println("back")
	}
	return 0
}

func asStep(argv []string) int {
	e := &process.Executor{}
	out := &keeper{}
	r := e.Execute(context.Background(), runtime.Task{Argv: argv, Env: os.Environ(), Workspace: "/", Output: out})
	fmt.Printf("%s%s\n", out, show(r))
	if err := e.Close(); err != nil {
		return 3
	}
	return 0
}

func leaveUnkillable(dir, program string) int {
	e := &process.Executor{Patience: 50 * time.Millisecond, Drain: time.Millisecond}
	run := func(text string) {
		r := e.Execute(context.Background(), runtime.Task{
			Argv: []string{"sh", "-e", "-c", text}, Env: []string{"PATH=" + os.Getenv("PATH"), "PIPER_OUTPUT=" + dir}, Workspace: dir, Output: &keeper{}})
		fmt.Println(show(r))
	}
	run(program + " helper root " + dir + "/pids & until [ \"$(ls pids)\" ]; do sleep 0.01; done")
	run(":")
	return 0
}

func talkToUnkillable(dir, program string) int {
	p, err := process.Converse([]string{"PATH=" + os.Getenv("PATH")}, []string{program, "helper", "root", dir + "/pids"})
	if err != nil {
		fmt.Println(err)
		return 1
	}
	for files(dir+"/pids") == 0 {
		time.Sleep(10 * time.Millisecond)
	}
	p.Kill()
	_, _, err = p.Wait()
	return showUnkillable(err)
}

func askUnkillable(dir, program string) int {
	ctx, stop := context.WithCancelCause(context.Background())
	go func() {
		for files(dir+"/pids") == 0 {
			time.Sleep(10 * time.Millisecond)
		}
		stop(nil)
	}()
	_, err := process.Output(ctx, dir, []string{"PATH=" + os.Getenv("PATH")}, program, "helper", "root", dir+"/pids")
	fmt.Println(errors.Is(err, context.Canceled))
	return showUnkillable(err)
}

func showUnkillable(err error) int {
	var left *process.Unkillable
	if !errors.As(err, &left) {
		fmt.Println("it ended:", err)
		return 1
	}
	fmt.Println(left, left.Living())
	return 0
}

func protected() int {
	if err := process.Protect(); err != nil {
		fmt.Println(err)
		return 1
	}
	dir, err := os.MkdirTemp("", "")
	if err != nil {
		fmt.Println(err)
		return 1
	}
	defer os.RemoveAll(dir)
	e := &process.Executor{}
	out := &keeper{}
	r := e.Execute(context.Background(), runtime.Task{
		Argv: []string{"sh", "-e", "-c", `
			cat /proc/$PPID/environ >/dev/null 2>&1 || echo environ closed
			head -c 1 /proc/$PPID/mem >/dev/null 2>&1 || echo mem closed
			ls /proc/$PPID/fd >/dev/null 2>&1 || echo fd closed
			setsid sleep 1000 >/dev/null 2>&1 &
			exit 7`},
		Env:       []string{"PATH=" + os.Getenv("PATH"), "PIPER_OUTPUT=" + dir},
		Workspace: dir,
		OutputDir: dir,
		Output:    out,
	})
	if r.Infra {
		fmt.Println(r.Reason)
		return 1
	}
	r.Reason = ""
	fmt.Printf("%s%s\n", out, show(r))
	if err := e.Close(); err != nil {
		return 3
	}
	pid := strconv.Itoa(os.Getpid())
	children, err := os.ReadFile("/proc/" + pid + "/task/" + pid + "/children")
	if err != nil {
		fmt.Println(err)
		return 4
	}
	fmt.Println("children:", len(bytes.Fields(children)))
	return 0
}

// self is this program.
func self() string {
	exe, err := os.Executable()
	if err != nil {
		panic(err)
	}
	return exe
}

var tokens atomic.Int64

// token is a word that no other test has in its command lines.
func token() string {
	return fmt.Sprintf("token-%d-%d-%d", os.Getpid(), time.Now().UnixNano(), tokens.Add(1))
}

// living returns the command lines of the living processes that have a token
// in theirs.
func living(t testing.TB, token string) []string {
	cmd := exec.Command("ps", "-A", "-ww", "-o", "pid=,stat=,args=")
	out, err := cmd.Output()
	require.NoError(t, err)
	var found []string
	lines := bufio.NewScanner(bytes.NewReader(out))
	lines.Buffer(nil, 4<<20)
	for lines.Scan() {
		if f := strings.Fields(lines.Text()); len(f) > 2 && strings.Contains(lines.Text(), token) && !strings.HasPrefix(f[1], "Z") {
			found = append(found, lines.Text())
		}
	}
	require.NoError(t, lines.Err())
	return found
}

// eventually waits until a condition holds.
func eventually(t testing.TB, what string, holds func() bool) {
	t.Helper()
	for deadline := time.Now().Add(patience); !holds(); time.Sleep(5 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatal("waited in vain: ", what)
		}
	}
}

// piperCommand is a process that runs a script with a guard. The guard has the
// token in its command line, and so have all of the build in their environment.
func piperCommand(t testing.TB, token string, args ...string) *exec.Cmd {
	guard := filepath.Join(t.TempDir(), "guard-"+token)
	require.NoError(t, os.Symlink(self(), guard))
	cmd := exec.Command(self(), append([]string{"helper", "piper"}, args...)...)
	cmd.Env = append(os.Environ(), "PIPER_BUILD="+token, "PIPER_TEST_GUARD="+guard)
	return cmd
}

// apart runs a test in a process of its own, which runs no steps. Were it a
// subreaper, it might do a guard's work.
func apart(t *testing.T) (here bool) {
	if os.Getenv("PIPER_TEST_APART") != "" {
		return true
	}
	cmd := exec.Command(self(), "-test.run=^"+t.Name()+"$")
	cmd.Env = append(os.Environ(), "PIPER_TEST_APART=1")
	out, err := cmd.CombinedOutput()
	require.NoError(t, err, string(out))
	return false
}

// files returns how many files a directory holds.
func files(dir string) int {
	entries, _ := os.ReadDir(dir)
	return len(entries)
}
