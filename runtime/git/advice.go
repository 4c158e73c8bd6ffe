package git

import (
	"slices"
	"strings"
	"unicode"

	"github.com/piper-build/piper/runtime/process"
)

// signs are what git, curl and ssh write when they cannot get at a repository,
// in lower case, and what that means. The first that is found counts.
var signs = []struct {
	words string
	is    error
	hint  string
}{
	{"host key verification failed", ErrRefused, "the key of the host is not known: ssh-keyscan prints it; compare it with what the host's owner says, and add it to known_hosts"},
	{"couldn't find remote ref", ErrUnknown, "is it pushed, and spelled right?"},
	{"not our ref", ErrUnknown, "the commit is gone from the repository, or was never pushed"},
	{"unadvertised object", ErrUnknown, "the commit is gone from the repository, or was never pushed"},
	{"url returned error: 3", ErrRefused, "the repository has moved: redirections are not followed, so give the project its new address"},
	{"redirection", ErrRefused, "the repository has moved: redirections are not followed, so give the project its new address"},
	{"certificate", ErrRefused, "the certificate of the host is not one that this machine trusts: ca_file in agent.yaml names another authority"},
	{"authentication failed", ErrDenied, "is the token right, not expired, and allowed to read this repository?"},
	{"could not read username", ErrDenied, "it asks who we are: the operator of the agent can name a token_file for the project in agent.yaml"},
	{"permission denied", ErrDenied, "the operator of the agent can name an ssh_key for the project in agent.yaml; its public half has to be known to the host"},
	{"returned error: 401", ErrDenied, "is the token right, and not expired?"},
	{"returned error: 403", ErrDenied, "is the token allowed to read this repository?"},
	{"not found", ErrDenied, "is the address right? A host says the same when it does not want to tell"},
	{"does not appear to be a git repository", ErrDenied, "is the address right?"},
	{"does not exist", ErrDenied, "is the address right?"},
	{"could not resolve", ErrUnreachable, "is the name right, and does this machine reach a name server?"},
	{"failed to connect", ErrUnreachable, "is the host up, and does a firewall let this machine through?"},
	{"connection", ErrUnreachable, "is the host up, and does a firewall let this machine through?"},
	{"timed out", ErrUnreachable, "is the host up, and does a firewall let this machine through?"},
	{"operation too slow", ErrUnreachable, "the line is too slow: below 1000 bytes a second for a minute"},
	{"returned error: 5", ErrUnreachable, "the host has a problem of its own"},
	{"hung up unexpectedly", ErrUnreachable, "the connection broke: try again"},
	{"early eof", ErrUnreachable, "the connection broke: try again"},
	{"access rights", ErrDenied, "is the address right, and may the key read it?"},
}

// A remoteError is the other side's, or of the way to it.
type remoteError struct {
	is   error
	said string // by git, without what must not be shown
	hint string
}

func (e *remoteError) Error() string {
	if e.said == "" {
		return e.is.Error()
	}
	return e.is.Error() + " (" + e.said + ")"
}

// Unwrap is ErrUnreachable, ErrDenied, ErrRefused or ErrUnknown.
func (e *remoteError) Unwrap() error { return e.is }

// Hint says what to do.
func (e *remoteError) Hint() string { return e.hint }

// understand makes a remoteError of what git said about an address, or else an
// error without what is hidden.
func understand(exit *process.ExitError, address, hidden string) error {
	text := exit.Stderr
	if hidden != "" {
		text = strings.ReplaceAll(text, hidden, "***")
	}
	said := why(text)
	words := strings.ToLower(strings.ReplaceAll(text, address, "")) // which may hold any of the signs
	for _, sign := range signs {
		if strings.Contains(words, sign.words) {
			return &remoteError{sign.is, said, sign.hint}
		}
	}
	clean := *exit
	clean.Stderr = said
	return &clean
}

// idle are lines that git adds to every error of ssh.
var idle = []string{"", "Could not read from remote repository.", "Please make sure you have the correct access rights", "and the repository exists."}

// why is what git wrote, as one line.
func why(text string) string {
	var said []string
	for line := range strings.Lines(text) {
		for _, begin := range []string{"fatal: ", "error: "} {
			line = strings.TrimPrefix(line, begin)
		}
		if line = strings.TrimSpace(line); !slices.Contains(idle, line) {
			said = append(said, line)
		}
	}
	return printable(strings.Join(said, "; "))
}

// printable is text that does nothing to a terminal, and not too much of it.
func printable(s string) string {
	s = strings.Map(func(r rune) rune {
		if r == unicode.ReplacementChar || !unicode.IsPrint(r) {
			return ' '
		}
		return r
	}, s)
	if runes := []rune(s); len(runes) > 500 {
		s = string(runes[:500]) + "..."
	}
	return s
}
