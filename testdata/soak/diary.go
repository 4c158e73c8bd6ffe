package main

import (
	"bufio"
	"cmp"
	"fmt"
	"os"
	"slices"
	"strings"
	"time"
	"unicode"
)

// An entry is a line that an agent logged.
type entry struct {
	at     time.Time
	by     *agent
	fields map[string]string
}

// diary is what the agents logged, in the order of their clock, which is one.
func (f *fleet) diary() (all []entry, err error) {
	for _, a := range f.everyone() {
		file, err := os.Open(a.log)
		if err != nil {
			return nil, err
		}
		defer file.Close()
		lines := bufio.NewScanner(file)
		lines.Buffer(nil, 16<<20)
		for lines.Scan() {
			e := entry{by: a, fields: fieldsOf(lines.Text())}
			if e.at, err = time.Parse(time.RFC3339Nano, e.fields["time"]); err == nil {
				all = append(all, e)
			}
		}
		if err := lines.Err(); err != nil {
			return nil, fmt.Errorf("read %s: %w", a.log, err)
		}
	}
	slices.SortStableFunc(all, func(a, b entry) int { return a.at.Compare(b.at) })
	return all, nil
}

// fieldsOf reads what slog writes as text: name=value, quoted where it has to be.
func fieldsOf(line string) map[string]string {
	fields := map[string]string{}
	quoted := false
	words := strings.FieldsFunc(line, func(c rune) bool {
		if c == '"' {
			quoted = !quoted // one that is escaped has a partner
		}
		return !quoted && unicode.IsSpace(c)
	})
	for _, word := range words {
		name, value, _ := strings.Cut(word, "=")
		fields[name] = strings.Trim(value, `"`)
	}
	return fields
}

// judgeDiary looks for what is said nowhere else: that agents were taken for dead,
// or lost builds, without a harm that excuses it, and that a result was recorded
// twice. It returns how many rescues and results there were.
func (f *fleet) judgeDiary(rescue, result func(format string, args ...any)) (rescues, results int, err error) {
	all, err := f.diary()
	if err != nil {
		return 0, 0, err
	}
	names := map[string]string{} // of agents, by their IDs
	ended := map[string]*agent{} // by build: who recorded its result
	for _, e := range all {
		say := e.fields["msg"]
		who := e.by.name
		switch say {
		case "agent started":
			names[e.fields["agent"]] = e.by.name
			continue
		case "agent is thought dead":
			who = e.fields["name"]
		case "build rescued":
			who = cmp.Or(names[e.fields["from"]], e.fields["from"])
		case "build given back", "build dropped", "agent was buried: it kills what it runs and starts anew":
		case "build leaves":
			if state := e.fields["state"]; state == "queued" {
				continue // another agent is to have it
			}
			results++
			if other := ended[e.fields["build"]]; other != nil {
				result("%s and %s both recorded a result of build %s", other.name, e.by.name, e.fields["number"])
			}
			ended[e.fields["build"]] = e.by
			continue
		default:
			continue
		}
		rescues++
		if !f.excused(who, e.at, say == "build given back") {
			rescue("at %s %s says: %s %s, of %s, to which nothing was done", e.at.Format(clock), e.by.name, say, e.fields["why"], who)
		}
	}
	return rescues, results, nil
}

// excused reports whether something was done to an agent that others may take for
// its death. One that is stopped amid a write to a file holds up all who share it.
// One that is drained gives back what does not end in time.
func (f *fleet) excused(name string, at time.Time, givesBack bool) bool {
	return slices.ContainsFunc(f.deeds, func(d deed) bool {
		begin := d.begin.Truncate(time.Millisecond) // as diaries do
		held := f.database == nil && d.name == stopped
		return (d.fatal || givesBack && d.name == drained) && (d.agent.name == name || held) && !at.Before(begin) && at.Before(d.end.Add(3*f.lease))
	})
}
