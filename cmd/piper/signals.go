package main

import (
	"context"
	"errors"
	"os"
	"os/signal"
	"sync"
	"syscall"
)

// signals is what the person, or the system, has told piper while a build
// runs: the first signal cancels it with grace, the second kills it.
type signals struct {
	killed context.Context // done at the second signal

	mu    sync.Mutex
	first os.Signal // nil until there is one

	stop func() // gives signals back their usual meaning
}

// catch takes over signals. Its context is done at the first one.
func catch(parent context.Context) (context.Context, *signals) {
	ctx, cancel := context.WithCancelCause(parent)
	killed, kill := context.WithCancel(context.Background())
	s := &signals{killed: killed}
	caught := make(chan os.Signal, 2)
	for _, sig := range []os.Signal{syscall.SIGINT, syscall.SIGTERM, syscall.SIGHUP} {
		if !signal.Ignored(sig) { // as nohup has it
			signal.Notify(caught, sig)
		}
	}
	// Nobody reads this channel: it is enough that a write to a closed pipe
	// is an error now, and no longer the end of piper.
	pipe := make(chan os.Signal, 1)
	signal.Notify(pipe, syscall.SIGPIPE)

	ended := make(chan struct{})
	var watching sync.WaitGroup
	watching.Go(func() {
		for n := 0; ; {
			select {
			case sig := <-caught:
				switch n++; n {
				case 1:
					s.mu.Lock()
					s.first = sig
					s.mu.Unlock()
					if sig == syscall.SIGINT {
						cancel(errors.New("interrupted"))
					} else {
						cancel(errors.New("terminated"))
					}
				case 2:
					kill()
				}
			case <-ended:
				return
			}
		}
	})
	s.stop = func() {
		signal.Stop(caught)
		signal.Stop(pipe)
		close(ended)
		watching.Wait()
		cancel(nil)
		kill()
	}
	return ctx, s
}

// exitCode is what a build that was cancelled exits with.
func (s *signals) exitCode() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	switch s.first {
	case nil:
		return exitFailed
	case syscall.SIGINT:
		return exitInterrupted
	case syscall.SIGHUP:
		return exitHungUp
	}
	return exitTerminated
}
