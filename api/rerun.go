package api

import (
	"errors"
	"fmt"
	"maps"
	"net/http"
	"slices"

	"github.com/piper-build/piper/runtime/build"
	"github.com/piper-build/piper/runtime/plan"
	"github.com/piper-build/piper/runtime/store"
)

// maxOutputs bounds the bytes of outputs that a build takes over from another.
const maxOutputs = 256 << 10

func (c *call) rerunBuild() (*answer, error) {
	var r RerunRequest
	if err := c.read(&r); err != nil {
		return nil, err
	}
	b, err := c.build()
	if err != nil {
		return nil, err
	}
	if errs := checkParams(r.Params); len(errs) > 0 {
		return nil, invalid("", errs...)
	}
	if r.Failed && len(r.From)+len(r.Params) > 0 {
		return nil, invalid("", FieldError{Field: "failed", Message: "runs what was there: it goes with neither from nor params"})
	}
	p, err := c.project(b.Request.Project)
	if err != nil {
		return nil, err
	}
	next := b.Request
	next.Here = "" // that one is gone
	next.Commit = summary(&b, nil).Commit
	next.Cause = store.Cause{Kind: "rerun", Build: b.ID, Number: b.Number, By: c.token.Name, Trust: b.Request.Cause.Trust}
	if len(r.Params) > 0 {
		next.Params = maps.Clone(next.Params)
		if next.Params == nil {
			next.Params = map[string]string{}
		}
		maps.Copy(next.Params, r.Params)
	}
	if r.Failed || len(r.From) > 0 {
		if !b.Terminal() {
			return nil, problem(http.StatusConflict, "not-ended", fmt.Sprintf("build %d is %s: what to run again is known once it has ended", b.Number, b.State))
		}
		f, err := c.fold(&b)
		if err != nil {
			return nil, err
		}
		if next.Select, err = again(&b, f, r); err != nil {
			return nil, err
		}
	}
	return c.ask(p, next)
}

// again is the part of a build's plan that is to run.
func again(b *store.Build, f *folded, r RerunRequest) (plan.Selection, error) {
	s := b.Request.Select
	if f == nil { // it did not come to a plan
		if len(r.From) > 0 {
			return s, problem(http.StatusConflict, "not-planned", fmt.Sprintf("build %d was not planned: run all of it", b.Number))
		}
		return s, nil
	}
	if len(r.From) > 0 {
		s.Only, s.From = nil, r.From
	} else {
		s.Skip = append(slices.Clone(s.Skip), succeeded(f)...)
	}
	var err error
	if s.Outputs, err = outputs(f, s.Outputs); err != nil {
		return s, err
	}
	left, err := plan.Select(f.plan, plan.Selection{From: r.From, Skip: s.Skip[len(b.Request.Select.Skip):], Outputs: s.Outputs})
	var unknown *plan.UnknownNameError
	var leftOut *plan.LeftOutError
	switch {
	case errors.As(err, &unknown):
		return s, among("from", unknown.Name, f.plan.NodeNames())
	case errors.As(err, &leftOut):
		return s, invalid("", FieldError{Field: "from", Message: leftOut.Error()})
	case err != nil:
		return s, err
	case len(left.Nodes) == 0:
		return s, problem(http.StatusConflict, "nothing-to-do", fmt.Sprintf("every step of build %d succeeded", b.Number))
	}
	return s, nil
}

// succeeded names the nodes that need not run again. Services are not among
// them: they run while what lists them does. Of an expand what found its nodes
// runs again, when they do; and what cleans up, or waits for a failure, does after
// what runs again.
func succeeded(f *folded) (names []string) {
	done := func(i int) bool { return f.Node(i).State == build.Success }
	nodes := f.Build.Plan().Nodes
	all := true // what expands found
	for i := len(f.plan.Nodes); i < len(nodes); i++ {
		all = all && (done(i) || nodes[i].IsService())
	}
	needed := map[string]bool{}
	for i := range f.plan.Nodes {
		if x := f.plan.Nodes[i].Expand(); x != nil && !(all && done(i)) {
			needed[f.plan.Nodes[i].Name], needed[x.After] = true, true
		}
	}
	g := plan.NewGraph(f.plan)
	after := make([]bool, g.Len()) // what comes after something that runs again
	for _, v := range g.Order() {
		again := after[v]
		if g.IsNode(v) {
			n := &f.plan.Nodes[v]
			again = again || !done(int(v)) || needed[n.Name]
		}
		if !again {
			continue
		}
		for _, user := range g.Users(v) {
			after[user] = true
		}
		if group := g.Group(v); group >= 0 {
			after[group] = true
		}
	}
	for i := range f.plan.Nodes {
		n := &f.plan.Nodes[i]
		cleans := n.RunOn() != plan.Success && n.RunOn() != "" && after[i]
		if done(i) && !n.IsService() && !needed[n.Name] && !cleans {
			names = append(names, n.Name)
		}
	}
	return names
}

// outputs are what steps of the build wrote, as far as others of its plan use
// it, over what it took from another build itself.
func outputs(f *folded, had map[string]map[string]string) (map[string]map[string]string, error) {
	found := map[string]map[string]string{}
	size := 0
	add := func(step, key, value string) {
		if found[step] == nil {
			found[step] = map[string]string{}
		}
		found[step][key] = value
		size += len(step) + len(key) + len(value)
	}
	for step, values := range had {
		for key, value := range values {
			add(step, key, value)
		}
	}
	for i := range f.plan.Nodes {
		for _, out := range f.plan.Nodes[i].Uses() {
			step, _ := f.Step(out.Step)
			if value, ok := step.Outputs[out.Key]; ok && step.State == build.Success {
				add(out.Step, out.Key, value)
			}
		}
	}
	if size > maxOutputs {
		return nil, invalid(fmt.Sprintf("what steps wrote is larger than %s: run all of it", bytesWord(maxOutputs)))
	}
	if len(found) == 0 {
		return nil, nil
	}
	return found, nil
}
