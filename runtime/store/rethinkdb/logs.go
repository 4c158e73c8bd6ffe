package rethinkdb

import (
	"context"
	"crypto/sha256"
	"fmt"
	"time"

	r "gopkg.in/rethinkdb/rethinkdb-go.v6"

	"github.com/piper-build/piper/runtime/store"
)

// together is how many bytes of chunks are written at once, roughly.
const together = 1 << 20

// A chunk is one as it is read.
type chunk struct {
	Seq    int64      `json:"seq"`
	Line   int64      `json:"line"`
	Lines  int64      `json:"lines"`
	Offset int64      `json:"offset"`
	Cut    int64      `json:"cut"`
	Times  [][2]int64 `json:"times"`
	Size   int        `json:"size"`
	Packed bool       `json:"packed"`
	Data   binary     `json:"data"`
}

// streamKey begins the keys of an attempt's chunks. The name of a node may be
// longer than a key.
func streamKey(key store.ChunkKey) string {
	sum := sha256.Sum256(fmt.Appendf(nil, "%d/%s", key.Attempt, key.Node))
	return fmt.Sprintf("%s/"+digits+"/%x", key.Build, key.Fence, sum[:12])
}

func chunkKey(stream string, seq int64) string { return fmt.Sprintf("%s/"+digits, stream, seq) }

// row is a chunk as it is written. Times are offsets and Unix milliseconds.
func row(c *store.Chunk) map[string]any {
	times := make([]any, len(c.Times))
	for i, stamp := range c.Times {
		times[i] = []any{stamp.Offset, stamp.At.UnixMilli()}
	}
	stream := streamKey(c.Key)
	data, packed := pack(c.Data)
	return map[string]any{
		"id": chunkKey(stream, c.Key.Seq), "stream": stream, "build": string(c.Key.Build), "node": c.Key.Node, "attempt": c.Key.Attempt, "seq": c.Key.Seq,
		"line": c.Line, "lines": c.Lines, "offset": c.Offset, "cut": c.Cut, "times": times, "size": len(c.Data), "packed": packed, "data": r.Binary(data),
	}
}

// AppendChunks implements store.Logs.
func (s *Store) AppendChunks(ctx context.Context, chunks []store.Chunk) error {
	for len(chunks) > 0 {
		var rows []any
		for size := 0; len(chunks) > 0 && size < together; chunks = chunks[1:] {
			rows = append(rows, row(&chunks[0]))
			size += len(chunks[0].Data)
		}
		if _, err := s.write(ctx, r.Table("logs").Insert(rows, r.InsertOpts{Durability: "hard", Conflict: same})); err != nil {
			return fmt.Errorf("append log chunks: %w", err)
		}
	}
	return nil
}

// Chunks implements store.Logs.
func (s *Store) Chunks(ctx context.Context, key store.ChunkKey, limit int) (found []store.Chunk, err error) {
	stream := streamKey(key)
	for len(found) < limit {
		n := min(limit-len(found), batches)
		got, err := many[chunk](ctx, s, r.Table("logs", majority).Between(chunkKey(stream, key.Seq), stream+afterSlash).
			OrderBy(r.OrderByOpts{Index: "id"}).Limit(n))
		if err != nil {
			return nil, fmt.Errorf("read log chunks: %w", err)
		}
		for _, c := range got {
			if c.Seq != key.Seq {
				return found, nil // a gap
			}
			data := c.Data.Data
			if c.Packed {
				if data, err = unpack(data, c.Size); err != nil {
					return nil, fmt.Errorf("read log chunk %d of %s: %w", c.Seq, stream, err)
				}
			}
			made := store.Chunk{Key: key, Line: c.Line, Lines: c.Lines, Offset: c.Offset, Cut: c.Cut, Data: data}
			for _, stamp := range c.Times {
				made.Times = append(made.Times, store.Stamp{Offset: int32(stamp[0]), At: time.UnixMilli(stamp[1]).UTC()})
			}
			found = append(found, made)
			key.Seq++
		}
		if len(got) < n {
			break
		}
	}
	return found, nil
}

// ChunkAt implements store.Logs.
func (s *Store) ChunkAt(ctx context.Context, key store.ChunkKey, line int64) (int64, error) {
	stream := streamKey(key)
	at := func(term r.Term) ([]int64, error) { return many[int64](ctx, s, term.Limit(1).Field("seq")) }
	// Chunks lie in the index by the line after their last newline.
	found, err := at(r.Table("logs", majority).Between([]any{stream, line, r.MinVal}, []any{stream, r.MaxVal, r.MaxVal}, r.BetweenOpts{Index: "line"}).
		OrderBy(r.OrderByOpts{Index: "line"}).
		Filter(func(row r.Term) r.Term {
			return row.Field("line").Add(row.Field("lines")).Gt(line).Or(row.Field("line").Eq(line).And(row.Field("size").Gt(0)))
		}))
	if err != nil {
		return 0, fmt.Errorf("find line: %w", err)
	}
	if len(found) > 0 {
		return found[0], nil
	}
	last, err := at(r.Table("logs", majority).Between(stream, stream+afterSlash).OrderBy(r.OrderByOpts{Index: r.Desc("id")}))
	if err != nil {
		return 0, fmt.Errorf("find line: %w", err)
	}
	if len(last) == 0 {
		return 0, nil
	}
	return last[0] + 1, nil
}
