package isolate_test

import (
	"os"
	"testing"

	"github.com/piper-build/piper/runtime/process"
	"github.com/piper-build/piper/starlark/isolate"
)

// TestMain makes this test binary a child too.
func TestMain(m *testing.M) {
	if isolate.IsChild() {
		os.Exit(isolate.ChildMain())
	}
	if how := os.Getenv("PIPER_TEST_DEEDS"); how != "" {
		os.Exit(doDeeds(how))
	}
	os.Exit(m.Run())
}

// evaluator evaluates in children of this program.
func evaluator() *isolate.Evaluator {
	return &isolate.Evaluator{Start: start}
}

func start(env, argv []string) (isolate.Process, error) { return process.Converse(env, argv) }
