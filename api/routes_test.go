package api

import (
	"os"
	"testing"

	"github.com/getkin/kin-openapi/openapi3"
	"github.com/stretchr/testify/require"
)

// Every route is in openapi.yaml with its role, and nothing else is.
func TestRoutesAreDescribed(t *testing.T) {
	text, err := os.ReadFile("openapi.yaml")
	require.NoError(t, err)
	require.Equal(t, string(text), string(openAPI))
	doc, err := openapi3.NewLoader().LoadFromData(text)
	require.NoError(t, err)
	described := map[string]string{}
	for path, item := range doc.Paths.Map() {
		for method, op := range item.Operations() {
			role, _ := op.Extensions["x-role"].(string)
			require.Equal(t, role == "", op.Security != nil && len(*op.Security) == 0, "%s %s: who has no role needs no token", method, path)
			described[method+" "+path] = role
		}
	}
	registered := map[string]string{}
	for _, r := range routes {
		require.NotContains(t, registered, r.method+" "+r.path)
		registered[r.method+" "+r.path] = string(r.role)
	}
	require.Equal(t, registered, described)
}
