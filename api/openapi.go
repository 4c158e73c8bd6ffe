package api

import (
	"bytes"
	_ "embed"
)

//go:embed openapi.yaml
var openAPI []byte

// OpenAPI is openapi.yaml: what the API is, with each field.
func OpenAPI() []byte { return bytes.Clone(openAPI) }

func (c *call) openAPI() (*answer, error) {
	return &answer{text: openAPI, kind: "application/yaml"}, nil
}
