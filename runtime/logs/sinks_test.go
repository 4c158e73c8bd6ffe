package logs

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"
)

// A memory is a Sink of recordings.
type memory struct {
	writers map[string]*recording
	err     error
	closed  int
}

func (m *memory) Open(node string, number int) (Writer, error) {
	if m.writers == nil {
		m.writers = make(map[string]*recording)
	}
	w := &recording{err: m.err}
	m.writers[fmt.Sprint(node, "#", number)] = w
	return w, nil
}

func (m *memory) Close() error { m.closed++; return m.err }

func write(t require.TestingT, w Writer, at int, text string) {
	require.NoError(t, w.Write(ms(at), []byte(text)))
}

func open(t require.TestingT, s Sink, node string, number int) Writer {
	w, err := s.Open(node, number)
	require.NoError(t, err)
	return w
}

func TestTee(t *testing.T) {
	one, two := new(memory), new(memory)
	require.Same(t, one, Tee(nil, one))
	s := Tee(one, nil, two)
	w := open(t, s, "a", 2)
	write(t, w, 7, "text")
	require.NoError(t, w.Close())
	require.NoError(t, s.Close())
	for _, m := range []*memory{one, two} {
		require.Equal(t, []string{"7:text"}, m.writers["a#2"].writes)
		require.Equal(t, 1, m.writers["a#2"].closed)
		require.Equal(t, 1, m.closed)
	}
}

func TestTeeWithErrors(t *testing.T) {
	full := errors.New("disk full")
	good, bad := new(memory), &memory{err: full}
	s := Tee(bad, good)
	w := open(t, s, "a", 1)
	require.ErrorIs(t, w.Write(ms(1), []byte("text")), full)
	require.Equal(t, []string{"1:text"}, good.writers["a#1"].writes, "the others still get it")
	require.ErrorIs(t, w.Close(), full)
	require.Equal(t, 1, good.writers["a#1"].closed)
	require.ErrorIs(t, s.Close(), full)
	require.Equal(t, 1, good.closed)

	_, err := Tee(good, brokenSink{full}).Open("b", 1)
	require.ErrorIs(t, err, full)
	require.Equal(t, 1, good.writers["b#1"].closed, "what was opened is closed")
}

func TestLogFile(t *testing.T) {
	for _, test := range []struct {
		node    string
		attempt int
		want    string
	}{
		{"build", 1, "build.log"},
		{"build", 2, "build.2.log"},
		{"test/unit", 1, "test/unit.log"},
		{"test/unit", 12, "test/unit.12.log"},
		{"a.2", 1, "a.2.1.log"},
		{"a.2", 2, "a.2.2.log"},
		{"v1.x", 1, "v1.x.log"},
		{"2", 1, "2.log"},
		{"a.log", 1, "a.log.log"},
		{"a.log/b", 1, "a.log.d/b.log"},
		{"a.log.d/b", 1, "a.log.d.d/b.log"},
		{"a.2.log/b", 1, "a.2.log.d/b.log"},
		{"a/../../b", 1, "a/%2E%2E/%2E%2E/b.log"},
		{"../b", 1, "%2E%2E/b.log"},
		{"/etc/passwd", 1, "%/etc/passwd.log"},
		{"a//b/", 1, "a/%/b/%.log"},
		{".", 2, "%2E.2.log"},
		{"", 1, "%.log"},
		{"a b\x00\\é%", 1, "a%20b%00%5C%C3%A9%25.log"},
	} {
		require.Equal(t, test.want, LogFile(test.node, test.attempt), "%q", test.node)
	}
}

// No two attempts share a file, and no file is in the way of a directory.
func TestLogFilesDiffer(t *testing.T) {
	part := rapid.SampledFrom([]string{"", "a", ".", "..", ".2", ".1", ".log", ".d", "%", "2", "a.2", "a.log", "a.log.d", "a.2.log"})
	name := rapid.Custom(func(t *rapid.T) string {
		return strings.Join(rapid.SliceOfN(rapid.Custom(func(t *rapid.T) string {
			return part.Draw(t, "x") + part.Draw(t, "y")
		}), 1, 3).Draw(t, "parts"), "/")
	})
	rapid.Check(t, func(t *rapid.T) {
		a, b := name.Draw(t, "a"), name.Draw(t, "b")
		i, j := rapid.IntRange(1, 3).Draw(t, "i"), rapid.IntRange(1, 3).Draw(t, "j")
		if a == b && i == j {
			return
		}
		one, two := LogFile(a, i), LogFile(b, j)
		require.NotEqual(t, one, two)
		require.False(t, strings.HasPrefix(two, one+"/"))
		require.True(t, filepath.IsLocal(one), one)
	})
}

func TestDir(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "new", "logs")
	d, err := OpenDir(dir)
	require.NoError(t, err)
	for _, node := range []string{"a", "b/c", "../../out", "a.log/x"} {
		w := open(t, d, node, 1)
		write(t, w, 1, "one "+node)
		write(t, w, 2, "\n")
		require.NoError(t, w.Close())
	}
	w := open(t, d, "a", 1) // again, shorter
	write(t, w, 1, "x")
	require.NoError(t, w.Close())
	require.Error(t, w.Close())
	require.ErrorIs(t, w.Write(ms(1), []byte("x")), os.ErrClosed)

	for name, want := range map[string]string{
		"a.log": "x", "b/c.log": "one b/c\n", "%2E%2E/%2E%2E/out.log": "one ../../out\n", "a.log.d/x.log": "one a.log/x\n",
	} {
		data, err := os.ReadFile(filepath.Join(dir, name))
		require.NoError(t, err)
		require.Equal(t, want, string(data))
	}

	require.NoError(t, os.Mkdir(filepath.Join(dir, "dir.log"), 0o777))
	_, err = d.Open("dir", 1)
	require.ErrorContains(t, err, "make log file: ")
	_, err = d.Open("a.log/x.log/y", 1)
	require.NoError(t, err)
	require.NoError(t, os.WriteFile(filepath.Join(dir, "file"), nil, 0o666))
	_, err = d.Open("file/x", 1)
	require.ErrorContains(t, err, "make log directory: ")
	require.NoError(t, d.Close())
	_, err = d.Open("a", 1)
	require.Error(t, err)

	_, err = OpenDir(filepath.Join(dir, "file"))
	require.ErrorContains(t, err, "open log directory: ")
}

// A symbolic link that was planted in the directory leads nowhere.
func TestDirStaysInside(t *testing.T) {
	outside, dir := t.TempDir(), t.TempDir()
	require.NoError(t, os.Symlink(outside, filepath.Join(dir, "link")))
	require.NoError(t, os.Symlink(filepath.Join(outside, "x.log"), filepath.Join(dir, "x.log")))
	d, err := OpenDir(dir)
	require.NoError(t, err)
	defer d.Close()
	for _, node := range []string{"link/a", "x"} {
		_, err := d.Open(node, 1)
		require.Error(t, err, node)
	}
	entries, err := os.ReadDir(outside)
	require.NoError(t, err)
	require.Empty(t, entries)
}
