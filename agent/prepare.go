package agent

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/piper-build/piper/runtime/placement"
	"github.com/piper-build/piper/runtime/plan"
	"github.com/piper-build/piper/runtime/remove"
	"github.com/piper-build/piper/runtime/store"
)

// retries are the pauses before what failed by an accident is tried again.
var retries = []time.Duration{5 * time.Second, 30 * time.Second}

// try does something that may fail by an accident.
func (r *run) try(ctx context.Context, what string, do func() error) error {
	for _, pause := range retries {
		err := do()
		if err == nil || ctx.Err() != nil || refused(err) || errors.Is(err, ErrRejected) || errors.As(err, new(plan.Diagnostics)) {
			return err
		}
		r.log.Warn(what, "error", err, "again in", pause)
		if !sleep(ctx, pause) {
			return err
		}
	}
	return do()
}

// checkOut makes the workspace.
func (r *run) checkOut(ctx context.Context) (tree Tree, err error) {
	b := r.now()
	var project store.Project
	err = persist(ctx, func() (err error) { project, err = r.Store.Project(ctx, b.Request.Project); return err })
	if errors.Is(err, store.ErrNotFound) {
		return tree, fmt.Errorf("there is no project %s: %w", b.Request.Project, ErrRejected)
	}
	if err != nil {
		return tree, err
	}
	commit := b.Commit // of an attempt before: the same is built again
	if commit == "" {
		commit = b.Request.Commit
	}
	if commit == "" {
		err := r.try(ctx, "resolve ref", func() (err error) { commit, err = r.Sources.Resolve(ctx, project, b.Request.Ref); return err })
		if err != nil {
			return tree, fmt.Errorf("resolve %q: %w", b.Request.Ref, err)
		}
	}
	err = r.try(ctx, "check out", func() (err error) {
		if err := remove.Tree(r.dir); err != nil { // what a try before left
			return err
		}
		tree, err = r.Sources.Checkout(ctx, project, b.Request, commit, r.dir)
		return err
	})
	if err != nil {
		return tree, fmt.Errorf("check out %s: %w", commit, err)
	}
	return tree, nil
}

// planned is T6: it makes the plan, or takes the one that was made before.
func (r *run) planned(ctx context.Context, tree Tree) (p *plan.Plan, expand Expander, err error) {
	b := r.now()
	if b.Plan != "" {
		var data []byte
		if err := persist(ctx, func() (err error) { data, err = r.Store.Blob(ctx, b.Plan); return err }); err != nil {
			return nil, nil, fmt.Errorf("read its plan: %w", err)
		}
		if p, err = store.DecodePlan(data); err != nil {
			return nil, nil, fmt.Errorf("read its plan: %w", err)
		}
		if !slices.ContainsFunc(p.Nodes, func(n plan.Node) bool { return n.Expand() != nil }) {
			return p, nil, nil
		}
	}
	// What runs its expands has to last as long as the build.
	err = r.try(ctx, "plan", func() (err error) { p, expand, err = r.Plan(r.ctx, tree, b); return err })
	if err != nil {
		return nil, nil, err
	}
	digest := p.Digest()
	if b.Plan != "" && b.Plan != digest {
		return nil, nil, fmt.Errorf("it was planned as %s, and %s has another plan for it: what it depends on is not the same here", b.Plan, r.Name)
	}
	err = persist(ctx, func() error { _, err := store.PutPlan(ctx, r.Store, p); return err })
	if err != nil {
		return nil, nil, fmt.Errorf("keep its plan: %w", err)
	}
	b, err = r.change(ctx, store.Planned{Agent: r.id, Fence: r.fence(), Commit: tree.Commit, Plan: digest, Requires: requires(p),
		Groups: groupsOf(p, b.Request.Project), Patience: p.QueueTimeout, Total: len(p.Nodes)})
	if err != nil {
		return nil, nil, err
	}
	r.mu.Lock()
	r.build = b
	r.mu.Unlock()
	return p, expand, nil
}

// requires is what all steps and environments of a plan require, each once.
func requires(p *plan.Plan) (all []plan.Requirement) {
	add := func(some []plan.Requirement) {
		for _, q := range some {
			if !slices.ContainsFunc(all, func(o plan.Requirement) bool { return same(q, o) }) {
				all = append(all, q)
			}
		}
	}
	for i := range p.Environments {
		add(p.Environments[i].Requires)
	}
	for i := range p.Nodes {
		if s := p.Nodes[i].Step; s != nil {
			add(s.Requires)
		}
	}
	return all
}

func same(a, b plan.Requirement) bool {
	return a.Op == b.Op && a.Key == b.Key && a.Reason == b.Reason && slices.Equal(a.Values, b.Values) && slices.EqualFunc(a.Of, b.Of, same)
}

// placed sees whether the build may run here and now. Else it returns how it is
// given to another agent, or back to the queue until its groups are free.
func (r *run) placed(ctx context.Context) (store.Change, error) {
	b, me := r.now(), r.me()
	if !placement.Eligible(&me, &b) && r.asks(b.Requires) {
		r.describe(ctx, b.Requires)
		me = r.me()
	}
	if !placement.Eligible(&me, &b) {
		return r.handOver(placement.FirstChoice(&b, r.everybody())), nil
	}
	if len(b.Groups) == 0 {
		return nil, nil
	}
	held := false
	err := persist(ctx, func() (err error) { held, err = r.acquire(ctx, b); return err })
	if held || err != nil {
		return nil, err
	}
	why, err := r.entangled(ctx, b)
	switch {
	case err != nil:
		return nil, err
	case why != "":
		return nil, fmt.Errorf("%s: %w", why, ErrRejected)
	}
	return r.handOver(""), nil
}
