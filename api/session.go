package api

import (
	"crypto/rand"
	"errors"
	"net/http"
	"net/netip"
	"slices"
	"strings"
	"time"

	"github.com/piper-build/piper/runtime/store"
)

// The names of the cookie that a browser is signed in by; it holds a token of its
// own, which ends when it signs out. No other site can set the first, but a browser
// takes it only over TLS, or from its own machine. The second is for everywhere
// else, and counts nowhere else.
const (
	hostCookie  = "__Host-piper"
	plainCookie = "piper"

	signedInFor = 30 * 24 * time.Hour // at most
	browsers    = 100                 // of one token: then the one that came first is signed out
)

func (c *call) showSession() (*answer, error) { return ok(sessionOf(c.token)) }

func sessionOf(t store.Token) Session {
	return Session{Name: t.Name, Role: t.Role, Projects: t.Projects, Expires: t.Expires}
}

func (c *call) signIn() (*answer, error) {
	var r SignIn
	if err := c.read(&r); err != nil {
		return nil, err
	}
	if r.Token == "" {
		return nil, invalid("", FieldError{Field: "token", Message: "is missing"})
	}
	t, err := c.bearer(r.Token)
	if err != nil {
		return nil, err
	}
	name := plainCookie
	// What ends TLS before this server does not say so, but the page does.
	if private(c.r) || strings.HasPrefix(c.r.Header.Get("Origin"), "https://") {
		name = hostCookie
	}
	secret, b, err := c.admitBrowser(t)
	if err != nil {
		return nil, err
	}
	c.setCookie(name, secret, b.Expires)
	return ok(sessionOf(t))
}

// admitBrowser makes a token for a browser that was signed in with t, and forgets
// those of browsers that are of no use any more.
func (c *call) admitBrowser(t store.Token) (secret string, b store.Token, err error) {
	all, err := c.Store.Tokens(c.ctx)
	if err != nil {
		return "", b, err
	}
	good := map[string]bool{}
	for _, other := range all {
		good[other.Hash] = other.Of == "" && !expired(other, c.now())
	}
	slices.SortFunc(all, func(a, b store.Token) int { return b.Created.Compare(a.Created) })
	own := 1 // with the one to come
	for _, other := range all {
		if other.Of == t.Hash {
			own++
		}
		if other.Of != "" && (!good[other.Of] || expired(other, c.now()) || other.Of == t.Hash && own > browsers) {
			if err := c.Store.RevokeToken(c.ctx, other.Name); err != nil {
				return "", b, err
			}
		}
	}
	secret, b = NewToken(store.Token{Name: "browser/" + rand.Text(), Role: t.Role, Of: t.Hash, Created: c.now(), Expires: c.now().Add(signedInFor)})
	if !t.Expires.IsZero() && t.Expires.Before(b.Expires) {
		b.Expires = t.Expires
	}
	return secret, b, store.Insist(c.ctx, func() error { return c.Store.AddToken(c.ctx, b) })
}

func (c *call) signOut() (*answer, error) {
	for _, name := range []string{hostCookie, plainCookie} {
		cookies := c.r.CookiesNamed(name)
		for _, cookie := range cookies {
			b, err := c.Store.Token(c.ctx, hashToken(cookie.Value))
			if err == nil && b.Of != "" {
				err = store.Insist(c.ctx, func() error { return c.Store.RevokeToken(c.ctx, b.Name) })
			}
			if err != nil && !errors.Is(err, store.ErrNotFound) {
				return nil, err // it is still signed in
			}
		}
		if len(cookies) > 0 {
			c.setCookie(name, "", time.Time{})
		}
	}
	return &answer{status: http.StatusNoContent}, nil
}

// signedIn finds out who asks by a cookie. One that is not good any more is taken
// away.
func (c *call) signedIn() (err error) {
	name := hostCookie
	cookies := c.r.CookiesNamed(name)
	if len(cookies) == 0 && !private(c.r) {
		name = plainCookie
		cookies = c.r.CookiesNamed(name)
	}
	switch len(cookies) {
	case 0:
		return problem(http.StatusUnauthorized, "no-token", "send a token: Authorization: Bearer …")
	case 1:
		c.token, err = c.signedInBy(cookies[0].Value)
	default:
		err = c.guessed(problem(http.StatusUnauthorized, "bad-token", "send one cookie "+name))
	}
	if errors.As(err, new(*Problem)) {
		c.setCookie(name, "", time.Time{})
	}
	return err
}

// signedInBy is the token that a browser was signed in with, by its cookie.
func (c *call) signedInBy(secret string) (store.Token, error) {
	b, err := c.known(hashToken(secret))
	if err != nil {
		return store.Token{}, err
	}
	if b.Of == "" {
		return store.Token{}, c.guessed(problem(http.StatusUnauthorized, "bad-token", "this is none for a cookie"))
	}
	c.browser = b.Hash
	return c.known(b.Of)
}

// setCookie has the browser keep a cookie until it expires, or while it is open;
// one without a value is taken away.
func (c *call) setCookie(name, value string, expires time.Time) {
	cookie := &http.Cookie{Name: name, Value: value, Path: "/", Expires: expires, Secure: name == hostCookie, HttpOnly: true, SameSite: http.SameSiteStrictMode}
	if value == "" {
		cookie.MaxAge = -1
	}
	http.SetCookie(c.w, cookie)
}

// private reports whether nobody between the browser and this server can read what
// they say: it came over TLS, or from the same machine.
func private(r *http.Request) bool {
	name := hostName(r.Host)
	address, err := netip.ParseAddr(name)
	return r.TLS != nil || r.Context().Value(overTLS{}) != nil || strings.EqualFold(name, "localhost") || err == nil && address.IsLoopback()
}
