package logs

import (
	"bytes"
	"fmt"
	"io/fs"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"
)

// lines reads lines as "number@ms+offset:text", with a '$' for the line end.
func lines(t require.TestingT, r *Reader, node string, number int, from, to int64) []string {
	all := []string{}
	for l, err := range r.Lines(node, number, from, to) {
		require.NoError(t, err)
		all = append(all, show(l))
	}
	return all
}

func show(l Line) string {
	s := fmt.Sprintf("%d@%d", l.Number, l.Arrival.UnixMilli())
	if l.Offset > 0 {
		s += fmt.Sprintf("+%d", l.Offset)
	}
	s += ":" + string(l.Text)
	if l.Newline {
		s += "$"
	}
	return s
}

func write(t require.TestingT, w Writer, at int, text string) {
	require.NoError(t, w.Write(ms(at), []byte(text)))
}

func open(t require.TestingT, s Sink, node string, number int) Writer {
	w, err := s.Open(node, number)
	require.NoError(t, err)
	return w
}

func TestArchive(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "new", "archive")
	a, err := Create(dir)
	require.NoError(t, err)
	one, two := open(t, a, "build", 1), open(t, a, "test/unit", 1)
	write(t, one, 1, "a\nb")
	write(t, two, 2, "two\n")
	write(t, one, 3, "c\n\nd\n")
	write(t, one, 3, "")
	require.NoError(t, one.Close())
	again := open(t, a, "build", 2)
	write(t, two, 4, "no end")
	write(t, again, 5, "\x00\xff\r\n")
	require.NoError(t, a.Close())
	require.ErrorIs(t, a.Close(), ErrClosed)
	require.ErrorIs(t, one.Write(ms(6), []byte("x")), ErrClosed)
	require.ErrorIs(t, a.Flush(), ErrClosed)
	_, err = a.Open("late", 1)
	require.ErrorIs(t, err, ErrClosed)

	data, err := os.ReadFile(filepath.Join(dir, dataFile))
	require.NoError(t, err)
	require.Equal(t, "a\nbtwo\nc\n\nd\nno end\x00\xff\r\n", string(data))

	r, err := Open(dir)
	require.NoError(t, err)
	defer r.Close()
	require.Zero(t, r.Loss())
	require.Empty(t, r.Loss().String())
	require.Equal(t, []Stream{
		{Node: "build", Attempt: 1, Bytes: 8, Lines: 4, First: ms(1).UTC(), Last: ms(3).UTC()},
		{Node: "test/unit", Attempt: 1, Bytes: 10, Lines: 2, First: ms(2).UTC(), Last: ms(4).UTC()},
		{Node: "build", Attempt: 2, Bytes: 4, Lines: 1, First: ms(5).UTC(), Last: ms(5).UTC()},
	}, r.Streams())

	require.Equal(t, []string{"1@1:a$", "2@1:bc$", "3@3:$", "4@3:d$"}, lines(t, r, "build", 1, 0, 0))
	require.Equal(t, []string{"1@2:two$", "2@4:no end"}, lines(t, r, "test/unit", 1, 1, 99))
	require.Equal(t, []string{"1@5:\x00\xff\r$"}, lines(t, r, "build", 2, -5, -5))
	require.Equal(t, []string{"2@1:bc$", "3@3:$"}, lines(t, r, "build", 1, 2, 3))
	require.Equal(t, []string{"4@3:d$"}, lines(t, r, "build", 1, 4, 4))
	require.Empty(t, lines(t, r, "build", 1, 5, 0))
	require.Empty(t, lines(t, r, "build", 1, 3, 2))

	tail := func(n int64) (all []string) {
		for l, err := range r.Tail("build", 1, n) {
			require.NoError(t, err)
			all = append(all, show(l))
		}
		return all
	}
	require.Empty(t, tail(0))
	require.Empty(t, tail(-1))
	require.Equal(t, []string{"3@3:$", "4@3:d$"}, tail(2))
	require.Len(t, tail(100), 4)

	for _, err := range r.Tail("build", 3, 2) {
		require.ErrorIs(t, err, ErrNoOutput)
		require.EqualError(t, err, `no output kept: of step "build", attempt 3`)
	}
	for range r.Lines("build", 1, 0, 0) {
		break // an early end is no error
	}
	_, ok := r.Stream("build", 3)
	require.False(t, ok)
}

