package process

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
