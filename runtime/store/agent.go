package store

import (
	"context"
	"time"

	"github.com/piper-build/piper/runtime/build"
)

// An AgentID is 128 random bits in hex, new at each start of an agent.
type AgentID string

// An Agent is what one run of an agent tells the others of itself.
type Agent struct {
	ID      AgentID           `json:"id"`
	Name    string            `json:"name"`
	Host    string            `json:"host"`
	Version string            `json:"version"`
	Started time.Time         `json:"started"`
	Slots   int               `json:"slots"`
	Labels  map[string]string `json:"labels,omitempty"`
	Facts   map[string]string `json:"facts,omitempty"`

	Beat     int64              `json:"beat"` // grows with each heartbeat
	Seen     time.Time          `json:"seen"` // of the newest, for people
	Running  map[build.ID]int64 `json:"running,omitempty"`
	Draining bool               `json:"draining,omitempty"`
	Ending   bool               `json:"ending,omitempty"` // it drains for good
}

// Agents keeps agents.
type Agents interface {
	// Join inserts an agent, which must not be there.
	Join(ctx context.Context, a Agent) error

	// Heartbeat raises the agent's Beat and keeps what it runs. ErrNotFound
	// says that the others buried it: it has to kill what it runs and start
	// anew, under another ID.
	Heartbeat(ctx context.Context, id AgentID, running map[build.ID]int64, at time.Time) (Agent, error)

	// Describe keeps an agent's slots, labels and facts, and Drain whether it
	// is to claim no more. End is that it claims no more as it is about to end.
	Describe(ctx context.Context, id AgentID, slots int, labels, facts map[string]string) error
	Drain(ctx context.Context, id AgentID, draining bool) error
	End(ctx context.Context, id AgentID) error

	Agent(ctx context.Context, id AgentID) (Agent, error)
	Agents(ctx context.Context) ([]Agent, error) // by name, then ID

	// Bury deletes an agent. One that is not there is no error.
	Bury(ctx context.Context, id AgentID) error
}
