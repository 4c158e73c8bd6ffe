package main

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
)

// An agent claims nothing below 1 GiB, and ends builds below half of that.
const (
	diskSize = 1536 << 20
	diskLeft = 768 << 20
)

// mount puts a file system below the agent's directory, in memory.
func (a *agent) mount() error {
	if err := os.MkdirAll(a.dir, 0o700); err != nil {
		return err
	}
	if out, err := exec.Command("mount", "-t", "tmpfs", "-o", fmt.Sprintf("size=%d,mode=700", diskSize), "soak", a.dir).CombinedOutput(); err != nil {
		return fmt.Errorf("-disks: %w: %s", err, out)
	}
	a.disk = true
	return nil
}

func (a *agent) unmount() {
	a.signal(syscall.SIGKILL)
	if out, err := exec.Command("umount", "-l", a.dir).CombinedOutput(); err != nil {
		fmt.Printf("soak: %s stays mounted: %v: %s\n", a.dir, err, out)
	}
}

// diskFull fills an agent's file system so far that it has to claim nothing more.
var diskFull = harm{name: "disk full", often: 2, do: func(v victim) {
	path := filepath.Join(v.dir, "filler")
	defer os.Remove(path)
	if err := os.WriteFile(path, make([]byte, diskSize-diskLeft), 0o600); err != nil {
		fmt.Println("soak: fill the disk of", v.name+":", err)
	}
	v.sleep(v.lease)
}}
