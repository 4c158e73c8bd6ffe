// Command planrun evaluates a PIPER.star to a plan and prints its digest: what
// starlarkrun does, and all that Piper adds to it.
//
//	planrun FILE
package main

import (
	"context"
	"fmt"
	"math"
	"os"
	"path/filepath"

	"github.com/piper-build/piper/starlark"
)

func main() {
	if err := run(os.Args[1]); err != nil {
		fmt.Fprintln(os.Stderr, "planrun:", err)
		os.Exit(1)
	}
}

func run(file string) error {
	r, err := starlark.Evaluate(context.Background(), starlark.Request{
		Root:   filepath.Dir(file),
		File:   filepath.Base(file),
		Limits: starlark.Limits{Nodes: math.MaxInt32, Source: math.MaxInt32},
	})
	if err != nil {
		return err
	}
	fmt.Println(r.Plan.Digest())
	return nil
}
