package rethinkdb

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"
)

func TestParseURL(t *testing.T) {
	for text, want := range map[string]Address{
		"rethinkdb://db/piper":                      {Hosts: []string{"db:28015"}, Database: "piper", User: "admin"},
		"rethinkdb://db1:1,[::1]:2,db3/ci_2":        {Hosts: []string{"db1:1", "[::1]:2", "db3:28015"}, Database: "ci_2", User: "admin"},
		"rethinkdb://pi%20per@db/piper":             {Hosts: []string{"db:28015"}, Database: "piper", User: "pi per"},
		"rethinkdb://db/piper?tls=false":            {Hosts: []string{"db:28015"}, Database: "piper", User: "admin"},
		"rethinkdb://127.0.0.1:28015,localhost/p-1": {Hosts: []string{"127.0.0.1:28015", "localhost:28015"}, Database: "p-1", User: "admin"},
	} {
		got, err := ParseURL(text)
		require.NoError(t, err, text)
		require.Equal(t, want, got, text)
	}
	a, err := ParseURL("rethinkdb://db/piper?tls=true")
	require.NoError(t, err)
	require.NotNil(t, a.TLS)
	require.Nil(t, a.TLS.RootCAs)
}

func TestParseURLRefuses(t *testing.T) {
	empty := filepath.Join(t.TempDir(), "ca.pem")
	require.NoError(t, os.WriteFile(empty, nil, 0o600))
	for text, want := range map[string]string{
		"retinkdb://db/piper":              `store retinkdb://db/piper: it does not begin with rethinkdb://`,
		"rethinkdb:db/piper":               `it does not begin with rethinkdb://`,
		"rethinkdb://db":                   `a database has to follow the hosts`,
		"rethinkdb://db/":                  `a database has to follow the hosts`,
		"rethinkdb://db/a b":               `a database has to follow the hosts`,
		"rethinkdb://db/a/b":               `a database has to follow the hosts`,
		"rethinkdb:///piper":               `"" is no host`,
		"rethinkdb://db,/piper":            `"" is no host`,
		"rethinkdb://db:port5/piper":       `"port5" is no port of db`,
		"rethinkdb://db:1:2/piper":         `"db:1:2" is no host`,
		"rethinkdb://@db/piper":            `"" is no user`,
		"rethinkdb://%zz@db/piper":         `"%zz" is no user`,
		"rethinkdb://me:hunter22@db/piper": `store rethinkdb://me@db/piper: a password in it would be in the list of processes: put it into a file, and name that with --store-password-file`,
		"rethinkdb://db/piper?tls=1":       `tls=1 is nothing that it may say`,
		"rethinkdb://db/piper?x=%zz":       `invalid URL escape`,
		"rethinkdb://db/piper?ca=" + empty: `there is no certificate in ` + empty,
		"rethinkdb://db/piper?ca=/none":    `ca: open /none: no such file or directory`,
	} {
		_, err := ParseURL(text)
		require.ErrorContains(t, err, want, text)
		require.NotContains(t, err.Error(), "hunter22")
	}
}

func TestLoopback(t *testing.T) {
	for text, want := range map[string]bool{
		"rethinkdb://localhost,127.0.0.1,[::1]/p": true,
		"rethinkdb://localhost,db/p":              false,
		"rethinkdb://10.0.0.1/p":                  false,
	} {
		a, err := ParseURL(text)
		require.NoError(t, err)
		require.Equal(t, want, a.Loopback(), text)
	}
}
