// Package apitest holds requests and their answers against openapi.yaml, as it
// is served. It is for tests, of the API and of what speaks to it.
package apitest

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"net/http"
	"strings"
	"sync"

	"github.com/getkin/kin-openapi/openapi3"
	"github.com/getkin/kin-openapi/openapi3filter"
	"github.com/getkin/kin-openapi/routers"
	"github.com/getkin/kin-openapi/routers/legacy"

	"github.com/piper-build/piper/api"
)

// Document is openapi.yaml.
var Document = sync.OnceValues(func() (*openapi3.T, error) {
	doc, err := openapi3.NewLoader().LoadFromData(api.OpenAPI())
	if err != nil {
		return nil, fmt.Errorf("read openapi.yaml: %w", err)
	}
	return doc, doc.Validate(context.Background())
})

var router = sync.OnceValues(func() (routers.Router, error) {
	doc, err := Document()
	if err != nil {
		return nil, err
	}
	for _, kind := range []string{"application/yaml", "text/x-diff", "text/event-stream"} {
		openapi3filter.RegisterBodyDecoder(kind, openapi3filter.FileBodyDecoder)
	}
	return legacy.NewRouter(doc)
})

// An Exchange is a request and its answer.
type Exchange struct {
	Request *http.Request // its Body is not looked at
	Sent    []byte        // the body of Request
	Status  int
	Header  http.Header // of the answer
	Body    []byte      // of the answer; nil: only its kind is looked at
}

// Check tells in what an exchange is not as openapi.yaml says. A request that was
// refused may be as wrong as it likes, and go where nothing is.
func Check(e Exchange) error {
	router, err := router()
	if err != nil {
		return err
	}
	asked := e.Request.Clone(e.Request.Context())
	asked.Body = io.NopCloser(bytes.NewReader(e.Sent))
	if asked.Method == http.MethodHead {
		asked.Method = http.MethodGet
	}
	what := fmt.Sprintf("%s %s", e.Request.Method, e.Request.URL)
	route, params, err := router.FindRoute(asked)
	switch {
	case err != nil && e.Status < 400:
		return fmt.Errorf("%s is answered with %d, and not in openapi.yaml: %w", what, e.Status, err)
	case err != nil:
		return nil
	}
	options := &openapi3filter.Options{AuthenticationFunc: openapi3filter.NoopAuthenticationFunc, IncludeResponseStatus: true, MultiError: true}
	in := &openapi3filter.RequestValidationInput{Request: asked, PathParams: params, Route: route, Options: options}
	if e.Status < 400 && len(e.Sent) < 1<<20 {
		if err := openapi3filter.ValidateRequest(asked.Context(), in); err != nil {
			return fmt.Errorf("%s is taken, and is not as openapi.yaml says: %w", what, err)
		}
	}
	out := &openapi3filter.ResponseValidationInput{RequestValidationInput: in, Status: e.Status, Header: e.Header, Options: options}
	if e.Body != nil && strings.Contains(e.Header.Get("Content-Type"), "json") {
		out.SetBodyBytes(e.Body)
	} else {
		options.ExcludeResponseBody = true
	}
	if err := openapi3filter.ValidateResponse(asked.Context(), out); err != nil {
		return fmt.Errorf("%s is answered with %d, which is not as openapi.yaml says: %w", what, e.Status, err)
	}
	return nil
}
