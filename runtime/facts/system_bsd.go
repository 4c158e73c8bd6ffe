//go:build darwin || freebsd || netbsd || openbsd || dragonfly

package facts

import (
	"fmt"
	"os"
	goruntime "runtime"

	"golang.org/x/sys/unix"
)

func kernel() (string, error) {
	release, err := unix.Sysctl("kern.osrelease")
	if err != nil {
		return "", fmt.Errorf("ask the kernel for its release: %w", err)
	}
	return release, nil
}

func memory() (uint64, error) {
	for _, name := range []string{"hw.memsize", "hw.physmem64", "hw.physmem"} {
		if n, err := unix.SysctlUint64(name); err == nil {
			return n, nil
		}
	}
	return 0, nil
}

func distribution() (id, version string, err error) {
	if goruntime.GOOS != "darwin" {
		fields := osRelease(os.DirFS("/"))
		return fields["ID"], fields["VERSION_ID"], nil
	}
	version, err = unix.Sysctl("kern.osproductversion")
	if err != nil {
		return "", "", fmt.Errorf("ask the kernel for the version of macos: %w", err)
	}
	return "macos", version, nil
}

func virtual() (string, error) {
	if n, err := unix.SysctlUint32("kern.hv_vmm_present"); err == nil && n == 1 {
		return "vm", nil
	}
	return "none", nil
}
