package rethinkdb

import (
	"bytes"
	crand "crypto/rand"
	"testing"

	"github.com/stretchr/testify/require"
)

func TestPack(t *testing.T) {
	for name, data := range map[string][]byte{
		"nothing": nil,
		"short":   bytes.Repeat([]byte("x"), packable-1),
		"text":    bytes.Repeat([]byte("a line of a log\n"), 4096),
	} {
		packed, is := pack(data)
		require.Equal(t, name == "text", is, name)
		if is {
			require.Less(t, len(packed), len(data)/10)
			got, err := unpack(packed, len(data))
			require.NoError(t, err)
			require.Equal(t, data, got)
			_, err = unpack(packed[:len(packed)/2], len(data))
			require.ErrorContains(t, err, "decompress: unexpected EOF")
		}
	}
	random := make([]byte, 4096)
	crand.Read(random)
	packed, is := pack(random)
	require.False(t, is, "not worth it")
	require.Equal(t, random, packed)
}
