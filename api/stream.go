package api

import (
	"bytes"
	"cmp"
	"errors"
	"fmt"
	"maps"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/piper-build/piper/runtime/build"
	"github.com/piper-build/piper/runtime/logs"
	"github.com/piper-build/piper/runtime/store"
)

const (
	keepAlive = 15 * time.Second // between two words of a stream
	recheck   = 4 * time.Second  // of the token that it began with
	maxTopics = 32
)

// errGone says that whoever was streamed to is not there, or may not be.
var errGone = errors.New("nobody reads")

// events is a stream of server-sent events. One goroutine writes it.
type events struct {
	c       *call
	out     steady
	flush   *http.ResponseController
	spoke   time.Time
	checked time.Time
	broken  bool
}

func (c *call) events() *events {
	header := c.w.Header()
	header.Set("Content-Type", "text/event-stream")
	header.Set("X-Accel-Buffering", "no")
	c.w.WriteHeader(http.StatusOK)
	control := http.NewResponseController(c.w)
	e := &events{c: c, out: steady{c.w, control}, flush: control, checked: time.Now(), broken: c.r.Method == http.MethodHead}
	return e
}

// send writes an event. false says that nobody reads it.
func (e *events) send(kind, id string, value any) bool {
	return e.write("event: %s\nid: %s\ndata: %s\n\n", kind, id, encode(value))
}

func (e *events) write(format string, args ...any) bool {
	if e.broken {
		return false
	}
	var text bytes.Buffer
	fmt.Fprintf(&text, format, args...)
	_, err := e.out.Write(text.Bytes())
	if err == nil {
		if err = e.flush.Flush(); errors.Is(err, http.ErrNotSupported) {
			err = nil
		}
	}
	e.spoke = time.Now()
	e.broken = err != nil
	return !e.broken
}

// alive says something when nothing was said for long, and reports whether the
// stream goes on: it does while somebody reads it who may. It is to be called
// every few seconds.
func (e *events) alive() bool {
	now := time.Now()
	if now.Sub(e.checked) >= recheck {
		if e.checked = now; !e.c.standing() {
			e.broken = true
		}
	}
	if now.Sub(e.spoke) >= keepAlive {
		e.write(": still here\n\n")
	}
	return !e.broken
}

// A place is where a stream of several topics is. Its text is an event's ID:
// the hub's epoch and note, then each build with its fence, event and Rev.
type place struct {
	epoch  string
	note   int64
	builds map[build.ID]buildPlace
}

type buildPlace struct{ fence, seq, rev int64 }

func (p *place) String() string {
	var b strings.Builder
	fmt.Fprintf(&b, "%s.%d", p.epoch, p.note)
	for _, id := range slices.Sorted(maps.Keys(p.builds)) {
		at := p.builds[id]
		fmt.Fprintf(&b, ",%s=%d.%d.%d", id, at.fence, at.seq, at.rev)
	}
	return b.String()
}

// parsePlace reads what String wrote.
func parsePlace(s string) (place, bool) {
	p := place{builds: map[build.ID]buildPlace{}}
	head, rest, _ := strings.Cut(s, ",")
	var note string
	p.epoch, note, _ = strings.Cut(head, ".")
	var err error
	if p.note, err = strconv.ParseInt(note, 10, 64); err != nil || p.epoch == "" || len(s) > 8<<10 {
		return place{}, false
	}
	for rest != "" {
		var one string
		one, rest, _ = strings.Cut(rest, ",")
		id, at, _ := strings.Cut(one, "=")
		var b buildPlace
		if n, err := fmt.Sscanf(at, "%d.%d.%d", &b.fence, &b.seq, &b.rev); n != 3 || err != nil || b.fence < 0 || b.seq < 0 || b.rev < 0 {
			return place{}, false
		}
		p.builds[build.ID(id)] = b
	}
	return p, p.String() == s
}

// goOn is the place from which nothing is missed after all of some, and now if there
// are none. false says that of some it is not known any more what came after. A build
// that no place names begins from its first event.
func (h *hub) goOn(after []place) (at place, known bool) {
	at, known = h.place(), true
	head := at.note
	for _, p := range after {
		if _, _, ok := h.since(p.epoch, p.note); ok {
			at.note = min(at.note, p.note)
		} else {
			known = false
		}
		for id, b := range p.builds {
			if had, ok := at.builds[id]; !ok || b.before(had) {
				at.builds[id] = b
			}
		}
	}
	if !known {
		at.note = head
	}
	return at, known
}

func (a buildPlace) before(b buildPlace) bool {
	return cmp.Or(cmp.Compare(a.fence, b.fence), cmp.Compare(a.seq, b.seq), cmp.Compare(a.rev, b.rev)) < 0
}

// topics are what a stream is about.
type topics struct {
	notes  map[string]bool // "builds", "agents", "projects"
	builds []build.ID
	taps   []tap
}

func (c *call) topics() (t topics, err error) {
	t.notes = map[string]bool{}
	words := strings.FieldsFunc(strings.Join(c.query["topics"], ","), func(r rune) bool { return r == ',' })
	if len(words) == 0 || len(words) > maxTopics {
		return t, badField("topics", fmt.Sprintf("wants 1 to %d of builds, build:ID, log:ID:STEP, agents and projects", maxTopics))
	}
	for _, word := range words {
		kind, rest, _ := strings.Cut(word, ":")
		switch {
		case kind == "build" && rest != "":
			b, err := c.buildNamed(rest)
			if err != nil {
				return t, err
			}
			if !slices.Contains(t.builds, b.ID) {
				t.builds = append(t.builds, b.ID)
			}
		case kind == "log" && rest != "":
			one, err := c.tap(rest)
			if err != nil {
				return t, err
			}
			if !slices.Contains(t.taps, one) {
				t.taps = append(t.taps, one)
			}
		case word == "builds" || word == "agents" || word == "projects":
			t.notes[word] = true
		default:
			return t, badField("topics", quote(word)+" is none of builds, build:ID, log:ID:STEP, agents and projects")
		}
	}
	return t, nil
}

