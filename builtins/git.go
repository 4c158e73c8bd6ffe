package builtins

// Git answers what a PIPER.star asks of the repository. Each method is called
// only when a file asks, and its answer is recorded in the plan's inputs.
// Outside a repository every method returns an error that says so.
type Git interface {
	Commit() (string, error)                  // the full hash of HEAD
	Branch() (string, error)                  // "" when HEAD is detached
	Tag() (string, error)                     // the tag that names HEAD exactly; "" when none does
	Dirty() (bool, error)                     // whether a tracked file differs from HEAD
	Describe(flags ...string) (string, error) // git describe with these flags, such as "--tags"
	Changed(base string) ([]string, error)    // paths that differ from the merge base with base, sorted
}
