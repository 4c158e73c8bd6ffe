package store_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/piper-build/piper/runtime/plan"
	"github.com/piper-build/piper/runtime/store"
)

func planOf(steps int) *plan.Plan {
	p := &plan.Plan{Project: plan.Project{Name: "p"}, Format: plan.Format, Pipeline: "build"}
	for i := range steps {
		p.Nodes = append(p.Nodes, plan.Node{Name: fmt.Sprintf("s%d", i), Step: &plan.Step{Script: "make; true"}})
	}
	return p
}

func TestPutPlan(t *testing.T) {
	for _, steps := range []int{1, 10, 100, 1_000, 10_000} {
		s, p := store.NewMemory(), planOf(steps)
		text := p.Canonical()

		digest, err := store.PutPlan(t.Context(), s, p)

		require.NoError(t, err)
		assert.Equal(t, p.Digest(), digest)
		blob, err := s.Blob(t.Context(), digest)
		require.NoError(t, err)
		if len(text) <= 64<<10 {
			assert.True(t, bytes.Equal(text, blob), "a short one is kept as it is")
		} else {
			assert.Less(t, len(blob), len(text)/5, "a long one is compressed")
		}
		got, err := store.PlanText(blob)
		require.NoError(t, err)
		assert.True(t, bytes.Equal(text, got))
		decoded, err := store.DecodePlan(blob)
		require.NoError(t, err)
		assert.Equal(t, digest, decoded.Digest())
	}
}

// A store's error comes back, and so does damage to what was compressed.
func TestPutPlanFails(t *testing.T) {
	s, p := store.NewMemory(), planOf(10_000)
	digest, err := store.PutPlan(t.Context(), s, p)
	require.NoError(t, err)
	blob, err := s.Blob(t.Context(), digest)
	require.NoError(t, err)
	broken := bytes.Clone(blob)
	broken[len(broken)-6] ^= 1 // in the check sum

	for name, damaged := range map[string][]byte{"cut": blob[:len(blob)/2], "header": blob[:3], "changed": broken} {
		_, err := store.DecodePlan(damaged)
		assert.ErrorContains(t, err, "decompress plan: ", name)
	}
	_, err = store.DecodePlan([]byte("{"))
	assert.Error(t, err)

	_, err = store.PutPlan(t.Context(), full{}, p)
	assert.EqualError(t, err, "no room")
}

type full struct{ store.Blobs }

func (full) PutBlob(context.Context, string, []byte) error { return errors.New("no room") }
