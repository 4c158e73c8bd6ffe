package runner

import (
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
	if from == nil {
		from = secret.Values(nil)
	}
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
			if value, err := from(part.Secret); err != nil {
				s.errs[part.Secret] = err
			} else {
				s.values[part.Secret] = value
			}
		}
	}
}

// get gives one value that the plan asks for, or why it is not to be had.
func (s *secrets) get(name string) (string, error) {
	if err := s.errs[name]; err != nil {
		return "", err
	}
	return s.values[name], nil
}
