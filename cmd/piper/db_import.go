package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"

	"github.com/piper-build/piper/runtime/logs/archive"
	"github.com/piper-build/piper/runtime/store"
)

// importLogs brings into a store what piper logs --export wrote.
func (a *app) importLogs(ctx context.Context, where *place, args []string, asJSON bool) (err error) {
	if len(args) != 1 {
		return &usageError{message: "piper db import needs a file", hint: "usage: piper db import FILE"}
	}
	file, err := os.Open(a.path(args[0]))
	if err != nil {
		return usagef("import: %w", err)
	}
	defer file.Close()
	h, sum, err := archive.Check(ctx, file) // before anything is made of it
	if err != nil {
		return a.notImported(args[0], err)
	}
	if _, err := file.Seek(0, io.SeekStart); err != nil {
		return fmt.Errorf("import: %w", err)
	}
	s, err := where.open(ctx, true)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, s.Close()) }()
	to := s.(interface { // as all stores that open opens
		store.Store
		store.Portable
	})
	if err := archive.Load(ctx, file, sum, to); err != nil {
		return a.notImported(args[0], err)
	}
	fmt.Fprintf(a.stderr, "piper: build %d is in the store, with %s\n", h.Build.Number, sum)
	if asJSON {
		return a.printJSON(sum)
	}
	return nil
}

// notImported is why a file is not, for a person.
func (a *app) notImported(name string, err error) error {
	message := fmt.Sprintf("import %s: %v", name, err)
	switch {
	case errors.Is(err, archive.ErrThere):
		return &usageError{message: message, hint: "--store sqlite:PATH names a store of its own for it"}
	case errors.Is(err, archive.ErrSchema):
		return &usageError{message: message, hint: "a newer piper reads it"}
	case errors.Is(err, archive.ErrBroken):
		return &usageError{message: message, hint: "nothing was imported: export it again, or copy it again from where it is whole"}
	}
	return fmt.Errorf("import %s: %w", name, err)
}
