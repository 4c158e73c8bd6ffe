package runner

import (
	"fmt"

	"github.com/piper-build/piper/runtime/plan"
	"github.com/piper-build/piper/runtime/secret"
)

// secrets are the values that one plan asks for. They are looked up once,
// before anything runs, because masking has to know them all.
type secrets struct {
	values map[string]string
	errs   map[string]error
}

func findSecrets(p *plan.Plan, from secret.Source) secrets {
	s := secrets{values: map[string]string{}, errs: map[string]error{}}
	for _, env := range p.Environments {
		s.find(env.Env, from)
	}
	s.find(p.Env, from)
	for i := range p.Nodes {
		if step := p.Nodes[i].Step; step != nil {
			s.find(step.Env, from)
		}
	}
	return s
}

func (s *secrets) find(env plan.Env, from secret.Source) {
	for _, v := range env {
		for _, part := range v.Value.Parts {
			if part.Secret == "" {
				continue
			}
			if _, ok := s.values[part.Secret]; ok || s.errs[part.Secret] != nil {
				continue
			}
			if from == nil {
				s.errs[part.Secret] = fmt.Errorf("secret %q: %w", part.Secret, secret.ErrNotFound)
			} else if value, err := from(part.Secret); err != nil {
				s.errs[part.Secret] = err
			} else {
				s.values[part.Secret] = value
			}
		}
	}
}

// get gives one value, or why it is not to be had.
func (s *secrets) get(name string) (string, error) {
	if err := s.errs[name]; err != nil {
		return "", err
	}
	if value, ok := s.values[name]; ok {
		return value, nil
	}
	return "", fmt.Errorf("secret %q: %w", name, secret.ErrNotFound)
}
