package starlark

import (
	"os"
	"path/filepath"
	"testing"
)

func BenchmarkProf(b *testing.B) {
	dir, cache := b.TempDir(), b.TempDir()
	os.WriteFile(filepath.Join(dir, "PIPER.star"), []byte(lines(100_000)), 0o666)
	digested(b, dir, cache)
	for b.Loop() {
		digested(b, dir, cache)
	}
}
