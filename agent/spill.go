package agent

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"sync"
	"time"
)

// What a build may hold and is not to blame for a full disk: this, or one in so
// many bytes of it if that is more. And how long the workspaces are looked at.
const (
	blameless      = 64 << 20
	blamelessShare = 100
	sizing         = 10 * time.Second
)

// A spill is why a build is ended whose workspace fills the disk.
type spill struct {
	agent string
	held  uint64
}

func (s *spill) Error() string {
	unit, size := "MiB", s.held>>20
	if size >= 10<<10 {
		unit, size = "GiB", size>>10
	}
	return fmt.Sprintf("the disk of agent %s is full: its workspace held %d %s", s.agent, size, unit)
}

// spilled is why the build was ended, if that is a spill.
func (r *run) spilled() (s *spill) {
	errors.As(context.Cause(r.ctx), &s)
	return s
}

// spills looks whether builds fill the disk, and ends them one by one until there
// is room.
func (l *life) spills(ctx context.Context) {
	g := guard{life: l}
	l.every(ctx, "disk", l.Timings.Disk, func(ctx context.Context) {
		if l.holds() > 0 {
			g.watch(ctx)
		}
	})
}

// A guard is what spills knows.
type guard struct {
	*life
	since time.Time // that the disk is full, or a build was last ended; zero when it is not
	told  bool      // that no build is to blame
}

func (g *guard) watch(ctx context.Context) {
	free, total, err := g.Free(g.Dir)
	if err != nil || free >= LeastFree(total)/2 { // who claims says what is wrong
		g.since, g.told = time.Time{}, false
		return
	}
	if g.since.IsZero() {
		g.since = time.Now()
	}
	if time.Since(g.since) < 3*g.Timings.Grace && g.leaving() {
		return // there may soon be room
	}
	r, held := g.largest(ctx)
	switch {
	case ctx.Err() != nil:
	case r != nil && held >= max(blameless, total/blamelessShare):
		why := &spill{g.Name, held}
		r.log.Warn("build is ended", "why", why)
		r.kill(why)
		g.since = time.Now()
	case !g.told:
		g.told = true
		g.log.Warn("the disk is full, and no build is to blame: make room", "free", free>>20, "of", total>>20, "unit", "MiB")
	}
}

// leaving reports whether there is a workspace that is about to go.
func (g *guard) leaving() bool {
	stay := map[string]bool{}
	for _, dir := range g.workspaces() {
		stay[filepath.Base(dir)] = true
	}
	all, _ := os.ReadDir(filepath.Join(g.Dir, "work")) // none is as good as any error
	for _, e := range all {
		if !stay[e.Name()] {
			return true
		}
	}
	return false
}

// workspaces are those of the builds that go on.
func (g *guard) workspaces() map[*run]string {
	dirs := map[*run]string{}
	for _, r := range g.all() {
		r.mu.Lock()
		if r.dir != "" && r.ctx.Err() == nil {
			dirs[r] = r.dir
		}
		r.mu.Unlock()
	}
	return dirs
}

// largest is the build whose workspace holds most; nil when there is none.
func (g *guard) largest(ctx context.Context) (most *run, held uint64) {
	ctx, stop := context.WithTimeout(ctx, sizing)
	defer stop()
	var mu sync.Mutex
	var looking sync.WaitGroup
	for r, dir := range g.workspaces() {
		looking.Go(func() {
			n := g.held(ctx, dir) + g.held(ctx, Tree{Dir: dir}.Temp())
			mu.Lock()
			defer mu.Unlock()
			if most == nil || n > held {
				most, held = r, n
			}
		})
	}
	looking.Wait()
	return most, held
}
