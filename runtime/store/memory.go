package store

import (
	"bytes"
	"cmp"
	"context"
	"fmt"
	"maps"
	"reflect"
	"slices"
	"strconv"
	"sync"
	"time"

	"github.com/piper-build/piper/runtime/build"
)

// Memory is a Store in this process, gone with it. It is what tests run on, and
// says in the fewest words what the others do.
type Memory struct {
	mu       sync.Mutex
	number   int64
	builds   map[build.ID]Build
	blobs    map[string][]byte
	events   map[stream]map[int64][]build.Event // batches by their first seq
	chunks   map[ChunkKey]Chunk
	groups   map[string]Group
	agents   map[AgentID]Agent
	projects map[string]Project
	tokens   map[string]Token // by hash
	hints    Hints
}

// A stream is what one attempt of a build tells.
type stream struct {
	build build.ID
	fence int64
}

// NewMemory returns an empty store.
func NewMemory() *Memory {
	return &Memory{
		builds:   map[build.ID]Build{},
		blobs:    map[string][]byte{},
		events:   map[stream]map[int64][]build.Event{},
		chunks:   map[ChunkKey]Chunk{},
		groups:   map[string]Group{},
		agents:   map[AgentID]Agent{},
		projects: map[string]Project{},
		tokens:   map[string]Token{},
	}
}

var (
	_ Store    = (*Memory)(nil)
	_ Portable = (*Memory)(nil)
)

// Close implements Store.
func (m *Memory) Close() error { return nil }

// lock takes the store for one call, unless ctx is done.
func (m *Memory) lock(ctx context.Context) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	m.mu.Lock()
	return nil
}

// NextNumber implements Builds.
func (m *Memory) NextNumber(ctx context.Context) (int64, error) {
	if err := m.lock(ctx); err != nil {
		return 0, err
	}
	defer m.mu.Unlock()
	m.number++
	return m.number, nil
}

// Enqueue implements Builds.
func (m *Memory) Enqueue(ctx context.Context, b Build) (Build, error) {
	if err := m.lock(ctx); err != nil {
		return Build{}, err
	}
	defer m.mu.Unlock()
	if had, ok := m.builds[b.ID]; ok {
		if had.Hash != b.Hash {
			return Build{}, fmt.Errorf("enqueue build %s: it was asked for with other words, as number %d: %w", b.ID, had.Number, ErrConflict)
		}
		return had.clone(), nil
	}
	b = b.clone()
	b.Rev = max(b.Rev, 1)
	m.put(b)
	return b, nil
}

// put keeps b and tells of it.
func (m *Memory) put(b Build) {
	m.builds[b.ID] = b
	m.hints.Tell(Hint{Build: b.ID})
}

// Build implements Builds.
func (m *Memory) Build(ctx context.Context, id build.ID) (Build, error) {
	if err := m.lock(ctx); err != nil {
		return Build{}, err
	}
	defer m.mu.Unlock()
	b, ok := m.builds[id]
	if !ok {
		return Build{}, missing("build", id)
	}
	return b.clone(), nil
}

func missing(what string, key any) error { return fmt.Errorf("%s %v: %w", what, key, ErrNotFound) }

// BuildNumbered implements Builds.
func (m *Memory) BuildNumbered(ctx context.Context, number int64) (Build, error) {
	found, err := m.pick(ctx, 1, newest, func(b *Build) bool { return b.Number == number })
	if err == nil && len(found) == 0 {
		err = missing("build", number)
	}
	if err != nil {
		return Build{}, err
	}
	return found[0], nil
}

// Change implements Builds.
func (m *Memory) Change(ctx context.Context, id build.ID, c Change) (Build, error) {
	if err := m.lock(ctx); err != nil {
		return Build{}, err
	}
	defer m.mu.Unlock()
	b, ok := m.builds[id]
	if !ok {
		return Build{}, missing("build", id)
	}
	after, differs, err := b.Changed(c)
	if err != nil {
		return Build{}, err
	}
	if differs {
		m.put(after)
	}
	return after.clone(), nil
}

