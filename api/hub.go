package api

import (
	"bytes"
	"context"
	"crypto/rand"
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"sync"
	"time"

	"github.com/piper-build/piper/runtime/build"
	"github.com/piper-build/piper/runtime/store"
)

const (
	pollEvery  = 2 * time.Second
	keepNotes  = 4096 // that somebody who is behind, or was away, can be told
	newestPage = 100  // ended builds whose changes are noticed
	mostMissed = 2000 // builds that can be made while nobody looks, without a reset

	queueHead = 100 // queued builds that every look sees, the ones to be claimed next, and how many of the others
	queueMost = 100_000
)

// A hub finds out what changes in the store, once for all who listen. Only while
// there are listeners it looks: at what the store hints at, and every two seconds
// at everything that is active or new, as a hint may be missing; of a long queue at
// a part, so that a look costs no more than that. What it found before it keeps, so
// whoever comes back is told of what happened while nobody was there.
//
// A change is found by comparing. Several that come fast are one note, with what
// came of them.
type hub struct {
	*Server
	usuals *usuals

	mu     sync.Mutex
	epoch  string // another one: what was noted before is not known any more
	first  int64  // the number of notes[0]
	notes  []note
	ears   int           // how many listen
	rang   chan struct{} // closed, and replaced, when there is a note or a bell
	bells  map[build.ID]*bell
	stop   context.CancelFunc
	looked chan struct{} // closed once the first look of this round is over

	looking sync.Mutex // one round looks at a time: the next may begin before the last has noticed that nobody listens

	// These belong to whoever looks.
	builds   map[build.ID]seen // what is active or new
	top      int64             // the highest number seen
	agents   map[store.AgentID][]byte
	projects map[string]int64
	names    map[store.AgentID]string
	begun    bool
}

// seen is a build when it was looked at.
type seen struct {
	rev    int64
	queued bool
}

// A note is something that changed.
type note struct {
	topic   string // "builds", "agents" or "projects"
	kind    string
	project string // only for who may see it; "" is anyone
	data    []byte
	public  []byte // for who may not see every project; nil is data
}

// A bell rings for those who follow one build.
type bell struct {
	ears  int
	rang  int64
	meter meter
}

func newHub(h *handler) *hub {
	return &hub{Server: h.Server, usuals: &h.usuals, epoch: rand.Text()[:8], first: 1, rang: make(chan struct{}), bells: map[build.ID]*bell{},
		builds: map[build.ID]seen{}, agents: map[store.AgentID][]byte{}, projects: map[string]int64{}, names: map[store.AgentID]string{}}
}

func (h *hub) listeners() int {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.ears
}

// listen begins to listen, also to the builds; it returns once everything up to
// now is noted. leave must be called.
func (h *hub) listen(ctx context.Context, builds []build.ID) (leave func(), err error) {
	h.mu.Lock()
	for _, id := range builds {
		if h.bells[id] == nil {
			h.bells[id] = &bell{}
		}
		h.bells[id].ears++
	}
	if h.ears++; h.ears == 1 {
		var looking context.Context
		looking, h.stop = context.WithCancel(context.Background())
		h.looked = make(chan struct{})
		go h.run(looking, h.looked)
	}
	looked := h.looked
	h.mu.Unlock()
	leave = func() {
		h.mu.Lock()
		defer h.mu.Unlock()
		for _, id := range builds {
			if b := h.bells[id]; b != nil {
				if b.ears--; b.ears == 0 {
					delete(h.bells, id)
				}
			}
		}
		if h.ears--; h.ears == 0 {
			h.stop()
		}
	}
	select {
	case <-looked:
		return leave, nil
	case <-ctx.Done():
		leave()
		return nil, ctx.Err()
	}
}

