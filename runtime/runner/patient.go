package runner

import (
	"io"
	"time"
)

const (
	// rush is how many reads in a row that are short and come soon show that there
	// are many of them: more than a build of one step has to say.
	rush = 16
	// breath is how long what comes in a rush may gather.
	breath = 2 * time.Millisecond
)

// A patient reader of a child that has many short things to say lets them gather:
// to wake up for each costs more than to take it in. What comes alone it reads at
// once. What has not been read lies in a pipe, so a child that dies takes nothing
// along.
type patient struct {
	from io.Reader
	last time.Time
	row  int // of reads that were short and came soon
}

func (p *patient) Read(b []byte) (int, error) {
	if p.row >= rush {
		time.Sleep(breath)
	}
	n, err := p.from.Read(b)
	now := time.Now()
	if p.row++; n > len(b)/4 || now.Sub(p.last) > 5*breath { // much, or late even for a busy machine
		p.row = 0
	}
	p.last = now
	return n, err
}
