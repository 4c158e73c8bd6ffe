package runner

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/piper-build/piper/runtime"
	"github.com/piper-build/piper/runtime/build"
	"github.com/piper-build/piper/runtime/logs"
	"github.com/piper-build/piper/runtime/plan"
	"github.com/piper-build/piper/runtime/process"
	"github.com/piper-build/piper/runtime/secret"
	"github.com/piper-build/piper/runtime/stream"
)

// A Command runs builds in a process of their own: a child, which calls Run. So
// what a build does to its process reaches no other one, and its steps find no
// secrets but their own there.
//
// The zero Command starts this program. It may be used by many goroutines.
type Command struct {
	Argv []string // of the child, whose main calls ChildMain when IsChild says so; nil is ChildCommand
	Env  []string // all that the child's own environment has; steps get theirs from Job.Environ

	// Confine keeps children, and with them the steps that they run, from files.
	// Each of them sees its workspace, and its Temp.
	Confine process.Confinement

	// Patience is how long a child that is told to end at once may take, before it
	// is killed and its guard ends what it ran. 0 is five seconds.
	Patience time.Duration

	mu    sync.Mutex
	early map[string]*prepared // by workspace
}

// A prepared is a child that is being started, and waits for its job then.
type prepared struct {
	there chan started
	keep  func() bool // has it not end with its context
}

// A started is a child that was started, or why it was not.
type started struct {
	child *process.Partner
	err   error
}

// Prepare starts a child for the Run in a workspace, with a directory for its
// temporary files, which are there and empty, and does not wait for it. When ctx is
// done before that Run begins, the child ends. One for "" is for whichever Run comes
// first, as long as children are not confined; one that waits already will do.
func (c *Command) Prepare(ctx context.Context, workspace, temp string) {
	c.mu.Lock()
	before := c.early[workspace]
	if before != nil && workspace == "" {
		c.mu.Unlock()
		return
	}
	if c.early == nil {
		c.early = map[string]*prepared{}
	}
	p := &prepared{there: c.begin(workspace, temp)}
	c.early[workspace] = p
	p.keep = context.AfterFunc(ctx, func() {
		c.mu.Lock()
		mine := c.early[workspace] == p
		if mine {
			delete(c.early, workspace)
		}
		c.mu.Unlock()
		if mine {
			dismiss(p.there)
		}
	})
	c.mu.Unlock()
	if before != nil { // it may see a directory that was there before
		before.keep()
		dismiss(before.there)
	}
}

// begin starts a child in the background.
func (c *Command) begin(workspace, temp string) chan started {
	there := make(chan started, 1)
	go func() {
		child, err := c.start(workspace, temp)
		there <- started{child, err}
	}()
	return there
}

// dismiss ends a child that was started in vain, in the background.
func dismiss(there chan started) {
	go func() {
		if s := <-there; s.err == nil {
			s.child.Kill()
			s.child.Wait()
		}
	}()
}

// take returns a child for a workspace, the one that was prepared if there is one.
// To start one may take for ever, where a file system does not answer.
func (c *Command) take(ctx context.Context, workspace, temp string) (*process.Partner, error) {
	c.mu.Lock()
	key := workspace
	if c.early[key] == nil {
		key = ""
	}
	p := c.early[key]
	delete(c.early, key)
	c.mu.Unlock()
	var there chan started
	if p != nil {
		p.keep()
		there = p.there
	} else {
		there = c.begin(workspace, temp)
	}
	select {
	case s := <-there:
		return s.child, s.err
	case <-ctx.Done():
		dismiss(there)
		return nil, context.Cause(ctx)
	}
}

func (c *Command) start(workspace, temp string) (*process.Partner, error) {
	argv := c.Argv
	if argv == nil {
		var err error
		if argv, err = ChildCommand(); err != nil {
			return nil, err
		}
	}
	confine := c.Confine
	if confine.Confines() {
		confine.Visible = append(slices.Clone(confine.Visible), workspace)
		if temp != "" {
			confine.Visible = append(confine.Visible, temp)
		}
	}
	child, err := confine.Converse(append([]string{}, c.Env...), argv)
	if err != nil {
		return nil, fmt.Errorf("start runner: %w", err)
	}
	return child, nil
}

// ChildCommand returns the command line of a child in a program whose main calls
// ChildMain when IsChild says so.
func ChildCommand() ([]string, error) {
	self, err := os.Executable()
	if err != nil {
		return nil, fmt.Errorf("find runner: %w", err)
	}
	return []string{self, childArg}, nil
}

// A Job is what a child is to run, and how: the Options that can be sent, with
// the same meaning. Plan, which must be valid, and Workspace must be set.
type Job struct {
	Plan      *plan.Plan
	Workspace string
	ID        build.ID // "" makes a new one
	Commit    string
	Branch    string

	Parallel int
	MaxNodes int
	Environ  []string
	PassEnv  []string
	Keep     bool
	Temp     string
	History  map[string]time.Duration
	Facts    map[string]string
	Secrets  map[string]string // of the plan, by name

	Files   func() ([]string, error) // called when an environment asks
	Report  func(message string)
	Cancels <-chan runtime.Cancel
}

