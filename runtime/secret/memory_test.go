package secret_test

import (
	"errors"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/piper-build/piper/runtime/secret"
)

func TestMemory(t *testing.T) {
	asked := map[string]int{}
	broken := errors.New("no network")
	m := secret.Remember(func(name string) (string, error) {
		asked[name]++
		if name == "broken" {
			return "", broken
		}
		return "value of " + name, nil
	})
	for range 2 {
		value, err := m.Get("a")
		require.NoError(t, err)
		require.Equal(t, "value of a", value)
		_, err = m.Get("broken")
		require.ErrorIs(t, err, broken)
	}
	require.Equal(t, map[string]int{"a": 1, "broken": 1}, asked)
	require.Equal(t, map[string]string{"a": "value of a"}, m.Given())

	_, err := secret.Remember(nil).Get("a")
	require.ErrorIs(t, err, secret.ErrNotFound)
}
