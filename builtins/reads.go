package builtins

import (
	"cmp"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"slices"

	"github.com/piper-build/piper/runtime/plan"
)

// A recorder keeps what evaluation looked at: each thing once, with the first
// value that was seen of it.
type recorder map[read]string

type read struct{ kind, key string }

// Saw records that evaluation looked at the value of kind and key. Kinds are
// "file", "exists", "is_dir", "glob", "walk", "environ", "param", "event",
// "git" and "changes".
func (e *Evaluation) Saw(kind, key string, value []byte) { e.SawDigest(kind, key, digest(value)) }

// SawDigest is Saw for a value whose digest is known: "sha256:…".
func (e *Evaluation) SawDigest(kind, key, digest string) {
	if e.seen == nil {
		e.seen = make(recorder)
	}
	r := read{kind, key}
	if _, ok := e.seen[r]; !ok {
		e.seen[r] = digest
	}
}

// saw is Saw for a value of the language.
func (e *Evaluation) saw(kind, key string, value any) {
	data, err := json.Marshal(value)
	if err != nil {
		panic(err) // strings, bools, numbers and lists of them only
	}
	e.Saw(kind, key, data)
}

func digest(data []byte) string {
	sum := sha256.Sum256(data)
	return "sha256:" + hex.EncodeToString(sum[:])
}

// inputs returns what was seen, by kind and key.
func (r recorder) inputs() []plan.Input {
	out := make([]plan.Input, 0, len(r))
	for k, sum := range r {
		out = append(out, plan.Input{Kind: k.kind, Key: k.key, Digest: sum})
	}
	slices.SortFunc(out, func(a, b plan.Input) int {
		return cmp.Or(cmp.Compare(a.Kind, b.Kind), cmp.Compare(a.Key, b.Key))
	})
	return out
}