// newest and urgent are the two orders of builds.
func newest(a, b Build) int { return cmp.Compare(b.Number, a.Number) }
func oldest(a, b Build) int { return cmp.Compare(a.Number, b.Number) }
func urgent(a, b Build) int {
	return cmp.Or(cmp.Compare(b.Priority(), a.Priority()), oldest(a, b))
}

// pick returns the builds that match, in order.
func (m *Memory) pick(ctx context.Context, limit int, order func(a, b Build) int, match func(*Build) bool) ([]Build, error) {
	if err := m.lock(ctx); err != nil {
		return nil, err
	}
	defer m.mu.Unlock()
	var found []Build
	for _, b := range m.builds {
		if match(&b) {
			found = append(found, b.clone())
		}
	}
	slices.SortFunc(found, order)
	if limit > 0 && len(found) > limit {
		found = found[:limit]
	}
	return found, nil
}

// List implements Builds. The cursor is the number of the last build of the
// page before.
func (m *Memory) List(ctx context.Context, f Filter, cursor string, limit int) ([]Build, string, error) {
	before := int64(0)
	if cursor != "" {
		var err error
		if before, err = strconv.ParseInt(cursor, 10, 64); err != nil || before <= 0 {
			return nil, "", fmt.Errorf("list builds: %q: %w", cursor, ErrCursor)
		}
	}
	found, err := m.pick(ctx, limit+1, newest, func(b *Build) bool { return (before == 0 || b.Number < before) && f.match(b) })
	if err != nil || len(found) <= limit {
		return found, "", err
	}
	return found[:limit], strconv.FormatInt(found[limit-1].Number, 10), nil
}

func (f Filter) match(b *Build) bool {
	return !b.Collected &&
		(f.Project == "" || f.Project == b.Request.Project) &&
		(f.Pipeline == "" || f.Pipeline == b.Request.Pipeline) &&
		(f.State == "" || f.State == b.State) &&
		(f.Owner == "" || f.Owner == b.Owner) &&
		(f.Parent == "" || f.Parent == b.Request.Cause.Build)
}

// Queue implements Builds.
func (m *Memory) Queue(ctx context.Context, choice AgentID, limit int) ([]Build, error) {
	return m.pick(ctx, limit, urgent, func(b *Build) bool {
		return b.State == build.Queued && (choice == "" || b.FirstChoice == choice)
	})
}

// Running implements Builds.
func (m *Memory) Running(ctx context.Context, owner AgentID) ([]Build, error) {
	return m.pick(ctx, 0, oldest, func(b *Build) bool {
		return b.State == build.Running && (owner == "" || b.Owner == owner)
	})
}

// Unsettled implements Builds.
func (m *Memory) Unsettled(ctx context.Context, limit int) ([]Build, error) {
	return m.pick(ctx, limit, oldest, func(b *Build) bool { return len(b.Pending) > 0 })
}

// Watch implements Builds.
func (m *Memory) Watch(ctx context.Context, what Watched) (<-chan Hint, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	c := m.hints.Listen(what)
	context.AfterFunc(ctx, func() { m.hints.Drop(c) })
	return c, nil
}

// PutBlob implements Blobs.
func (m *Memory) PutBlob(ctx context.Context, digest string, data []byte) error {
	if err := m.lock(ctx); err != nil {
		return err
	}
	defer m.mu.Unlock()
	m.blobs[digest] = bytes.Clone(data)
	return nil
}

// Blob implements Blobs.
func (m *Memory) Blob(ctx context.Context, digest string) ([]byte, error) {
	if err := m.lock(ctx); err != nil {
		return nil, err
	}
	defer m.mu.Unlock()
	data, ok := m.blobs[digest]
	if !ok {
		return nil, missing("blob", digest)
	}
	return bytes.Clone(data), nil
}

