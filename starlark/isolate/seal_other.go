//go:build !linux

package isolate

import (
	"fmt"
	"os"
	"os/signal"

	"golang.org/x/sys/unix"
)

// seal limits the processor time of this process, over its whole life, and the
// files that it writes. Neither macOS nor the BSDs can be relied on for more:
// RLIMIT_AS does not bind there, and there is no Landlock and no seccomp. The
// parent's clock holds everywhere.
func seal(memory, seconds int) (Held, error) {
	late := make(chan os.Signal, 1)
	signal.Notify(late, unix.SIGXCPU) // which the Go runtime would ignore
	go func() {
		<-late
		os.Exit(exitTime)
	}()
	for resource, most := range map[int]int{unix.RLIMIT_CPU: seconds, unix.RLIMIT_FSIZE: 0, unix.RLIMIT_CORE: 0} {
		var limit unix.Rlimit
		set(&limit.Cur, most)
		set(&limit.Max, most)
		if err := unix.Setrlimit(resource, &limit); err != nil {
			return Held{}, fmt.Errorf("set limit %d: %w", resource, err)
		}
	}
	return Held{Time: true}, nil
}

// set sets a limit, whose type is one or the other.
func set[T int64 | uint64](limit *T, most int) { *limit = T(most) }

// allowTime lets a child have more processor time. Nobody can give it to
// another process here.
func allowTime(pid, seconds int) error { return nil }
