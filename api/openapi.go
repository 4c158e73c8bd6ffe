package api

import (
	_ "embed"
)

//go:embed openapi.yaml
var openAPI []byte

func (c *call) openAPI() (*answer, error) {
	return &answer{text: openAPI, kind: "application/yaml"}, nil
}
