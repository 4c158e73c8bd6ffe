//go:build race

package process_test

// race says that this test runs slowly.
const race = true
