//go:build unix

package logs

import (
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// The test binary runs itself to have something that can be killed, or given
// a small disk.
const childDir = "PIPER_TEST_LOGS_DIR"

func child(t *testing.T, dir string) (*exec.Cmd, *strings.Builder) {
	cmd := exec.Command(os.Args[0], "-test.run=^"+t.Name()+"$")
	cmd.Env = append(os.Environ(), childDir+"="+dir)
	said := new(strings.Builder)
	cmd.Stdout, cmd.Stderr = said, said
	return cmd, said
}

// A process that is killed in the middle of writing leaves an archive in
// which all is whole but the very end.
func TestArchiveAfterKill(t *testing.T) {
	if dir := os.Getenv(childDir); dir != "" {
		a, err := Create(dir)
		require.NoError(t, err)
		one, two := open(t, a, "one", 1), open(t, a, "two", 1)
		for i := 0; ; i++ {
			write(t, one, i, fmt.Sprintf("line %d\n", i))
			write(t, two, i, fmt.Sprintf("line %d%s\n", i, strings.Repeat("x", i%100_000)))
		}
	}
	for round := range 3 {
		dir := filepath.Join(t.TempDir(), "archive")
		cmd, said := child(t, dir)
		require.NoError(t, cmd.Start())
		ended := make(chan error, 1)
		go func() { ended <- cmd.Wait() }()
		for written := int64(-1); written <= int64(round*1_000_000); {
			select {
			case err := <-ended:
				require.FailNow(t, "ended by itself", "%v: %s", err, said)
			case <-time.After(time.Millisecond):
			}
			if info, err := os.Stat(filepath.Join(dir, dataFile)); err == nil {
				written = info.Size()
			}
		}
		require.NoError(t, cmd.Process.Kill())
		require.Error(t, <-ended)

		r, err := Open(dir)
		require.NoError(t, err)
		loss := r.Loss()
		require.True(t, loss.Open)
		require.Zero(t, loss.Gone)
		kept := int64(0)
		for _, s := range r.Streams() {
			kept += s.Bytes
			n := 0
			for l, err := range r.Lines(s.Node, 1, 0, 0) {
				require.NoError(t, err)
				if l.Offset == 0 {
					require.EqualValues(t, n+1, l.Number)
					require.True(t, strings.HasPrefix(string(l.Text), fmt.Sprintf("line %d", n)))
					n++
				}
			}
			require.EqualValues(t, s.Lines, n)
		}
		info, err := os.Stat(filepath.Join(dir, dataFile))
		require.NoError(t, err)
		require.Equal(t, info.Size(), kept+loss.Data, "every byte is accounted for")
		require.LessOrEqual(t, loss.Data, int64(archiveBuffer+100_000), "what was between two writes")
		require.NoError(t, r.Close())
	}
}

// A disk that is full is an error of the Write that met it, of all that
// follow, and of Close; what fitted can be read.
func TestArchiveOnFullDisk(t *testing.T) {
	const limit = 700_000
	if dir := os.Getenv(childDir); dir != "" {
		signal.Ignore(syscall.SIGXFSZ)
		size := syscall.Rlimit{Cur: limit, Max: limit}
		require.NoError(t, syscall.Setrlimit(syscall.RLIMIT_FSIZE, &size))
		a, err := Create(dir)
		require.NoError(t, err)
		w := open(t, a, "a", 1)
		n := 0
		for ; err == nil; n++ {
			require.Less(t, n, limit, "no error")
			err = w.Write(ms(n), []byte(fmt.Sprintf("line %d\n", n)))
		}
		require.ErrorIs(t, err, syscall.EFBIG)
		require.ErrorContains(t, err, "keep output: write ")
		for _, again := range []error{w.Write(ms(n), []byte("more")), a.Flush(), a.Close(), a.Close()} {
			require.Equal(t, err, again)
		}
		_, again := a.Open("b", 1)
		require.Equal(t, err, again)
		return
	}
	dir := filepath.Join(t.TempDir(), "archive")
	cmd, said := child(t, dir)
	require.NoError(t, cmd.Run(), said)

	r, err := Open(dir)
	require.NoError(t, err)
	defer r.Close()
	require.True(t, r.Loss().Open)
	require.Positive(t, r.Loss().Gone)
	require.Zero(t, r.Loss().Data)
	s, _ := r.Stream("a", 1)
	require.EqualValues(t, limit, s.Bytes)
	all := lines(t, r, "a", 1, 0, 0)
	require.EqualValues(t, s.Lines, len(all))
	for i, l := range all[:len(all)-1] {
		require.Equal(t, fmt.Sprintf("%d@%d:line %d$", i+1, i, i), l)
	}
}

// An error that nobody was waiting for comes with the next Write.
func TestArchiveErrorWhileIdle(t *testing.T) {
	a, err := Create(t.TempDir())
	require.NoError(t, err)
	w := open(t, a, "a", 1)
	require.NoError(t, a.Flush())
	write(t, w, 1, "text\n")
	require.NoError(t, a.index.Close())
	a.tick()
	require.ErrorIs(t, w.Write(ms(1), []byte("more")), os.ErrClosed)
	require.ErrorIs(t, a.Close(), os.ErrClosed)
}
