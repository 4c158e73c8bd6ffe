package api

import (
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
	Regexp  string // in place of Text
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

// A LogsQuery says what to look for in what builds wrote.
type LogsQuery struct {
	Text     string
	Regexp   string    // in place of Text
	Fold     bool      // upper and lower case are the same
	Project  string    // "" is every one
	Pipeline string    // of Project, which must be set then
	Step     string    // "" is every one
	Since    time.Time // builds that were made then or later; zero is all
	Limit    int       // matches to give in one page
}

// FoundLogs is one page of a search over builds, the newest first. It says what was
// looked at for it.
type FoundLogs struct {
	Builds  int          `json:"builds"` // also in part
	Lines   int64        `json:"lines"`
	Matches int64        `json:"matches"`
	Hits    []BuildMatch `json:"hits"`
}

// A BuildMatch is a Match in what a build wrote. Its Number is the line's.
type BuildMatch struct {
	Build       build.ID `json:"build"`
	BuildNumber int64    `json:"build_number"`
	Project     string   `json:"project"`
	Pipeline    string   `json:"pipeline,omitempty"`
	Match
}

// A Why says why a build, or a step of it, is not running.
type Why struct {
	placement.Why
	Step  string             `json:"step,omitempty"`  // the one that was asked for
	Wants []plan.Requirement `json:"wants,omitempty"` // what the build's plan asks of an agent
	Steps []Step             `json:"steps,omitempty"` // those that wait, and why; of a build that runs
}
