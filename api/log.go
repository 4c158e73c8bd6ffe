package api

import (
	"encoding/json"
	"time"

	"github.com/piper-build/piper/runtime/build"
	"github.com/piper-build/piper/runtime/placement"
	"github.com/piper-build/piper/runtime/plan"
)

// A LogQuery says which lines of a step's output.
type LogQuery struct {
	Step    string
	Attempt int   // 0 is the newest
	Fence   int64 // 0 is that of the build as it stands
	From    int64 // the first line, from 1; 0 is the first there is
	To      int64 // the last line; 0 is as many as one answer holds
	Tail    int64 // in place of From and To: so many lines from the end
}

// A Log is a piece of a step's output.
type Log struct {
	Step    string `json:"step"`
	Attempt int    `json:"attempt"`
	Fence   int64  `json:"fence"`
	Total   int64  `json:"total"` // how many lines there are by now
	Bytes   int64  `json:"bytes"`
	Next    int64  `json:"next"`  // the line to go on from; those before it are whole
	Ended   bool   `json:"ended"` // there will be no more
	Lines   []Line `json:"lines"`
	Notice  string `json:"notice,omitempty"` // that the index of logs is away
}

// A Line is a line of output, or a piece of one that is longer than 64 KiB.
type Line struct {
	Number  int64     `json:"number"` // from 1
	Time    time.Time `json:"time,omitzero"`
	Text    string    `json:"text"`              // what is not UTF-8 is replaced; raw has it
	Offset  int64     `json:"offset,omitempty"`  // of Text in the line, for the later pieces of a long one
	Partial bool      `json:"partial,omitempty"` // the line goes on after Text
	Cut     int64     `json:"cut,omitempty"`     // it stands for so many bytes that were left out
}

// A SearchQuery says what to look for in what a build wrote.
type SearchQuery struct {
	Text    string
	Regex   string // in place of Text
	Errors  bool   // in place of both: the lines that matter after a failure, as far as one can tell
	Fold    bool   // upper and lower case are the same
	Context int    // lines around each match, at most 20
	Step    string // "" is every one; with Errors, every one that failed
	Attempt int    // 0 is the newest
	Fence   int64
	From    int64 // the first line, of Step, to give a match in; all are counted
	Limit   int   // matches to give; all are counted
}

// Found is what a search found.
type Found struct {
	Lines   int64   `json:"lines"`   // in which there is a match, exactly
	Matches int64   `json:"matches"` // exactly
	Hits    []Match `json:"hits"`    // the first of them
}

// A Match is a line with something that was looked for.
type Match struct {
	Step    string `json:"step"`
	Attempt int    `json:"attempt"`
	Line
	Spans  [][2]int `json:"spans"` // in bytes of Text, from and to
	Before []Line   `json:"before,omitempty"`
	After  []Line   `json:"after,omitempty"`
}

// A DiffQuery says what to hold what a build wrote against.
type DiffQuery struct {
	Against string // a build; "" is the newest before it of its pipeline that succeeded
	Step    string // "" is every one
	Attempt int    // of Step; 0 is the newest
	Context int    // lines around each that is new; 0 is 3
	Limit   int    // lines to give of each step; all are counted
}

// A LogDiff is what a build wrote that the Base has nothing like, but for times,
// hashes and what else differs from run to run.
type LogDiff struct {
	Base  BuildRef   `json:"base"`
	Steps []StepDiff `json:"steps"`
}

// A StepDiff is what is new in the output of a step.
type StepDiff struct {
	Step    string  `json:"step"`
	Attempt int     `json:"attempt"`
	New     int64   `json:"new"`              // lines, exactly
	Base    bool    `json:"base"`             // the step wrote something in the base, too
	Capped  bool    `json:"capped,omitempty"` // that was so much that its end was not looked at
	Hits    []Match `json:"hits"`             // the first of the new lines
}

// A LogsQuery says what to look for in what builds wrote.
type LogsQuery struct {
	Text     string
	Regex    string    // in place of Text
	Fold     bool      // upper and lower case are the same
	Project  string    // "" is every one
	Pipeline string    // of Project, which must be set then
	Step     string    // "" is every one
	Since    time.Time // builds that were made then or later; zero is all
	Until    time.Time // builds that were made before; zero is all
	Limit    int       // matches to give in one page
}

// FoundLogs is one page of a search over builds, the newest first. It says what was
// looked at for it, but that an index need not.
type FoundLogs struct {
	Builds  int          `json:"builds"` // also in part
	Lines   int64        `json:"lines"`
	Matches int64        `json:"matches"`
	Hits    []BuildMatch `json:"hits"`

	Index    string `json:"index,omitempty"`     // that was asked; "" is that the store was read
	Total    *int64 `json:"total,omitempty"`     // how many lines of all pages there are, exactly, where the index knows
	FellBack string `json:"fell_back,omitempty"` // why the index was not asked
}

// A BuildMatch is a Match in what a build wrote. Its Number is the line's.
type BuildMatch struct {
	Build       build.ID `json:"build"`
	BuildNumber int64    `json:"build_number"`
	Project     string   `json:"project"`
	Pipeline    string   `json:"pipeline,omitempty"`
	Fence       int64    `json:"fence"` // that of the run whose Step wrote it
	Match
}

// A LogIndex is the index of logs, and how it does. What it counts is of the
// process that answers, but for Behind and DeadLetters.
type LogIndex struct {
	Name        string       `json:"name"`
	Away        string       `json:"away,omitempty"`         // why; "" is that it is not
	Since       time.Time    `json:"since"`                  // when it began to be so
	Sent        int64        `json:"sent"`                   // lines that it acknowledged
	Had         int64        `json:"had"`                    // lines that it had already
	Retried     int64        `json:"retried"`                // lines that were sent again
	Refused     int64        `json:"refused"`                // lines that became dead letters
	Behind      *int         `json:"behind,omitempty"`       // of the newest 100 builds that ended, those that it has not all of
	DeadLetters *int64       `json:"dead_letters,omitempty"` // how many there are
	Letters     []DeadLetter `json:"letters,omitempty"`      // the newest of them
}

// A DeadLetter is a line that the index refused. The store has it.
type DeadLetter struct {
	Time   time.Time       `json:"time"`
	Reason string          `json:"reason"`
	Line   json.RawMessage `json:"line"` // as it was sent
}

// A Why says why a build, or a step of it, is not running.
type Why struct {
	placement.Why
	Step  string             `json:"step,omitempty"`  // the one that was asked for
	Wants []plan.Requirement `json:"wants,omitempty"` // what the build's plan asks of an agent
	Steps []Step             `json:"steps,omitempty"` // those that wait, and why; of a build that runs
}