// run looks until nobody listens.
func (h *hub) run(ctx context.Context, looked chan struct{}) {
	h.looking.Lock()
	defer h.looking.Unlock()
	first := sync.OnceFunc(func() { close(looked) })
	defer first()
	hints, err := h.Store.Watch(ctx, store.Watched{})
	if err != nil {
		hints = nil
	}
	tick := time.NewTicker(pollEvery)
	defer tick.Stop()
	for all := true; ; {
		if err := h.look(ctx, all); err != nil && ctx.Err() == nil {
			h.log().Warn("store does not say what has changed", "error", err)
		}
		h.ring("")
		first()
		all = false
		for again := false; !again; {
			select {
			case <-ctx.Done():
				return
			case <-tick.C:
				again = true
				if hints == nil {
					if hints, err = h.Store.Watch(ctx, store.Watched{}); err != nil {
						hints = nil
					}
				}
			case hint, ok := <-hints:
				switch {
				case !ok:
					hints = nil
				case hint.Build == "":
					again, all = true, true
				default:
					h.hinted(ctx, hint.Build)
				}
			}
		}
	}
}

// hinted looks at one build.
func (h *hub) hinted(ctx context.Context, id build.ID) {
	if b, err := h.Store.Build(ctx, id); err == nil {
		h.saw(ctx, &b)
	}
	h.ring(id)
}

// look compares what there is with what was there before: all of the queue, or of a
// long one a part.
func (h *hub) look(ctx context.Context, all bool) error {
	if err := h.lookAtAgents(ctx); err != nil {
		return err
	}
	if err := h.lookAtProjects(ctx); err != nil {
		return err
	}
	running, err := h.Store.Running(ctx, "")
	if err != nil {
		return err
	}
	most := queueHead
	if all {
		most = queueMost
	}
	queued, err := h.Store.Queue(ctx, "", most)
	if err != nil {
		return err
	}
	recent, err := h.recent(ctx)
	if err != nil {
		return err
	}
	there := map[build.ID]bool{}
	for _, list := range [][]store.Build{recent, running, queued} {
		for i := range list {
			there[list[i].ID] = true
			h.saw(ctx, &list[i])
		}
	}
	behind := 0
	for id, had := range h.builds { // in another order each time
		if there[id] {
			continue
		}
		if had.queued && len(queued) == most {
			if behind++; behind > queueHead {
				continue
			}
		}
		b, err := h.Store.Build(ctx, id) // it has ended, or was collected
		if err != nil {
			return err
		}
		if h.saw(ctx, &b); b.Terminal() {
			delete(h.builds, id)
		}
	}
	if !h.begun {
		h.forget() // what changed before now was not noted
		h.begun = true
	}
	return nil
}

// recent are the newest builds: those that were not seen yet, and some that were,
// as a number may be drawn long before there is a build that has it.
func (h *hub) recent(ctx context.Context) (list []store.Build, err error) {
	top := h.top
	for cursor := ""; ; {
		page, next, err := h.Store.List(ctx, store.Filter{}, cursor, newestPage)
		if err != nil {
			return nil, err
		}
		list = append(list, page...)
		if len(page) > 0 {
			h.top = max(h.top, page[0].Number)
		}
		if next == "" || !h.begun || page[len(page)-1].Number <= top-newestPage/2 {
			slices.Reverse(list)
			return list, nil
		}
		if len(list) >= mostMissed {
			h.forget()
			return list[:newestPage], nil
		}
		cursor = next
	}
}

// forget begins a new epoch.
func (h *hub) forget() {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.first += int64(len(h.notes))
	h.epoch, h.notes = rand.Text()[:8], nil
}

// saw notes a build that is not as it was.
func (h *hub) saw(ctx context.Context, b *store.Build) {
	had, known := h.builds[b.ID]
	if had.rev >= b.Rev || b.Collected {
		return
	}
	if h.builds[b.ID] = (seen{b.Rev, b.State == build.Queued}); !h.begun && !known {
		return
	}
	s := summary(b, h.names)
	if err := h.usuals.tell(ctx, &s); err != nil && ctx.Err() == nil {
		h.log().Warn("store does not say how long builds take", "error", err) // all else is worth telling
	}
	h.note(note{topic: "builds", kind: MessageBuild, project: s.Project, data: encode(s)})
}

