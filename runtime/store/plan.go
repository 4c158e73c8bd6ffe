package store

import (
	"bytes"
	"compress/gzip"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"io"

	"github.com/piper-build/piper/runtime/plan"
)

// plainPlan is up to how many bytes the text of a plan is kept as it is. To
// compress less costs more than it saves.
const plainPlan = 64 << 10

// PutPlan keeps p in s under its digest, which it returns: its canonical JSON,
// compressed when it is long. It needs memory for the compressed text only.
func PutPlan(ctx context.Context, s Blobs, p *plan.Plan) (digest string, err error) {
	sum, text := sha256.New(), packer{}
	if err := p.WriteCanonical(io.MultiWriter(sum, &text)); err != nil {
		return "", err
	}
	if err := text.Close(); err != nil {
		return "", err
	}
	digest = "sha256:" + hex.EncodeToString(sum.Sum(nil))
	return digest, s.PutBlob(ctx, digest, text.Bytes())
}

// DecodePlan returns the plan that PutPlan has kept as blob.
func DecodePlan(blob []byte) (*plan.Plan, error) {
	text, err := PlanText(blob)
	if err != nil {
		return nil, err
	}
	return plan.Decode(text)
}

// PlanText returns the canonical JSON of the plan that PutPlan has kept as blob.
func PlanText(blob []byte) ([]byte, error) {
	if !bytes.HasPrefix(blob, gzipMagic) {
		return blob, nil
	}
	text, err := gzip.NewReader(bytes.NewReader(blob))
	if err != nil {
		return nil, fmt.Errorf("decompress plan: %w", err)
	}
	data, err := io.ReadAll(text)
	if err != nil {
		return nil, fmt.Errorf("decompress plan: %w", err)
	}
	return data, nil
}

// gzipMagic begins what gzip has compressed (RFC 1952, section 2.3.1). JSON
// never begins so.
var gzipMagic = []byte{0x1f, 0x8b}

// A packer keeps a text that is written to it, compressed from when it gets
// long.
type packer struct {
	bytes.Buffer
	zip *gzip.Writer // nil until then
}

func (p *packer) Write(text []byte) (int, error) {
	if p.zip == nil && p.Len()+len(text) > plainPlan {
		plain := bytes.Clone(p.Bytes())
		p.Reset()
		p.zip, _ = gzip.NewWriterLevel(&p.Buffer, gzip.BestSpeed) // which is a level
		if _, err := p.zip.Write(plain); err != nil {
			return 0, err
		}
	}
	if p.zip == nil {
		return p.Buffer.Write(text)
	}
	return p.zip.Write(text)
}

// Close writes what is left to compress.
func (p *packer) Close() error {
	if p.zip == nil {
		return nil
	}
	return p.zip.Close()
}
