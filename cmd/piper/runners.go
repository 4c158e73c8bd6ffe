package main

import (
	"context"
	"errors"
	"log/slog"
	"os"
	"time"

	"github.com/piper-build/piper/agent"
	"github.com/piper-build/piper/runtime"
	"github.com/piper-build/piper/runtime/build"
	"github.com/piper-build/piper/runtime/git"
	"github.com/piper-build/piper/runtime/runner"
	"github.com/piper-build/piper/runtime/store"
)

// runners run the builds of an agent, each in a process of its own. It is an
// agent.Runner.
type runners struct {
	ctx         context.Context // of the agent
	command     *runner.Command
	parallel    int
	log         *slog.Logger
	clockOffset time.Duration
}

// Run implements agent.Runner.
func (r runners) Run(ctx context.Context, j agent.Job, h agent.Handler) error {
	repo, err := git.Open(j.Tree.Dir)
	if err != nil {
		return err
	}
	repo.Context = ctx
	branch, err := repo.Branch()
	if err != nil {
		return err
	}
	cancels := make(chan runtime.Cancel, cap(j.Cancels)+1)
	done := make(chan struct{})
	defer close(done)
	go func() {
		for {
			select {
			case c := <-j.Cancels:
				cancels <- runtime.Cancel{By: c.By, Reason: c.Reason, Force: c.Force}
			case <-done:
				return
			}
		}
	}()
	if err := os.MkdirAll(j.Tree.Temp(), 0o700); err != nil {
		return err
	}
	defer r.prepare()
	_, err = r.command.Run(ctx, runner.Job{
		Plan: j.Plan, Workspace: j.Tree.Dir, Temp: j.Tree.Temp(), ID: j.Build.ID, Commit: j.Tree.Commit, Branch: branch,
		Parallel: r.parallel, Environ: r.command.Env, Secrets: j.Secrets, Facts: j.Facts, Files: repo.Files,
		Report:  func(message string) { r.log.Info(message, "build", j.Build.ID) },
		Cancels: cancels,
	}, shifted{h, r.clockOffset})
	return err
}

// prepare starts a runner for the next build, whatever it is.
func (r runners) prepare() {
	if !r.command.Confine.Confines() {
		r.command.Prepare(r.ctx, "", "")
	}
}

// readied are sources that have a runner started while they check out, if one has to
// know its workspace.
func (r runners) readied(from agent.Sources) agent.Sources {
	if r.command.Confine.Confines() {
		return readied{from, r.command}
	}
	return from
}

type readied struct {
	agent.Sources
	command *runner.Command
}

// Checkout implements agent.Sources.
func (r readied) Checkout(ctx context.Context, p store.Project, req store.Request, commit, dir string) (agent.Tree, error) {
	temp := agent.Tree{Dir: dir}.Temp()
	if err := errors.Join(os.Mkdir(dir, 0o777), os.MkdirAll(temp, 0o700)); err != nil {
		return agent.Tree{}, err
	}
	r.command.Prepare(ctx, dir, temp)
	return r.Sources.Checkout(ctx, p, req, commit, dir)
}

// A shifted is a Handler that is told other times than the runner tells.
type shifted struct {
	agent.Handler
	by time.Duration
}

func (s shifted) Event(ev build.Event) error {
	ev.Time = ev.Time.Add(s.by)
	return s.Handler.Event(ev)
}

func (s shifted) Output(node string, attempt int, at time.Time, p []byte) error {
	return s.Handler.Output(node, attempt, at.Add(s.by), p)
}

var _ agent.Runner = runners{}
