// Package webhook reads what forges send: whether it is from them, what
// happened, and which pipelines that starts. It is pure; what is done about it
// is up to package api.
//
// Nothing is read of a body before its signature was checked, over the very
// bytes that came. Headers are not signed, so what names a delivery is a digest
// of its body: whoever recorded one can send it again as often as he likes, under
// whatever name, and it stays the one that it was. Forges who send something again
// send the same bytes.
//
// Whether a change comes from a fork is decided by the ids that the forge itself
// gives to repositories. Names of people, branches and repositories are
// whatever somebody chose.
package webhook

import (
	"crypto/hmac"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"regexp"
	"strings"
	"sync"
	"time"

	"github.com/piper-build/piper/runtime/plan"
)

// The kinds of forges.
const (
	GitHub = "github"
	GitLab = "gitlab"
	Gitea  = "gitea"
	HMAC   = "hmac" // any program: X-Piper-Event names a webhook of the project, X-Piper-Delivery the delivery
)

// MaxPayload bounds the body of a HMAC webhook, which a build is given.
const MaxPayload = 64 << 10

var (
	// ErrSignature says that a body is not from who it should be.
	ErrSignature = errors.New("the signature is missing or wrong")
	// ErrPayload says that a body, which is signed, cannot be made sense of.
	ErrPayload = errors.New("the payload makes no sense")
)

// A Delivery is something that a forge tells of.
type Delivery struct {
	ID      string // of the delivery: the same body has the same
	Ignored string // why nothing comes of it; the rest is empty then

	Event plan.Event
	Hook  string // the name of a HMAC webhook
	Ref   string // what to check out: a branch, a tag, or a ref of a change request
	Base  string // the commit that Event.Commit is held against; "" is not known
	Fork  bool   // the commit is not the project's own
}

// Verify holds the signature of a body against a secret. The error is
// ErrSignature.
func Verify(kind string, secret []byte, header http.Header, body []byte) error {
	if len(secret) == 0 {
		return ErrSignature
	}
	switch kind {
	case GitLab:
		// GitLab sends the secret itself. Digests are compared, so that not even
		// its length shows.
		got, want := sha256.Sum256([]byte(header.Get("X-Gitlab-Token"))), sha256.Sum256(secret)
		if subtle.ConstantTimeCompare(got[:], want[:]) != 1 {
			return ErrSignature
		}
		return nil
	case GitHub:
		return verify(secret, header.Values("X-Hub-Signature-256"), "sha256=", body)
	case Gitea:
		return verify(secret, header.Values("X-Gitea-Signature"), "", body)
	case HMAC:
		return verify(secret, header.Values("X-Piper-Signature"), "sha256=", []byte(header.Get("X-Piper-Delivery")+"\n"+header.Get("X-Piper-Event")+"\n"), body)
	}
	return ErrSignature
}

var signature = sync.OnceValue(func() *regexp.Regexp { return regexp.MustCompile(`^[0-9a-f]{64}$`) })

func verify(secret []byte, headers []string, prefix string, signed ...[]byte) error {
	if len(headers) != 1 {
		return ErrSignature
	}
	text, ok := strings.CutPrefix(headers[0], prefix)
	if !ok || !signature().MatchString(text) {
		return ErrSignature
	}
	got, err := hex.DecodeString(text)
	mac := hmac.New(sha256.New, secret)
	for _, part := range signed {
		mac.Write(part)
	}
	if err != nil || !hmac.Equal(got, mac.Sum(nil)) {
		return ErrSignature
	}
	return nil
}

// Sign returns the X-Piper-Signature of a body.
func Sign(secret []byte, delivery, event string, body []byte) string {
	mac := hmac.New(sha256.New, secret)
	fmt.Fprintf(mac, "%s\n%s\n", delivery, event)
	mac.Write(body)
	return "sha256=" + hex.EncodeToString(mac.Sum(nil))
}

