package elastic

import (
	"bytes"
	"context"
	"encoding/json"
	"encoding/pem"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/stretchr/testify/require"

	"github.com/piper-build/piper/runtime/logs"
)

func TestParseURL(t *testing.T) {
	dir := t.TempDir()
	server := httptest.NewTLSServer(nil)
	server.Close()
	ca, empty := filepath.Join(dir, "ca.pem"), filepath.Join(dir, "empty.pem")
	require.NoError(t, os.WriteFile(ca, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: server.Certificate().Raw}), 0o600))
	require.NoError(t, os.WriteFile(empty, nil, 0o600))
	for text, want := range map[string]string{
		"elasticsearch+https://es1":                               "elasticsearch+https://es1:9200/piper-logs",
		"elasticsearch+https://es1,es2:443/ci-logs?retention=90d": "elasticsearch+https://es1:9200,es2:443/ci-logs",
		"elasticsearch+https://p%40q@es1/x?ca=" + ca:              "elasticsearch+https://p@q@es1:9200/x",
		"elasticsearch+http://127.0.0.1:19200/x":                  "elasticsearch+http://127.0.0.1:19200/x",
		"elasticsearch+http://localhost,[::1]/":                   "elasticsearch+http://localhost:9200,[::1]:9200/piper-logs",
	} {
		a, err := ParseURL(text)
		require.NoError(t, err, text)
		require.Equal(t, want, a.String())
		require.Equal(t, strings.Contains(text, "https"), a.TLS != nil)
	}
	a, err := ParseURL("elasticsearch+https://es1/x?retention=90d")
	require.NoError(t, err)
	require.Equal(t, 90*24*time.Hour, a.Keeps)
	for text, why := range map[string]string{
		"https://es1":                                        "want elasticsearch+https://",
		"elasticsearch://es1":                                "want elasticsearch+https://",
		"elasticsearch+ftp://es1":                            "want elasticsearch+https://",
		"elasticsearch+https://":                             "is no host",
		"elasticsearch+https://es1:http":                     "is no port",
		"elasticsearch+https://es1:0":                        "is no port",
		"elasticsearch+https://es 1":                         "is no host",
		"elasticsearch+https://es1/UPPER":                    "is no name of a data stream",
		"elasticsearch+https://es1/a,b":                      "is no name of a data stream",
		"elasticsearch+https://es1/_all":                     "is no name of a data stream",
		"elasticsearch+https://me:secret@es1":                "--logs-password-file",
		"elasticsearch+https://@es1":                         "is no user",
		"elasticsearch+http://es1":                           "without TLS",
		"elasticsearch+http://127.0.0.1,es1":                 "without TLS",
		"elasticsearch+http://127.0.0.1/x?ca=" + ca:          "ca is for https",
		"elasticsearch+https://es1/x?ca=" + empty:            "no certificate",
		"elasticsearch+https://es1/x?ca=" + dir + "/nothing": "ca: open",
		"elasticsearch+https://es1/x?retention=90":           "want days",
		"elasticsearch+https://es1/x?retention=0d":           "want days",
		"elasticsearch+https://es1/x?retention=xd":           "want days",
		"elasticsearch+https://es1/x?replicas=1":             "is nothing that it may say",
		"elasticsearch+https://es1/x?%zz":                    "invalid URL escape",
	} {
		_, err := ParseURL(text)
		require.ErrorContains(t, err, why, text)
		require.NotContains(t, err.Error(), "secret")
	}
}

// FuzzDocument holds that a line comes back byte for byte.
func FuzzDocument(f *testing.F) {
	for _, text := range []string{"", "plain", "\x00\x1f\"\\\x7f", "\xff\xfe", "größe \u2028", "a\xc3", strings.Repeat("ü", 20_000)} {
		f.Add([]byte(text), int64(3), int64(0), true)
	}
	f.Fuzz(func(t *testing.T, text []byte, number, offset int64, newline bool) {
		w := newWriter(&logs.Output{Build: "b", Number: 7, Project: `p"`, Node: "n\xff", Created: time.Unix(0, 0)})
		line := logs.Line{Number: number, Begin: number, Offset: max(offset, 0), Arrival: time.Unix(1, 5e6).UTC(), Text: text, Newline: newline}
		d := w.document(&line)
		require.True(t, json.Valid(d.body), "%s", d.body)
		require.NotContains(t, string(d.body), "\n")
		var s source
		require.NoError(t, json.Unmarshal(d.body, &s))
		got, err := s.line()
		require.NoError(t, err)
		require.True(t, bytes.Equal(text, got.Text), "%q", got.Text)
		got.Text, line.Text = nil, nil
		require.Equal(t, line, got)
		if utf8.Valid(text) && len(text) <= mostText {
			require.NotContains(t, string(d.body), `"raw"`, "nothing is sent twice")
		}
	})
}

