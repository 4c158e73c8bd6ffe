package agent

import (
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/piper-build/piper/runtime/plan"
)

func TestKeysOfGroupsAreShort(t *testing.T) {
	require.Empty(t, groupsOf(&plan.Plan{}, "shop"))
	require.Equal(t, []string{"shop/live"}, groupsOf(&plan.Plan{Concurrency: "live"}, "shop"))
	long := strings.Repeat("x", 300)
	one, other := groupsOf(&plan.Plan{Concurrency: long}, "shop"), groupsOf(&plan.Plan{Concurrency: long + "y"}, "shop")
	require.LessOrEqual(t, len(one[0]), longestKey)
	require.NotEqual(t, one, other)
	require.True(t, strings.HasPrefix(one[0], "shop/"))
}
