package main

import (
	"maps"
	"strings"

	"github.com/piper-build/piper/runtime/secret"
)

// secretSource is where the secrets of a build come from: --secret first, then
// --secret-file NAME=FILE, then the lines of --secret-file FILE, then the
// environment.
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

	paths, lines := map[string]string{}, map[string]string{}
	for _, s := range e.secretFiles {
		// A file whose own name has a "=" in it is spelled with a slash.
		if name, path, ok := strings.Cut(s, "="); ok && secret.CheckName(name) == nil && !strings.Contains(name, "/") {
			paths[name] = e.path(path)
			continue
		}
		read, err := secret.ReadFile(e.path(s))
		if err != nil {
			return nil, usagef("--secret-file: %w", err)
		}
		maps.Copy(lines, read)
	}
	return secret.First(secret.Values(given), secret.Files(paths), secret.Values(lines), secret.Environ(e.lookupEnv)), nil
}
