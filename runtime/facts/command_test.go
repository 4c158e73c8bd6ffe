package facts_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/piper-build/piper/runtime/facts"
	"github.com/piper-build/piper/runtime/plan"
	"github.com/piper-build/piper/runtime/process"
)

func TestCommands(t *testing.T) {
	m := bench(t, map[string]string{
		"gpu":   "echo '  NVIDIA A100  '; echo more",
		"fails": "echo x; exit 3",
		"quiet": "",
		"env":   "echo $SECRET", // it is the operator's own
		"odd":   `printf 'a\377b\n'`,
	})
	m.Commands = map[string]facts.Command{"gpu": {Argv: []string{"gpu"}}, "fails": {Argv: []string{"fails"}}, "quiet": {Argv: []string{"quiet"}},
		"env": {Argv: []string{"env"}}, "odd": {Argv: []string{"odd"}}, "gone": {Argv: []string{"gone"}}, "zone": {Argv: []string{"gpu"}}, "tools.mine": {Argv: []string{"gpu"}}}
	m.Static = map[string]string{"zone": "eu-1"}
	all, err := m.All(t.Context())
	require.NoError(t, err)
	for key, want := range map[string]string{"gpu": "NVIDIA A100", "env": "hush", "odd": "ab", "zone": "eu-1", "tools.mine": "NVIDIA A100"} {
		require.Equal(t, want, all[key], key)
	}
	for _, key := range []string{"fails", "quiet", "gone"} {
		require.NotContains(t, all, key)
	}
	_, _, err = m.Get(t.Context(), "gone")
	require.ErrorContains(t, err, "gone")
	require.NoError(t, facts.Check(t.Context(), m, []plan.Requirement{{Op: "has", Key: "tools.mine"}, {Op: "matches", Key: "gpu", Values: []string{"A100"}}}))
	err = facts.Check(t.Context(), m, []plan.Requirement{{Op: "has", Key: "gpux"}})
	require.EqualError(t, err, `needs gpux, found nothing (did you mean "gpu"?)`)
}

func TestCommandsAreAskedAgain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		count := map[string]int{}
		m := &facts.Machine{
			Commands: map[string]facts.Command{"often": {Argv: []string{"often"}, Refresh: time.Minute}, "once": {Argv: []string{"once"}}},
			Output: func(ctx context.Context, _ string, _ []string, argv ...string) ([]byte, error) {
				count[argv[0]]++
				return fmt.Appendf(nil, "%d", count[argv[0]]), nil
			},
		}
		get := func() (values []string) {
			for _, key := range []string{"often", "once"} {
				value, ok, err := m.Get(t.Context(), key)
				require.NoError(t, err)
				require.True(t, ok)
				values = append(values, value)
			}
			return values
		}
		require.Equal(t, []string{"1", "1"}, get())
		time.Sleep(59 * time.Second)
		require.Equal(t, []string{"1", "1"}, get())
		time.Sleep(time.Second)
		require.Equal(t, []string{"2", "1"}, get())
		require.Equal(t, []string{"2", "1"}, get())
	})
}

func TestCommandsThatHang(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := &facts.Machine{
			Commands: map[string]facts.Command{"slow": {Argv: []string{"slow"}}, "loud": {Argv: []string{"loud"}}, "long": {Argv: []string{"long"}}},
			Output: func(ctx context.Context, _ string, _ []string, argv ...string) ([]byte, error) {
				switch argv[0] {
				case "loud":
					return nil, process.ErrOutput
				case "long":
					return []byte(strings.Repeat("x", 5000)), nil
				}
				<-ctx.Done()
				return nil, ctx.Err()
			},
		}
		for _, key := range []string{"slow", "loud"} {
			_, ok, err := m.Get(t.Context(), key)
			require.NoError(t, err, key)
			require.False(t, ok, key)
		}
		value, _, err := m.Get(t.Context(), "long")
		require.NoError(t, err)
		require.Len(t, value, 4096)

		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		m.Commands["other"] = facts.Command{Argv: []string{"slow"}}
		_, _, err = m.Get(ctx, "other")
		require.True(t, errors.Is(err, context.Canceled))
	})
}
