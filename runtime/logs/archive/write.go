package archive

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"hash"
	"io"
	"unicode/utf8"

	"github.com/piper-build/piper/runtime/logs"
	"github.com/piper-build/piper/runtime/store"
)

// A Store is where builds are read.
type Store interface {
	logs.History
	store.Logs
}

// Write writes what a build wrote, which has ended and was planned: all attempts
// under its last fence. version is that of this piper. It takes memory for the
// plan and a few chunks.
func Write(ctx context.Context, s Store, b *store.Build, version string, to io.Writer) error {
	w := writer{to: to, all: sha256.New()}
	w.json = json.NewEncoder(io.MultiWriter(to, w.all))
	w.json.SetEscapeHTML(false)
	if err := w.write(ctx, s, b, version); err != nil {
		return fmt.Errorf("export build %d: %w", b.Number, err)
	}
	return nil
}

type writer struct {
	to   io.Writer
	all  hash.Hash // of what was written
	json *json.Encoder
	sum  Sum
}

func (w *writer) write(ctx context.Context, s Store, b *store.Build, version string) error {
	outputs, err := logs.Outputs(ctx, s, b)
	if err != nil {
		return err
	}
	fence, err := logs.Fence(ctx, s, b)
	if err != nil {
		return err
	}
	r := &b.Request
	err = w.json.Encode(Header{"header", Schema, version, Build{
		ID: b.ID, Number: b.Number, Project: r.Project, Pipeline: r.Pipeline, Environment: r.Environment, Params: r.Params, Ref: r.Ref,
		Commit: b.Commit, Cause: r.Cause, State: b.State, Reason: b.Reason, Attempt: b.Attempt, Fence: fence, Progress: b.Progress,
		PlanDigest: b.Plan, Created: b.Created, Started: b.Started, Ended: b.Ended}})
	if err != nil {
		return err
	}
	blob, err := s.Blob(ctx, b.Plan)
	if err != nil {
		return err
	}
	text, err := store.PlanText(blob)
	if err != nil {
		return err
	}
	if err := w.json.Encode(planRecord{"plan", text}); err != nil {
		return err
	}
	const batch = 1000
	for more := true; more; {
		events, err := s.Events(ctx, b.ID, fence, w.sum.Events+1, batch)
		if err != nil {
			return err
		}
		for i := range events {
			if err := w.json.Encode(eventRecord{"event", events[i]}); err != nil {
				return err
			}
		}
		w.sum.Events += int64(len(events))
		more = len(events) == batch
	}
	for i := range outputs {
		if err := w.output(ctx, s, &outputs[i]); err != nil {
			return err
		}
	}
	w.sum.Digest = digestOf(w.all)
	w.json = json.NewEncoder(w.to)
	return w.json.Encode(endRecord{"end", w.sum})
}

func (w *writer) output(ctx context.Context, s Store, o *logs.Output) error {
	record := outputRecord{Kind: "output", Step: o.Node, Attempt: o.Attempt}
	kept := sha256.New()
	for l, err := range logs.NewReader(s, o.Build, o.Fence).Lines(ctx, o.Node, o.Attempt, 1, 0) {
		if err != nil {
			if errors.Is(err, logs.ErrNoOutput) {
				break
			}
			return err
		}
		line := Line{Kind: "line", Step: o.Node, Attempt: o.Attempt, Line: l.Number, Time: l.Arrival, Offset: l.Offset, Cut: l.Cut, CutLines: l.CutLines}
		if l.Cut == 0 {
			line.Partial = !l.Newline
			if utf8.Valid(l.Text) {
				text := string(l.Text)
				line.Text = &text
			} else {
				line.Raw = l.Text
			}
			record.Bytes += keep(kept, &line)
		}
		record.Lines++
		if err := w.json.Encode(&line); err != nil {
			return err
		}
	}
	record.Digest = digestOf(kept)
	w.sum.Outputs++
	w.sum.Lines += record.Lines
	w.sum.Bytes += record.Bytes
	return w.json.Encode(record)
}

// keep adds the bytes of a line to their digest, and says how many they are.
func keep(kept hash.Hash, l *Line) int64 {
	if l.Cut > 0 {
		return 0
	}
	text := l.Bytes()
	kept.Write(text)
	if l.Partial {
		return int64(len(text))
	}
	kept.Write([]byte{'\n'})
	return int64(len(text)) + 1
}

func digestOf(h hash.Hash) string { return "sha256:" + hex.EncodeToString(h.Sum(nil)) }
