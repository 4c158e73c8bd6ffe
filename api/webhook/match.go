package webhook

import (
	"slices"

	"github.com/bmatcuk/doublestar/v4"

	"github.com/piper-build/piper/runtime/plan"
)

// Match returns the names of the pipelines that a delivery starts, in the order
// of the catalog. changed are the files that it changes, and is only called when
// a pipeline wants to know; nil says that they are not known, and is taken for
// all of them.
func Match(c plan.Catalog, d Delivery, changed func() ([]string, error)) (names []string, err error) {
	var files []string
	asked := false
	for _, p := range c.Pipelines {
		starts := false
		for _, on := range p.On {
			if starts || !concerns(on, d) {
				continue
			}
			if len(on.Paths) > 0 && !asked {
				asked = true
				if files, err = changed(); err != nil {
					return nil, err
				}
			}
			starts = len(on.Paths) == 0 || files == nil || slices.ContainsFunc(files, func(f string) bool { return anyOf(on.Paths, f) })
		}
		if starts {
			names = append(names, p.Name)
		}
	}
	return names, nil
}

// concerns reports whether on is about the delivery, files apart.
func concerns(on plan.On, d Delivery) bool {
	if on.Kind != d.Event.Kind {
		return false
	}
	switch on.Kind {
	case "push":
		return len(on.Branches) == 0 || anyOf(on.Branches, d.Event.Branch)
	case "tag":
		return len(on.Tags) == 0 || anyOf(on.Tags, d.Event.Tag)
	case "change_request":
		return len(on.Branches) == 0 || anyOf(on.Branches, d.Event.Base)
	case "webhook":
		return on.Name == d.Hook
	}
	return false
}

func anyOf(globs []string, name string) bool {
	return slices.ContainsFunc(globs, func(glob string) bool { return doublestar.MatchUnvalidated(glob, name) })
}
