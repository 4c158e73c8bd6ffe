package elastic_test

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/piper-build/piper/runtime/logs"
	"github.com/piper-build/piper/runtime/logs/elastic"
	"github.com/piper-build/piper/runtime/logs/elastic/elastictest"
	"github.com/piper-build/piper/runtime/store"
)

// eventually waits for what an index says of itself.
func eventually(t *testing.T, what string, holds func() bool) {
	t.Helper()
	require.Eventually(t, holds, 3*time.Minute, 50*time.Millisecond, what)
}

// Whatever becomes of the server, each line is there once when it is back.
func TestTheServerGoesAway(t *testing.T) {
	if testing.Short() {
		t.Skip("starts a server of its own")
	}
	server := elastictest.New(t, "cluster.info.update.interval: 10s")
	a := elastictest.Address(t, server.URL())
	x := elastictest.Open(t, a)
	lines := 0
	begin := func(n int) chan error {
		ended := make(chan error, 1)
		first := lines + 1
		lines += n
		go func() {
			err := error(nil)
			for i := 0; i < n && err == nil; i += 500 {
				err = x.Append(context.Background(), output, some(first+i, min(500, n-i)), logs.Position{})
			}
			ended <- err
		}()
		return ended
	}
	waits := func(ended chan error, why string) {
		t.Helper()
		eventually(t, why, func() bool { return strings.Contains(x.Health().Error, why) })
		require.Empty(t, ended)
	}
	require.NoError(t, <-begin(1000))

	// It is killed amid a write, and is back.
	for range 2 {
		before := x.Health().Sent
		ended := begin(20_000)
		eventually(t, "some are sent", func() bool { return x.Health().Sent > before })
		server.Kill()
		waits(ended, "no answer")
		_, err := x.Search(t.Context(), logs.Wide{Query: logs.Query{Text: "line"}}, "", 1)
		require.ErrorIs(t, err, logs.ErrAway)
		require.NoError(t, server.Start())
		require.NoError(t, <-ended)
	}
	eventually(t, "it is back", func() bool { return x.Health().Error == "" })
	once(t, x, lines)

	// Its disk is full, as it thinks.
	setting := func(mark string) {
		quoted := mark
		if mark != "null" {
			quoted = `"` + mark + `"`
		}
		request(t, "PUT", server.URL()+"/_cluster/settings", `{"persistent":{"cluster.routing.allocation.disk.threshold_enabled":`+map[bool]string{true: "null", false: "true"}[mark == "null"]+
			`,"cluster.routing.allocation.disk.watermark.low":`+quoted+`,"cluster.routing.allocation.disk.watermark.high":`+quoted+`,"cluster.routing.allocation.disk.watermark.flood_stage":`+quoted+`}}`)
	}
	setting("0.01%")
	eventually(t, "the stream is locked", func() bool {
		return strings.Contains(request(t, "GET", server.URL()+"/"+a.Stream+"/_settings?flat_settings=true", ""), "read_only_allow_delete")
	})
	require.Contains(t, x.Check(t.Context())[0].What, "takes nothing")
	ended := begin(1000)
	waits(ended, "flood-stage")
	page, err := x.Search(t.Context(), logs.Wide{Query: logs.Query{Text: "line"}}, "", 1)
	require.NoError(t, err, "what is there is found")
	require.Equal(t, int64(lines-1000), page.Total)
	setting("null")
	request(t, "PUT", server.URL()+"/"+a.Stream+"/_settings", `{"index.blocks.read_only_allow_delete":null}`) // which a server does that looks at its disk
	require.NoError(t, <-ended)
	once(t, x, lines)

	// There is no place for a shard.
	nowhere := elastictest.Address(t, server.URL())
	request(t, "PUT", server.URL()+"/_index_template/nowhere", `{"index_patterns":["`+nowhere.Stream+`"],"priority":900,"data_stream":{},
		"template":{"settings":{"index.routing.allocation.require._name":"nowhere","number_of_replicas":0},"mappings":{"properties":{"text":{"type":"keyword"},"number":{"type":"long"},"order":{"type":"long"},"begin":{"type":"long"}}}}}`)
	red := elastictest.Open(t, nowhere)
	done := make(chan error, 1)
	go func() { done <- red.Append(context.Background(), output, some(1, 10), logs.Position{}) }()
	eventually(t, "it is red", func() bool { return red.Health().Error != "" })
	require.NotEmpty(t, red.Check(t.Context()))
	_, err = red.Search(t.Context(), logs.Wide{Query: logs.Query{Text: "line"}}, "", 1)
	require.ErrorIs(t, err, logs.ErrAway)
	require.Empty(t, done)
	request(t, "PUT", server.URL()+"/"+nowhere.Stream+"/_settings", `{"index.routing.allocation.require._name":null}`)
	require.NoError(t, <-done)
	eventually(t, "it is not red any more", func() bool { return red.Health().Error == "" })
	once(t, red, 10)

	// It hangs, and whoever searches is told.
	server.Pause()
	ctx, cancel := context.WithTimeout(t.Context(), time.Second)
	_, err = x.Search(ctx, logs.Wide{Query: logs.Query{Text: "line"}}, "", 1)
	cancel()
	require.ErrorIs(t, err, logs.ErrAway)
	eventually(t, "its silence is seen", func() bool { return x.Health().Error != "" })
	server.Resume()
	eventually(t, "it goes on", func() bool { return x.Health().Error == "" })
}

