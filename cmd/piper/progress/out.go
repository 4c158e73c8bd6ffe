package progress

import (
	"io"
	"sync"
)

// An out writes to w until that fails, and drops everything from then on: a
// reader that has gone must not end the build. Each write is one piece.
type out struct {
	mu   sync.Mutex
	w    io.Writer
	gone bool
}

func (o *out) write(p []byte) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.gone || len(p) == 0 {
		return
	}
	if _, err := o.w.Write(p); err != nil {
		o.gone = true
	}
}
