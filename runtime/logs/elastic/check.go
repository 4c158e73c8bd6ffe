package elastic

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"time"

	"github.com/elastic/go-elasticsearch/v8/esapi"
)

// A Finding is something that is amiss with an index.
type Finding struct {
	What, Hint string
	Fatal      bool // nothing works
}

// Check looks whether lines could be sent and found. It changes nothing.
func (x *Index) Check(ctx context.Context) (found []Finding) {
	err := x.Look(ctx)
	var r *refusal
	switch {
	case errors.As(err, &r) && (r.status == http.StatusUnauthorized || r.status == http.StatusForbidden):
		return []Finding{{fmt.Sprintf("%s does not let us in: %v", x, err), "--logs-password-file or --logs-api-key-file; it wants the privileges that the chapter on logs names", true}}
	case err != nil:
		return []Finding{{fmt.Sprintf("%s cannot be searched: %v", x, err), "logs are kept in the store, and sent when it is back", true}}
	}
	var health struct {
		Status string `json:"status"`
	}
	err = x.ask(ctx, esapi.ClusterHealthRequest{Index: []string{x.address.Stream}, Timeout: time.Second}, &health)
	switch {
	case is(err, http.StatusForbidden), is(err, http.StatusRequestTimeout), is(err, http.StatusNotFound):
		// It may not be asked, or there is no stream yet.
	case err != nil:
		found = append(found, Finding{fmt.Sprintf("%s: %v", x, err), "", false})
	case health.Status == "red":
		found = append(found, Finding{fmt.Sprintf("a shard of %s is nowhere (red)", x), "GET _cluster/allocation/explain says why", true})
	}
	var blocked map[string]struct {
		Settings map[string]string `json:"settings"`
	}
	err = x.ask(ctx, esapi.IndicesGetSettingsRequest{Index: []string{x.address.Stream}, FlatSettings: esapi.BoolPtr(true), IgnoreUnavailable: esapi.BoolPtr(true)}, &blocked)
	for index, s := range blocked {
		for _, block := range []string{"index.blocks.read_only_allow_delete", "index.blocks.read_only", "index.blocks.write"} {
			if err == nil && s.Settings[block] == "true" {
				found = append(found, Finding{fmt.Sprintf("%s takes nothing: %s is set", index, block), "is its disk full? What is not sent is kept in the store", false})
			}
		}
	}
	return found
}
