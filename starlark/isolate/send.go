package isolate

import (
	"bytes"
	"errors"
	"fmt"
	"slices"

	"github.com/piper-build/piper/runtime/plan"
	"github.com/piper-build/piper/starlark"
)

// send sends what came of a call.
func (c *child) send(a account, err error) error {
	var end ending
	var problems plan.Diagnostics
	switch {
	case errors.As(err, &problems):
		end.Wrong = true
	case err != nil:
		end.Failure = err.Error()
	case a.Plan != nil:
		end.Digest, end.Expands = a.Plan.Digest(), a.Expand != nil
	}
	s := sender{child: c, left: maxParts - maxChunk}
	s.full = weigh(&a) > maxWeight-2*maxChunk
	s.catalog(a.Catalog)
	s.plan(a.Plan)
	s.expansion(a.Expansion)
	if v := a.Value; v != (starlark.Value{}) {
		s.send(piece{Value: &value{[]byte(v.Text), v.Type}})
	}
	inPieces(&s, a.Names, func(some []string) piece { return piece{Names: some} })
	inPieces(&s, a.Tests, func(some []starlark.Test) piece { return piece{Tests: some} })
	for _, r := range a.Ran {
		s.send(piece{Ran: &r})
	}
	s.remarks(a.Warnings, func(p *piece, list []remark) { p.Warnings = list })
	s.remarks(problems, func(p *piece, list []remark) { p.Problems = list })
	if s.full {
		end = ending{Wrong: true}
		s.full, s.left = false, maxChunk
		s.remarks(plan.Diagnostics{tooLarge(c.file)}, func(p *piece, list []remark) { p.Problems = list })
	}
	return writeFrame(c.w, outcome, encode(end))
}

// A sender sends a result in pieces that are small enough for the parent to
// look at one by one.
type sender struct {
	*child
	left int // bytes that may still be sent
	full bool
}

// few is how many members of a list one piece holds at most.
const few = 64

// send sends a piece, unless there was too much before it.
func (s *sender) send(p piece) { s.sendEncoded(encode(p)) }

func (s *sender) sendEncoded(payload []byte) {
	switch {
	case s.full:
	case len(payload) > maxPart || len(payload) > s.left || swells(payload):
		s.full = true
	default:
		s.left -= len(payload)
		s.write(part, payload)
	}
}

// inPieces sends a list in pieces that make makes of its members. A piece that
// is too large is halved.
func inPieces[T any](s *sender, list []T, make func([]T) piece) {
	for some := range slices.Chunk(list, few) {
		sendSome(s, some, make)
	}
}

func sendSome[T any](s *sender, some []T, make func([]T) piece) {
	payload := encode(make(some))
	if len(payload) > maxPart/4 && len(some) > 1 {
		half := len(some) / 2
		sendSome(s, some[:half], make)
		sendSome(s, some[half:], make)
		return
	}
	s.sendEncoded(payload)
}

func (s *sender) catalog(c plan.Catalog) {
	s.send(piece{Catalog: &plan.Catalog{Project: c.Project}})
	inPieces(s, c.Pipelines, func(some []plan.Pipeline) piece { return piece{Catalog: &plan.Catalog{Pipelines: some}} })
	inPieces(s, c.Environments, func(some []plan.Environment) piece { return piece{Catalog: &plan.Catalog{Environments: some}} })
}

func (s *sender) plan(p *plan.Plan) {
	if p == nil {
		return
	}
	head := *p
	head.Nodes, head.Groups, head.Environments, head.Inputs = nil, nil, nil, nil
	first := planPiece(head)
	first.Nodes = len(p.Nodes)
	s.send(first)
	inPieces(s, p.Nodes, func(some []plan.Node) piece { return planPiece(plan.Plan{Nodes: some}) })
	inPieces(s, p.Groups, func(some []plan.Group) piece { return planPiece(plan.Plan{Groups: some}) })
	inPieces(s, p.Environments, func(some []plan.Environment) piece { return planPiece(plan.Plan{Environments: some}) })
	inPieces(s, p.Inputs, func(some []plan.Input) piece { return planPiece(plan.Plan{Inputs: some}) })
}

// planPiece is a part of a plan as plan.Decode reads it.
func planPiece(p plan.Plan) piece {
	var b bytes.Buffer
	p.Format = plan.Format
	p.WriteCanonical(&b) // a buffer never fails
	return piece{Plan: b.Bytes()}
}

func (s *sender) expansion(x plan.Expansion) {
	inPieces(s, x.Nodes, func(some []plan.Node) piece { return piece{Expansion: &plan.Expansion{Nodes: some}} })
	inPieces(s, x.Groups, func(some []plan.Group) piece { return piece{Expansion: &plan.Expansion{Groups: some}} })
	inPieces(s, x.Environments, func(some []plan.Environment) piece {
		return piece{Expansion: &plan.Expansion{Environments: some}}
	})
	inPieces(s, x.Inputs, func(some []plan.Input) piece { return piece{Expansion: &plan.Expansion{Inputs: some}} })
}

// maxExcerpts is how much of the source the diagnostics of one result show.
const maxExcerpts = 3 << 20

// remarks sends diagnostics, each line of the source once.
func (s *sender) remarks(list plan.Diagnostics, as func(*piece, []remark)) {
	last, shown := "", 0
	for _, d := range list {
		r := remark{Diagnostic: d}
		switch {
		case d.Excerpt == last:
			r.Again = true
		case shown+len(d.Excerpt) <= maxExcerpts && len(d.Excerpt) <= maxPart/2:
			r.Excerpt = []byte(d.Excerpt)
			shown += len(d.Excerpt)
			last = d.Excerpt
		}
		var p piece
		as(&p, []remark{r})
		s.send(p)
	}
}

// tooLarge is that a result cannot be sent.
func tooLarge(file string) plan.Diagnostic {
	return plan.Diagnostic{File: file, Severity: "error", Code: "too-large",
		Message: fmt.Sprintf("what comes of the evaluation takes more than %d MiB to send, or %d MiB of memory", maxParts>>20, maxWeight>>20),
		Hint:    "let the steps read from files what is long"}
}
