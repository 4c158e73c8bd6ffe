package main

import (
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/piper-build/piper/runtime/secret"
)

// takesSecrets gives c the flags that hand over secrets.
func (e *execution) takesSecrets(c *command) {
	c.list(&e.secrets, "secret", "the value of a secret: `NAME=VALUE`; others on this machine may see it, so better use a file", false)
	c.list(&e.secretFiles, "secret-file", "read secrets from `FILE`, with lines of NAME=VALUE, or one from NAME=FILE", false)
	c.lists["secret-file"] = files
}

// secretSource is where the secrets of a build come from: --secret first, then
// --secret-file NAME=FILE, then the lines of --secret-file FILE, then the
// environment. Files are read here, once, as they may be pipes.
func (e *execution) secretSource() (secret.Source, error) {
	given := map[string]string{}
	for _, s := range e.secrets {
		name, value, ok := strings.Cut(s, "=")
		if !ok {
			return nil, usagef("--secret %s: want NAME=VALUE", s)
		}
		if err := secret.CheckName(name); err != nil {
			return nil, usagef("--secret: %w", err)
		}
		given[name] = value
	}

	whole, lines := map[string]string{}, map[string]string{}
	for _, s := range e.secretFiles {
		// A file whose own name has a "=" in it is spelled with a slash.
		if name, path, ok := strings.Cut(s, "="); ok && secret.CheckName(name) == nil && !strings.Contains(name, "/") {
			value, err := secret.Files(map[string]string{name: e.path(path)})(name)
			if err != nil {
				return nil, usagef("--secret-file: %w", err)
			}
			whole[name] = value
			continue
		}
		read, err := secret.ReadFile(e.path(s))
		if err != nil {
			return nil, usagef("--secret-file: %w", err)
		}
		maps.Copy(lines, read)
	}
	for _, values := range []map[string]string{given, whole, lines} {
		e.given = slices.AppendSeq(e.given, maps.Values(values))
	}
	source := secret.First(secret.Values(given), secret.Values(whole), secret.Values(lines), secret.Environ(e.lookupEnv))
	return func(name string) (string, error) {
		value, err := source(name)
		if errors.Is(err, secret.ErrNotFound) {
			err = fmt.Errorf("secret %q was not given: --secret-file %[1]s=FILE, --secret %[1]s=VALUE or $%s", name, secret.Variable(name))
		}
		return value, err
	}, nil
}