func TestArchiveFilesArePrivate(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "archive")
	a, err := Create(dir)
	require.NoError(t, err)
	defer a.Close()
	for name, want := range map[string]fs.FileMode{"": 0o700 | fs.ModeDir, dataFile: 0o600, indexFile: 0o600} {
		info, err := os.Stat(filepath.Join(dir, name))
		require.NoError(t, err)
		require.Equal(t, want, info.Mode(), name)
	}
}

func TestCreateErrors(t *testing.T) {
	dir := t.TempDir()
	a, err := Create(dir)
	require.NoError(t, err)
	require.NoError(t, a.Close())
	_, err = Create(dir)
	require.ErrorIs(t, err, fs.ErrExist)

	require.NoError(t, os.Remove(filepath.Join(dir, dataFile)))
	_, err = Create(dir)
	require.ErrorIs(t, err, fs.ErrExist, "the index is still there")

	file := filepath.Join(dir, "file")
	require.NoError(t, os.WriteFile(file, nil, 0o600))
	_, err = Create(filepath.Join(file, "below"))
	require.ErrorContains(t, err, "create log archive: ")
}

func TestOpenErrors(t *testing.T) {
	dir := t.TempDir()
	_, err := Open(dir)
	require.ErrorIs(t, err, fs.ErrNotExist)
	require.NoError(t, os.WriteFile(filepath.Join(dir, dataFile), []byte("text\n"), 0o600))
	_, err = Open(dir)
	require.ErrorIs(t, err, fs.ErrNotExist)
	require.NoError(t, os.WriteFile(filepath.Join(dir, indexFile), []byte("something else"), 0o600))
	_, err = Open(dir)
	require.ErrorContains(t, err, "output.index is not the index of one")

	// A kill right after the files were made.
	require.NoError(t, os.WriteFile(filepath.Join(dir, indexFile), []byte(indexMagic[:3]), 0o600))
	r, err := Open(dir)
	require.NoError(t, err)
	require.Equal(t, Loss{Open: true, Index: 3, Data: 5}, r.Loss())
	require.Equal(t, "it was not closed, the last 3 bytes of the index are damaged, the last 5 bytes of output belong to no step", r.Loss().String())
	require.NoError(t, r.Close())
}

func TestLongLinesComeInPieces(t *testing.T) {
	dir := t.TempDir()
	a, err := Create(dir)
	require.NoError(t, err)
	w := open(t, a, "a", 1)
	write(t, w, 0, "first\n")
	long := strings.Repeat("0123456789abcdef", 300<<10/16)
	for i := 0; i < len(long); i += 1000 {
		write(t, w, 1+i, long[i:min(i+1000, len(long))])
	}
	write(t, w, 500_000, "\nlast\n")
	require.NoError(t, a.Close())

	r, err := Open(dir)
	require.NoError(t, err)
	defer r.Close()
	var got strings.Builder
	for l, err := range r.Lines("a", 1, 2, 2) {
		require.NoError(t, err)
		require.EqualValues(t, 2, l.Number)
		require.EqualValues(t, 1, l.Arrival.UnixMilli())
		require.EqualValues(t, got.Len(), l.Offset)
		require.LessOrEqual(t, len(l.Text), maxPiece)
		got.Write(l.Text)
		require.Equal(t, got.Len() == len(long), l.Newline)
	}
	require.Equal(t, long, got.String())
	require.Equal(t, []string{"3@500000:last$"}, lines(t, r, "a", 1, 3, 0))
}

// Output that nothing follows still reaches the files.
func TestArchiveFlushesWhenIdle(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		dir := t.TempDir()
		a, err := Create(dir)
		require.NoError(t, err)
		defer a.Close()
		w := open(t, a, "a", 1)
		for i := 1; i <= 3; i++ {
			write(t, w, i, "line\n")
			time.Sleep(archiveDelay)
			synctest.Wait()
			r, err := Open(dir)
			require.NoError(t, err)
			require.Equal(t, Loss{Open: true}, r.Loss())
			require.Len(t, lines(t, r, "a", 1, 0, 0), i)
			require.NoError(t, r.Close())
		}
	})
}

