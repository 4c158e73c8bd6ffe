package agent

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// In Berlin clocks go from 02:00 to 03:00 on 2026-03-29 (01:00 UTC), and from
// 03:00 back to 02:00 on 2026-10-25 (01:00 UTC). On Lord Howe it is half an hour,
// on 2026-04-05 back from 02:00 to 01:30 and on 2026-10-04 from 02:00 to 02:30.
// Samoa had no 2011-12-30 at all.
func TestDue(t *testing.T) {
	for _, c := range []struct {
		name, schedule, zone, after, until string
		want                               []string // UTC
	}{
		{"plain", "30 4 * * *", "", "2026-01-01T04:29:00Z", "2026-01-02T04:30:00Z", []string{"2026-01-01T04:30:00Z", "2026-01-02T04:30:00Z"}},
		{"after is left out", "30 4 * * *", "", "2026-01-01T04:30:00Z", "2026-01-02T04:29:00Z", nil},
		{"in a zone", "30 4 * * *", "Europe/Berlin", "2026-01-01T00:00:00Z", "2026-01-01T23:00:00Z", []string{"2026-01-01T03:30:00Z"}},
		{"weekdays", "0 9 * * MON-FRI", "", "2026-03-06T09:00:00Z", "2026-03-10T12:00:00Z", []string{"2026-03-09T09:00:00Z", "2026-03-10T09:00:00Z"}},
		{"a day or a weekday", "0 0 13 * 5", "", "2026-02-10T00:00:00Z", "2026-02-21T00:00:00Z", []string{"2026-02-13T00:00:00Z", "2026-02-20T00:00:00Z"}},
		{"a leap day", "0 0 29 2 *", "", "2028-02-01T00:00:00Z", "2028-03-01T00:00:00Z", []string{"2028-02-29T00:00:00Z"}},
		{"every quarter of an hour", "*/15 * * * *", "", "2026-01-01T00:00:00Z", "2026-01-01T01:00:00Z",
			[]string{"2026-01-01T00:15:00Z", "2026-01-01T00:30:00Z", "2026-01-01T00:45:00Z", "2026-01-01T01:00:00Z"}},

		{"spring, a time that is not", "30 2 * * *", "Europe/Berlin", "2026-03-28T12:00:00Z", "2026-03-30T12:00:00Z", []string{"2026-03-29T01:00:00Z", "2026-03-30T00:30:00Z"}},
		{"spring, the first time there is", "0 3 * * *", "Europe/Berlin", "2026-03-28T12:00:00Z", "2026-03-29T12:00:00Z", []string{"2026-03-29T01:00:00Z"}},
		{"spring, several that are not", "*/20 2,3 * * *", "Europe/Berlin", "2026-03-29T00:00:00Z", "2026-03-29T02:00:00Z",
			[]string{"2026-03-29T01:00:00Z", "2026-03-29T01:20:00Z", "2026-03-29T01:40:00Z"}},
		{"spring, every hour", "0 * * * *", "Europe/Berlin", "2026-03-28T23:30:00Z", "2026-03-29T03:00:00Z",
			[]string{"2026-03-29T00:00:00Z", "2026-03-29T01:00:00Z", "2026-03-29T02:00:00Z", "2026-03-29T03:00:00Z"}},
		{"autumn, a time that is twice", "30 2 * * *", "Europe/Berlin", "2026-10-24T12:00:00Z", "2026-10-26T12:00:00Z", []string{"2026-10-25T00:30:00Z", "2026-10-26T01:30:00Z"}},
		{"autumn, the second time is over already", "30 2 * * *", "Europe/Berlin", "2026-10-25T00:30:00Z", "2026-10-25T23:00:00Z", nil},
		{"autumn, right after", "0 3 * * *", "Europe/Berlin", "2026-10-24T12:00:00Z", "2026-10-25T12:00:00Z", []string{"2026-10-25T02:00:00Z"}},
		{"half an hour forward", "15 2 * * *", "Australia/Lord_Howe", "2026-10-03T00:00:00Z", "2026-10-04T00:00:00Z", []string{"2026-10-03T15:30:00Z"}},
		{"half an hour back", "45 1 * * *", "Australia/Lord_Howe", "2026-04-04T00:00:00Z", "2026-04-05T00:00:00Z", []string{"2026-04-04T14:45:00Z"}},
		{"a day that is not", "0 12 30 12 *", "Pacific/Apia", "2011-12-29T00:00:00Z", "2012-01-02T00:00:00Z", []string{"2011-12-30T10:00:00Z"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			zone, err := time.LoadLocation(c.zone)
			require.NoError(t, err)
			got, err := due(c.schedule, zone, parse(t, c.after), parse(t, c.until))
			require.NoError(t, err)
			var words []string
			for _, at := range got {
				words = append(words, at.Format(time.RFC3339))
			}
			require.Equal(t, c.want, words)

			// Cut anywhere, it is the same: agents look at any time.
			var pieces []time.Time
			for from := parse(t, c.after); from.Before(parse(t, c.until)); {
				to := from.Add(17 * time.Minute)
				if end := parse(t, c.until); to.After(end) {
					to = end
				}
				some, err := due(c.schedule, zone, from, to)
				require.NoError(t, err)
				pieces = append(pieces, some...)
				from = to
			}
			require.Equal(t, got, pieces)
		})
	}
}

func parse(t *testing.T, text string) time.Time {
	at, err := time.Parse(time.RFC3339, text)
	require.NoError(t, err)
	return at
}

func TestDueIsBounded(t *testing.T) {
	got, err := due("* * * * *", time.UTC, time.Time{}, parse(t, "2026-05-01T00:00:00Z"))
	require.NoError(t, err)
	require.Len(t, got, mostMissed)
	require.Equal(t, parse(t, "2026-05-01T00:00:00Z"), got[len(got)-1])
	_, err = due("no schedule", time.UTC, time.Time{}, time.Now())
	require.ErrorContains(t, err, "no schedule")
}

func TestCaughtUp(t *testing.T) {
	at := parse(t, "2026-05-01T12:00:30Z")
	minute := func(texts ...string) (all []time.Time) {
		for _, text := range texts {
			all = append(all, parse(t, "2026-05-01T"+text+":00Z"))
		}
		return all
	}
	for _, c := range []struct {
		policy        string
		minutes, want []time.Time
	}{
		{"none", minute("10:00", "11:00"), nil},
		{"last", minute("10:00", "11:00"), minute("11:00")},
		{"", minute("10:00", "11:00"), minute("11:00")},
		{"all", minute("10:00", "11:00"), minute("10:00", "11:00")},
		{"none", minute("11:00", "11:59", "12:00"), minute("11:59", "12:00")},
		{"last", minute("11:00", "11:59", "12:00"), minute("11:59", "12:00")},
		{"last", nil, nil},
	} {
		require.Equal(t, c.want, caughtUp(c.policy, c.minutes, at, 2*time.Minute), "%s of %v", c.policy, c.minutes)
	}
}
