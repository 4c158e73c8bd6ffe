package process

// Forking has it look as if a process were about to be started, until end is called.
func Forking() (end func()) {
	family.forking.Add(1)
	return func() { family.forking.Add(-1) }
}