// A text that is longer than a word of the index is found wherever it is cut.
func TestLongTextOverlaps(t *testing.T) {
	text := strings.Repeat("0123456789", 3_500) + "ü" + strings.Repeat("x", 5_000)
	b, exact := appendText(nil, []byte(text))
	require.False(t, exact)
	var parts []string
	require.NoError(t, json.Unmarshal(b, &parts))
	require.Greater(t, len(parts), 3)
	at := 0
	for i, part := range parts {
		require.True(t, utf8.ValidString(part))
		require.LessOrEqual(t, len(part), mostText)
		if i > 0 {
			at += len(parts[i-1]) - overlap
			at -= strings.Count(text[at:at+1], "\xbc")
		}
		require.Equal(t, part, text[at:at+len(part)])
	}
	require.Equal(t, len(text), at+len(parts[len(parts)-1]))
}

// An API key is sent as one, and a bulk that is too large for the server is halved
// down to a document, which is dead then.
func TestKeyAndTooLarge(t *testing.T) {
	var bulks []int
	dead := 0
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if !strings.EqualFold(r.Header.Get("Authorization"), "ApiKey a2V5") {
			http.Error(w, "", http.StatusUnauthorized)
			return
		}
		if !strings.HasSuffix(r.URL.Path, "/_bulk") {
			w.Write([]byte("{}"))
			return
		}
		var body bytes.Buffer
		body.ReadFrom(r.Body)
		n := bytes.Count(body.Bytes(), []byte("\n")) / 2
		if strings.Contains(r.URL.Path, "-dead") {
			dead += n
		} else if bulks = append(bulks, n); n > 2 || bytes.Contains(body.Bytes(), []byte("huge")) {
			http.Error(w, "", http.StatusRequestEntityTooLarge)
			return
		}
		w.Write([]byte(`{"items":[` + strings.TrimSuffix(strings.Repeat(`{"create":{"status":201}},`, n), ",") + `]}`))
	}))
	defer server.Close()
	a, err := ParseURL(Scheme + server.URL + "/x")
	require.NoError(t, err)
	x, err := Open(a, Options{APIKey: "a2V5"})
	require.NoError(t, err)
	defer x.Close()
	lines := []logs.Line{{Number: 1, Text: []byte("a")}, {Number: 2, Begin: 2, Text: []byte("b")}, {Number: 3, Begin: 4, Text: []byte("huge")}, {Number: 4, Begin: 9, Text: []byte("c")}}
	patient, done := context.WithTimeout(t.Context(), time.Minute)
	defer done()
	require.NoError(t, x.Append(patient, logs.Output{Build: "b"}, lines, logs.Position{}))
	require.Equal(t, []int{4, 2, 2, 1, 1}, bulks)
	require.Equal(t, 1, dead)
	h := x.Health()
	require.Equal(t, []int64{3, 1}, []int64{h.Sent, h.Dead})

	// Whoever closes it or gives up is not kept waiting.
	wrong, err := Open(a, Options{APIKey: "other"})
	require.NoError(t, err)
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- wrong.Append(ctx, logs.Output{}, lines, logs.Position{}) }()
	require.Eventually(t, func() bool { return strings.Contains(wrong.Health().Error, "401") }, time.Minute, time.Millisecond)
	cancel()
	require.ErrorIs(t, <-ended, logs.ErrAway)
	require.NoError(t, wrong.Close())
}

func TestPattern(t *testing.T) {
	for expr, want := range map[string]string{
		"abc":         ".*abc.*",
		"^abc$":       "abc",
		"a|^b":        "",
		`\bcode\b`:    ".*()code().*",
		`a{2,3}b{4,}`: ".*(a){2,3}(b){4,}.*",
		`(?i)k`:       ".*[Kk\u212a].*",
		`[^a]`:        "",
		`a.b*c+?`:     ".*a.(b)*(c)+.*",
		"\\.\\*":      `.*\.\*.*`,
		"(?:a(b|cd))": ".*a(((b)|(cd))).*",
	} {
		query, exact, err := pattern(logs.Query{Regex: expr})
		require.NoError(t, err)
		require.Equal(t, !strings.Contains(expr, `\b`), exact)
		if want != "" {
			require.Equal(t, want, query["regexp"].(object)["text"].(object)["value"], expr)
		}
	}
	_, _, err := pattern(logs.Query{Regex: strings.Repeat("[a-z]", 300)})
	require.ErrorIs(t, err, logs.ErrQuery)
	_, _, err = pattern(logs.Query{Regex: `[^\x00-\x{10FFFF}]`})
	require.ErrorIs(t, err, logs.ErrQuery)
	query, exact, err := pattern(logs.Query{Text: strings.Repeat("ü", 300)})
	require.NoError(t, err)
	require.False(t, exact)
	require.Equal(t, "*"+strings.Repeat("ü", 100)+"*", query["wildcard"].(object)["text"].(object)["value"])
}