// Parse reads a body, which Verify has let through. The error is ErrPayload.
func Parse(kind string, header http.Header, body []byte) (Delivery, error) {
	var d Delivery
	var err error
	switch kind {
	case GitHub:
		d, err = github(header.Get("X-GitHub-Event"), body)
	case Gitea:
		d, err = github(header.Get("X-Gitea-Event"), body) // Gitea speaks as GitHub does, in all that is read here
	case GitLab:
		d, err = gitlab(header.Get("X-Gitlab-Event"), body)
	case HMAC:
		d, err = program(header, body)
	default:
		err = fmt.Errorf("%w: there is no forge %q", ErrPayload, kind)
	}
	if err != nil {
		return Delivery{}, err
	}
	if d.ID == "" {
		sum := sha256.Sum256(body)
		d.ID = hex.EncodeToString(sum[:])
	}
	if d.Ignored == "" && kind != HMAC {
		err = d.check()
	}
	return d, err
}

func ignored(format string, args ...any) (Delivery, error) {
	return Delivery{Ignored: fmt.Sprintf(format, args...)}, nil
}

var commitForm = sync.OnceValue(func() *regexp.Regexp { return regexp.MustCompile(`^([0-9a-f]{40}|[0-9a-f]{64})$`) })

// check refuses a commit that is none.
func (d *Delivery) check() error {
	if !commitForm().MatchString(d.Event.Commit) || zero(d.Event.Commit) {
		return fmt.Errorf("%w: %q is no commit", ErrPayload, clip(d.Event.Commit))
	}
	if d.Base != "" && !commitForm().MatchString(d.Base) {
		return fmt.Errorf("%w: %q is no commit", ErrPayload, clip(d.Base))
	}
	return nil
}

// zero reports whether a hash is of nothing: what a push made, or deleted.
func zero(hash string) bool { return strings.Trim(hash, "0") == "" }

func clip(s string) string {
	if len(s) > 100 {
		return s[:100] + "…"
	}
	return s
}

// headline is the first line of what a commit says.
func headline(message string) string {
	line, _, _ := strings.Cut(message, "\n")
	return clip(strings.TrimSpace(line))
}

// branchOrTag fills in what was pushed.
func (d *Delivery) branchOrTag(ref string) error {
	if name, ok := strings.CutPrefix(ref, "refs/heads/"); ok && name != "" {
		d.Event.Kind, d.Event.Branch, d.Ref = "push", name, ref
		return nil
	}
	if name, ok := strings.CutPrefix(ref, "refs/tags/"); ok && name != "" {
		d.Event.Kind, d.Event.Tag, d.Ref = "tag", name, ref
		return nil
	}
	return fmt.Errorf("%w: %q is neither a branch nor a tag", ErrPayload, clip(ref))
}

func decode(body []byte, v any) error {
	if err := json.Unmarshal(body, v); err != nil {
		return fmt.Errorf("%w: %v", ErrPayload, err)
	}
	return nil
}

// program is what any program may send.
func program(header http.Header, body []byte) (Delivery, error) {
	name := header.Get("X-Piper-Event")
	if name == "" {
		return Delivery{}, fmt.Errorf("%w: X-Piper-Event does not name a webhook", ErrPayload)
	}
	if len(body) > MaxPayload {
		return Delivery{}, fmt.Errorf("%w: it is larger than %d bytes, which is the most that a build is given", ErrPayload, MaxPayload)
	}
	var value json.RawMessage
	if err := decode(body, &value); err != nil {
		return Delivery{}, err
	}
	d := Delivery{Hook: name, Event: plan.Event{Kind: "webhook", Payload: string(body)}}
	if id := header.Get("X-Piper-Delivery"); id != "" {
		d.ID = id // it is signed too
	}
	return d, nil
}

// when is a time that a forge wrote, cut to what every store keeps.
func when(t time.Time) time.Time {
	if t.IsZero() {
		return t
	}
	return t.UTC().Truncate(time.Millisecond)
}
