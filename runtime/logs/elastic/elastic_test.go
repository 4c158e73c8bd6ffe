package elastic_test

import (
	"os"
	"testing"

	"github.com/piper-build/piper/runtime/logs/elastic/elastictest"
	"github.com/piper-build/piper/runtime/logs/logstest"
	"github.com/piper-build/piper/runtime/store"
)

func TestMain(m *testing.M) { os.Exit(elastictest.Main(m)) }

func TestElasticsearchPasses(t *testing.T) {
	url := elastictest.URL(t)
	logstest.Run(t, func(t *testing.T) logstest.Place {
		x := elastictest.Open(t, elastictest.Address(t, url))
		return logstest.With(store.NewMemory(), x, x.Refresh)
	})
}
