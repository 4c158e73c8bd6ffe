package runner

import (
	"io"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"
)

// TestPatient: what comes alone is read at once, and what comes in a rush together;
// who says much is not kept waiting.
func TestPatient(t *testing.T) {
	for name, c := range map[string]struct {
		every time.Duration // between writes
		size  int
		waits time.Duration // as long as one may lie there
		reads int           // of 100 writes, at most
	}{
		"alone":     {20 * time.Millisecond, 100, 0, 100},
		"in a rush": {100 * time.Microsecond, 50, breath, rush + 6},
		"much":      {100 * time.Microsecond, 3000, 0, 100},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				pipe := &pipe{more: make(chan struct{}, 1)}
				go func() {
					for range 100 {
						time.Sleep(c.every)
						pipe.put(c.size)
					}
					close(pipe.more)
				}()
				p := &patient{from: pipe}
				total, reads := 0, 0
				for {
					n, err := p.Read(make([]byte, 8<<10))
					if err == io.EOF {
						break
					}
					total += n
					reads++
				}
				require.Equal(t, 100*c.size, total)
				require.LessOrEqual(t, reads, c.reads)
				require.LessOrEqual(t, pipe.waited, c.waits)
			})
		})
	}
}

// A pipe holds what was put into it until it is read.
type pipe struct {
	more chan struct{}

	mu     sync.Mutex // guards what follows
	n      int
	first  time.Time
	waited time.Duration // the longest that anything lay there
}

func (p *pipe) put(n int) {
	p.mu.Lock()
	if p.n == 0 {
		p.first = time.Now()
	}
	p.n += n
	p.mu.Unlock()
	select {
	case p.more <- struct{}{}:
	default:
	}
}

func (p *pipe) Read(b []byte) (int, error) {
	for open := true; ; _, open = <-p.more {
		p.mu.Lock()
		n := min(p.n, len(b))
		if p.n -= n; n > 0 {
			p.waited = max(p.waited, time.Since(p.first))
		}
		p.mu.Unlock()
		switch {
		case n > 0:
			return n, nil
		case !open:
			return 0, io.EOF
		}
	}
}
