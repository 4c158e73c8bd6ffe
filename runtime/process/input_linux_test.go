package process_test

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/piper-build/piper/runtime/process"
)

func TestRests(t *testing.T) {
	const us = time.Microsecond
	for name, c := range map[string]struct {
		brought []int
		want    []time.Duration
	}{
		"over at once":               {nil, []time.Duration{1000 * us}},
		"silent":                     {[]int{0, 0, 0}, []time.Duration{1000 * us, 2000 * us, 0, 0}},
		"begins late":                {[]int{0, 80}, []time.Duration{1000 * us, 2000 * us, 200 * us}},
		"writes a line":              {[]int{80, 0, 0, 0, 0}, []time.Duration{1000 * us, 200 * us, 400 * us, 800 * us, 1600 * us, 0}},
		"writes line by line":        {[]int{80, 40_000, 0, 40_000}, []time.Duration{1000 * us, 200 * us, 200 * us, 400 * us, 200 * us}},
		"fills the pipe as it comes": {[]int{64 << 10, 80}, []time.Duration{1000 * us, 200 * us, 200 * us}},
		"fills the widened pipe":     {[]int{64 << 10, 256 << 10}, []time.Duration{1000 * us, 200 * us, 0}},
	} {
		t.Run(name, func(t *testing.T) { require.Equal(t, c.want, process.Rests(c.brought...)) })
	}
}
