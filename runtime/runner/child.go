package runner

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"sync"
	"syscall"
	"time"

	"github.com/piper-build/piper/runtime"
	"github.com/piper-build/piper/runtime/build"
	"github.com/piper-build/piper/runtime/plan"
	"github.com/piper-build/piper/runtime/process"
	"github.com/piper-build/piper/runtime/secret"
	"github.com/piper-build/piper/runtime/stream"
)

// childArg is the one argument of a child.
const childArg = "__runner"

// IsChild reports whether this process was started to run a build. Then main
// calls ChildMain and nothing else.
func IsChild() bool { return len(os.Args) == 2 && os.Args[1] == childArg }

// childPatience is how long a child whose parent has gone may take to end what
// it runs. After that its guard does it.
const childPatience = 5 * time.Second

// ChildMain is the whole life of a child. It returns the exit code.
func ChildMain() int {
	process.Expendable() // its parent, which has other builds, is not

	if err := process.Protect(); err != nil { // before anything secret is read
		fmt.Fprintf(os.Stderr, "piper: %v\n", err)
		return 1
	}
	// A parent that has gone shows as an error of a write, and must not end this
	// process before what it runs.
	signal.Notify(make(chan os.Signal, 1), syscall.SIGPIPE)
	local, err := guarded() // while nobody waits for it
	if err != nil {
		fmt.Fprintf(os.Stderr, "piper: %v\n", err)
		return 1
	}
	in := bufio.NewReaderSize(os.Stdin, 64<<10)
	var job jobLine
	err = readLine(in, &job)
	if err == io.EOF { // it was not needed
		local.Close()
		return 0
	}
	var o Options
	if err == nil {
		o, err = job.options()
	}
	if err != nil {
		local.Close()
		fmt.Fprintf(os.Stderr, "piper: read job: %v\n", err)
		return 2
	}
	o.local = local
	c := &child{up: stream.NewWriter(os.Stdout), asked: map[int64]chan message{}, gone: make(chan struct{}),
		cancels: make(chan runtime.Cancel, 16), secrets: map[string]string{}}
	c.hold(job.Secrets)
	o.Secrets = secret.Remember(c.secret)
	go c.listen(in)
	c.answers(&o, job.Files)
	_, err = Run(context.Background(), o)
	end := message{Kind: exited}
	end.failed(err)
	if c.up.Line(end) != nil {
		return 1
	}
	return 0
}

// readLine reads one JSON object that is a line of its own.
func readLine(in *bufio.Reader, v any) error {
	text, err := in.ReadBytes('\n')
	switch {
	case err == io.EOF && len(text) > 0:
		return io.ErrUnexpectedEOF
	case err != nil:
		return err
	}
	return json.Unmarshal(text, v)
}

// A child is the end of a conversation that runs the build.
type child struct {
	up      *stream.Writer
	cancels chan runtime.Cancel
	gone    chan struct{} // closed when the parent has gone

	mu    sync.Mutex // guards what follows
	asks  int64
	asked map[int64]chan message // what is to be answered, by ID; each holds all that there may come

	secrets map[string]string // that the parent gave
}

// hold takes secrets from the parent. Those of an expand come before anything of
// it is looked up.
func (c *child) hold(given secretValues) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for name, value := range given {
		c.secrets[name] = string(value)
	}
}

// secret is a secret.Source of what the parent gave.
func (c *child) secret(name string) (string, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	return secret.Values(c.secrets)(name)
}

// listen hears the parent until it has gone, and ends the build then. It never
// waits for anything else.
func (c *child) listen(in *bufio.Reader) {
	for {
		var m message
		if err := readLine(in, &m); err != nil {
			if err != io.EOF {
				fmt.Fprintf(os.Stderr, "piper: hear parent: %v\n", err)
			}
			break
		}
		switch m.Kind {
		case cancel:
			c.cancel(m.Cancel)
		case answer, made:
			c.mu.Lock()
			if to := c.asked[m.ID]; to != nil {
				to <- m
			}
			if m.Kind == answer {
				delete(c.asked, m.ID)
			}
			c.mu.Unlock()
		}
	}
	time.AfterFunc(childPatience, func() { os.Exit(1) })
	close(c.gone)
	c.cancel(runtime.Cancel{Reason: "who asked for the build has gone", Force: true})
}

// cancel asks the build to end. What there is no room for was asked before.
func (c *child) cancel(what runtime.Cancel) {
	for {
		select {
		case c.cancels <- what:
			return
		default:
		}
		select {
		case <-c.cancels:
		default:
		}
	}
}

var errGone = errors.New("who asked for the build has gone")

// ask asks the parent and waits for the answer. When ctx is done it says so, and
// waits on: what the answer is then is for the parent to decide.
func (c *child) ask(ctx context.Context, q message, onMade func(build.ID)) (message, error) {
	replies := make(chan message, 2) // that it was made, and the answer
	c.mu.Lock()
	c.asks++
	q.Kind, q.ID = ask, c.asks
	c.asked[q.ID] = replies
	c.mu.Unlock()
	if err := c.up.Line(q); err != nil {
		return message{}, fmt.Errorf("ask for %s: %w", q.What, err)
	}
	done := ctx.Done()
	for {
		select {
		case m := <-replies:
			if m.Kind == answer {
				return m, m.err()
			}
			onMade(m.Child)
		case <-done:
			done = nil
			if err := c.up.Line(message{Kind: withdraw, ID: q.ID}); err != nil {
				return message{}, fmt.Errorf("ask for %s: %w", q.What, err)
			}
		case <-c.gone:
			return message{}, errGone
		}
	}
}

// answers puts the parent behind all that o asks and tells.
func (c *child) answers(o *Options, files bool) {
	o.Display = up{c.up}
	o.Cancels = c.cancels
	o.Report = func(text string) { c.up.Line(message{Kind: report, Text: text}) }
	o.Approve = func(ctx context.Context, node *plan.Node) (runtime.Approval, error) {
		m, err := c.ask(ctx, message{What: askApprove, Node: node.Name}, nil)
		return m.Approval, err
	}
	o.Trigger = func(ctx context.Context, node *plan.Node, params map[string]string, onMade func(build.ID)) (build.State, error) {
		m, err := c.ask(ctx, message{What: askTrigger, Node: node.Name, Params: params}, onMade)
		return m.State, err
	}
	o.Expand = func(ctx context.Context, node *plan.Node, outputs map[string]string) (plan.Expansion, error) {
		m, err := c.ask(ctx, message{What: askExpand, Node: node.Name, Outputs: outputs}, nil)
		c.hold(m.Secrets)
		return m.Expansion, err
	}
	o.Intend = func(ctx context.Context, node *plan.Node) error {
		_, err := c.ask(ctx, message{What: askIntend, Node: node.Name}, nil)
		return err
	}
	if files {
		o.Files = func() ([]string, error) {
			m, err := c.ask(context.Background(), message{What: askFiles}, nil)
			return unlist(m.Files), err
		}
	}
}

// up is the Display that the parent sees. That it has gone is listen's affair.
type up struct{ to *stream.Writer }

func (up) Begin(*plan.Plan, *build.Build) {}

func (u up) Event(ev build.Event, _ *build.Build) { u.to.Event(ev) }

func (u up) Output(node *plan.Node, attempt int, at time.Time, p []byte) {
	u.to.Output(node.Name, attempt, at, p)
}

func (up) End(*build.Build) {}
