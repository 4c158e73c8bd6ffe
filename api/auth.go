package api

import (
	"crypto/rand"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"fmt"
	"hash/crc32"
	"net/http"
	"os"
	"strings"
	"sync"
	"time"

	"github.com/bmatcuk/doublestar/v4"

	"github.com/piper-build/piper/runtime/store"
)

// NewToken makes a token for t: 256 random bits, with a prefix and a checksum
// by which one that leaked is found. Only its hash is to be kept.
func NewToken(t store.Token) (secret string, kept store.Token) {
	var bits [32]byte
	rand.Read(bits[:]) // never fails
	body := "piper_" + string(t.Role) + "_" + base64.RawURLEncoding.EncodeToString(bits[:])
	secret = fmt.Sprintf("%s%08x", body, crc32.ChecksumIEEE([]byte(body)))
	t.Hash = hashToken(secret)
	return secret, t
}

func hashToken(secret string) string {
	sum := sha256.Sum256([]byte(secret))
	return hex.EncodeToString(sum[:])
}

// WriteToken writes a token into a file that nobody but its owner may read, and
// that must not be there.
func WriteToken(path, secret string) error {
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return fmt.Errorf("write token: %w", err)
	}
	_, err = f.WriteString(secret + "\n")
	if err := errors.Join(err, f.Close()); err != nil {
		return fmt.Errorf("write token: %w", err)
	}
	return nil
}

// authenticate finds out who asks: the header Authorization says it, or without
// one the cookie.
func (c *call) authenticate() (err error) {
	if c.as != nil {
		c.token = *c.as
		return nil
	}
	headers := c.r.Header.Values("Authorization")
	if len(headers) == 0 {
		return c.signedIn()
	}
	scheme, secret, _ := strings.Cut(headers[0], " ")
	if secret = strings.TrimSpace(secret); len(headers) > 1 || !strings.EqualFold(scheme, "Bearer") || secret == "" {
		return c.guessed(problem(http.StatusUnauthorized, "bad-token", "send one header Authorization: Bearer …"))
	}
	c.token, err = c.bearer(secret)
	return err
}

// bearer is what whoever has the secret of a token may do. That of a browser is
// good for its cookie alone.
func (c *call) bearer(secret string) (store.Token, error) {
	t, err := c.known(hashToken(secret))
	if err == nil && t.Of != "" {
		return store.Token{}, c.guessed(problem(http.StatusUnauthorized, "bad-token", "this is none for a header"))
	}
	return t, err
}

// known is the token of a hash, if there is a good one.
func (c *call) known(hash string) (store.Token, error) {
	t, err := c.Store.Token(c.ctx, hash)
	switch {
	case err != nil && !errors.Is(err, store.ErrNotFound):
		return store.Token{}, err
	case err != nil, subtle.ConstantTimeCompare([]byte(t.Hash), []byte(hash)) != 1, rank(t.Role) == 0, expired(t, c.now()):
		return store.Token{}, c.guessed(problem(http.StatusUnauthorized, "bad-token", "this token is not known"))
	}
	return t, nil
}

func expired(t store.Token, at time.Time) bool { return !t.Expires.IsZero() && !at.Before(t.Expires) }

// standing reports whether the token that a stream began with is still good.
func (c *call) standing() bool {
	if c.as != nil {
		return true
	}
	if expired(c.token, c.now()) {
		return false
	}
	if c.browser != "" {
		if _, err := c.Store.Token(c.ctx, c.browser); errors.Is(err, store.ErrNotFound) {
			return false
		}
	}
	t, err := c.Store.Token(c.ctx, c.token.Hash)
	return err == nil && t.Role == c.token.Role || err != nil && !errors.Is(err, store.ErrNotFound)
}

// sees reports whether whoever asks may know of a project.
func (c *call) sees(project string) bool { return covers(c.token, project) }

func covers(t store.Token, project string) bool {
	if len(t.Projects) == 0 {
		return true
	}
	for _, glob := range t.Projects {
		if doublestar.MatchUnvalidated(glob, project) {
			return true
		}
	}
	return false
}

const (
	guessesAllowed = 20 // in a minute, from one address
	guessers       = 10_000
)

// guesses counts bad tokens by the address that they came from.
type guesses struct {
	mu    sync.Mutex
	since time.Time
	by    map[string]int
}

// guessed is err, until there were too many from one address. Good tokens are
// never refused: who shares the address with someone who guesses goes on.
func (c *call) guessed(err *Problem) error {
	g := &c.guesses
	g.mu.Lock()
	defer g.mu.Unlock()
	now := c.now()
	if g.by == nil || now.Sub(g.since) >= time.Minute || len(g.by) >= guessers {
		g.by, g.since = map[string]int{}, now
	}
	if g.by[c.from]++; g.by[c.from] <= guessesAllowed {
		return err
	}
	wait := time.Minute - now.Sub(g.since)
	return problem(http.StatusTooManyRequests, "too-many-guesses", "too many bad tokens came from this address").
		with("Retry-After", fmt.Sprint(int(wait.Seconds())+1))
}

func (c *call) listTokens() (*answer, error) {
	found, err := c.Store.Tokens(c.ctx)
	if err != nil {
		return nil, err
	}
	list := []Token{}
	for _, t := range found {
		if t.Of == "" {
			list = append(list, tokenOf(t))
		}
	}
	return ok(list)
}

func tokenOf(t store.Token) Token {
	return Token{Name: t.Name, Role: t.Role, Projects: t.Projects, Created: t.Created, Expires: t.Expires}
}

func (c *call) createToken() (*answer, error) {
	var r TokenRequest
	if err := c.read(&r); err != nil {
		return nil, err
	}
	switch {
	case !validName(r.Name):
		return nil, invalid("", FieldError{Field: "name", Message: nameRule})
	case rank(r.Role) == 0:
		return nil, invalid("", FieldError{Field: "role", Message: "is read, trigger or admin"})
	case rank(r.Role) > rank(c.token.Role):
		return nil, problem(http.StatusForbidden, "forbidden", "a token makes none that may do more than itself")
	case expired(store.Token{Expires: r.Expires}, c.now()):
		return nil, invalid("", FieldError{Field: "expires", Message: "is over"})
	}
	for _, glob := range r.Projects {
		if glob == "" || !doublestar.ValidatePattern(glob) {
			return nil, invalid("", FieldError{Field: "projects", Message: quote(glob) + " is no glob"})
		}
	}
	secret, t := NewToken(store.Token{Name: r.Name, Role: r.Role, Projects: r.Projects, Created: c.now(), Expires: r.Expires.UTC()})
	// Only its maker knows the secret, so an answer that was lost is a token to
	// be revoked, not one to be made again.
	switch err := store.Insist(c.ctx, func() error { return c.Store.AddToken(c.ctx, t) }); {
	case errors.Is(err, store.ErrConflict):
		return nil, problem(http.StatusConflict, "conflict", "there is a token "+quote(t.Name)+": revoke it, or take another name")
	case err != nil:
		return nil, err
	}
	told := tokenOf(t)
	told.Secret = secret
	return &answer{status: http.StatusCreated, value: told}, nil
}

func (c *call) revokeToken() (*answer, error) {
	err := store.Insist(c.ctx, func() error { return c.Store.RevokeToken(c.ctx, c.param("name")) })
	if err != nil {
		return nil, err
	}
	return &answer{status: http.StatusNoContent}, nil
}
