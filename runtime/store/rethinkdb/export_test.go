package rethinkdb

// Asked is how often a server was asked.
func (s *Store) Asked() uint64 { return s.turn.n.Load() }
