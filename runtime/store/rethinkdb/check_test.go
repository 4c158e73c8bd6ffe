package rethinkdb

import (
	"testing"

	"github.com/stretchr/testify/require"
)

func TestTheVersionOfAServer(t *testing.T) {
	for says, want := range map[string]string{
		"rethinkdb 2.4.4 (x86_64-linux-gnu) (GCC 12.2.0)": "",
		"rethinkdb 2.4.4-dirty (GCC 12.2.0)":              "",
		"rethinkdb 2.4.0~0bionic (CLANG 6.0.0)":           "",
		"rethinkdb v2.4.2":                                "",
		"rethinkdb 2.10.0":                                "",
		"rethinkdb 3.0":                                   "",
		"rethinkdb 2.3.7~0bionic (GCC 7.3.0)":             "error: server db1 is RethinkDB 2.3.7~0bionic: upgrade it: piper needs 2.4 or later",
		"rethinkdb 1.16.3":                                "error: server db1 is RethinkDB 1.16.3: upgrade it: piper needs 2.4 or later",
		"rethinkdb (unknown)":                             `warning: server db1 says that it is "rethinkdb (unknown)", which is no version: piper needs RethinkDB 2.4 or later`,
		"":                                                `warning: server db1 says that it is "", which is no version: piper needs RethinkDB 2.4 or later`,
	} {
		got := ""
		for _, f := range versionFindings("db1", says) {
			got += f.String()
		}
		require.Equal(t, want, got, says)
	}
}

// Who else reaches the server is let in without a password.
func TestThePasswordOfAdmin(t *testing.T) {
	for url, kind := range map[string]string{
		"rethinkdb://127.0.0.1/piper":              "warning",
		"rethinkdb://localhost,[::1]:28016/piper":  "warning",
		"rethinkdb://db1/piper":                    "error",
		"rethinkdb://127.0.0.1,10.0.0.7/piper":     "error",
		"rethinkdb://piper@db.example.com/piper_2": "error",
	} {
		at, err := ParseURL(url)
		require.NoError(t, err)
		require.Empty(t, passwordFindings(true, at), url)
		found := passwordFindings(false, at)
		require.Len(t, found, 1, url)
		require.Equal(t, kind+": the user admin has no password: whoever reaches the server may do anything: "+
			`r.db("rethinkdb").table("users").get("admin").update({password: "..."})`, found[0].String(), url)
	}
}
