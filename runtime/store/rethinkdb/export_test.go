package rethinkdb

import "testing"

// Asked is how often a server was asked.
func (s *Store) Asked() uint64 { return s.turn.n.Load() }

// SetOldest has a test need another server than there is.
func SetOldest(t *testing.T, version string) {
	had := oldest
	oldest = version
	t.Cleanup(func() { oldest = had })
}
