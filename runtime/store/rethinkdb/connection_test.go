package rethinkdb

import (
	"context"
	"errors"
	"fmt"
	"testing"

	"github.com/stretchr/testify/require"
	r "gopkg.in/rethinkdb/rethinkdb-go.v6"

	"github.com/piper-build/piper/runtime/store"
)

// quoting is an error as the driver makes it: with the query behind it.
type quoting struct{ r.RQLOpFailedError }

func (quoting) Error() string {
	return "rethinkdb: primary replica not available in:\nr.JSON(\"stat x: it does not exist\")"
}

func (q quoting) Unwrap() error { return q.RQLOpFailedError }

// What a step writes may be what the server says when a table is not there.
func TestWhatIsWrittenSaysNothingOfTheServer(t *testing.T) {
	err := doubtful(t.Context(), quoting{})
	require.ErrorIs(t, err, store.ErrInDoubt)
	require.EqualError(t, err, "in doubt: rethinkdb: primary replica not available")
	require.NotErrorIs(t, doubtful(t.Context(), errors.New("rethinkdb: Table `x` does not exist in:\nr.Table(\"x\")")), store.ErrInDoubt)
	require.ErrorIs(t, doubtful(t.Context(), context.DeadlineExceeded), store.ErrInDoubt)
}

// An error that stays is told at once, whatever kind it is of.
func TestWhatIsFinal(t *testing.T) {
	for text, final := range map[string]bool{
		"rethinkdb: Can't put 3 replicas on servers with the tag `default` because there are only 1 servers with the tag `default`. It's impossible to have more replicas of the data than there are servers.": true,
		"tls: failed to verify certificate: x509: certificate signed by unknown authority":                                                                                                                     true,
		"tls: first record does not look like a TLS handshake":                                                                                                                                                 true,
		"dial tcp 127.0.0.1:1: connect: connection refused":                                                                                                                                                    false,
	} {
		err := doubtful(t.Context(), fmt.Errorf("%w: %s", errUnreachable, text))
		require.Equal(t, !final, errors.Is(err, store.ErrInDoubt), text)
		require.ErrorContains(t, err, text)
	}
}