// A Handler is told what happens in a build, and asked what its runner cannot
// know. Event and Output come one at a time, in order; what they wait for, the
// build waits for. An error of theirs ends it at once. The others may be called at
// any time. A context that is done says that nobody needs the answer any more.
type Handler interface {
	Event(ev build.Event) error

	// Output takes what an attempt wrote, secrets masked. It may keep p.
	Output(node string, attempt int, at time.Time, p []byte) error

	// The others are what the Options of the same name are. Expand also gives the
	// secrets of what it found, by name.

	Approve(ctx context.Context, node string) (runtime.Approval, error)
	Trigger(ctx context.Context, node string, params map[string]string, made func(build.ID)) (build.State, error)
	Expand(ctx context.Context, node string, outputs map[string]string) (plan.Expansion, map[string]string, error)
	Intend(ctx context.Context, node string) error
}

// ErrDied says that a child ended before it had said that the build has.
var ErrDied = errors.New("the runner died")

// Run runs a build in a child, to its end. How it ended is its State. The error is
// the machine's: the child died (ErrDied), said what cannot be (stream.ErrGarbage,
// build.ErrImpossible), or h failed. Then the build shows how far it got, which may
// be its end all the same.
//
// When ctx is done all of the build is ended at once, and h gets no more output.
// However Run ends, nothing of the build runs any more, and no method of h.
func (c *Command) Run(ctx context.Context, j Job, h Handler) (*build.Build, error) {
	p := &parent{job: &j, handler: h, build: build.New(j.Plan), asked: map[int64]context.CancelCauseFunc{}, heard: make(chan struct{})}
	var err error
	if p.child, err = c.take(ctx, j.Workspace, j.Temp); err != nil {
		return p.build, err
	}
	p.down = stream.NewWriter(p.child)
	p.ctx, p.end = context.WithCancelCause(ctx)
	var others sync.WaitGroup
	reaped := make(chan struct{})
	others.Go(p.speak)
	others.Go(func() { p.outlast(cmp.Or(c.Patience, childPatience), reaped) })

	wrong := p.listen()
	close(p.heard)
	p.end(nil) // what is left of a child has to go, and nobody needs an answer
	status, stderr, err := p.child.Wait()
	close(reaped)
	others.Wait()
	p.answering.Wait()
	switch {
	case err != nil:
		return p.build, errors.Join(wrong, fmt.Errorf("end runner: %w", err))
	case !errors.Is(wrong, ErrDied):
		return p.build, wrong
	}
	died := &process.ExitError{Program: "runner", Exit: status.ExitStatus(), Stderr: p.mask(stderr)}
	if status.Signaled() {
		died.Signal = status.Signal().String()
	}
	if ctx.Err() != nil {
		wrong = fmt.Errorf("%w: %w", context.Cause(ctx), wrong)
	}
	return p.build, fmt.Errorf("%w before the build had ended: %w", wrong, died)
}

// mask is the beginning of what a child wrote to its standard error, which says
// most of a panic, without secrets.
func (p *parent) mask(stderr string) string {
	const most = 4 << 10
	known := map[string]string{}
	for _, given := range append(p.given, p.job.Secrets) {
		for name, value := range given {
			if secret.Check(value) == nil {
				known[name] = value
			}
		}
	}
	masks, err := logs.NewRedactor(known)
	if err != nil {
		return err.Error()
	}
	stderr = strings.TrimSpace(masks.String(stderr))
	if len(stderr) > most {
		stderr = strings.ToValidUTF8(stderr[:most], "") + "…"
	}
	return stderr
}

// A parent is one conversation with a child, at its other end. What listen does
// not say of itself, other goroutines may do.
type parent struct {
	job     *Job
	handler Handler
	child   *process.Partner
	down    *stream.Writer

	ctx   context.Context // of the answers; done when the build is to end at once
	end   context.CancelCauseFunc
	heard chan struct{} // closed when listen has returned

	build *build.Build // listen's
	sick  error        // what the handler said, once; listen's

	answering sync.WaitGroup

	mu    sync.Mutex                        // guards what follows
	asked map[int64]context.CancelCauseFunc // by ID of the question
	given []map[string]string               // secrets of expands
}

// speak tells the child what to do, and what asks the build to end.
func (p *parent) speak() {
	p.down.Line(p.job.line())
	for cancels := p.job.Cancels; ; {
		select {
		case c, more := <-cancels:
			if !more {
				cancels = nil
				continue
			}
			p.down.Line(message{Kind: cancel, Cancel: c})
		case <-p.heard:
			return
		case <-p.ctx.Done():
			p.down.Line(message{Kind: cancel, Cancel: runtime.Cancel{Reason: context.Cause(p.ctx).Error(), Force: true}})
			return
		}
	}
}

