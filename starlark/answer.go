package starlark

import (
	"context"
	"crypto/sha256"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"sync"

	"github.com/piper-build/piper/runtime/plan"
)

// An answer is what an evaluation of a large file has found, when it has found
// nothing wrong and was not asked for a plan: that is what check, lists and
// completion ask. With it is kept all that it came from, so that the next one
// who asks need not evaluate anything when all of that is as it was.
//
// Plans are not kept: to read one back takes as long as making it anew.
type answer struct {
	Sources  map[string]string `json:"sources,omitempty"` // digests, by name, of the files that were loaded
	Looks    []plan.Input      `json:"looks,omitempty"`
	Printed  []printed         `json:"printed,omitempty"`
	Catalog  plan.Catalog      `json:"catalog"`
	Warnings plan.Diagnostics  `json:"warnings,omitempty"`
}

// A printed is what a file printed.
type printed struct {
	Pos     plan.Pos `json:"pos"`
	Message string   `json:"message"`
}

// thisProgram tells this program from others that may answer otherwise; "" when
// it cannot.
var thisProgram = sync.OnceValue(func() string {
	path, err := os.Executable()
	if err != nil {
		return ""
	}
	info, err := os.Stat(path)
	if err != nil {
		return ""
	}
	return fmt.Sprintln(path, info.Size(), info.ModTime())
})

// answerEntry returns where the answer to e is kept, when it may be.
func (e *evaluation) answerEntry() (entry string, ok bool) {
	if e.loader.cache == nil || e.Coverage != nil || !e.CatalogOnly && !e.All || thisProgram() == "" {
		return "", false
	}
	if e.Source == nil {
		text, err := e.loader.read(e.File)
		if err != nil {
			return "", false
		}
		e.Source = text
	}
	if len(e.Source) < minCached {
		return "", false
	}
	key, err := json.Marshal([]any{thisProgram(), e.File, sha256.Sum256(e.Source),
		e.CatalogOnly, e.All, e.Pipeline, e.Params, e.Environment, e.Piper, e.Limits})
	return e.loader.cache.entry(answers, key), err == nil
}

// known returns the answer that is kept, if it still holds.
func (e *evaluation) known(entry string) (Result, bool) {
	data, ok := e.loader.cache.read(entry)
	var a answer
	if !ok || json.Unmarshal(data, &a) != nil {
		return Result{}, false
	}
	for name, digest := range a.Sources {
		text, err := e.loader.read(name)
		if err != nil || (&source{sum: sha256.Sum256(text)}).digest() != digest {
			return Result{}, false
		}
	}
	for _, look := range a.Looks {
		digest, err := e.words.Again(look.Kind, look.Key)
		if err != nil || digest != look.Digest {
			return Result{}, false
		}
	}
	if e.Print != nil {
		for _, p := range a.Printed {
			e.Print(p.Pos, p.Message)
		}
	}
	return Result{Catalog: a.Catalog, Warnings: a.Warnings}, true
}

// answered is run, unless the answer is known. What run finds is kept.
func (e *evaluation) answered(ctx context.Context) (Result, error) {
	entry, ok := e.answerEntry()
	if !ok || ctx.Err() != nil {
		return e.run(ctx)
	}
	if result, ok := e.known(entry); ok {
		return result, nil
	}
	var a answer
	looked, vague := make(map[plan.Input]bool), false
	e.words.Looked = func(in plan.Input, again bool) {
		switch {
		case in.Kind == "param": // follows from what is in the key
		case !again:
			vague = true
		case !looked[in]:
			looked[in] = true
			a.Looks = append(a.Looks, in)
		}
	}
	show := e.Print
	e.Print = func(pos plan.Pos, message string) {
		a.Printed = append(a.Printed, printed{pos, message})
		if show != nil {
			show(pos, message)
		}
	}
	result, err := e.run(ctx)
	if err != nil || vague {
		return result, err
	}
	a.Catalog, a.Warnings, a.Sources = result.Catalog, result.Warnings, make(map[string]string)
	for _, s := range e.loader.order {
		if s != e.main && !s.standard() { // that comes with this program
			a.Sources[s.name] = s.digest()
		}
	}
	e.loader.cache.write(entry, func(w io.Writer) error { return json.NewEncoder(w).Encode(a) })
	return result, nil
}
