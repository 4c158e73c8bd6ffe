package agent

import (
	"context"

	"github.com/piper-build/piper/runtime/logs"
	"github.com/piper-build/piper/runtime/store"
)

// maxUnsigned bounds how many builds wait for a signature. Of others a search makes
// it.
const maxUnsigned = 100

// signs makes the signatures of what this agent's builds wrote, one after the other,
// once they have ended. Nothing waits for that, so the store may take its time.
func (l *life) signs(ctx context.Context) {
	for {
		select {
		case b := <-l.unsigned:
			if err := logs.Sign(ctx, l.unbounded, b); err != nil && ctx.Err() == nil {
				l.log.Warn("a search has to read what a build wrote", "build", b.ID, "error", err)
			}
		case <-ctx.Done():
			return
		}
	}
}

// signLater notes that a build of this agent has ended.
func (l *life) signLater(b store.Build) {
	select {
	case l.unsigned <- b:
	default:
	}
}
