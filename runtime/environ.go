package runtime

import (
	"fmt"
	"path"
	"slices"
	"strconv"
	"strings"

	"github.com/piper-build/piper/runtime/plan"
)

// inherited are the names that every step gets from the caller.
var inherited = [...]string{"PATH", "HOME", "USER", "LANG", "TERM", "TMPDIR"}

// environs makes the environments of steps. What steps share is made once.
type environs struct {
	engine *Engine
	plan   *plan.Plan
	shared map[string][]string // by the name of the environment
}

func newEnvirons(e *Engine, p *plan.Plan) environs {
	return environs{engine: e, plan: p, shared: map[string][]string{}}
}

// of is the whole environment of a task. From the weakest to the strongest:
// what is inherited and let through, the plan's, the environment's, the
// step's, and Piper's own words.
func (v *environs) of(r *run, t *Task) ([]string, error) {
	step := t.Node.Step
	where := v.plan.EnvironmentOf(step)
	shared, err := v.base(r, where)
	if err != nil {
		return nil, err
	}
	env := make([]string, len(shared), len(shared)+len(step.Env)+4)
	copy(env, shared)
	if len(step.PassEnv) > 0 {
		// What is let through is the weakest, and must not undo the rest.
		for _, kv := range v.passed(step.PassEnv) {
			if name, _, _ := strings.Cut(kv, "="); index(env, name) < 0 {
				env = append(env, kv)
			}
		}
	}
	for _, d := range step.Env {
		if env, err = v.add(r, env, d); err != nil {
			return nil, err
		}
	}
	return append(env,
		"PIPER_STEP="+t.Node.Name,
		"PIPER_ATTEMPT="+strconv.Itoa(t.Attempt),
		"PIPER_OUTPUT="+t.OutputDir), nil
}

// base is what the steps of one environment share.
func (v *environs) base(r *run, where *plan.Environment) ([]string, error) {
	var name string
	if where != nil {
		name = where.Name
	}
	if env, ok := v.shared[name]; ok {
		return env, nil
	}
	var env []string
	if v.engine.Lookup != nil {
		for _, name := range inherited {
			if value, ok := v.engine.Lookup(name); ok {
				env = append(env, name+"="+value)
			}
		}
	}
	pass := slices.Concat(v.engine.PassEnv, v.plan.PassEnv)
	if where != nil {
		pass = append(pass, where.PassEnv...)
	}
	for _, kv := range v.passed(pass) {
		name, value, _ := strings.Cut(kv, "=")
		env = set(env, name, value)
	}
	declared := v.plan.Env
	if where != nil {
		declared = slices.Concat(declared, where.Env)
	}
	var err error
	for _, d := range declared {
		if env, err = v.add(r, env, d); err != nil {
			return nil, err
		}
	}
	e := v.engine
	env = append(env,
		"PIPER=1",
		"PIPER_PROJECT="+v.plan.Project.Name,
		"PIPER_PIPELINE="+v.plan.Pipeline,
		"PIPER_BUILD="+string(e.ID),
		"PIPER_VERSION="+v.plan.Project.Version,
		"PIPER_COMMIT="+e.Commit,
		"PIPER_BRANCH="+e.Branch,
		"PIPER_WORKSPACE="+e.Workspace)
	v.shared[name] = slices.Clip(env)
	return env, nil
}

// passed is what of the caller's environment the names and globs let through.
func (v *environs) passed(names []string) []string {
	var out []string
	for _, pattern := range names {
		if !strings.ContainsAny(pattern, `*?[\`) {
			if v.engine.Lookup != nil {
				if value, ok := v.engine.Lookup(pattern); ok && !own(pattern) {
					out = append(out, pattern+"="+value)
				}
			}
			continue
		}
		if v.engine.Environ == nil {
			continue
		}
		for _, kv := range v.engine.Environ() {
			name, _, _ := strings.Cut(kv, "=")
			if ok, _ := path.Match(pattern, name); ok && !own(name) {
				out = append(out, kv)
			}
		}
	}
	return out
}

func (v *environs) add(r *run, env []string, d plan.Var) ([]string, error) {
	value, err := r.text(d.Value)
	switch {
	case err != nil:
		return nil, fmt.Errorf("env %s: %w", d.Name, err)
	case strings.ContainsRune(value, 0):
		return nil, fmt.Errorf("env %s: the value holds a NUL byte", d.Name)
	case own(d.Name):
		return env, nil
	}
	return set(env, d.Name, value), nil
}

// own reports whether a name is one that Piper gives its steps itself, or
// keeps from them.
func own(name string) bool { return name == "PIPER" || strings.HasPrefix(name, "PIPER_") }

func set(env []string, name, value string) []string {
	if i := index(env, name); i >= 0 {
		env[i] = name + "=" + value
		return env
	}
	return append(env, name+"="+value)
}

func index(env []string, name string) int {
	return slices.IndexFunc(env, func(kv string) bool {
		return len(kv) > len(name) && kv[len(name)] == '=' && kv[:len(name)] == name
	})
}
