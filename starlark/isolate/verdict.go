package isolate

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"strings"
	"syscall"

	"github.com/piper-build/piper/builtins"
	"github.com/piper-build/piper/runtime/plan"
)

// lost says why a conversation has ended early. err is how that was noticed.
func (c *conversation) lost(ctx context.Context, err error) error {
	select {
	case <-c.reap():
	case <-c.stopped: // what the end of the child says is of no interest
	}
	c.mu.Lock()
	why := c.why
	c.mu.Unlock()
	file := c.request.File
	var found plan.Diagnostics
	switch gone := cmp.Or(ctx.Err(), c.life.Err()); {
	case why == cancelled || gone != nil:
		return fmt.Errorf("evaluate %s: %w", file, gone)
	case why == tooLate:
		return c.tooSlow("")
	case errors.Is(err, errFrame):
		return fmt.Errorf("evaluate %s: the process that evaluates: %w", file, err)
	case errors.As(c.end, &found):
		return found
	}
	return fmt.Errorf("evaluate %s: the process that evaluates %w", file, c.end)
}

// exitTime is what a child exits with when it has no processor time left, where
// the kernel does not end it.
const exitTime = 124

// verdict says what the end of a child means that had not said all.
func (c *conversation) verdict(status syscall.WaitStatus, stderr string) error {
	said, _, _ := strings.Cut(builtins.Visible(stderr), "\n")
	switch {
	case status.Signaled() && status.Signal() == syscall.SIGXCPU, status.Exited() && status.ExitStatus() == exitTime:
		return c.tooSlow(" of processor time")
	case status.Exited() && status.ExitStatus() == 2 && outOfMemory(stderr):
		limit := c.request.Limits.Memory
		return c.limit("too-much-memory", fmt.Sprintf("%s runs into the memory limit of %d MiB", c.words.subject, limit>>20),
			fmt.Sprintf("is there a value that grows without bound? Or raise the setting max_memory (%d)", limit))
	case status.Exited():
		return fmt.Errorf("exited with status %d: %s", status.ExitStatus(), said)
	}
	return fmt.Errorf("ended without an answer (%s)", status.Signal())
}

// outOfMemory reports whether the Go runtime says that it ends the program for
// want of memory. It has no other way to tell, and always the same words.
func outOfMemory(stderr string) bool {
	for _, words := range []string{"out of memory", "cannot allocate memory", "stack overflow", "failed to create new OS thread", "pthread_create failed", "makeslice: len out of range"} {
		if strings.Contains(stderr, words) {
			return true
		}
	}
	// Not in Go code: the stack of a thread that could not grow, or C that had
	// no memory. A panic begins with other words.
	return strings.HasPrefix(stderr, "SIGSEGV: segmentation violation")
}

func (c *conversation) tooSlow(of string) plan.Diagnostics {
	limit := c.request.Limits.Time
	return c.limit("too-slow", fmt.Sprintf("%s takes longer than %s%s", c.words.subject, limit, of),
		fmt.Sprintf("is there a loop that is too long? Or raise %s (%s)", c.words.longer, limit))
}

// limit is that a child hit a limit. Where it was by then is not known.
func (c *conversation) limit(code, message, hint string) plan.Diagnostics {
	return plan.Diagnostics{{File: c.request.File, Severity: "error", Code: code, Message: message, Hint: hint}}
}
