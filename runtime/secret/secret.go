// Package secret is where secrets come from.
//
// A Source answers a name with a value. There is one for each way a secret is
// handed to piper: written on the command line (Values), a file of its own
// (Files), a variable of the environment (Environ). First asks several in
// turn. A file that holds many secrets is read by ReadFile and handed to
// Values.
//
// An agent has one for all that it builds: a directory (Directory), variables
// (Prefixed) or a program (Program). Grants say which of its secrets a build may
// have.
//
// Every source refuses the same things: a name that is no name, a value that
// is too short to be masked, too long, or that holds a NUL byte and so could
// not reach a step's environment. No error and no formatting of anything in
// this package shows a value.
package secret

import (
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
)

const (
	// MinBytes is the length of the shortest secret. Masking anything shorter
	// would mask half of what a step prints.
	MinBytes = 4
	// MaxBytes is the length of the longest secret. An environment variable
	// of Linux ends at 128 KiB.
	MaxBytes = 64 << 10
	// maxName is the length of the longest name.
	maxName = 200
)

var (
	// ErrNotFound says that a source does not have the secret.
	ErrNotFound = errors.New("secret not found")
	// ErrTooShort says that a value is under MinBytes.
	ErrTooShort = errors.New("value is shorter than 4 bytes, which cannot be masked")
	// ErrTooLong says that a value is over MaxBytes.
	ErrTooLong = errors.New("value is longer than 64 KiB")
	// ErrNUL says that a value holds a NUL byte.
	ErrNUL = errors.New("value holds a NUL byte, which no environment variable can")
)

// A Source gives the value of the secret called name. When it does not have
// it, the error is ErrNotFound; any other error means that it should have it.
// A Source may be called from many goroutines.
type Source func(name string) (string, error)

// Values is a Source of values that are known already. It keeps the map,
// which must not change any more.
func Values(values map[string]string) Source {
	return func(name string) (string, error) {
		if err := CheckName(name); err != nil {
			return "", err
		}
		value, ok := values[name]
		if !ok {
			return "", notFound(name)
		}
		return checked(name, "", value)
	}
}

// Files is a Source of secrets that each have a file of their own; paths is
// from name to path. One newline at a file's end is dropped. The file is read
// each time it is asked for. It keeps the map, which must not change any more.
func Files(paths map[string]string) Source {
	return func(name string) (string, error) {
		if err := CheckName(name); err != nil {
			return "", err
		}
		path, ok := paths[name]
		if !ok {
			return "", notFound(name)
		}
		data, err := read(path, MaxBytes+len("\r\n"))
		if err != nil {
			return "", fmt.Errorf("read secret %q: %w", name, err)
		}
		return checked(name, path, withoutEnd(data))
	}
}

// withoutEnd is text without one newline at its end.
func withoutEnd(text []byte) string {
	value, ended := strings.CutSuffix(string(text), "\n")
	if ended {
		value = strings.TrimSuffix(value, "\r")
	}
	return value
}

// Environ is a Source that looks for the secret x in the variable
// PIPER_SECRET_X (see Variable). lookup is os.LookupEnv, or a stand-in.
func Environ(lookup func(string) (string, bool)) Source { return Prefixed(prefix, lookup) }

// prefix is what Environ looks for.
const prefix = "PIPER_SECRET_"

// Prefixed is Environ with another prefix.
func Prefixed(prefix string, lookup func(string) (string, bool)) Source {
	return func(name string) (string, error) {
		if err := CheckName(name); err != nil {
			return "", err
		}
		variable := prefix + variable(name)
		value, ok := lookup(variable)
		if !ok {
			return "", notFound(name)
		}
		return checked(name, "$"+variable, value)
	}
}

// First is a Source that asks each of sources in turn and stops at the first
// that has the secret, or that fails.
func First(sources ...Source) Source {
	return func(name string) (string, error) {
		for _, source := range sources {
			value, err := source(name)
			if !errors.Is(err, ErrNotFound) {
				return value, err
			}
		}
		return "", notFound(name)
	}
}

// Variable is the environment variable that holds the secret called name: in
// upper case, with '-', '.' and '/' as '_', after "PIPER_SECRET_". Two names
// that differ in nothing else share a variable.
func Variable(name string) string { return prefix + variable(name) }

func variable(name string) string {
	return strings.Map(func(r rune) rune {
		switch {
		case r == '-', r == '.', r == '/':
			return '_'
		case 'a' <= r && r <= 'z':
			return r - 'a' + 'A'
		}
		return r
	}, name)
}

// CheckName reports whether name can be a secret's: letters, digits and
// "_.-/", not beginning with one of ".-/", at most 200 bytes.
func CheckName(name string) error {
	switch {
	case name == "":
		return errors.New("a secret needs a name")
	case len(name) > maxName:
		return fmt.Errorf("secret name %.20q... is longer than %d bytes", name, maxName)
	}
	for i := range len(name) {
		c := name[i]
		switch {
		case 'a' <= c && c <= 'z', 'A' <= c && c <= 'Z', '0' <= c && c <= '9', c == '_':
		case i > 0 && (c == '.' || c == '-' || c == '/'):
		default:
			return fmt.Errorf("secret name %q: %q is not allowed there; use letters, digits, and _ . - / after the first", name, c)
		}
	}
	return nil
}

func notFound(name string) error { return fmt.Errorf("%w: %q", ErrNotFound, name) }

// checked returns value when it may be a secret; where says in an error what
// it was read from.
func checked(name, where, value string) (string, error) {
	err := Check(value)
	switch {
	case err == nil:
		return value, nil
	case where == "":
		return "", fmt.Errorf("secret %q: %w", name, err)
	}
	return "", fmt.Errorf("secret %q from %s: %w", name, where, err)
}

// Check reports whether value can be a secret: the error is ErrTooShort,
// ErrTooLong, ErrNUL or nil.
func Check(value string) error {
	switch {
	case len(value) < MinBytes:
		return ErrTooShort
	case len(value) > MaxBytes:
		return ErrTooLong
	case strings.IndexByte(value, 0) >= 0:
		return ErrNUL
	}
	return nil
}

// read returns what path holds, but not much more than limit bytes of it: one
// byte too many is enough for whoever checks the length.
func read(path string, limit int) ([]byte, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	return io.ReadAll(io.LimitReader(f, int64(limit)+1))
}
