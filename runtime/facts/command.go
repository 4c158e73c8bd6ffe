package facts

import (
	"context"
	"errors"
	"strings"
	"time"

	"github.com/piper-build/piper/runtime/process"
)

// A Command tells a fact: the first line that it writes is the value. When it
// writes nothing, fails, or takes longer than 30 seconds, there is no such fact.
type Command struct {
	Argv []string
	// Refresh is after how long it is run again; 0 is never.
	Refresh time.Duration
}

// maxFact is how many bytes of a line are a value.
const maxFact = 4 << 10

// command runs c.
func (m *Machine) command(ctx context.Context, c Command) (value string, ok bool, err error) {
	limited, cancel := context.WithTimeout(ctx, toolTime)
	defer cancel()
	out, err := m.output(limited, m.environ(), c.Argv...)
	var exit *process.ExitError
	switch {
	case ctx.Err() != nil:
		return "", false, ctx.Err()
	case errors.As(err, &exit), limited.Err() != nil, errors.Is(err, process.ErrOutput):
		return "", false, nil
	case err != nil:
		return "", false, err
	}
	line, _, _ := strings.Cut(strings.TrimSpace(string(out)), "\n")
	if len(line) > maxFact {
		line = line[:maxFact]
	}
	value = strings.TrimSpace(strings.ToValidUTF8(line, ""))
	return value, value != "", nil
}
