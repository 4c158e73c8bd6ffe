package rethinkdb

import (
	"slices"
	"testing"

	r "gopkg.in/rethinkdb/rethinkdb-go.v6"
)

// Asked is how often a server was asked.
func (s *Store) Asked() uint64 { return s.turn.n.Load() }

// SetOldest has a test need another server than there is.
func SetOldest(t *testing.T, version string) {
	had := oldest
	oldest = version
	t.Cleanup(func() { oldest = had })
}

// Newer runs do as a piper whose tables have the next version: there is one more, and
// builds have one more index, by ref.
func Newer(t *testing.T, do func(t *testing.T)) {
	hadVersion, had := version, schema
	defer func() { version, schema = hadVersion, had }()
	version++
	schema = slices.Clone(had)
	for i := range schema {
		if t := &schema[i]; t.name == "builds" {
			t.indexes = append(slices.Clone(t.indexes), index{"ref", func(row r.Term) any { return asked(row, "ref") }})
		}
	}
	schema = append(schema, table{"colours", "id", nil})
	t.Run("newer", do)
}
