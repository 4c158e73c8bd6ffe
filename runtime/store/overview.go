package store

import "context"

// An Overview is what an agent looks at all the time, each part as the Store's
// method of that name has it. The agents were read after what runs: an agent joins
// before it owns anything, so an owner who is not among them was buried.
type Overview struct {
	Running   []Build `json:"running"`
	Unsettled []Build `json:"unsettled"`
	Queue     []Build `json:"queue"`
	Agents    []Agent `json:"agents"`
}

// An Overviewer is a Store that has all of it in one read.
type Overviewer interface {
	Overview(ctx context.Context, unsettled, queue int) (Overview, error)
}

// Look looks at all of it, with at most so many that are unsettled or queued.
func Look(ctx context.Context, s Store, unsettled, queue int) (o Overview, err error) {
	if whole, ok := s.(Overviewer); ok {
		return whole.Overview(ctx, unsettled, queue)
	}
	if o.Running, err = s.Running(ctx, ""); err != nil {
		return o, err
	}
	if o.Unsettled, err = s.Unsettled(ctx, unsettled); err != nil {
		return o, err
	}
	if o.Queue, err = s.Queue(ctx, "", queue); err != nil {
		return o, err
	}
	o.Agents, err = s.Agents(ctx)
	return o, err
}
