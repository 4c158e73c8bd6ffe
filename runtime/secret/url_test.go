package secret_test

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/piper-build/piper/runtime/secret"
)

// A password that stands where none may is in no message.
func TestRedactURL(t *testing.T) {
	for text, want := range map[string]string{
		"rethinkdb://me:pw@db/piper":           "rethinkdb://me@db/piper",
		"rethinkdb://me:p@w:x/y@db/piper":      "rethinkdb://me@db/piper",
		"rethinkdbs://me:pw@db/piper":          "rethinkdbs://me@db/piper",
		"rethinkdb:me:pw@db/piper":             "rethinkdb@db/piper",
		"me:pw@db/piper":                       "me@db/piper",
		"rethinkdb://me@db/piper":              "rethinkdb://me@db/piper",
		"rethinkdb://db:28015,db2/piper":       "rethinkdb://db:28015,db2/piper",
		"elasticsearch+https://me:p@w@es/logs": "elasticsearch+https://me@es/logs",
		"sqlite:/srv/piper.db":                 "sqlite:/srv/piper.db",
	} {
		require.Equal(t, want, secret.RedactURL(text))
	}
}