func (h *hub) lookAtAgents(ctx context.Context) error {
	agents, err := h.Store.Agents(ctx)
	if err != nil {
		return err
	}
	running, err := h.Store.Running(ctx, "")
	if err != nil {
		return err
	}
	there := map[store.AgentID][]byte{}
	clear(h.names)
	for i := range agents {
		a := agentOf(agents[i], running, func(string) bool { return true })
		h.names[a.ID] = a.Name
		seen := a.Seen
		a.Seen = time.Time{} // that it lives is no news
		there[a.ID] = encode(a)
		if h.begun && !bytes.Equal(there[a.ID], h.agents[a.ID]) {
			a.Seen = seen
			data := encode(a)
			a.Running = []BuildRef{}
			h.note(note{topic: "agents", kind: MessageAgent, data: data, public: encode(a)})
		}
	}
	for _, id := range slices.Sorted(maps.Keys(h.agents)) {
		if _, ok := there[id]; !ok {
			h.note(note{topic: "agents", kind: MessageGone, data: encode(Gone{Agent: string(id)})})
		}
	}
	h.agents = there
	return nil
}

func (h *hub) lookAtProjects(ctx context.Context) error {
	projects, err := h.Store.Projects(ctx)
	if err != nil {
		return err
	}
	there := map[string]int64{}
	for _, p := range projects {
		if there[p.Name] = p.Rev; h.begun && h.projects[p.Name] != p.Rev {
			h.note(note{topic: "projects", kind: MessageProject, project: p.Name, data: encode(projectOf(p))})
		}
	}
	for _, name := range slices.Sorted(maps.Keys(h.projects)) {
		if _, ok := there[name]; !ok {
			h.note(note{topic: "projects", kind: MessageGone, project: name, data: encode(Gone{Project: name})})
		}
	}
	h.projects = there
	return nil
}

func encode(v any) []byte {
	data, err := json.Marshal(v)
	if err != nil {
		panic(fmt.Sprintf("api: %v", err)) // it is one of our own types
	}
	return data
}

// note keeps a note and wakes those who listen.
func (h *hub) note(n note) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.notes = append(h.notes, n); len(h.notes) > 2*keepNotes {
		h.first += int64(len(h.notes) - keepNotes)
		h.notes = slices.Clone(h.notes[len(h.notes)-keepNotes:])
	}
	h.wake()
}

// ring wakes those who follow a build; of "" any.
func (h *hub) ring(id build.ID) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if id == "" {
		for _, b := range h.bells {
			b.rang++
		}
	} else if b := h.bells[id]; b != nil {
		b.rang++
	} else {
		return
	}
	h.wake()
}

func (h *hub) wake() {
	close(h.rang)
	h.rang = make(chan struct{})
}

// place is where the newest note is, from which whoever reads the store after this
// goes on.
func (h *hub) place() place {
	h.mu.Lock()
	defer h.mu.Unlock()
	return place{epoch: h.epoch, note: h.first + int64(len(h.notes)), builds: map[build.ID]buildPlace{}}
}

// since returns the notes from a number on, and a channel that is closed when
// there is more. false says that some of them are forgotten.
func (h *hub) since(epoch string, next int64) (notes []note, more <-chan struct{}, ok bool) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if epoch != h.epoch || next < h.first || next > h.first+int64(len(h.notes)) {
		return nil, h.rang, false
	}
	return h.notes[next-h.first : len(h.notes) : len(h.notes)], h.rang, true
}

// rung is how often a build's bell rang.
func (h *hub) rung(id build.ID) int64 {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.bells[id].rang
}

// meterOf is what those who follow a build share.
func (h *hub) meterOf(id build.ID) *meter {
	h.mu.Lock()
	defer h.mu.Unlock()
	return &h.bells[id].meter
}
