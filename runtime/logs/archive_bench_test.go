package logs

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// 80 MB in 1,000,000 lines, kept and indexed, beside a file that is only
// written, for several sizes of a read.
func BenchmarkArchive(b *testing.B) {
	line := []byte("0123456789 the quick brown fox jumps over the lazy dog again and again and on.\n")
	text := bytes.Repeat(line, 1_000_000)
	for _, size := range []int{len(line), 4 << 10, 64 << 10, 256 << 10} {
		each := func(write func(p []byte)) {
			for p := text; len(p) > 0; p = p[min(size, len(p)):] {
				write(p[:min(size, len(p))])
			}
		}
		b.Run(fmt.Sprintf("reads of %d", size), func(b *testing.B) {
			b.SetBytes(int64(len(text)))
			b.ReportAllocs()
			for b.Loop() {
				dir := filepath.Join(b.TempDir(), "a")
				a, err := Create(dir)
				require.NoError(b, err)
				w := open(b, a, "step", 1)
				each(func(p []byte) {
					if err := w.Write(time.Now(), p); err != nil {
						b.Fatal(err)
					}
				})
				require.NoError(b, a.Close())
				require.NoError(b, os.RemoveAll(dir))
			}
		})
		b.Run(fmt.Sprintf("plain file of %d", size), func(b *testing.B) {
			b.SetBytes(int64(len(text)))
			for b.Loop() {
				f, err := os.CreateTemp(b.TempDir(), "f")
				require.NoError(b, err)
				each(func(p []byte) {
					if _, err := f.Write(p); err != nil {
						b.Fatal(err)
					}
				})
				require.NoError(b, f.Close())
				require.NoError(b, os.Remove(f.Name()))
			}
		})
	}
}

// What a step that writes nothing, and one that writes a line, costs.
func BenchmarkArchiveStep(b *testing.B) {
	a, err := Create(b.TempDir())
	require.NoError(b, err)
	defer a.Close()
	b.ReportAllocs()
	n := 0
	for b.Loop() {
		n++
		w, err := a.Open("some/step", n)
		if err == nil {
			err = w.Write(time.Now(), []byte("one line\n"))
		}
		if err != nil {
			b.Fatal(err)
		}
		w.Close()
	}
}

// Reading k lines costs k lines, wherever they are.
func BenchmarkReader(b *testing.B) {
	dir := b.TempDir()
	a, err := Create(dir)
	require.NoError(b, err)
	one, two := open(b, a, "one", 1), open(b, a, "two", 1)
	const lines = 1_000_000
	for i := range lines / 10 {
		w := one
		if i%3 == 0 {
			w = two
		}
		write(b, w, i, string(bytes.Repeat([]byte("the quick brown fox jumps over the lazy dog\n"), 10)))
	}
	require.NoError(b, a.Close())
	b.Run("open", func(b *testing.B) {
		for b.Loop() {
			r, err := Open(dir)
			require.NoError(b, err)
			require.NoError(b, r.Close())
		}
	})
	r, err := Open(dir)
	require.NoError(b, err)
	defer r.Close()
	for _, from := range []int64{1, lines / 3, lines*2/3 - 30} {
		b.Run(fmt.Sprintf("20 lines from %d", from), func(b *testing.B) {
			for b.Loop() {
				n := 0
				for _, err := range r.Lines("one", 1, from, from+19) {
					if err != nil {
						b.Fatal(err)
					}
					n++
				}
				require.Equal(b, 20, n)
			}
		})
	}
	b.Run("all", func(b *testing.B) {
		s, _ := r.Stream("one", 1)
		b.SetBytes(s.Bytes)
		for b.Loop() {
			for _, err := range r.Lines("one", 1, 0, 0) {
				if err != nil {
					b.Fatal(err)
				}
			}
		}
	})
}
