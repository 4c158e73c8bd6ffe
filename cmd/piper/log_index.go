package main

import (
	"context"
	"errors"
	"os"
	"strings"
	"time"

	"github.com/piper-build/piper/runtime/logs/elastic"
)

// A logPlace is where logs are found, beside the store that has them, as flags name
// it.
type logPlace struct {
	*app
	url          string // "" is nowhere
	passwordFile string
	keyFile      string
}

// logPlace gives c the flags that name an index of logs, and say what c does with
// it.
func (c *command) logPlace(does string) *logPlace {
	p := &logPlace{app: c.app}
	c.FlagSet.StringVar(&p.url, "logs", "", does+" the `INDEX` elasticsearch+https://HOST[,HOST]/STREAM[?ca=FILE&retention=90d]")
	c.FlagSet.StringVar(&p.passwordFile, "logs-password-file", "", "read the password for --logs from `FILE`")
	c.FlagSet.StringVar(&p.keyFile, "logs-api-key-file", "", "read the API key for --logs from `FILE`")
	c.lists["logs-password-file"], c.lists["logs-api-key-file"] = files, files
	return p
}

// address is that of the index, and how it is opened.
func (p *logPlace) address() (a elastic.Address, o elastic.Options, err error) {
	if a, err = elastic.ParseURL(p.url); err != nil {
		return a, o, usagef("--logs: %w", err)
	}
	if o.Password, err = p.secret("--logs-password-file", p.passwordFile); err != nil {
		return a, o, err
	}
	if o.APIKey, err = p.secret("--logs-api-key-file", p.keyFile); err != nil {
		return a, o, err
	}
	switch {
	case o.APIKey != "" && a.User != "":
		return a, o, usagef("--logs-api-key-file stands in place of the user %s", a.User)
	case (o.Password == "") != (a.User == ""):
		return a, o, usagef("--logs: a user wants --logs-password-file, and a password a user, as in %shttps://piper@HOST", elastic.Scheme)
	}
	return a, o, nil
}

// secret reads what is in a file.
func (p *logPlace) secret(flag, path string) (string, error) {
	if path == "" {
		return "", nil
	}
	text, err := os.ReadFile(p.path(path))
	if err != nil {
		return "", usagef("%s: %w", flag, err)
	}
	secret := strings.TrimSpace(string(text))
	if secret == "" {
		return "", usagef("%s: there is nothing in %s", flag, path)
	}
	return secret, nil
}

// open opens the index; nil is that there is none.
func (p *logPlace) open() (*elastic.Index, error) {
	if p.url == "" {
		if p.passwordFile+p.keyFile != "" {
			return nil, usagef("--logs-password-file and --logs-api-key-file go with --logs")
		}
		return nil, nil
	}
	a, o, err := p.address()
	if err != nil {
		return nil, err
	}
	return elastic.Open(a, o)
}

// logIndex looks at the index of logs.
func (d *doctor) logIndex(ctx context.Context) (err error) {
	x, err := d.logs.open()
	if x == nil || err != nil {
		return err
	}
	defer func() { err = errors.Join(err, x.Close()) }()
	ctx, cancel := context.WithTimeout(ctx, answerTime)
	defer cancel()
	for _, f := range x.Check(ctx) {
		as := warning
		if f.Fatal {
			as = broken
		}
		d.tell(as("logs", f.Hint, "%s", f.What))
		if f.Fatal {
			return nil
		}
	}
	letters, total, err := x.DeadLetters(ctx, 1)
	switch {
	case err != nil:
		d.tell(broken("logs", "", "%v", err))
	case total > 0:
		d.tell(warning("logs", "GET /v1/logs/index lists them, the store has these lines; mend the mapping, _reindex the `document` of each dead letter, and delete them",
			"%s refused %s, the last one %s ago: %s", x, counted(int(total), "line"), time.Since(letters[0].Time).Round(time.Second), letters[0].Reason))
	default:
		d.tell(fine("logs", "%s answers, and has refused nothing", x))
	}
	return nil
}
