package process_test

import (
	"net"
	"strconv"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/piper-build/piper/runtime/build"
	"github.com/piper-build/piper/runtime/process"
)

func TestAnswers(t *testing.T) {
	for _, address := range []string{"127.0.0.1:0", "[::1]:0"} {
		t.Run(address, func(t *testing.T) {
			l, err := net.Listen("tcp", address)
			if err != nil {
				t.Skip(err) // a machine without IPv6
			}
			_, text, err := net.SplitHostPort(l.Addr().String())
			require.NoError(t, err)
			port, err := strconv.Atoi(text)
			require.NoError(t, err)
			require.True(t, process.Answers(port))
			require.NoError(t, l.Close())
			for range 100 { // the system might choose this very port for the other end
				require.False(t, process.Answers(port))
			}
		})
	}
	require.False(t, process.Answers(0))
}

// Whoever waits for a service has to know when it began.
func TestStarted(t *testing.T) {
	var started int
	tk := script(t, &keeper{}, "exit 3")
	tk.Started = func() { started++ }
	require.Equal(t, 3, *executor(t).Execute(t.Context(), tk).Exit)
	require.Equal(t, 1, started)
	tk = task(t, &keeper{}, "/no/such/program")
	tk.Started = func() { t.Error("it did not start") }
	require.Equal(t, build.Failed, executor(t).Execute(t.Context(), tk).State)
}
