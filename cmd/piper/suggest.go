package main

import (
	"fmt"

	"github.com/piper-build/piper/runtime/plan"
)

// nearest returns the candidate that was probably meant by name, or "" when
// none is close.
func nearest(name string, candidates []string) string {
	near, _ := plan.Nearest(name, candidates)
	return near
}

// didYouMean is the hint that offers name, or otherwise when there is no name
// to offer.
func didYouMean(name, otherwise string) string {
	if name == "" {
		return otherwise
	}
	return fmt.Sprintf("did you mean %q?", name)
}
