package main

import (
	"context"
	_ "embed"
	"fmt"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"time"
)

//go:embed master.cfg
var masterConfig string

// buildbot does what trigger does, with a master and a worker of Buildbot.
func buildbot(ctx context.Context, j job) error {
	return inTemp(func(dir string) error {
		door, err := newDoor(dir)
		if err != nil {
			return err
		}
		defer door.Close()
		ports, err := freePorts(2)
		if err != nil {
			return err
		}
		master, worker := filepath.Join(dir, "master"), filepath.Join(dir, "worker")
		for _, args := range [][]string{
			{"buildbot", "create-master", master},
			{"buildbot-worker", "create-worker", worker, fmt.Sprint("127.0.0.1:", ports[0]), "worker", "word"},
		} {
			if out, err := exec.CommandContext(ctx, args[0], args[1:]...).CombinedOutput(); err != nil {
				return fmt.Errorf("%s: %w: %s", args[0], err, out)
			}
		}
		config := strings.NewReplacer("@WORKERS@", fmt.Sprint(ports[0]), "@TRIGGER@", fmt.Sprint(ports[1]), "@RUN@", door.knock()).Replace(masterConfig)
		if err := os.WriteFile(filepath.Join(master, "master.cfg"), []byte(config), 0o600); err != nil {
			return err
		}
		for _, args := range [][]string{{"buildbot", "start", "--nodaemon", master}, {"buildbot-worker", "start", "--nodaemon", worker}} {
			cmd := exec.CommandContext(ctx, args[0], args[1:]...)
			cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
			if err := cmd.Start(); err != nil {
				return err
			}
			defer func() {
				for _, pid := range tree(cmd.Process.Pid) {
					syscall.Kill(pid, syscall.SIGKILL)
				}
				cmd.Wait()
			}()
		}
		url := fmt.Sprintf("http://127.0.0.1:%d/", ports[1])
		if err := answers(ctx, url); err != nil {
			return err
		}
		var waits []time.Duration
		for range j.n + 1 {
			begin := time.Now()
			if err := post(ctx, url); err != nil {
				return err
			}
			if err := door.wait(); err != nil {
				return err
			}
			waits = append(waits, time.Since(begin))
			time.Sleep(300 * time.Millisecond) // its build ends
		}
		measured("p50", quantile(waits[1:], 0.5)) // the first one waits for the worker
		return nil
	})
}

// answers waits until somebody answers at url.
func answers(ctx context.Context, url string) (err error) {
	for begin := time.Now(); time.Since(begin) < time.Minute; time.Sleep(100 * time.Millisecond) {
		var resp *http.Response
		if resp, err = http.Get(url); err == nil {
			return resp.Body.Close()
		}
	}
	return err
}

func post(ctx context.Context, url string) error {
	r, err := http.NewRequestWithContext(ctx, http.MethodPost, url, nil)
	if err != nil {
		return err
	}
	resp, err := http.DefaultClient.Do(r)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		return fmt.Errorf("POST %s: %s", url, resp.Status)
	}
	return nil
}

// freePorts are ports that nobody has.
func freePorts(n int) (ports []int, err error) {
	for range n {
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			return nil, err
		}
		defer l.Close()
		ports = append(ports, l.Addr().(*net.TCPAddr).Port)
	}
	return ports, nil
}