func TestFlush(t *testing.T) {
	dir := t.TempDir()
	a, err := Create(dir)
	require.NoError(t, err)
	defer a.Close()
	w := open(t, a, "a", 1)
	write(t, w, 1, "half a ")
	require.NoError(t, a.Flush())
	write(t, w, 2, "line\n")
	require.NoError(t, a.Flush())
	r, err := Open(dir)
	require.NoError(t, err)
	defer r.Close()
	require.Equal(t, []string{"1@1:half a line$"}, lines(t, r, "a", 1, 0, 0))
}

// Many steps that write nothing fill the index alone.
func TestArchiveManySteps(t *testing.T) {
	dir := t.TempDir()
	a, err := Create(dir)
	require.NoError(t, err)
	const steps = 10_000
	for i := range steps {
		require.NoError(t, open(t, a, fmt.Sprint("step", i), 1).Close())
	}
	require.LessOrEqual(t, cap(a.block.buf), 2*indexBuffer)
	require.NoError(t, a.Close())
	r, err := Open(dir)
	require.NoError(t, err)
	defer r.Close()
	require.Zero(t, r.Loss())
	require.Len(t, r.Streams(), steps)
	require.Equal(t, Stream{Node: "step9999", Attempt: 1}, r.Streams()[steps-1])
	require.Empty(t, lines(t, r, "step9999", 1, 0, 0))
}

func TestArchiveManyWriters(t *testing.T) {
	dir := t.TempDir()
	a, err := Create(dir)
	require.NoError(t, err)
	const writers, writes = 8, 300
	var all sync.WaitGroup
	for i := range writers {
		all.Go(func() {
			w, err := a.Open(fmt.Sprint("step", i), 1)
			for j := range writes {
				if err == nil {
					err = w.Write(ms(j), []byte(strings.Repeat("x", j*i)+fmt.Sprintf(" %d %d\n", i, j)))
				}
			}
			if err != nil {
				t.Error(err)
			}
		})
	}
	all.Wait()
	require.NoError(t, a.Close())
	r, err := Open(dir)
	require.NoError(t, err)
	defer r.Close()
	require.Zero(t, r.Loss())
	for i := range writers {
		got := lines(t, r, fmt.Sprint("step", i), 1, 0, 0)
		require.Len(t, got, writes)
		for j, line := range got {
			require.Equal(t, fmt.Sprintf("%d@%d:%s %d %d$", j+1, j, strings.Repeat("x", j*i), i, j), line)
		}
	}
}

// What is read is what was written, from any line, however the writes were cut
// and mixed, and whatever was torn off the files' ends.
func TestArchiveProperty(t *testing.T) {
	base := t.TempDir()
	n := 0
	rapid.Check(t, func(t *rapid.T) {
		n++
		dir := filepath.Join(base, fmt.Sprint(n))
		a, err := Create(dir)
		require.NoError(t, err)
		const streams = 3
		var writers []Writer
		for i := range streams {
			writers = append(writers, open(t, a, fmt.Sprint(i), 1))
		}
		var order []int // of which stream each byte of the data file is
		var want [streams][]byte
		now := 0
		for range rapid.IntRange(0, 40).Draw(t, "writes") {
			i := rapid.IntRange(0, streams-1).Draw(t, "stream")
			now += rapid.IntRange(-1, 2).Draw(t, "ms")
			text := rapid.StringMatching(`[ab\n]{0,6}`).Draw(t, "text")
			if rapid.IntRange(0, 30).Draw(t, "large") == 0 {
				text = strings.Repeat(text, 60_000)
			}
			write(t, writers[i], now, text)
			want[i] = append(want[i], text...)
			for range len(text) {
				order = append(order, i)
			}
			if rapid.IntRange(0, 4).Draw(t, "flush") == 0 {
				require.NoError(t, a.Flush())
			}
		}
		require.NoError(t, a.Close())
		check := func(want [streams][]byte) {
			r, err := Open(dir)
			require.NoError(t, err)
			defer r.Close()
			for i := range streams {
				s, ok := r.Stream(fmt.Sprint(i), 1)
				if !ok {
					require.Empty(t, want[i])
					continue
				}
				require.EqualValues(t, len(want[i]), s.Bytes)
				split := bytes.SplitAfter(want[i], newline)
				if len(split[len(split)-1]) == 0 {
					split = split[:len(split)-1]
				}
				require.EqualValues(t, len(split), s.Lines)
				from := rapid.Int64Range(0, s.Lines+1).Draw(t, "from")
				to := rapid.Int64Range(0, s.Lines+1).Draw(t, "to")
				if s.Lines > 1000 {
					to = min(to, from+5)
				}
				low, high := max(from, 1), min(to, s.Lines)
				if to == 0 {
					high = s.Lines
				}
				var expected []byte
				if low <= high {
					expected = bytes.Join(split[low-1:high], nil)
				}
				var got []byte
				for l, err := range r.Lines(s.Node, 1, from, to) {
					require.NoError(t, err)
					got = append(got, l.Text...)
					if l.Newline {
						got = append(got, '\n')
					}
				}
				require.True(t, bytes.Equal(expected, got), "stream %d, %d to %d", i, from, to)
			}
		}
		check(want)

		// Tear the end off the data: what is left is a prefix of every stream.
		left := rapid.IntRange(0, len(order)).Draw(t, "left")
		require.NoError(t, os.Truncate(filepath.Join(dir, dataFile), int64(left)))
		var torn [streams][]byte
		counts := [streams]int{}
		for _, i := range order[:left] {
			counts[i]++
		}
		for i := range streams {
			torn[i] = want[i][:counts[i]]
		}
		check(torn)
		r, err := Open(dir)
		require.NoError(t, err)
		require.Equal(t, Loss{Gone: int64(len(order) - left)}, r.Loss())
		require.NoError(t, r.Close())
	})
}

