package plan

import "hash/maphash"

// Names finds numbers by their names: a map[string]int32 that does not keep the
// names, as whoever has it can tell them. Plans are large, their names are
// looked up several times before anything runs, and this takes a third of the
// time of a map and of its memory.
type Names struct {
	name  func(number int32) string
	seed  maphash.Seed
	slots []slot // as many as a power of two, and some of them always free
	count int
}

// A slot is free when its hash is 0.
type slot struct {
	hash   uint32
	number int32
}

// NewNames returns Names with room for size of them. name tells the name of a
// number that was added.
func NewNames(size int, name func(number int32) string) *Names {
	slots := 8
	for crowded(size, slots) {
		slots *= 2
	}
	return &Names{name: name, seed: maphash.MakeSeed(), slots: newSlots(slots)}
}

// crowded reports whether that many names are too many for that many slots. Probes
// stay short until then: what is looked at in a row is in one cache line.
func crowded(names, slots int) bool { return 8*names > 7*slots }

// newSlots returns free slots. They are written to, as memory that is read before
// it is first written to takes two page faults, and large plans have many pages.
func newSlots(n int) []slot {
	slots := make([]slot, n)
	clear(slots)
	return slots
}

// Len returns how many names there are.
func (n *Names) Len() int { return n.count }

// Add gives a name to a number, unless another number has it. It returns the
// number that has it then, and whether it was added.
func (n *Names) Add(name string, number int32) (has int32, added bool) {
	hash := n.hash(name)
	s := n.find(name, hash)
	if s.hash != 0 {
		return s.number, false
	}
	*s = slot{hash, number}
	if n.count++; crowded(n.count, len(n.slots)) {
		n.grow()
	}
	return number, true
}

// Find returns the number that has a name.
func (n *Names) Find(name string) (number int32, ok bool) {
	s := n.find(name, n.hash(name))
	return s.number, s.hash != 0
}

func (n *Names) hash(name string) uint32 {
	return max(uint32(maphash.String(n.seed, name)), 1)
}

// find returns the slot of a name, or the free one where it would stand.
func (n *Names) find(name string, hash uint32) *slot {
	mask := uint32(len(n.slots) - 1)
	for i := hash & mask; ; i = (i + 1) & mask {
		s := &n.slots[i]
		if s.hash == 0 || s.hash == hash && n.name(s.number) == name {
			return s
		}
	}
}

func (n *Names) grow() {
	old := n.slots
	n.slots = newSlots(2 * len(old))
	mask := uint32(len(n.slots) - 1)
	for _, s := range old {
		if s.hash == 0 {
			continue
		}
		i := s.hash & mask
		for n.slots[i].hash != 0 {
			i = (i + 1) & mask
		}
		n.slots[i] = s
	}
}
