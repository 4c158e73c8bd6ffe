package store

import (
	"context"
	"errors"
	"time"
)

// Insist does what do does until there is an answer: while its error is
// ErrInDoubt it is done again, after a pause that grows from 1 ms to a second.
// It is for what may be done twice, as every write to a Store may. When ctx ends
// first the error is still ErrInDoubt.
func Insist(ctx context.Context, do func() error) error {
	for pause := time.Millisecond; ; pause = min(2*pause, time.Second) {
		err := do()
		if !errors.Is(err, ErrInDoubt) {
			return err
		}
		select {
		case <-ctx.Done():
			return errors.Join(err, ctx.Err())
		case <-time.After(pause):
		}
	}
}
