package rethinkdb

import (
	"context"
	"errors"
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