// AppendEvents implements Events.
func (m *Memory) AppendEvents(ctx context.Context, key EventKey, events []build.Event) error {
	if err := m.lock(ctx); err != nil {
		return err
	}
	defer m.mu.Unlock()
	s := stream{key.Build, key.Fence}
	if had, ok := m.events[s][key.Seq]; ok {
		if !reflect.DeepEqual(had, events) {
			return fmt.Errorf("append events %d of build %s: other ones are there: %w", key.Seq, key.Build, ErrConflict)
		}
		return nil
	}
	if m.events[s] == nil {
		m.events[s] = map[int64][]build.Event{}
	}
	m.events[s][key.Seq] = slices.Clone(events)
	m.hints.Tell(Hint{Build: key.Build})
	return nil
}

// Events implements Events.
func (m *Memory) Events(ctx context.Context, id build.ID, fence, seq int64, limit int) ([]build.Event, error) {
	if err := m.lock(ctx); err != nil {
		return nil, err
	}
	defer m.mu.Unlock()
	batches := m.events[stream{id, fence}]
	var found []build.Event
	for _, first := range slices.Sorted(maps.Keys(batches)) {
		for _, ev := range batches[first] {
			if ev.Seq == seq && len(found) < limit {
				found = append(found, ev)
				seq++
			}
		}
	}
	return found, nil
}

// AppendChunks implements Logs.
func (m *Memory) AppendChunks(ctx context.Context, chunks []Chunk) error {
	if err := m.lock(ctx); err != nil {
		return err
	}
	defer m.mu.Unlock()
	for _, c := range chunks {
		if had, ok := m.chunks[c.Key]; ok && !reflect.DeepEqual(had, c) {
			return fmt.Errorf("append log chunk %v: another one is there: %w", c.Key, ErrConflict)
		}
	}
	for _, c := range chunks {
		c.Data, c.Times = bytes.Clone(c.Data), slices.Clone(c.Times)
		m.chunks[c.Key] = c
		m.hints.Tell(Hint{Build: c.Key.Build})
	}
	return nil
}

// Chunks implements Logs.
func (m *Memory) Chunks(ctx context.Context, key ChunkKey, limit int) ([]Chunk, error) {
	if err := m.lock(ctx); err != nil {
		return nil, err
	}
	defer m.mu.Unlock()
	var found []Chunk
	for c, ok := m.chunks[key]; ok && len(found) < limit; c, ok = m.chunks[key] {
		found = append(found, c)
		key.Seq++
	}
	return found, nil
}

// ChunkAt implements Logs.
func (m *Memory) ChunkAt(ctx context.Context, key ChunkKey, line int64) (int64, error) {
	if err := m.lock(ctx); err != nil {
		return 0, err
	}
	defer m.mu.Unlock()
	key.Seq = 0
	for c, ok := m.chunks[key]; ok; c, ok = m.chunks[key] {
		if line < c.Line+c.Lines || line == c.Line && len(c.Data) > 0 {
			return key.Seq, nil
		}
		key.Seq++
	}
	return key.Seq, nil
}

// Purge implements Purger.
func (m *Memory) Purge(ctx context.Context, id build.ID) error {
	if err := m.lock(ctx); err != nil {
		return err
	}
	defer m.mu.Unlock()
	maps.DeleteFunc(m.events, func(s stream, _ map[int64][]build.Event) bool { return s.build == id })
	maps.DeleteFunc(m.chunks, func(k ChunkKey, _ Chunk) bool { return k.Build == id })
	return nil
}

// AllBuilds implements Portable.
func (m *Memory) AllBuilds(ctx context.Context, after build.ID, limit int) ([]Build, error) {
	byID := func(a, b Build) int { return cmp.Compare(a.ID, b.ID) }
	return m.pick(ctx, limit, byID, func(b *Build) bool { return b.ID > after })
}