// certified makes an authority, and a certificate of it for this machine.
func certified(t *testing.T, dir string) (ca, cert, key string) {
	t.Helper()
	write := func(name, kind string, der []byte) string {
		path := filepath.Join(dir, name)
		require.NoError(t, os.WriteFile(path, pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der}), 0o644))
		return path
	}
	root, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	require.NoError(t, err)
	from, to := time.Now().Add(-time.Hour), time.Now().Add(24*time.Hour)
	authority := &x509.Certificate{SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "test"}, NotBefore: from, NotAfter: to, IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign}
	rootDER, err := x509.CreateCertificate(rand.Reader, authority, authority, &root.PublicKey, root)
	require.NoError(t, err)
	own, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	require.NoError(t, err)
	leaf := &x509.Certificate{SerialNumber: big.NewInt(2), Subject: pkix.Name{CommonName: "es"}, NotBefore: from, NotAfter: to, IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)}, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth}}
	leafDER, err := x509.CreateCertificate(rand.Reader, leaf, authority, &own.PublicKey, root)
	require.NoError(t, err)
	keyDER, err := x509.MarshalPKCS8PrivateKey(own)
	require.NoError(t, err)
	return write("ca.pem", "CERTIFICATE", rootDER), write("cert.pem", "CERTIFICATE", leafDER), write("key.pem", "PRIVATE KEY", keyDER)
}

// A server that wants TLS and a name lets in who has a password, or a key.
func TestSecured(t *testing.T) {
	if testing.Short() {
		t.Skip("starts a server of its own")
	}
	server := elastictest.NewSecured(t, certified)
	open := func(user string, o elastic.Options, query string) *elastic.Index {
		a, err := elastic.ParseURL(elastic.Scheme + strings.Replace(server.URL(), "https://", "https://"+user, 1) + "/" + elastictest.Secured + query)
		require.NoError(t, err)
		x, err := elastic.Open(a, o)
		require.NoError(t, err)
		t.Cleanup(func() { require.NoError(t, x.Close()) })
		return x
	}
	trusted := "?ca=" + server.CA + "&retention=30d"
	x := open(elastictest.User+"@", elastic.Options{Password: elastictest.Password}, trusted)
	require.NoError(t, x.Append(t.Context(), output, some(1, 10), logs.Position{}))
	once(t, x, 10)
	require.Empty(t, x.Check(t.Context()))

	// One who may do no more than is said to be enough.
	x = open(elastictest.Limited+"@", elastic.Options{Password: elastictest.Password}, trusted)
	require.NoError(t, x.Append(t.Context(), output, some(11, 10), logs.Position{}))
	once(t, x, 20)
	require.Empty(t, x.Check(t.Context()))
	require.NoError(t, x.Finish(t.Context(), store.Build{ID: "b"}, 2), "which deletes what has another fence")
	require.NoError(t, x.Refresh(t.Context()))
	once(t, x, 0)

	for name, x := range map[string]*elastic.Index{
		"password":  open(elastictest.User+"@", elastic.Options{Password: "wrong"}, trusted),
		"key":       open("", elastic.Options{APIKey: "d3Jvbmc6d3Jvbmc="}, trusted),
		"authority": open(elastictest.User+"@", elastic.Options{Password: elastictest.Password}, ""),
	} {
		t.Run("wrong "+name, func(t *testing.T) {
			found := x.Check(t.Context())
			require.Len(t, found, 1)
			require.True(t, found[0].Fatal)
			eventually(t, "it says so", func() bool { return x.Health().Error != "" })
			ctx, cancel := context.WithTimeout(t.Context(), time.Second)
			defer cancel()
			require.ErrorIs(t, x.Append(ctx, output, some(1, 1), logs.Position{}), logs.ErrAway, "it is no dead letter")
			require.NotContains(t, x.Health().Error, elastictest.Password)
		})
	}
}
