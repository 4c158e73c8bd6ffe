package process

import "time"

// Noted reports whether the guard knows of an orphan.
func Noted(pid int) bool {
	if family.start() != nil {
		return false
	}
	family.mu.Lock()
	defer family.mu.Unlock()
	return family.ledger.entries()[pid] != 0
}

// ForkExec is how steps are started.
var ForkExec = forkExec

// Rests is how long the reader of a new step rests, first and after each rest
// that brought so many bytes.
func Rests(brought ...int) []time.Duration {
	in := input{rest: early}
	rests := []time.Duration{in.rest}
	for _, n := range brought {
		in.n = n
		in.rested(n > 0)
		rests = append(rests, in.rest)
	}
	return rests
}
