package runner

import (
	"github.com/piper-build/piper/runtime/plan"
	"github.com/piper-build/piper/runtime/secret"
)

// recall looks up every secret that p asks for, as masking has to know them
// before anything runs. One that is not to be had fails the steps that need
// it, not the build: Get says why again.
func recall(p *plan.Plan, secrets *secret.Memory) {
	find := func(env plan.Env) {
		for _, v := range env {
			for _, part := range v.Value.Parts {
				if part.Secret != "" {
					secrets.Get(part.Secret)
				}
			}
		}
	}
	find(p.Env)
	for _, env := range p.Environments {
		find(env.Env)
	}
	for i := range p.Nodes {
		if step := p.Nodes[i].Step; step != nil {
			find(step.Env)
		}
	}
}
