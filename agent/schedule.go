package agent

import (
	"fmt"
	"time"
	_ "time/tzdata" // agents have to agree, whatever is installed where they run

	"github.com/adhocore/gronx"
)

// longestMissed bounds how far back a schedule is made up for, and mostMissed how
// often.
const (
	longestMissed = 31 * 24 * time.Hour
	mostMissed    = 100
)

// due returns the minutes after one moment, up to and with another one, that a
// schedule names in a zone; at most mostMissed, the newest.
//
// A schedule is about what clocks on walls show. Where they are set forward, a
// time that they never show is due at the first moment after it: the one at which
// they are set. Where they are set back, a time that they show twice is due the
// first time. And no moment is due twice.
func due(schedule string, zone *time.Location, after, until time.Time) ([]time.Time, error) {
	if earliest := until.Add(-longestMissed); after.Before(earliest) {
		after = earliest
	}
	var found []time.Time
	// gronx counts in UTC, where no wall clock is ever set: what it says is read
	// off the wall. Where one is set near by, the times around it are looked at,
	// too: none is set by more than a day.
	var around time.Duration
	const day = 24 * time.Hour
	if start, end := after.In(zone).ZoneBounds(); start.After(after.Add(-day)) || !end.IsZero() && end.Before(until.Add(day)) {
		around = day
	}
	for wall := onWall(after.In(zone)).Add(-around); ; {
		next, err := gronx.NextTickAfter(schedule, wall, false)
		if err != nil {
			return nil, fmt.Errorf("schedule %q: %w", schedule, err)
		}
		if wall = next; wall.Sub(onWall(until.In(zone))) > around {
			return found, nil
		}
		at := moment(wall, zone)
		if !at.After(after) || at.After(until) || len(found) > 0 && !at.After(found[len(found)-1]) {
			continue
		}
		if found = append(found, at); len(found) > mostMissed {
			found = found[1:]
		}
	}
}

// onWall is what a clock on the wall shows at t, as if that were UTC.
func onWall(t time.Time) time.Time {
	return time.Date(t.Year(), t.Month(), t.Day(), t.Hour(), t.Minute(), t.Second(), 0, time.UTC)
}

// moment is when a clock on the wall of zone shows wall: the first time when it
// does so twice, and when it never does the moment at which it is set past it.
func moment(wall time.Time, zone *time.Location) time.Time {
	// Whichever of the offsets around it is the right one, time.Date takes one.
	t := time.Date(wall.Year(), wall.Month(), wall.Day(), wall.Hour(), wall.Minute(), 0, 0, zone)
	start, end := t.ZoneBounds()
	if !onWall(t).Equal(wall) { // it is never shown
		if !start.IsZero() && onWall(start).After(wall) {
			return start.UTC()
		}
		return end.UTC()
	}
	if start.IsZero() {
		return t.UTC()
	}
	_, before := start.Add(-time.Second).Zone()
	if first := wall.Add(-time.Duration(before) * time.Second); first.Before(start) {
		return first.UTC()
	}
	return t.UTC()
}