// Written implements Portable.
func (m *Memory) Written(ctx context.Context, id build.ID) (fences []int64, attempts []ChunkKey, err error) {
	if err := m.lock(ctx); err != nil {
		return nil, nil, err
	}
	defer m.mu.Unlock()
	for s := range m.events {
		if s.build == id {
			fences = append(fences, s.fence)
		}
	}
	for k := range m.chunks {
		if k.Build == id {
			k.Seq = 0
			attempts = append(attempts, k)
		}
	}
	slices.Sort(fences)
	slices.SortFunc(attempts, ChunkKey.Compare)
	return fences, slices.Compact(attempts), nil
}

// AllGroups implements Portable.
func (m *Memory) AllGroups(ctx context.Context) (all []Group, err error) {
	if err := m.lock(ctx); err != nil {
		return nil, err
	}
	defer m.mu.Unlock()
	for _, key := range slices.Sorted(maps.Keys(m.groups)) {
		all = append(all, m.group(key))
	}
	return all, nil
}

// SkipNumbers implements Portable.
func (m *Memory) SkipNumbers(ctx context.Context, last int64) error {
	if err := m.lock(ctx); err != nil {
		return err
	}
	defer m.mu.Unlock()
	m.number = max(m.number, last)
	return nil
}

// Group implements Groups.
func (m *Memory) Group(ctx context.Context, key string) (Group, error) {
	if err := m.lock(ctx); err != nil {
		return Group{}, err
	}
	defer m.mu.Unlock()
	return m.group(key), nil
}

func (m *Memory) group(key string) Group {
	g := m.groups[key]
	g.Key, g.Queue = key, slices.Clone(g.Queue)
	return g
}

// ChangeGroup implements Groups.
func (m *Memory) ChangeGroup(ctx context.Context, key string, c GroupChange) (Group, error) {
	if err := m.lock(ctx); err != nil {
		return Group{}, err
	}
	defer m.mu.Unlock()
	after, differs := m.group(key).Changed(c)
	if differs {
		m.groups[key] = after
	}
	return m.group(key), nil
}

// Join implements Agents.
func (m *Memory) Join(ctx context.Context, a Agent) error {
	if err := m.lock(ctx); err != nil {
		return err
	}
	defer m.mu.Unlock()
	if _, ok := m.agents[a.ID]; ok {
		return fmt.Errorf("join agent %s: it is there: %w", a.ID, ErrConflict)
	}
	m.agents[a.ID] = a
	return nil
}

// agent changes an agent that is there.
func (m *Memory) agent(ctx context.Context, id AgentID, change func(*Agent)) (Agent, error) {
	if err := m.lock(ctx); err != nil {
		return Agent{}, err
	}
	defer m.mu.Unlock()
	a, ok := m.agents[id]
	if !ok {
		return Agent{}, missing("agent", id)
	}
	change(&a)
	m.agents[id] = a
	return a, nil
}

// Heartbeat implements Agents.
func (m *Memory) Heartbeat(ctx context.Context, id AgentID, running map[build.ID]int64, at time.Time) (Agent, error) {
	return m.agent(ctx, id, func(a *Agent) {
		a.Beat++
		a.Seen, a.Running = at, maps.Clone(running)
	})
}

// Describe implements Agents.
func (m *Memory) Describe(ctx context.Context, id AgentID, slots int, labels, facts map[string]string) error {
	_, err := m.agent(ctx, id, func(a *Agent) { a.Slots, a.Labels, a.Facts = slots, maps.Clone(labels), maps.Clone(facts) })
	return err
}

// Drain implements Agents.
func (m *Memory) Drain(ctx context.Context, id AgentID, draining bool) error {
	_, err := m.agent(ctx, id, func(a *Agent) { a.Draining = draining })
	return err
}

// End implements Agents.
func (m *Memory) End(ctx context.Context, id AgentID) error {
	_, err := m.agent(ctx, id, func(a *Agent) { a.Draining, a.Ending = true, true })
	return err
}

// Agent implements Agents.
func (m *Memory) Agent(ctx context.Context, id AgentID) (Agent, error) {
	return m.agent(ctx, id, func(*Agent) {})
}

