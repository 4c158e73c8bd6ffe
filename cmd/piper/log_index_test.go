package main

import (
	"bytes"
	"net/http/httptest"
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/piper-build/piper/runtime/logs"
	"github.com/piper-build/piper/runtime/logs/elastic"
	"github.com/piper-build/piper/runtime/logs/elastic/elastictest"
)

func TestLogsFlags(t *testing.T) {
	dir := t.TempDir()
	secret, empty := filepath.Join(dir, "secret"), filepath.Join(dir, "empty")
	require.NoError(t, os.WriteFile(secret, []byte("x\n"), 0o600))
	require.NoError(t, os.WriteFile(empty, []byte("\n"), 0o600))
	for why, args := range map[string][]string{
		"want elasticsearch+https://HOST/STREAM":    {"--logs", "http://es1"},
		"without TLS can be read":                   {"--logs", "elasticsearch+http://es1"},
		"go with --logs":                            {"--logs-api-key-file", secret},
		"stands in place of the user piper":         {"--logs", "elasticsearch+https://piper@es1", "--logs-api-key-file", secret},
		"a user wants --logs-password-file":         {"--logs", "elasticsearch+https://piper@es1"},
		"and a password a user":                     {"--logs", "elasticsearch+https://es1", "--logs-password-file", secret},
		"--logs-password-file: open":                {"--logs", "elasticsearch+https://p@es1", "--logs-password-file", filepath.Join(dir, "none")},
		"--logs-api-key-file: there is nothing in ": {"--logs", "elasticsearch+https://es1", "--logs-api-key-file", empty},
	} {
		for _, command := range []string{"agentd", "doctor"} {
			var stdout, stderr bytes.Buffer
			code := run(t.Context(), append([]string{command, "--data-dir", filepath.Join(dir, "data")}, args...), nil, &stdout, &stderr, "HOME="+dir, "PATH="+os.Getenv("PATH"))
			require.Equal(t, exitUsage, code, "%s %v: %s", command, args, &stderr)
			require.Contains(t, stderr.String(), why)
		}
	}
}

func TestDoctorLogIndex(t *testing.T) {
	look := func(url string) (found []finding) {
		a := &app{}
		d := &doctor{app: a, logs: &logPlace{app: a, url: url}, tell: func(f finding) { found = append(found, f) }}
		require.NoError(t, d.logIndex(t.Context()))
		return found
	}
	require.Empty(t, look(""))
	down := httptest.NewServer(nil)
	down.Close()
	found := look(elastic.Scheme + down.URL)
	require.Len(t, found, 1)
	require.Equal(t, "error", found[0].Level)
	require.Contains(t, found[0].Message, "cannot be searched")

	at := elastictest.Address(t, elastictest.URL(t))
	found = look(at.String())
	require.Len(t, found, 1)
	require.Equal(t, "ok", found[0].Level, "%v", found)
	x := elastictest.Open(t, at)
	output := logs.Output{Build: "b", Node: "unit", Attempt: 1}
	require.NoError(t, x.Append(t.Context(), output, []logs.Line{{Number: 1, Text: []byte("x")}}, logs.Position{}))
	elastictest.Refuse(t, at)
	require.Eventually(t, func() bool { found = look(at.String()); return len(found) == 1 && found[0].Level == "warning" }, elastictest.Patience, elastictest.Patience/100)
	require.Contains(t, found[0].Message, "refused 1 line,")
}
