package main

import (
	"os/exec"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

func TestLinkedLinksWhatPiperDoes(t *testing.T) {
	imports := func(pkg string) []string {
		out, err := exec.Command("go", "list", "-f", `{{join .Imports "\n"}}`, pkg).Output()
		require.NoError(t, err)
		return strings.Fields(string(out))
	}
	require.Equal(t, imports("../../cmd/piper"), imports("./linked"), "linked/main.go imports what cmd/piper does")
}
