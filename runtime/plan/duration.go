package plan

import "time"

// A Duration is a length of time that is written as text: "1m30s".
type Duration time.Duration

// DefaultGrace is how long a step has between the interrupt and the kill.
const DefaultGrace = Duration(10 * time.Second)
