package elastic

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net/http"

	"github.com/elastic/go-elasticsearch/v8/esapi"

	"github.com/piper-build/piper/runtime/logs"
)

// drop deletes what a query picks. It does so by finding it first, in the indices
// behind the stream: only in those can a document be deleted.
func (x *Index) drop(ctx context.Context, query object, in string) error {
	for {
		err := x.ask(ctx, esapi.IndicesRefreshRequest{Index: []string{in}, IgnoreUnavailable: esapi.BoolPtr(true)}, nil)
		if is(err, http.StatusNotFound) {
			return nil
		}
		if err != nil {
			return dropping(err)
		}
		a, err := x.search(ctx, in, object{"size": mostHits, "_source": false, "track_total_hits": false, "sort": []string{"_doc"}, "query": query})
		if err != nil {
			return dropping(err)
		}
		if len(a.Hits.Hits) == 0 {
			return nil
		}
		var body bytes.Buffer
		for _, h := range a.Hits.Hits {
			fmt.Fprintf(&body, "{\"delete\":{\"_index\":%q,\"_id\":%q}}\n", h.Index, h.ID)
		}
		var answer struct {
			Items []map[string]item `json:"items"`
		}
		err = x.ask(ctx, esapi.BulkRequest{Body: &body, Timeout: bulkTime, FilterPath: []string{"items.*.status", "items.*.error.type", "items.*.error.reason"}}, &answer)
		if err != nil {
			return dropping(err)
		}
		for _, one := range answer.Items {
			if it := one["delete"]; it.Status >= 300 && it.Status != http.StatusNotFound {
				return dropping(errors.Join(&refusal{it.Status, *it.Error}))
			}
		}
	}
}

func dropping(err error) error {
	return fmt.Errorf("delete from the index of logs: %w: %w", logs.ErrAway, err)
}
