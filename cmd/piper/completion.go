package main

import (
	"context"
	_ "embed"
	"fmt"
	"io"
)

var (
	//go:embed completion/piper.bash
	bashScript string
	//go:embed completion/piper.zsh
	zshScript string
	//go:embed completion/piper.fish
	fishScript string
)

func (a *app) completionCommand() *command {
	c := a.newCommand("completion", "bash|zsh|fish")
	c.ShortHelp = "Print the script that teaches a shell to complete piper."
	c.LongHelp = `The script asks piper for what can come next: commands and flags, and of the
project at hand its pipelines, parameters, steps and environments.`
	c.examples = `
eval "$(piper completion bash)"   # in ~/.bashrc
eval "$(piper completion zsh)"    # in ~/.zshrc, after compinit
piper completion fish | source    # in ~/.config/fish/config.fish
`
	c.max, c.args = 1, words("bash", "zsh", "fish")
	c.Exec = func(ctx context.Context, args []string) error {
		if len(args) == 0 {
			return &usageError{message: "for which shell?", hint: "usage: piper completion bash|zsh|fish"}
		}
		script := map[string]string{"bash": bashScript, "zsh": zshScript, "fish": fishScript}[args[0]]
		if script == "" {
			return &usageError{
				message: fmt.Sprintf("no completion for %q", args[0]),
				hint:    didYouMean(nearest(args[0], []string{"bash", "zsh", "fish"}), "there is one for bash, zsh and fish"),
			}
		}
		_, err := io.WriteString(a.stdout, script)
		return err
	}
	return c
}
