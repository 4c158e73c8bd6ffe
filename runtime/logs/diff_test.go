package logs_test

import (
	"fmt"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/piper-build/piper/runtime/logs"
	"github.com/piper-build/piper/runtime/store"
)

func TestNormalize(t *testing.T) {
	for line, want := range map[string]string{
		"":                                            "",
		"plain words":                                 "plain words",
		"3 failed, 10 passed":                         "3 failed, 10 passed",
		"exit code 12 in main.go:1234:5":              "exit code 12 in main.go:1234:5",
		"version 1.22.3":                              "version 1.22.3",
		"2026-03-01T12:00:00.123Z begun":              "… begun",
		"2026/03/01 12:00:00 begun":                   "… begun",
		"[12:00:01] begun at 9:15":                    "[…] begun at …",
		"Mon, 02 Jan 2006 15:04:05 MST":               "… MST",
		"Sun Mar  1 12:00:00 UTC 2026":                "…",
		"ok in 1.25s":                                 "ok in …",
		"took 1m2.5s, 350ms and 12 seconds":           "took …, … and …",
		"commit 4e1ccd33d7ed":                         "commit …",
		"defaced facade 1234567":                      "defaced facade 1234567",
		"sha256:469cb6ecaa0866f91c1d814cce6ef5":       "sha256:…",
		"at 0xc000123456 +0x1d":                       "at … +…",
		"dial tcp 127.0.0.1:45231: refused":           "dial tcp …: refused",
		"listen on [::1]:8080, localhost:9090":        "listen on …, …",
		"on port 34567":                               "on …",
		"/tmp/tmp.aBcDeF/main.c:12: no":               "…/main.c:12: no",
		"/var/folders/zz/x1/T/go-build9/b.go:1":       "…/b.go:1",
		"/w/0198a1b2-0000-7000-8000-00000000000a-1/x": "/w/…/x",
		"\x1b[31mred 12ms\x1b[0m\r":                   "red …",
	} {
		require.Equal(t, want, string(logs.Normalize([]byte(line))), line)
	}
}

func FuzzNormalize(f *testing.F) {
	f.Add([]byte("took 1.2s at 12:00:00 of 2026-03-01 in /tmp/x"))
	f.Fuzz(func(t *testing.T, line []byte) {
		once := append([]byte(nil), logs.Normalize(append([]byte(nil), line...))...)
		require.Equal(t, string(once), string(logs.Normalize(line)), "it says the same each time")
	})
}

func TestDiff(t *testing.T) {
	s := store.NewMemory()
	write := func(fence int64, text string) *logs.Reader {
		require.NoError(t, s.AppendChunks(t.Context(), []store.Chunk{{Key: store.ChunkKey{Build: "b", Fence: fence, Node: "n", Attempt: 1}, Lines: int64(strings.Count(text, "\n")), Data: []byte(text)}}))
		return logs.NewReader(s, "b", fence)
	}
	base := write(1, "begun at 12:00:01\nok a (0.12s)\nok b (1.5s)\ndone\n")
	now := write(2, "begun at 09:30:44\nok b (2ms)\n\nFAIL a: want 1, got 2\nok a (9s)\nFAIL c\ndone\n")
	var got []string
	take := func(m logs.Match) bool {
		got = append(got, fmt.Sprintf("%d %s -%d +%d", m.Number, m.Text, len(m.Before), len(m.After)))
		return len(got) < 2
	}
	d, err := now.Diff(t.Context(), "n", 1, base, 1, 1, take)
	require.NoError(t, err)
	require.Equal(t, logs.Difference{New: 2, Base: true}, d)
	require.Equal(t, []string{"4 FAIL a: want 1, got 2 -1 +1", "6 FAIL c -0 +1"}, got)
	got = nil
	d, err = now.Diff(t.Context(), "n", 1, nil, 0, 0, func(logs.Match) bool { return false })
	require.NoError(t, err)
	require.Equal(t, logs.Difference{New: 6}, d, "all but the empty line")
	d, err = now.Diff(t.Context(), "n", 1, base, 7, 0, take)
	require.NoError(t, err)
	require.False(t, d.Base, "that attempt wrote nothing")
	d, err = base.Diff(t.Context(), "n", 1, base, 1, 0, take)
	require.NoError(t, err)
	require.Zero(t, d.New)
}
