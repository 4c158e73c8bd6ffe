package webhook

import (
	"cmp"
	"fmt"
	"time"

	"github.com/piper-build/piper/runtime/plan"
)

// A githubBody is as much of what GitHub and Gitea send as is looked at.
type githubBody struct {
	// of a push
	Ref        string        `json:"ref"`
	Before     string        `json:"before"`
	After      string        `json:"after"`
	Deleted    bool          `json:"deleted"`
	HeadCommit *githubCommit `json:"head_commit"`
	Sender     githubUser    `json:"sender"`

	// of a change request
	Action      string         `json:"action"`
	PullRequest *githubRequest `json:"pull_request"`
}

type githubCommit struct {
	ID        string    `json:"id"`
	Message   string    `json:"message"`
	Timestamp time.Time `json:"timestamp"`
}

type githubUser struct {
	Login string `json:"login"`
}

type githubRequest struct {
	Number    int        `json:"number"`
	Title     string     `json:"title"`
	User      githubUser `json:"user"`
	UpdatedAt time.Time  `json:"updated_at"`
	Head      githubEnd  `json:"head"`
	Base      githubEnd  `json:"base"`
}

type githubEnd struct {
	Ref  string `json:"ref"`
	SHA  string `json:"sha"`
	Repo *struct {
		ID int64 `json:"id"`
	} `json:"repo"` // null once a fork was deleted
}

func github(event string, body []byte) (Delivery, error) {
	switch event {
	case "push", "pull_request", "pull_request_sync":
	case "":
		return Delivery{}, fmt.Errorf("%w: no header says what happened", ErrPayload)
	default:
		return ignored("nothing starts at %q", clip(event))
	}
	var b githubBody
	if err := decode(body, &b); err != nil {
		return Delivery{}, err
	}
	if event == "push" {
		return b.push()
	}
	return b.changeRequest()
}

func (b *githubBody) push() (Delivery, error) {
	if b.Deleted || b.After != "" && zero(b.After) {
		return ignored("%s was deleted", clip(b.Ref))
	}
	d := Delivery{Event: plan.Event{Commit: b.After, Author: b.Sender.Login}}
	if err := d.branchOrTag(b.Ref); err != nil {
		return Delivery{}, err
	}
	if c := b.HeadCommit; c != nil {
		d.Event.Title, d.Event.Time = headline(c.Message), when(c.Timestamp)
		if d.Event.Kind == "tag" {
			d.Event.Commit = c.ID // After is the tag itself, when it says something
		}
	}
	if d.Event.Kind == "push" && !zero(b.Before) {
		d.Base = b.Before
		d.Event.Base = b.Before
	}
	return d, nil
}

func (b *githubBody) changeRequest() (Delivery, error) {
	r := b.PullRequest
	switch b.Action {
	case "opened", "reopened", "synchronize", "synchronized": // the last is Gitea's
	default:
		return ignored("nothing starts when a change request is %s", cmp.Or(clip(b.Action), "something"))
	}
	if r == nil || r.Number <= 0 || r.Base.Repo == nil || r.Base.Repo.ID == 0 {
		return Delivery{}, fmt.Errorf("%w: it does not say which change request", ErrPayload)
	}
	return Delivery{
		Ref:  fmt.Sprintf("refs/pull/%d/head", r.Number),
		Base: r.Base.SHA,
		Fork: r.Head.Repo == nil || r.Head.Repo.ID != r.Base.Repo.ID,
		Event: plan.Event{Kind: "change_request", Branch: r.Head.Ref, Commit: r.Head.SHA, Base: r.Base.Ref,
			Number: r.Number, Title: clip(r.Title), Author: r.User.Login, Time: when(r.UpdatedAt)},
	}, nil
}
