package main

import (
	"errors"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// timed is a side that took so many milliseconds in each round.
func timed(name string, rounds ...int) *side {
	s := &side{name: name}
	for _, ms := range rounds {
		s.samples = append(s.samples, sample{wall: time.Duration(ms) * time.Millisecond})
	}
	return s
}

// grown is a side that took so many bytes in each round.
func grown(name string, rounds ...int64) *side {
	s := &side{name: name}
	for _, bytes := range rounds {
		s.samples = append(s.samples, sample{memory: bytes})
	}
	return s
}

// telling is a side that measured itself in each round.
func telling(name, what string, rounds ...float64) *side {
	s := &side{name: name}
	for _, x := range rounds {
		s.samples = append(s.samples, sample{wall: time.Hour, said: map[string]float64{what: x}})
	}
	return s
}

func TestTable(t *testing.T) {
	absent := &side{name: "absent", missing: errors.New("absent is not installed: install absent")}
	rows := []row{
		{name: "P1", work: "odd", piper: timed("piper", 80, 90, 120), peer: timed("peer", 100, 100, 100), must: 0.95, stretch: 0.90},
		{name: "P2", work: "even", piper: timed("piper", 90, 96), peer: timed("peer", 100, 100), must: 0.95, stretch: 0.90},
		{name: "P3", work: "slow", piper: timed("piper", 3000), peer: timed("peer", 2000), must: 1},
		{name: "P4", work: "no goal", piper: timed("piper", 10), peer: timed("peer", 20)},
		{name: "P5", work: "skipped", piper: timed("piper", 10), peer: absent, must: 0.5},
		{name: "P6", work: "over idle", of: memory, piper: grown("piper", 9e6), over: grown("idle", 8e6), peer: grown("peer", 5e7), peerOver: grown("idle", 1e7), must: 4e6, absolute: true},
		{name: "P7", work: "each", of: memory, piper: grown("piper", 9e6), over: grown("few", 8e6), per: 10_000, must: 50, absolute: true},
		{name: "P8", work: "said", said: "p50", piper: telling("piper", "p50", 40e-6), peer: telling("peer", "p50", 20e-6), must: 2},
		{name: "P9", work: "unsaid", said: "p99", piper: telling("piper", "p50", 40e-6), must: 2, absolute: true},
	}
	require.Equal(t, `
| figure | work      | piper    | held against  | ratio (least–most) | goal               | holds |
| ------ | --------- | -------- | ------------- | ------------------ | ------------------ | ----- |
| P1     | odd       | 90.00 ms | peer 0.10 s   | 0.90 (0.80–1.20)   | M ≤ 0.95, S ≤ 0.90 | M, S  |
| P2     | even      | 93.00 ms | peer 0.10 s   | 0.93 (0.90–0.96)   | M ≤ 0.95, S ≤ 0.90 | M     |
| P3     | slow      | 3.00 s   | peer 2.00 s   | 1.50               | M ≤ 1.00           | no    |
| P4     | no goal   | 10.00 ms | peer 20.00 ms | 0.50               | –                  | –     |
| P5     | skipped   | 10.00 ms | absent        | skipped            | M ≤ 0.50           | –     |
| P6     | over idle | 1.0 MB   | peer 40.0 MB  | 0.03               | M ≤ 4.0 MB         | M     |
| P7     | each      | 100 B    | –             | –                  | M ≤ 50 B           | no    |
| P8     | said      | 40.0 µs  | peer 20.0 µs  | 2.00               | M ≤ 2.00           | M     |
| P9     | unsaid    | –        | –             | –                  | M ≤ 2.00 s         | no    |

- skipped: absent is not installed: install absent
`, "\n"+table(rows))
}

func TestMeasured(t *testing.T) {
	file := filepath.Join(t.TempDir(), "output")
	require.NoError(t, os.WriteFile(file, []byte("measured\nmeasured p50 1.5e-05\nelse\nmeasured p99 many\nmeasured p99 2\n"), 0o644))
	said, err := measured(file)
	require.NoError(t, err)
	require.Equal(t, map[string]float64{"p50": 1.5e-5, "p99": 2}, said)

	_, err = measured(filepath.Join(t.TempDir(), "absent"))
	require.ErrorIs(t, err, os.ErrNotExist)
}

func TestWriteInto(t *testing.T) {
	file := filepath.Join(t.TempDir(), "README.md")
	require.ErrorIs(t, writeInto(file, "new"), os.ErrNotExist)

	for _, text := range []string{"nothing", "<!-- bench -->", "<!-- /bench --> <!-- bench -->"} {
		require.NoError(t, os.WriteFile(file, []byte(text), 0o644))
		require.ErrorContains(t, writeInto(file, "new"), "README.md has no <!-- bench --> followed by a <!-- /bench -->")
	}

	require.NoError(t, os.WriteFile(file, []byte("a\n<!-- bench -->\nold\n<!-- /bench -->\nb\n"), 0o644))
	for range 2 {
		require.NoError(t, writeInto(file, "new\n"))
		got, err := os.ReadFile(file)
		require.NoError(t, err)
		require.Equal(t, "a\n<!-- bench -->\nnew\n<!-- /bench -->\nb\n", string(got))
	}
}