// Wherever the index ends, Open reads what is whole and accounts for the rest.
func TestTornIndex(t *testing.T) {
	dir := t.TempDir()
	a, err := Create(dir)
	require.NoError(t, err)
	w := open(t, a, "a", 1)
	for i := range 5 {
		write(t, w, i, fmt.Sprintf("line %d\n", i))
		require.NoError(t, a.Flush())
	}
	require.NoError(t, a.Close())
	path := filepath.Join(dir, indexFile)
	index, err := os.ReadFile(path)
	require.NoError(t, err)

	before := 0
	for size := len(indexMagic); size <= len(index); size++ {
		require.NoError(t, os.WriteFile(path, index[:size], 0o600))
		r, err := Open(dir)
		require.NoError(t, err)
		s, _ := r.Stream("a", 1)
		require.Equal(t, size < len(index), r.Loss().Open)
		require.EqualValues(t, 35-s.Bytes, r.Loss().Data)
		require.GreaterOrEqual(t, int(s.Lines), before)
		before = int(s.Lines)
		if s.Lines > 0 {
			require.Len(t, lines(t, r, "a", 1, 0, 0), before)
		}
		require.NoError(t, r.Close())
	}
	require.Equal(t, 5, before)

	// A flipped bit ends what can be read there, and no more.
	for range 200 {
		bad := bytes.Clone(index)
		i := len(indexMagic) + rand.IntN(len(index)-len(indexMagic))
		bad[i] ^= 1 << rand.IntN(8)
		require.NoError(t, os.WriteFile(path, bad, 0o600))
		r, err := Open(dir)
		require.NoError(t, err)
		require.NotZero(t, r.Loss().Index, "byte %d", i)
		require.Contains(t, r.Loss().String(), "damaged")
		for _, s := range r.Streams() {
			require.Len(t, lines(t, r, s.Node, s.Attempt, 0, 0), int(s.Lines))
		}
		require.NoError(t, r.Close())
	}
}

func FuzzOpen(f *testing.F) {
	var b blockWriter
	b.begin(0, 5)
	b.opened("a", 1)
	b.chunk(record{stream: 0, at: 6, length: 4, newlines: 1, ended: true})
	b.closed()
	f.Add(b.bytes()[blockHeader:], []byte("abc\n"))
	f.Fuzz(func(t *testing.T, payload, data []byte) {
		dir := t.TempDir()
		b := blockWriter{buf: append(make([]byte, blockHeader), payload...)}
		require.NoError(t, os.WriteFile(filepath.Join(dir, indexFile), append([]byte(indexMagic), b.bytes()...), 0o600))
		require.NoError(t, os.WriteFile(filepath.Join(dir, dataFile), data, 0o600))
		r, err := Open(dir)
		require.NoError(t, err)
		defer r.Close()
		for _, s := range r.Streams() {
			for _, err := range r.Lines(s.Node, s.Attempt, 0, 0) {
				if err != nil {
					break
				}
			}
		}
	})
}
