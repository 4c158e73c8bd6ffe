package server

import (
	"errors"
	"net"
	"sync"
	"time"
)

// A Proxy stands between a client and a server, and has the network fail.
type Proxy struct {
	Host string // where to connect to

	to       []string
	listener net.Listener

	mu    sync.Mutex        // guards what follows
	conns map[net.Conn]bool // whether it is one of a client
	there way               // from clients to the server
	back  way
}

// A way is one of the two directions that bytes go.
type way struct {
	flow  chan struct{} // closed while bytes may pass
	delay time.Duration // of each piece
}

// NewProxy returns a proxy to the servers of a cluster: each connection is to one of
// them that answers, and the next one to another.
func NewProxy(to ...string) (*Proxy, error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, err
	}
	p := &Proxy{Host: l.Addr().String(), to: to, listener: l, conns: map[net.Conn]bool{}}
	p.there.flow, p.back.flow = make(chan struct{}), make(chan struct{})
	close(p.there.flow)
	close(p.back.flow)
	go p.accept()
	return p, nil
}

// Close ends the proxy.
func (p *Proxy) Close() {
	p.listener.Close()
	p.Resume()
	p.Cut()
}

func (p *Proxy) accept() {
	for turn := 0; ; turn++ {
		near, err := p.listener.Accept()
		if errors.Is(err, net.ErrClosed) {
			return
		}
		if err != nil {
			continue
		}
		var far net.Conn
		err = errors.New("there is no server")
		for i := 0; i < len(p.to) && err != nil; i++ {
			far, err = net.Dial("tcp", p.to[(turn+i)%len(p.to)])
		}
		if err != nil {
			near.Close()
			continue
		}
		p.mu.Lock()
		p.conns[near], p.conns[far] = true, false
		p.mu.Unlock()
		go p.carry(near, far, &p.there)
		go p.carry(far, near, &p.back)
	}
}

// carry passes on what comes, until either side ends.
func (p *Proxy) carry(from, to net.Conn, by *way) {
	defer p.forget(from)
	defer p.forget(to)
	buf := make([]byte, 64<<10)
	for {
		n, err := from.Read(buf)
		p.mu.Lock()
		now := *by
		p.mu.Unlock()
		time.Sleep(now.delay)
		<-now.flow
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

func (p *Proxy) forget(c net.Conn) {
	p.mu.Lock()
	defer p.mu.Unlock()
	delete(p.conns, c)
	c.Close()
}

// Stall has nothing pass any more; connections stay, and nobody is told.
func (p *Proxy) Stall() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.there.stall()
	p.back.stall()
}

// StallAnswers has requests pass, and no answers.
func (p *Proxy) StallAnswers() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.back.stall()
}

// Delay has all that passes take so much longer.
func (p *Proxy) Delay(d time.Duration) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.there.delay, p.back.delay = d, d
}

// Resume ends a Stall: what was held back passes. It ends a Delay, too.
func (p *Proxy) Resume() {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, w := range []*way{&p.there, &p.back} {
		w.delay = 0
		if !w.flows() {
			close(w.flow)
		}
	}
}

func (w *way) stall() {
	if w.flows() {
		w.flow = make(chan struct{})
	}
}

func (w *way) flows() bool {
	select {
	case <-w.flow:
		return true
	default:
		return false
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

// HalfClose tells the clients of all connections that nothing more comes, and the
// server nothing.
func (p *Proxy) HalfClose() {
	p.mu.Lock()
	defer p.mu.Unlock()
	for c, client := range p.conns {
		if client {
			c.(*net.TCPConn).CloseWrite()
		}
	}
}
