package runner

import (
	"sync"
	"sync/atomic"
	"time"

	"github.com/piper-build/piper/runtime/logs"
	"github.com/piper-build/piper/runtime/secret"
)

// A mask hides the secrets of a build. It learns: an expand may find steps with
// secrets that the plan did not name.
type mask struct {
	secrets  *secret.Memory
	learning sync.Mutex // who learns last knows most
	known    atomic.Pointer[logs.Redactor]
}

// learn looks up every secret of names, as masking has to know them before
// anything that is given one runs. One that is not to be had fails the steps that
// need it, not the build: Get says why again.
func (m *mask) learn(names []string) error {
	for _, name := range names {
		m.secrets.Get(name)
	}
	m.learning.Lock()
	defer m.learning.Unlock()
	redactor, err := logs.NewRedactor(m.secrets.Given())
	if err == nil {
		m.known.Store(redactor)
	}
	return err
}

// String returns s with its secrets masked.
func (m *mask) String(s string) string { return m.known.Load().String(s) }

// Contains reports whether s shows a secret.
func (m *mask) Contains(s string) bool { return m.known.Load().Contains(s) }

// Writer returns a Writer that masks before it hands on to w. It hides what is
// learned while it is written to, too: a service may print what a step that was
// found later tells it.
func (m *mask) Writer(w logs.Writer) logs.Writer { return &masking{mask: m, to: w} }

type masking struct {
	mask   *mask
	known  *logs.Redactor
	to     logs.Writer
	masked logs.Writer // to, as known masks it; nil before the first write
}

func (w *masking) Write(at time.Time, p []byte) error {
	if known := w.mask.known.Load(); known != w.known || w.masked == nil {
		if err := w.flush(); err != nil {
			return err
		}
		w.known, w.masked = known, known.Writer(open{w.to})
	}
	return w.masked.Write(at, p)
}

// flush hands on what is held back.
func (w *masking) flush() error {
	if w.masked == nil {
		return nil
	}
	return w.masked.Close()
}

func (w *masking) Close() error {
	err := w.flush()
	if closed := w.to.Close(); err == nil {
		err = closed
	}
	return err
}

// open is a Writer that stays open.
type open struct{ logs.Writer }

func (open) Close() error { return nil }
