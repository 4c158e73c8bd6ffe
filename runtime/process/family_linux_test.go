package process_test

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/piper-build/piper/runtime/build"
	"github.com/piper-build/piper/runtime/process"
)

// TestWhileOthersStart has a step leave a process that is a new one all the time
// while other parts of the program start some: what has ended is not reaped then, as
// it may be one of those, but what it started is seen.
func TestWhileOthersStart(t *testing.T) {
	stop, stopped := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(stopped)
		for {
			end := process.Forking()
			time.Sleep(5 * time.Millisecond)
			end()
			select {
			case <-stop:
				return
			case <-time.After(time.Millisecond): // what has ended must be reaped at times
			}
		}
	}()
	defer func() { close(stop); <-stopped }()
	for range 20 {
		dir, token := t.TempDir(), token()
		r := executor(t).Execute(t.Context(), script(t, &keeper{}, newOne.text(dir, token)))
		require.Equal(t, build.Success, r.State, show(r))
		require.Contains(t, r.Reason, "that it left behind")
		require.Empty(t, living(t, token))
	}
}
