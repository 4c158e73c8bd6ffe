package webhook

import (
	"cmp"
	"fmt"
	"time"

	"github.com/piper-build/piper/runtime/plan"
)

// A gitlabBody is as much of what GitLab sends as is looked at.
type gitlabBody struct {
	// of a push
	Ref          string `json:"ref"`
	Before       string `json:"before"`
	After        string `json:"after"`
	CheckoutSHA  string `json:"checkout_sha"` // the commit, also of a tag that says something
	UserUsername string `json:"user_username"`
	Commits      []struct {
		ID        string    `json:"id"`
		Message   string    `json:"message"`
		Timestamp time.Time `json:"timestamp"`
	} `json:"commits"`

	// of a change request
	User struct {
		Username string `json:"username"`
	} `json:"user"`
	Request *gitlabRequest `json:"object_attributes"`
}

type gitlabRequest struct {
	IID          int    `json:"iid"`
	Title        string `json:"title"`
	Action       string `json:"action"`
	OldRev       string `json:"oldrev"` // of an update that brings commits
	SourceBranch string `json:"source_branch"`
	TargetBranch string `json:"target_branch"`
	SourceID     int64  `json:"source_project_id"`
	TargetID     int64  `json:"target_project_id"`
	LastCommit   struct {
		ID        string    `json:"id"`
		Timestamp time.Time `json:"timestamp"`
	} `json:"last_commit"`
}

func gitlab(event string, body []byte) (Delivery, error) {
	switch event {
	case "Push Hook", "Tag Push Hook", "Merge Request Hook":
	case "":
		return Delivery{}, fmt.Errorf("%w: no header says what happened", ErrPayload)
	default:
		return ignored("nothing starts at %q", clip(event))
	}
	var b gitlabBody
	if err := decode(body, &b); err != nil {
		return Delivery{}, err
	}
	if event == "Merge Request Hook" {
		return b.changeRequest()
	}
	return b.push()
}

func (b *gitlabBody) push() (Delivery, error) {
	if b.After != "" && zero(b.After) {
		return ignored("%s was deleted", clip(b.Ref))
	}
	d := Delivery{Event: plan.Event{Commit: cmp.Or(b.CheckoutSHA, b.After), Author: b.UserUsername}}
	if err := d.branchOrTag(b.Ref); err != nil {
		return Delivery{}, err
	}
	for _, c := range b.Commits {
		if c.ID == d.Event.Commit {
			d.Event.Title, d.Event.Time = headline(c.Message), when(c.Timestamp)
		}
	}
	if d.Event.Kind == "push" && !zero(b.Before) {
		d.Base = b.Before
		d.Event.Base = b.Before
	}
	return d, nil
}

func (b *gitlabBody) changeRequest() (Delivery, error) {
	r := b.Request
	if r == nil || r.IID <= 0 || r.TargetID == 0 {
		return Delivery{}, fmt.Errorf("%w: it does not say which change request", ErrPayload)
	}
	switch {
	case r.Action == "open", r.Action == "reopen", r.Action == "update" && r.OldRev != "":
	case r.Action == "update":
		return ignored("the change request has no new commits")
	default:
		return ignored("nothing starts when a change request is told to %s", cmp.Or(clip(r.Action), "do something"))
	}
	return Delivery{
		Ref:  fmt.Sprintf("refs/merge-requests/%d/head", r.IID),
		Fork: r.SourceID != r.TargetID,
		Event: plan.Event{Kind: "change_request", Branch: r.SourceBranch, Commit: r.LastCommit.ID, Base: r.TargetBranch,
			Number: r.IID, Title: clip(r.Title), Author: b.User.Username, Time: when(r.LastCommit.Timestamp)},
	}, nil
}
