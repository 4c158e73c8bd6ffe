package facts

import (
	"fmt"
	"os"

	"golang.org/x/sys/unix"
)

func kernel() (string, error) {
	var name unix.Utsname
	if err := unix.Uname(&name); err != nil {
		return "", fmt.Errorf("ask the kernel for its release: %w", err)
	}
	return unix.ByteSliceToString(name.Release[:]), nil
}

func memory() (uint64, error) {
	var info unix.Sysinfo_t
	if err := unix.Sysinfo(&info); err != nil {
		return 0, fmt.Errorf("ask the kernel for its memory: %w", err)
	}
	return uint64(info.Totalram) * uint64(info.Unit), nil
}

func distribution() (id, version string, err error) {
	fields := osRelease(os.DirFS("/"))
	return fields["ID"], fields["VERSION_ID"], nil
}

func virtual() (string, error) {
	release, err := kernel()
	if err != nil {
		return "", err
	}
	return virtualLinux(os.DirFS("/"), release), nil
}
