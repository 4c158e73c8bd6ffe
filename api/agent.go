package api

import (
	"time"

	"github.com/piper-build/piper/runtime/build"
	"github.com/piper-build/piper/runtime/store"
)

// An Agent is one that runs builds.
type Agent struct {
	ID       store.AgentID     `json:"id"`
	Name     string            `json:"name"`
	Host     string            `json:"host"`
	Version  string            `json:"version"`
	Started  time.Time         `json:"started"`
	Seen     time.Time         `json:"seen"`
	Slots    int               `json:"slots"`
	Free     int               `json:"free"`
	Draining bool              `json:"draining,omitempty"`
	Ending   bool              `json:"ending,omitempty"` // it drains for good
	Labels   map[string]string `json:"labels,omitempty"`
	Facts    map[string]string `json:"facts,omitempty"`
	Running  []BuildRef        `json:"running"`
}

// A BuildRef names a build.
type BuildRef struct {
	ID       build.ID `json:"id"`
	Number   int64    `json:"number"`
	Project  string   `json:"project"`
	Pipeline string   `json:"pipeline,omitempty"`
}

// A Token lets its bearer in.
type Token struct {
	Name     string     `json:"name"`
	Role     store.Role `json:"role"`
	Projects []string   `json:"projects,omitempty"` // globs; none is all
	Created  time.Time  `json:"created,omitzero"`
	Expires  time.Time  `json:"expires,omitzero"` // never when it is not there
	Secret   string     `json:"token,omitempty"`  // the token itself: told once, when it is made
}

// A TokenRequest asks for a token.
type TokenRequest struct {
	Name     string     `json:"name"`
	Role     store.Role `json:"role"`
	Projects []string   `json:"projects,omitempty"`
	Expires  time.Time  `json:"expires,omitzero"` // never when it is not there
}

// A Session says who asks.
type Session struct {
	Name     string     `json:"name"` // of the token
	Role     store.Role `json:"role"`
	Projects []string   `json:"projects,omitempty"` // globs; none is all
	Expires  time.Time  `json:"expires,omitzero"`   // never when it is not there
}

// A SignIn is a token that a browser is to keep.
type SignIn struct {
	Token string `json:"token"`
}

// A Version says what answers.
type Version struct {
	Version string `json:"version"`
}
