package main

import (
	"bytes"
	"encoding/json"
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/piper-build/piper/runtime/store"
	"github.com/piper-build/piper/runtime/store/fsck"
	"github.com/piper-build/piper/runtime/store/sqlite"
)

// storeWith makes the store of a user whose home is home, with builds in it.
func storeWith(t *testing.T, home string, change func(*store.Build)) {
	s, err := sqlite.Open(t.Context(), filepath.Join(home, ".local/share/piper/piper.db"), sqlite.Options{})
	require.NoError(t, err)
	b := store.NewBuild("b1", 1, store.Request{Project: "shop"}, time.Now().UTC())
	if change != nil {
		change(&b)
	}
	_, err = s.Enqueue(t.Context(), b)
	require.NoError(t, err)
	require.NoError(t, s.Close())
}

func piper(t *testing.T, home string, args ...string) (code int, stdout, stderr string) {
	var out, errs bytes.Buffer
	code = run(t.Context(), args, nil, &out, &errs, "PATH=/usr/bin:/bin", "HOME="+home)
	return code, out.String(), errs.String()
}

func TestFsck(t *testing.T) {
	home := t.TempDir()
	code, _, stderr := piper(t, home, "fsck")
	require.Equal(t, exitUsage, code)
	require.Equal(t, "piper: there is no store "+home+"/.local/share/piper/piper.db\nhint: \"piper exec\" and \"piper agentd\" make one\n", stderr)

	storeWith(t, home, nil)
	code, stdout, stderr := piper(t, home, "fsck")
	require.Equal(t, exitOK, code, stderr)
	require.Empty(t, stdout)
	require.Equal(t, "piper: looked at 1 builds, 0 events and 0 bytes of output: 0 findings\n", stderr)

	home = t.TempDir()
	storeWith(t, home, func(b *store.Build) { b.Hash = "other" })
	code, stdout, stderr = piper(t, home, "fsck")
	require.Equal(t, exitFailed, code, stderr)
	require.Contains(t, stdout, "build 1 (b1): request: its hash is other, ")
	code, stdout, _ = piper(t, home, "fsck", "--json", "--store", "sqlite:"+home+"/.local/share/piper/piper.db")
	require.Equal(t, exitFailed, code)
	var findings []fsck.Finding
	require.NoError(t, json.Unmarshal([]byte(stdout), &findings))
	require.Len(t, findings, 1)
	require.Equal(t, "request", findings[0].Code)

	for where, want := range map[string]string{
		"piper.db":      "piper: --store \"piper.db\": want sqlite:PATH or rethinkdb://HOST/DATABASE\n",
		"postgres://db": "piper: --store \"postgres://db\": want sqlite:PATH or rethinkdb://HOST/DATABASE\n",
		"sqlite:":       "piper: --store \"sqlite:\" names no file\n",
	} {
		code, _, stderr := piper(t, home, "fsck", "--store", where)
		require.Equal(t, exitUsage, code)
		require.Equal(t, want, stderr)
	}
	code, _, stderr = piper(t, "", "fsck")
	require.Equal(t, exitUsage, code)
	require.Equal(t, "piper: there is no home for a store\nhint: --store sqlite:PATH names one\n", stderr)
}

func TestBackup(t *testing.T) {
	home := t.TempDir()
	storeWith(t, home, nil)
	dir := filepath.Join(t.TempDir(), "monday")
	code, _, stderr := piper(t, home, "backup", dir)
	require.Equal(t, exitOK, code, stderr)
	require.Equal(t, "piper: the store is copied to "+dir+"\n", stderr)
	code, _, stderr = piper(t, home, "fsck", "--store", "sqlite:"+dir+"/piper.db")
	require.Equal(t, exitOK, code, stderr)
	require.Contains(t, stderr, "looked at 1 builds")

	code, _, stderr = piper(t, home, "backup", dir)
	require.Equal(t, exitInfra, code)
	require.Contains(t, stderr, "it holds piper.db: name a directory that is empty or not there")
	code, _, stderr = piper(t, home, "backup")
	require.Equal(t, exitUsage, code)
	require.Contains(t, stderr, "usage: piper backup DIR")
}