// Agents implements Agents.
func (m *Memory) Agents(ctx context.Context) ([]Agent, error) {
	if err := m.lock(ctx); err != nil {
		return nil, err
	}
	defer m.mu.Unlock()
	return slices.SortedFunc(maps.Values(m.agents), func(a, b Agent) int {
		return cmp.Or(cmp.Compare(a.Name, b.Name), cmp.Compare(a.ID, b.ID))
	}), nil
}

// Bury implements Agents.
func (m *Memory) Bury(ctx context.Context, id AgentID) error {
	if err := m.lock(ctx); err != nil {
		return err
	}
	defer m.mu.Unlock()
	delete(m.agents, id)
	return nil
}

// PutProject implements Projects.
func (m *Memory) PutProject(ctx context.Context, p Project) (Project, error) {
	if err := m.lock(ctx); err != nil {
		return Project{}, err
	}
	defer m.mu.Unlock()
	if had := m.projects[p.Name]; had.Rev != p.Rev {
		return Project{}, fmt.Errorf("put project %s: it is at revision %d, not %d: %w", p.Name, had.Rev, p.Rev, ErrConflict)
	}
	p.Rev++
	p.Scheduled = maps.Clone(p.Scheduled)
	m.projects[p.Name] = p
	return p, nil
}

// Project implements Projects.
func (m *Memory) Project(ctx context.Context, name string) (Project, error) {
	if err := m.lock(ctx); err != nil {
		return Project{}, err
	}
	defer m.mu.Unlock()
	p, ok := m.projects[name]
	if !ok {
		return Project{}, missing("project", name)
	}
	p.Scheduled = maps.Clone(p.Scheduled)
	return p, nil
}

// Projects implements Projects.
func (m *Memory) Projects(ctx context.Context) ([]Project, error) {
	if err := m.lock(ctx); err != nil {
		return nil, err
	}
	defer m.mu.Unlock()
	return slices.SortedFunc(maps.Values(m.projects), func(a, b Project) int { return cmp.Compare(a.Name, b.Name) }), nil
}

// DeleteProject implements Projects.
func (m *Memory) DeleteProject(ctx context.Context, name string) error {
	if err := m.lock(ctx); err != nil {
		return err
	}
	defer m.mu.Unlock()
	delete(m.projects, name)
	return nil
}

// AddToken implements Tokens.
func (m *Memory) AddToken(ctx context.Context, t Token) error {
	if err := m.lock(ctx); err != nil {
		return err
	}
	defer m.mu.Unlock()
	for _, had := range m.tokens {
		if had.Name == t.Name && had.Hash == t.Hash {
			return nil
		}
		if had.Name == t.Name || had.Hash == t.Hash {
			return fmt.Errorf("add token %s: there is one: %w", t.Name, ErrConflict)
		}
	}
	m.tokens[t.Hash] = t
	return nil
}

// Token implements Tokens.
func (m *Memory) Token(ctx context.Context, hash string) (Token, error) {
	if err := m.lock(ctx); err != nil {
		return Token{}, err
	}
	defer m.mu.Unlock()
	t, ok := m.tokens[hash]
	if !ok {
		return Token{}, fmt.Errorf("token: %w", ErrNotFound)
	}
	return t, nil
}

// Tokens implements Tokens.
func (m *Memory) Tokens(ctx context.Context) ([]Token, error) {
	if err := m.lock(ctx); err != nil {
		return nil, err
	}
	defer m.mu.Unlock()
	return slices.SortedFunc(maps.Values(m.tokens), func(a, b Token) int { return cmp.Compare(a.Name, b.Name) }), nil
}

// RevokeToken implements Tokens.
func (m *Memory) RevokeToken(ctx context.Context, name string) error {
	if err := m.lock(ctx); err != nil {
		return err
	}
	defer m.mu.Unlock()
	maps.DeleteFunc(m.tokens, func(_ string, t Token) bool { return t.Name == name })
	return nil
}
