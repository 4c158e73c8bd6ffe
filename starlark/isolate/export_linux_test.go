package isolate

// What a child does to itself, for tests that do it to themselves.
var (
	Seal     = seal
	Seccomp  = seccomp
	Landlock = barFiles
)
