package rethinkdbtest

import (
	"net"
	"sync"
	"testing"

	"github.com/stretchr/testify/require"
)

// A Proxy stands between a store and a server, and has the network fail.
type Proxy struct {
	Host string // where to connect to

	to       string
	listener net.Listener

	mu    sync.Mutex // guards what follows
	conns map[net.Conn]bool
	flow  chan struct{} // closed while bytes may pass
}

// NewProxy returns a proxy to a server.
func NewProxy(t testing.TB, to string) *Proxy {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	p := &Proxy{Host: l.Addr().String(), to: to, listener: l, conns: map[net.Conn]bool{}, flow: make(chan struct{})}
	close(p.flow)
	go p.accept()
	t.Cleanup(p.Close)
	return p
}

// Close ends the proxy, and all connections.
func (p *Proxy) Close() {
	p.listener.Close()
	p.Resume()
	p.Cut()
}

func (p *Proxy) accept() {
	for {
		near, err := p.listener.Accept()
		if err != nil {
			return
		}
		far, err := net.Dial("tcp", p.to)
		if err != nil {
			near.Close()
			continue
		}
		p.mu.Lock()
		p.conns[near], p.conns[far] = true, true
		p.mu.Unlock()
		go p.carry(near, far)
		go p.carry(far, near)
	}
}

// carry passes on what comes, until either side ends.
func (p *Proxy) carry(from, to net.Conn) {
	defer from.Close()
	defer to.Close()
	buf := make([]byte, 64<<10)
	for {
		n, err := from.Read(buf)
		p.mu.Lock()
		flow := p.flow
		p.mu.Unlock()
		<-flow
		if n > 0 {
			if _, err := to.Write(buf[:n]); err != nil {
				return
			}
		}
		if err != nil {
			return
		}
	}
}

// Stall has nothing pass any more; connections stay, and nobody is told.
func (p *Proxy) Stall() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.flow = make(chan struct{})
}

// Resume ends a Stall: what was held back passes.
func (p *Proxy) Resume() {
	p.mu.Lock()
	defer p.mu.Unlock()
	select {
	case <-p.flow:
	default:
		close(p.flow)
	}
}

// Cut ends all connections.
func (p *Proxy) Cut() {
	p.mu.Lock()
	defer p.mu.Unlock()
	for c := range p.conns {
		c.Close()
		delete(p.conns, c)
	}
}
