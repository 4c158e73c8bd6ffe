package secret

import (
	"maps"
	"sync"
)

// A Memory asks a Source and remembers what it said, so that each secret is
// looked up once and everything that was ever given out can be masked, by the
// builds that come later too. It is made by Remember and may be used from many
// goroutines.
type Memory struct {
	from Source

	mu     sync.Mutex
	values map[string]string
	errs   map[string]error
}

// Remember returns a Memory of what from says. A nil Source has no secrets.
func Remember(from Source) *Memory {
	if from == nil {
		from = Values(nil)
	}
	return &Memory{from: from, values: map[string]string{}, errs: map[string]error{}}
}

// Get is a Source.
func (m *Memory) Get(name string) (string, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if value, ok := m.values[name]; ok {
		return value, nil
	}
	if err := m.errs[name]; err != nil {
		return "", err
	}
	value, err := m.from(name)
	if err != nil {
		m.errs[name] = err
		return "", err
	}
	m.values[name] = value
	return value, nil
}

// Given returns every value that Get has given out, by name.
func (m *Memory) Given() map[string]string {
	m.mu.Lock()
	defer m.mu.Unlock()
	return maps.Clone(m.values)
}
