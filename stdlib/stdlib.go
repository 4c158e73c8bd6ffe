// Package stdlib holds the files that every PIPER.star can load as
// "@piper//name.star". They are Starlark and use nothing that a repository's
// own files could not use.
package stdlib

import "embed"

// Files holds the modules, by name.
//
//go:embed *.star
var Files embed.FS
