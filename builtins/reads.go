package builtins

import (
	"cmp"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"slices"
	"strings"

	"github.com/piper-build/piper/runtime/plan"
)

// A recorder keeps what evaluation looked at: each thing once, with the first
// value that was seen of it.
type recorder map[read]sight

type read struct{ kind, key string }

type sight struct {
	digest string
	value  any  // as the word that looked keeps it, for recall
	opaque bool // there is no value
	vague  bool // the key does not say all that Again has to know
}

// SawDigest records that evaluation looked at something whose digest is known:
// "sha256:…". Kinds are "file", "exists", "is_dir", "glob", "walk", "environ",
// "param", "event", "git" and "changes".
func (e *Evaluation) SawDigest(kind, key, digest string) {
	e.record(read{kind, key}, sight{digest: digest, opaque: true})
}

// saw records that evaluation looked at a value of the language.
func (e *Evaluation) saw(kind, key string, value any) {
	e.record(read{kind, key}, sight{digest: digestOf(value), value: value})
}

// sawOf is saw of a key that is made of parts: a space stands between them, and
// in one of them as well when it is vague.
func (e *Evaluation) sawOf(kind string, parts []string, value any) {
	vague := slices.ContainsFunc(parts, func(s string) bool { return strings.Contains(s, " ") })
	e.record(read{kind, strings.Join(parts, " ")}, sight{digest: digestOf(value), value: value, vague: vague})
}

func (e *Evaluation) record(r read, s sight) {
	to := e.late
	if to == nil {
		if e.seen == nil {
			e.seen = make(recorder)
		}
		to = e.seen
	}
	if _, ok := to[r]; !ok {
		to[r] = s
	}
	if e.Looked != nil && !s.opaque {
		e.Looked(plan.Input{Kind: r.kind, Key: r.key, Digest: s.digest}, !s.vague)
	}
}

// recall says whether it is too late to look at anything, since the build runs,
// and what was seen of kind and key when the plan was made. Where that is
// nothing it reports the call, and the value is nil.
func (c *call) recall(kind, key string) (value any, late bool) {
	if c.ev.late == nil {
		return nil, false
	}
	s, ok := c.ev.seen[read{kind, key}]
	if !ok || s.opaque {
		c.report(Problem{Index: -1, Code: "too-late",
			Message: fmt.Sprintf("%s asks for what was not looked at before the build began", c.Name),
			Hint:    "ask for it at the top level or in the pipeline's impl, and use the value here"})
		return nil, true
	}
	return s.value, true
}

func digestOf(value any) string {
	data, err := json.Marshal(value)
	if err != nil {
		panic(err) // strings, bools, numbers and lists of them only
	}
	return digest(data)
}

func digest(data []byte) string {
	sum := sha256.Sum256(data)
	return "sha256:" + hex.EncodeToString(sum[:])
}

// inputs returns what was seen, by kind and key.
func (r recorder) inputs() []plan.Input {
	out := make([]plan.Input, 0, len(r))
	for k, s := range r {
		out = append(out, plan.Input{Kind: k.kind, Key: k.key, Digest: s.digest})
	}
	slices.SortFunc(out, func(a, b plan.Input) int {
		return cmp.Or(cmp.Compare(a.Kind, b.Kind), cmp.Compare(a.Key, b.Key))
	})
	return out
}
