package logs

import "encoding/binary"

// minPattern is the length of the shortest pattern a matcher takes. It is the
// length of its grams, too: a gram is the first four bytes of anything.
const minPattern = 4

// A matcher finds every occurrence of any of its patterns in one pass over a
// stream. It is an Aho–Corasick automaton: a state is the longest suffix of
// what was read that a pattern begins with, so a stream never goes back, and
// the length of that suffix (the state's depth) is exactly how many bytes may
// still turn out to belong to a match.
//
// Following the automaton costs a few nanoseconds for each byte. Where nothing
// matches, and that is nearly everywhere, a filter is quicker: it knows, as a
// set of hashes, the grams that stand at the first stride places of a pattern,
// and looks only at every stride-th gram of the stream. If that one is not in
// the set, no pattern begins at any of the stride places up to it.
//
// A matcher does not change once it is made.
type matcher struct {
	nodes  []node // 0 is the root
	root   [256]int32
	filter []uint64 // a set of bits, by hash
	shift  uint     // of a hash, to the filter's size
	stride int
}

// A node is a state of the automaton. Its children are a list.
type node struct {
	child, sibling int32 // 0 is none: the root is nobody's child
	fail           int32 // the longest proper suffix that is a state
	depth          int32
	out            int32 // length of the longest pattern that is a suffix; 0 when none is
	label          byte  // that leads here from the parent
}

// newMatcher returns a matcher for patterns, each at least minPattern long.
func newMatcher(patterns []string) *matcher {
	m := &matcher{nodes: make([]node, 1, 1024)}
	for _, p := range patterns {
		m.insert(p)
	}
	m.link()
	m.sieve(patterns)
	return m
}

func (m *matcher) insert(pattern string) {
	at := int32(0)
	for i := range len(pattern) {
		next := m.childOf(at, pattern[i])
		if next == 0 {
			next = int32(len(m.nodes))
			m.nodes = append(m.nodes, node{sibling: m.nodes[at].child, depth: int32(i + 1), label: pattern[i]})
			m.nodes[at].child = next
			if at == 0 {
				m.root[pattern[i]] = next
			}
		}
		at = next
	}
	m.nodes[at].out = int32(len(pattern))
}

// childOf returns the state that b leads to from at, 0 when there is none.
func (m *matcher) childOf(at int32, b byte) int32 {
	if at == 0 {
		return m.root[b]
	}
	next := m.nodes[at].child
	for next != 0 && m.nodes[next].label != b {
		next = m.nodes[next].sibling
	}
	return next
}

// link sets fail and out of every node, nearest to the root first.
func (m *matcher) link() {
	queue := make([]int32, 1, len(m.nodes))
	for len(queue) > 0 {
		at := queue[0]
		queue = queue[1:]
		for c := m.nodes[at].child; c != 0; c = m.nodes[c].sibling {
			child := &m.nodes[c]
			if at != 0 {
				child.fail = m.next(m.nodes[at].fail, child.label)
			}
			if child.out == 0 {
				child.out = m.nodes[child.fail].out
			}
			queue = append(queue, c)
		}
	}
}

// next is the transition function.
func (m *matcher) next(at int32, b byte) int32 {
	for at != 0 {
		if next := m.childOf(at, b); next != 0 {
			return next
		}
		at = m.nodes[at].fail
	}
	return m.root[b]
}

// sieve fills the filter.
func (m *matcher) sieve(patterns []string) {
	shortest := len(patterns[0])
	for _, p := range patterns {
		shortest = min(shortest, len(p))
	}
	m.stride = min(shortest-minPattern+1, 8)

	// At least 32 bits for each gram keeps false alarms near 3 in 100; more
	// than 32 KiB would fall out of the first cache.
	bits := uint(12)
	for bits < 18 && 1<<bits < 32*len(patterns)*m.stride {
		bits++
	}
	m.shift = 32 - bits
	m.filter = make([]uint64, 1<<bits/64)
	for _, p := range patterns {
		for i := range m.stride {
			h := m.hash(binary.LittleEndian.Uint32([]byte(p[i : i+minPattern])))
			m.filter[h/64] |= 1 << (h % 64)
		}
	}
}

func (m *matcher) hash(gram uint32) uint32 { return gram * 0x9E3779B1 >> m.shift }

// skip returns the first place at or after from where a pattern may begin
// whose first gram lies in p, or the place from which on too few bytes are
// left to tell.
func (m *matcher) skip(p []byte, from int) (start int, hit bool) {
	stride, shift, filter := m.stride, m.shift, m.filter
	i := from + stride - 1
	for ; i+minPattern <= len(p); i += stride {
		h := binary.LittleEndian.Uint32(p[i:]) * 0x9E3779B1 >> shift
		if filter[h/64]&(1<<(h%64)) != 0 {
			return i - stride + 1, true
		}
	}
	return i - stride + 1, false
}

// A span is a piece of a stream, from start up to but not including end.
type span struct{ start, end int }

// scan reads p, beginning in state at, and returns the state after it. It
// appends to found what the matches cover, counted from the beginning of p
// (so the start of a match that began before p is negative), as spans in
// order that neither overlap nor touch.
func (m *matcher) scan(at int32, p []byte, found []span) (int32, []span) {
	i := 0 // bytes that at has seen
	for {
		// Follow the automaton until no match that began before a place i-depth
		// of p can be under way, which is when the filter is able to go on
		// from there.
		for ; i < len(p); i++ {
			depth := int(m.nodes[at].depth)
			if depth < minPattern && depth <= i {
				i -= depth
				break
			}
			at = m.next(at, p[i])
			if out := int(m.nodes[at].out); out > 0 {
				found = cover(found, span{i + 1 - out, i + 1})
			}
		}
		if i == len(p) {
			return at, found
		}
		start, hit := m.skip(p, i)
		past := len(p)
		if hit {
			past = start + m.stride - 1 + minPattern // the gram, so that each hit takes us further
		}
		for at, i = 0, start; i < past; i++ {
			at = m.next(at, p[i])
			if out := int(m.nodes[at].out); out > 0 {
				found = cover(found, span{i + 1 - out, i + 1})
			}
		}
	}
}

// cover adds s, which ends after all that found covers, to found.
func cover(found []span, s span) []span {
	for n := len(found); n > 0 && found[n-1].end >= s.start; n-- {
		s.start = min(s.start, found[n-1].start)
		found = found[:n-1]
	}
	return append(found, s)
}
