// Package logs takes, shows and reads what steps write.
//
// A Sink is a place for the output of a whole build, a Writer is the part of
// it that takes one attempt of one step. Bytes reach a Writer exactly as the
// step wrote them, a read at a time, with the moment they arrived. Sinks
// compose:
//
//	Redactor.Sink( Tee( record.Record, Dir ) )
//
// The Redactor masks secrets and therefore stands before everything that
// shows or keeps. Tee hands on to several. Package record brings output into a
// store, and a Reader gives its lines back from there. Dir keeps a file per step
// for a person. A Scan searches what all builds wrote, and reads little of it where
// Sign made signatures of them.
//
// What is kept is never changed but for the masking. What is shown goes
// through a Sanitizer, so that no step can drive the terminal.
package logs

import (
	"errors"
	"time"
)

// A Writer takes what one attempt writes, both its streams in the order
// written. Write must not keep p, and p may hold any bytes and any number of
// lines. After an error the attempt's output is incomplete; Close must be
// called all the same. A Writer is used by one goroutine at a time.
type Writer interface {
	Write(at time.Time, p []byte) error
	Close() error
}

// A Sink makes a Writer for each attempt. node is the step's name, attempt
// counts from 1, and no pair of the two is opened twice. Open is called from
// many goroutines. Close is called once, after every Writer was closed, and
// says whether all that was written is kept.
type Sink interface {
	Open(node string, attempt int) (Writer, error)
	Close() error
}

// Tee returns a Sink that hands everything to each of sinks, in order. When
// one fails, the others still get the bytes, and the error is returned. Nil
// sinks are left out.
func Tee(sinks ...Sink) Sink {
	var t tee
	for _, s := range sinks {
		if s != nil {
			t = append(t, s)
		}
	}
	if len(t) == 1 {
		return t[0]
	}
	return t
}

type tee []Sink

func (t tee) Open(node string, attempt int) (Writer, error) {
	writers := make(teeWriter, 0, len(t))
	for _, s := range t {
		w, err := s.Open(node, attempt)
		if err != nil {
			return nil, errors.Join(err, writers.Close())
		}
		writers = append(writers, w)
	}
	return writers, nil
}

func (t tee) Close() error {
	var errs []error
	for _, s := range t {
		errs = append(errs, s.Close())
	}
	return errors.Join(errs...)
}

type teeWriter []Writer

func (t teeWriter) Write(at time.Time, p []byte) error {
	var failed error
	for _, w := range t {
		if err := w.Write(at, p); err != nil {
			failed = errors.Join(failed, err)
		}
	}
	return failed
}

func (t teeWriter) Close() error {
	var failed error
	for _, w := range t {
		failed = errors.Join(failed, w.Close())
	}
	return failed
}
