package repl

import (
	"errors"
	"fmt"

	"github.com/peterh/liner"
	"golang.org/x/sys/unix"
)

// A Terminal is an Editor for the person at the terminal that is the process's
// standard input and output.
type Terminal struct {
	state   *liner.State
	history *history
	usual   *unix.Termios // how the terminal is while no line is edited
	editing *unix.Termios
	secret  func(line string) bool
}

// OpenTerminal takes over the terminal. complete is REPL.Complete. Lines are
// kept in the file history, for the next session, unless that is "", or a line
// begins with a space, or secret says of it that it holds one. Close gives the
// terminal back. It is an error when a line cannot be edited there.
func OpenTerminal(complete func(before string) (head string, found []string), historyFile string, secret func(line string) bool) (*Terminal, error) {
	if !liner.TerminalSupported() {
		return nil, errors.New("this terminal cannot edit a line")
	}
	usual, err := unix.IoctlGetTermios(unix.Stdin, getMode)
	if err != nil {
		return nil, fmt.Errorf("look at the terminal: %w", err)
	}
	t := &Terminal{usual: usual, state: liner.NewLiner(), history: &history{path: historyFile}, secret: secret}
	if t.editing, err = unix.IoctlGetTermios(unix.Stdin, getMode); err != nil {
		t.state.Close()
		return nil, fmt.Errorf("look at the terminal: %w", err)
	}
	// liner sees to this only once the prompt is shown: a Ctrl-C that was faster
	// would be a signal that nobody waits for.
	t.editing.Lflag &^= unix.ISIG
	t.state.SetCtrlCAborts(true)
	t.state.SetTabCompletionStyle(liner.TabPrints)
	t.state.SetWordCompleter(func(line string, pos int) (string, []string, string) {
		runes := []rune(line)
		head, found := complete(string(runes[:pos]))
		return head, found, string(runes[pos:])
	})
	for _, line := range t.history.read() {
		t.state.AppendHistory(line)
	}
	return t, t.apply(t.usual)
}

// Close gives the terminal back.
func (t *Terminal) Close() error { return t.state.Close() }

func (t *Terminal) apply(mode *unix.Termios) error {
	return unix.IoctlSetTermios(unix.Stdin, setMode, mode)
}

// Line implements Editor.
func (t *Terminal) Line(prompt string) (string, error) {
	if err := t.apply(t.editing); err != nil {
		return "", err
	}
	defer t.apply(t.usual)
	line, err := t.state.Prompt(prompt)
	switch {
	case errors.Is(err, liner.ErrPromptAborted):
		return "", ErrInterrupted
	case err != nil:
		return "", err
	case len(line) > maxInput:
		return "", ErrTooLong
	case line == "" || line[0] == ' ' && prompt == first || t.secret(line):
		return line, nil
	}
	t.state.AppendHistory(line)
	t.history.add(line)
	return line, nil
}
