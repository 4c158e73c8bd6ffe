package api

import (
	"errors"
	"net/http"
	"net/netip"
	"strings"
	"time"

	"github.com/piper-build/piper/runtime/store"
)

// The names of the cookie that a browser is signed in by; it holds a token. No
// other site can set the first, but a browser takes it only over TLS, or from its
// own machine. The second is for everywhere else, and counts nowhere else.
const (
	hostCookie  = "__Host-piper"
	plainCookie = "piper"
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
	c.setCookie(name, r.Token, t.Expires)
	return ok(sessionOf(t))
}

func (c *call) signOut() (*answer, error) {
	for _, name := range []string{hostCookie, plainCookie} {
		if len(c.r.CookiesNamed(name)) > 0 {
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
		c.token, err = c.bearer(cookies[0].Value)
	default:
		err = c.guessed(problem(http.StatusUnauthorized, "bad-token", "send one cookie "+name))
	}
	if errors.As(err, new(*Problem)) {
		c.setCookie(name, "", time.Time{})
	}
	return err
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