// places are where whoever asks for a stream is: what he was told last, and what he
// was answered.
func (c *call) places() (list []place, err error) {
	for field, ids := range map[string][]string{"Last-Event-ID": c.r.Header.Values("Last-Event-ID"), "after": c.query["after"]} {
		for _, id := range ids {
			p, ok := parsePlace(id)
			if !ok {
				return nil, badField(field, "is none that a stream gave")
			}
			list = append(list, p)
		}
	}
	return list, nil
}

// stream is GET /v1/events.
func (c *call) stream() (*answer, error) {
	t, err := c.topics()
	if err != nil {
		return nil, err
	}
	last, err := c.places()
	if err != nil {
		return nil, err
	}
	bells := slices.Clone(t.builds)
	for _, one := range t.taps {
		bells = append(bells, one.build)
	}
	leave, err := c.hub.listen(c.ctx, bells)
	if err != nil {
		return nil, err
	}
	defer leave()
	at, known := c.hub.goOn(last)
	maps.DeleteFunc(at.builds, func(id build.ID, _ buildPlace) bool { return !slices.Contains(t.builds, id) })
	reset := !known && len(t.notes) > 0
	f := follower{call: c, topics: t, at: at, out: c.events(), rung: map[build.ID]int64{}}
	if reset {
		f.out.send(MessageReset, f.at.String(), struct{}{})
	} else {
		f.out.write("id: %s\n\n", f.at.String()) // no event, but a place to resume from
	}
	f.run()
	return nil, nil
}

// A follower is one stream at work.
type follower struct {
	*call
	topics
	at   place
	out  *events
	rung map[build.ID]int64 // by build: its bell when it was looked at; not there: never
}

func (f *follower) run() {
	tick := time.NewTicker(recheck)
	defer tick.Stop()
	for {
		notes, more, known := f.hub.since(f.at.epoch, f.at.note)
		if !known {
			now := f.hub.place()
			f.at.epoch, f.at.note = now.epoch, now.note
			if len(f.notes) > 0 && !f.out.send(MessageReset, f.at.String(), struct{}{}) {
				return
			}
			continue
		}
		for _, n := range notes {
			f.at.note++
			if !f.tell(n) {
				return
			}
		}
		for _, id := range f.builds {
			rung := f.hub.rung(id)
			if had, looked := f.rung[id]; looked && had == rung {
				continue
			}
			switch err := f.catchUp(id); {
			case errors.Is(err, errGone):
				return
			case err == nil:
				f.rung[id] = rung
			case f.ctx.Err() == nil:
				f.log().Warn("build is not followed", "build", id, "error", err) // the next bell tries again
			}
		}
		later, ok := f.measure()
		if !ok {
			return
		}
		select {
		case <-f.ctx.Done():
			return
		case <-more:
		case <-later:
		case <-tick.C:
			if !f.out.alive() {
				return
			}
		}
	}
}

// tell tells of a note, to who wants to know of it and may.
func (f *follower) tell(n note) bool {
	if !f.notes[n.topic] || n.project != "" && !f.sees(n.project) {
		return true
	}
	data := n.data
	if n.public != nil && len(f.token.Projects) > 0 {
		data = n.public
	}
	return f.out.write("event: %s\nid: %s\ndata: %s\n\n", n.kind, f.at.String(), data)
}

// catchUp tells of what happened in a build since it was looked at. Whoever
// sees it ended has all its events.
func (f *follower) catchUp(id build.ID) error {
	b, err := f.Store.Build(f.ctx, id)
	if errors.Is(err, store.ErrNotFound) || err == nil && b.Collected {
		return nil
	}
	if err != nil {
		return err
	}
	at := f.at.builds[id]
	newest, err := logs.Fence(f.ctx, &f.past, &b)
	if err != nil {
		return err
	}
	if at.fence == 0 {
		at.fence = newest
	}
	for ; at.fence <= newest; at.fence, at.seq = at.fence+1, 0 {
		for {
			events, err := f.past.Events(f.ctx, id, at.fence, at.seq+1, 1000)
			if err != nil {
				return err
			}
			for _, ev := range events {
				at.seq = ev.Seq
				f.at.builds[id] = at
				if !f.out.send(MessageEvent, f.at.String(), BuildEvent{Build: id, Fence: at.fence, Event: ev}) {
					return errGone
				}
			}
			if len(events) < 1000 {
				break
			}
		}
		if at.fence == newest {
			break
		}
	}
	if b.Rev <= at.rev {
		return nil
	}
	at.rev = b.Rev
	if f.notes["builds"] {
		f.at.builds[id] = at
		return nil // that tells of it
	}
	names, err := f.agentNames()
	if err != nil {
		return err
	}
	s := summary(&b, names)
	if err := f.usuals.tell(f.ctx, &s); err != nil {
		return err
	}
	f.at.builds[id] = at // from here on it is told
	if !f.out.send(MessageBuild, f.at.String(), s) {
		return errGone
	}
	return nil
}
