package main

import (
	"bytes"
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"
)

const (
	projects = `{"method":"GET","url":"http://127.0.0.1:7700/v1/projects","headers":{},"sent":"","status":200,"answer":{"content-type":"application/json"},"body":"[]"}` + "\n"
	stream   = `{"method":"GET","url":"http://127.0.0.1:7700/v1/events?topics=builds","headers":{"accept":"*/*"},"sent":"","status":200,"answer":{"content-type":"text/event-stream"},"body":null}` + "\n"
	wrong    = `{"method":"GET","url":"http://127.0.0.1:7700/v1/projects","headers":{},"sent":"","status":200,"answer":{"content-type":"application/json"},"body":"{}"}` + "\n"
	unknown  = `{"method":"GET","url":"http://127.0.0.1:7700/v1/secret","headers":{},"sent":"","status":200,"answer":{"content-type":"application/json"},"body":"{}"}` + "\n"
	refused  = `{"method":"POST","url":"http://127.0.0.1:7700/v1/builds","headers":{"content-type":"application/json"},"sent":"{\"projekt\":1}","status":400,"answer":{"content-type":"application/problem+json"},"body":"{\"type\":\"urn:piper:problem:bad-body\",\"title\":\"Bad Request\",\"status\":400}"}` + "\n"
	taken    = `{"method":"POST","url":"http://127.0.0.1:7700/v1/builds","headers":{"content-type":"application/json"},"sent":"{\"projekt\":1}","status":201,"answer":{"content-type":"application/json"},"body":null}` + "\n"
)

func TestConform(t *testing.T) {
	for _, test := range []struct{ name, text, out, err string }{
		{"all is well", projects + stream + refused, "conform: 3 exchanges are as openapi.yaml says\n", ""},
		{"another answer", projects + wrong, ":2: GET http://127.0.0.1:7700/v1/projects is answered with 200, which is not as openapi.yaml says: ", "1 of 2 exchanges are not as openapi.yaml says"},
		{"another route", unknown, ":1: GET http://127.0.0.1:7700/v1/secret is answered with 200, and not in openapi.yaml: ", "1 of 1 exchanges"},
		{"another request", taken, ":1: POST http://127.0.0.1:7700/v1/builds is taken, and is not as openapi.yaml says: ", "1 of 1 exchanges"},
		{"no exchange", "[]\n", ":1: read exchange: ", "1 of 1 exchanges"},
		{"nothing", "", "", "nothing was recorded"},
	} {
		t.Run(test.name, func(t *testing.T) {
			file := filepath.Join(t.TempDir(), "record.jsonl")
			require.NoError(t, os.WriteFile(file, []byte(test.text), 0o600))
			var out bytes.Buffer
			err := run([]string{file}, &out)
			require.Contains(t, out.String(), test.out)
			if test.err == "" {
				require.NoError(t, err)
				return
			}
			require.ErrorContains(t, err, test.err)
		})
	}
	require.ErrorContains(t, run([]string{filepath.Join(t.TempDir(), "none")}, os.Stdout), "no such file")
}
