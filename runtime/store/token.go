package store

import (
	"context"
	"time"
)

// A Role is what a token may do. Each may do what the ones before it may.
type Role string

const (
	Read    Role = "read"
	Trigger Role = "trigger"
	Admin   Role = "admin"
)

// A Token lets its bearer in. The store never sees the token itself.
type Token struct {
	Hash     string    `json:"hash"` // SHA-256 of the token, in hex
	Name     string    `json:"name"` // unique, for people
	Role     Role      `json:"role"`
	Projects []string  `json:"projects,omitempty"` // globs of their names; none is all
	Created  time.Time `json:"created,omitzero"`
	Expires  time.Time `json:"expires,omitzero"` // zero is never

	// Of is the hash of the token that a browser was signed in with, when this one
	// stands for that browser: it may what that may, as long as there is that.
	Of string `json:"of,omitempty"`
}

// Tokens keeps tokens.
type Tokens interface {
	// AddToken keeps a token. To add it again changes nothing. ErrConflict says
	// that its name or hash is that of another one.
	AddToken(ctx context.Context, t Token) error

	Token(ctx context.Context, hash string) (Token, error)
	Tokens(ctx context.Context) ([]Token, error) // by name

	// RevokeToken forgets the token of that name. One that is not there is no
	// error.
	RevokeToken(ctx context.Context, name string) error
}
