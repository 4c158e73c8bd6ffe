package plan

// A Pos is a place in a source file. Line and Column count from 1; a column
// counts characters, not bytes. The zero Pos is no place.
//
// In JSON it is the string "file:line:column".
type Pos struct {
	File   string
	Line   int32
	Column int32
}

// A Diagnostic is one problem in what the user wrote, or one remark about it.
type Diagnostic struct {
	File     string  `json:"file,omitempty"`
	Line     int     `json:"line,omitempty"`
	Column   int     `json:"column,omitempty"`
	End      int     `json:"end,omitempty"` // the column after the last marked character; 0 when only a place is known
	Severity string  `json:"severity"`      // "error" or "warning"
	Code     string  `json:"code"`          // a stable word for programs, such as "unknown-step"
	Message  string  `json:"message"`
	Hint     string  `json:"hint,omitempty"`
	Excerpt  string  `json:"excerpt,omitempty"` // the source line it points into
	Stack    []Frame `json:"stack,omitempty"`   // the calls that led there, innermost last
}

// A Frame is one call of a Diagnostic's stack.
type Frame struct {
	Name string `json:"name"`
	Pos  Pos    `json:"pos"`
}

// Diagnostics is every problem that could be found, in the order of their
// places. As an error it reads as all of them, one after the other.
type Diagnostics []Diagnostic