// outlast kills a child that has been told to go, and is still there.
func (p *parent) outlast(patience time.Duration, reaped <-chan struct{}) {
	select {
	case <-p.ctx.Done():
	case <-reaped:
		return
	}
	late := time.NewTimer(patience)
	defer late.Stop()
	select {
	case <-late.C:
		p.child.Kill()
	case <-reaped:
	}
}

// listen hears the child to its end. What it says that cannot be ends it at once.
func (p *parent) listen() error {
	in := stream.NewReader(&patient{from: p.child})
	for {
		l, err := in.Next()
		switch {
		case errors.Is(err, stream.ErrGarbage) && !errors.Is(err, io.ErrUnexpectedEOF):
		case err != nil: // its end, or Kill's
			return errors.Join(p.sick, ErrDied)
		case l.Event != nil:
			err = p.event(*l.Event)
		case l.Output != nil:
			err = p.output(l.Output)
		default:
			var m message
			if err = json.Unmarshal(l.Text, &m); err != nil {
				break
			}
			if m.Kind == exited {
				return p.exited(m.err())
			}
			err = p.message(m)
		}
		if err != nil {
			p.child.Kill()
			return fmt.Errorf("hear runner: %w", err)
		}
	}
}

// event takes an event.
func (p *parent) event(ev build.Event) error {
	if err := p.build.Apply(ev); err != nil {
		return err
	}
	if p.sick == nil {
		p.failed(p.handler.Event(ev))
	}
	return nil
}

// output takes what an attempt wrote, which has to be running.
func (p *parent) output(o *stream.Output) error {
	if step, ok := p.build.Step(o.Node); !ok || step.State != build.Running || step.Attempt != o.Attempt {
		return fmt.Errorf("output of attempt %d of %q, which does not run: %w", o.Attempt, o.Node, stream.ErrGarbage)
	}
	if p.ctx.Err() == nil {
		p.failed(p.handler.Output(o.Node, o.Attempt, o.Time, o.Data))
	}
	return nil
}

// failed ends the build when the handler failed.
func (p *parent) failed(err error) {
	if err != nil {
		p.sick = err
		p.end(err)
	}
}

// exited takes the child's last word: the error that Run had there.
func (p *parent) exited(err error) error {
	switch {
	case p.sick != nil:
		return p.sick
	case err == nil && p.build.Ended().IsZero():
		return fmt.Errorf("hear runner: it says that the build has ended, which is %s: %w", p.build.State(), stream.ErrGarbage)
	}
	return err
}

// message takes a line that is neither event nor output.
func (p *parent) message(m message) error {
	switch m.Kind {
	case ask:
		ctx, withdraw := context.WithCancelCause(p.ctx)
		p.mu.Lock()
		p.asked[m.ID] = withdraw
		p.mu.Unlock()
		p.answering.Go(func() {
			said := p.answer(ctx, m)
			said.Kind, said.ID = answer, m.ID
			p.mu.Lock()
			delete(p.asked, m.ID)
			p.mu.Unlock()
			withdraw(nil)
			p.down.Line(said)
		})
	case withdraw:
		p.mu.Lock()
		if withdraw := p.asked[m.ID]; withdraw != nil {
			withdraw(runtime.ErrWithdrawn)
		}
		p.mu.Unlock()
	case report:
		if p.job.Report != nil {
			p.job.Report(m.Text)
		}
	default:
		return fmt.Errorf("a line of the unknown kind %q: %w", m.Kind, stream.ErrGarbage)
	}
	return nil
}

// answer asks who knows.
func (p *parent) answer(ctx context.Context, q message) (said message) {
	var err error
	switch q.What {
	case askApprove:
		said.Approval, err = p.handler.Approve(ctx, q.Node)
	case askTrigger:
		var once sync.Once
		said.State, err = p.handler.Trigger(ctx, q.Node, q.Params, func(child build.ID) {
			once.Do(func() { p.down.Line(message{Kind: made, ID: q.ID, Child: child}) })
		})
	case askExpand:
		var secrets map[string]string
		said.Expansion, secrets, err = p.handler.Expand(ctx, q.Node, q.Outputs)
		said.Secrets = sendSecrets(secrets)
		p.mu.Lock()
		p.given = append(p.given, secrets)
		p.mu.Unlock()
	case askIntend:
		err = p.handler.Intend(ctx, q.Node)
	case askFiles:
		if p.job.Files != nil {
			var files []string
			files, err = p.job.Files()
			said.Files = list(files)
		}
	default:
		err = fmt.Errorf("nobody knows what %q asks for", q.What)
	}
	said.failed(err)
	return said
}
