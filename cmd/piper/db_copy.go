package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"slices"

	"github.com/piper-build/piper/runtime/store"
	"github.com/piper-build/piper/runtime/store/transfer"
)

// copyStore copies a store. The password of where is that of whichever store is a
// database.
func (a *app) copyStore(ctx context.Context, where *place, args []string, force, asJSON bool) (err error) {
	if len(args) != 2 {
		return &usageError{message: "piper db copy needs two stores", hint: "usage: piper db copy FROM TO"}
	}
	stores := [2]store.Store{}
	places := [2]*place{}
	for i, name := range []string{"FROM", "TO"} {
		p := &place{app: a, name: name, url: args[i]}
		if p.shared() {
			p.passwordFile = where.passwordFile
		}
		places[i] = p
	}
	same, err := places[0].is(places[1])
	if err != nil {
		return err
	}
	if same {
		return usagef("FROM and TO are one store")
	}
	for i, p := range places {
		if stores[i], err = p.open(ctx, i == 1); err != nil {
			return err
		}
		defer func() { err = errors.Join(err, stores[i].Close()) }()
	}
	from, to := stores[0].(transfer.Store), stores[1].(transfer.Store) // as all stores that open opens
	sum, err := transfer.Copy(ctx, from, to, transfer.Options{Force: force, Progress: func(builds int64) {
		if builds%1000 == 0 {
			fmt.Fprintf(a.stderr, "piper: looked at %d builds\n", builds)
		}
	}})
	switch {
	case errors.Is(err, transfer.ErrInUse):
		return &usageError{message: err.Error(), hint: "stop the agents; --force copies although they are there, such as those that were killed"}
	case errors.Is(err, transfer.ErrOther):
		return &usageError{message: err.Error(), hint: "TO has to be empty, or what an earlier copy left, and FROM must not change meanwhile"}
	case err != nil:
		return fmt.Errorf("copy: %w", err)
	}
	fmt.Fprintf(a.stderr, "piper: both stores have the same %s\n", sum)
	if asJSON {
		return a.printJSON(sum)
	}
	return nil
}

// is reports whether two places are the same one. Of a database that has two names
// it does not know; to copy one onto itself does no harm.
func (p *place) is(q *place) (bool, error) {
	if p.shared() || q.shared() {
		if !p.shared() || !q.shared() {
			return false, nil
		}
		a, _, err := p.address()
		if err != nil {
			return false, err
		}
		b, _, err := q.address()
		if err != nil {
			return false, err
		}
		return a.Database == b.Database && slices.ContainsFunc(a.Hosts, func(host string) bool { return slices.Contains(b.Hosts, host) }), nil
	}
	a, err := p.file()
	if err != nil {
		return false, err
	}
	b, err := q.file()
	if err != nil {
		return false, err
	}
	one, errA := os.Stat(a)
	other, errB := os.Stat(b)
	return a == b || errA == nil && errB == nil && os.SameFile(one, other), nil
}
