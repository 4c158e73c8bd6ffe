package main

import (
	"context"
	"fmt"
	"os/exec"
	"path/filepath"
)

// buildCommit builds the piper of a commit below dir.
func buildCommit(ctx context.Context, dir, commit string) (piper string, err error) {
	tree, piper := filepath.Join(dir, "before"), filepath.Join(dir, "piper-before")
	if out, err := exec.CommandContext(ctx, "git", "worktree", "add", "--detach", tree, commit).CombinedOutput(); err != nil {
		return "", fmt.Errorf("%w\n%s", err, out)
	}
	defer exec.Command("git", "worktree", "remove", "--force", tree).Run()
	build := exec.CommandContext(ctx, "go", "build", "-o", piper, "./cmd/piper")
	build.Dir = tree
	if out, err := build.CombinedOutput(); err != nil {
		return "", fmt.Errorf("%w\n%s", err, out)
	}
	return piper, nil
}
