package secret

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"
)

// programTime bounds a program that is asked for a secret.
const programTime = 30 * time.Second

// placeholder is what a Program's words have in place of a name.
const placeholder = "{name}"

// Program is a Source that asks a program: argv with the secret's name in place
// of each {name}. What the program writes is the value, but for one newline at
// its end; nothing means that there is no such secret. It has 30 seconds.
// output starts it, as process.Output does.
func Program(argv []string, output func(ctx context.Context, dir string, env []string, argv ...string) ([]byte, error)) Source {
	return func(name string) (string, error) {
		if err := CheckName(name); err != nil {
			return "", err
		}
		command := make([]string, len(argv))
		for i, arg := range argv {
			command[i] = strings.ReplaceAll(arg, placeholder, name)
		}
		ctx, cancel := context.WithTimeout(context.Background(), programTime)
		defer cancel()
		out, err := output(ctx, "/", nil, command...)
		var exit interface{ ExitCode() int }
		switch {
		case ctx.Err() != nil:
			return "", fmt.Errorf("read secret %q: %s did not answer in %s", name, argv[0], programTime)
		case errors.As(err, &exit):
			// What it wrote to its stderr may hold anything.
			return "", fmt.Errorf("read secret %q: %s ended with exit status %d; started by hand it says why", name, argv[0], exit.ExitCode())
		case err != nil:
			return "", fmt.Errorf("read secret %q: %w", name, err)
		case len(out) == 0:
			return "", notFound(name)
		}
		return checked(name, argv[0], withoutEnd(out))
	}
}

// CheckProgram reports whether argv can be a Program's.
func CheckProgram(argv []string) error {
	switch {
	case len(argv) == 0 || argv[0] == "":
		return errors.New("the command has no words")
	case strings.Contains(argv[0], placeholder):
		return errors.New("the program cannot be named by the secret")
	case !slices.ContainsFunc(argv, func(arg string) bool { return strings.Contains(arg, placeholder) }):
		return fmt.Errorf("the command does not say %s, which is the name of the secret", placeholder)
	}
	return nil
}
