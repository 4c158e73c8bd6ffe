package elastic_test

import (
	"context"
	"errors"
	"os"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/piper-build/piper/runtime/logs"
	"github.com/piper-build/piper/runtime/logs/elastic"
	"github.com/piper-build/piper/runtime/logs/elastic/elastictest"
	"github.com/piper-build/piper/runtime/logs/logstest"
	"github.com/piper-build/piper/runtime/store"
)

func TestMain(m *testing.M) { os.Exit(elastictest.Main(m)) }

// place is a store with an index.
func place(t testing.TB, x *elastic.Index) logstest.Place {
	p := logstest.Of(store.NewMemory())
	p.Search, p.Total = x, true
	p.Settle = func(t *testing.T, b store.Build) {
		if b.Terminal() {
			require.NoError(t, logs.ShipBuild(t.Context(), p.Store, x, b))
		} else {
			outputs, err := logs.Outputs(t.Context(), p.Store, &b)
			require.NoError(t, err)
			for _, o := range outputs {
				_, err := logs.Ship(t.Context(), p.Store, x, o, logs.Position{})
				require.NoError(t, err)
			}
		}
		require.NoError(t, x.Refresh(t.Context()))
	}
	remove := p.Delete
	p.Delete = func(ctx context.Context, b *store.Build) error {
		return errors.Join(x.Delete(ctx, b.ID), x.Refresh(ctx), remove(ctx, b))
	}
	return p
}

func TestElasticsearchPasses(t *testing.T) {
	url := elastictest.URL(t)
	logstest.Run(t, func(t *testing.T) logstest.Place { return place(t, elastictest.Open(t, elastictest.Address(t, url))) })
}
