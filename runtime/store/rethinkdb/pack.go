package rethinkdb

import (
	"bytes"
	"compress/flate"
	"fmt"
	"io"
	"sync"
)

// packable is from how many bytes on a chunk is compressed: what a server has to
// take, replicate and write to disk is what limits how fast logs are kept.
const packable = 512

var packers = sync.Pool{New: func() any {
	w, err := flate.NewWriter(nil, flate.BestSpeed)
	if err != nil {
		panic(err) // for a level that there is not
	}
	return w
}}

// pack returns data compressed (RFC 1951), unless that is not worth it.
func pack(data []byte) (packed []byte, is bool) {
	if len(data) < packable {
		return data, false
	}
	var buf bytes.Buffer
	w := packers.Get().(*flate.Writer)
	defer packers.Put(w)
	w.Reset(&buf)
	w.Write(data) // a buffer takes it all
	w.Close()
	if buf.Len() > len(data)*9/10 {
		return data, false
	}
	return buf.Bytes(), true
}

// unpack returns what was packed, which has size bytes.
func unpack(packed []byte, size int) ([]byte, error) {
	data := make([]byte, size)
	in := flate.NewReader(bytes.NewReader(packed))
	if _, err := io.ReadFull(in, data); err != nil {
		return nil, fmt.Errorf("decompress: %w", err)
	}
	return data, in.Close()
}
