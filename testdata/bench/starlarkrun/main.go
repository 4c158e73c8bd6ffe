// Command starlarkrun executes a PIPER.star with go.starlark.net alone. The
// words of the language are there and do nothing: what is left is the price of
// reading, compiling and executing the file.
//
//	starlarkrun FILE
package main

import (
	"fmt"
	"os"

	"go.starlark.net/starlark"
	"go.starlark.net/syntax"
)

func main() {
	if err := run(os.Args[1]); err != nil {
		fmt.Fprintln(os.Stderr, "starlarkrun:", err)
		os.Exit(1)
	}
}

func run(file string) error {
	nothing := func(*starlark.Thread, *starlark.Builtin, starlark.Tuple, []starlark.Tuple) (starlark.Value, error) {
		return starlark.None, nil
	}
	words := starlark.StringDict{}
	for _, name := range []string{"project", "pipeline", "parallel", "sequence", "step"} {
		words[name] = starlark.NewBuiltin(name, nothing)
	}
	dialect := &syntax.FileOptions{Set: true, TopLevelControl: true, GlobalReassign: true}
	_, err := starlark.ExecFileOptions(dialect, &starlark.Thread{Name: "bench"}, file, nil, words)
	return err
}
