package isolate_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/rogpeppe/go-internal/txtar"
	"github.com/stretchr/testify/require"

	"github.com/piper-build/piper/builtins"
	"github.com/piper-build/piper/runtime/plan"
	"github.com/piper-build/piper/starlark"
)

// TestSameAsInProcess holds the two ways to evaluate against each other, with
// every case that package starlark has for its own.
func TestSameAsInProcess(t *testing.T) {
	chunks, err := filepath.Glob("../testdata/*.star")
	require.NoError(t, err)
	require.NotEmpty(t, chunks)
	for _, name := range chunks {
		text, err := os.ReadFile(name)
		require.NoError(t, err)
		for i, chunk := range strings.Split(string(text), "\n---\n") {
			t.Run(fmt.Sprintf("%s/%d", filepath.Base(name), i+1), func(t *testing.T) {
				t.Parallel()
				same(t, request(t, chunk, &txtar.Archive{Files: []txtar.File{
					{Name: "PIPER.star", Data: []byte(chunk)},
					{Name: "VERSION", Data: []byte("1.2.3\n")},
					{Name: "ci/a.sh", Data: []byte("#!/bin/sh\n")},
					{Name: "ci/b.sh", Data: []byte("#!/bin/sh\n")},
				}}))
			})
		}
	}
	trees, err := filepath.Glob("../testdata/*.txtar")
	require.NoError(t, err)
	require.NotEmpty(t, trees)
	for _, name := range trees {
		t.Run(filepath.Base(name), func(t *testing.T) {
			t.Parallel()
			a, err := txtar.ParseFile(name)
			require.NoError(t, err)
			same(t, request(t, string(a.Comment), a))
		})
	}
}

// TestSameExamples does so for the examples of the words, and of the
// repository: each of their pipelines.
func TestSameExamples(t *testing.T) {
	for _, b := range builtins.Table() {
		t.Run(b.Name, func(t *testing.T) {
			t.Parallel()
			samePipelines(t, request(t, "", &txtar.Archive{Files: []txtar.File{
				{Name: "PIPER.star", Data: []byte(b.Example)},
				{Name: "VERSION", Data: []byte("1.0.0\n")},
				{Name: "ci/a.sh", Data: []byte("true\n")},
			}}))
		})
	}
	roots, err := filepath.Glob("../../testdata/examples/*")
	require.NoError(t, err)
	require.NotEmpty(t, roots)
	for _, root := range append(roots, "../..") {
		t.Run(root, func(t *testing.T) {
			t.Parallel()
			r := request(t, "", &txtar.Archive{})
			r.Root, err = filepath.Abs(root)
			require.NoError(t, err)
			samePipelines(t, r)
		})
	}
}

func samePipelines(t *testing.T, r starlark.Request) {
	t.Helper()
	r.CatalogOnly = true
	catalog := same(t, r)
	r.CatalogOnly, r.All = false, true
	same(t, r)
	r.All = false
	for _, p := range catalog.Pipelines {
		r.Pipeline = p.Name
		same(t, r)
	}
}

// same evaluates r both ways and compares all that can be told of the results.
func same(t *testing.T, r starlark.Request) plan.Catalog {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	var seen [2]string
	var catalog plan.Catalog
	for i, evaluate := range []starlark.Evaluator{starlark.Evaluate, evaluator().Evaluate} {
		var b strings.Builder
		r.Print = func(pos plan.Pos, message string) { fmt.Fprintf(&b, "print %s %q\n", pos, message) }
		result, err := evaluate(ctx, r)
		tell(t, &b, result, err)
		if result.Plan != nil {
			for _, n := range result.Plan.Nodes {
				if n.Expand() != nil {
					found, err := result.Expand(ctx, n.Name, map[string]string{"v": "1", "shards": "2", "targets": "a b"})
					fmt.Fprintf(&b, "%s\n", asJSON(t, found))
					tell(t, &b, starlark.Result{}, err)
				}
			}
		}
		seen[i], catalog = b.String(), result.Catalog
	}
	require.Equal(t, seen[0], seen[1])
	return catalog
}

func tell(t *testing.T, b *strings.Builder, result starlark.Result, err error) {
	t.Helper()
	fmt.Fprintf(b, "%s\n%s\n", asJSON(t, result.Catalog), asJSON(t, result.Warnings))
	if result.Plan != nil {
		require.NoError(t, result.Plan.WriteCanonical(b))
		fmt.Fprintln(b, result.Plan.Digest(), result.Expand != nil)
	}
	var found plan.Diagnostics
	if errors.As(err, &found) {
		for _, d := range found {
			fmt.Fprintf(b, "%q %s\n", d.Excerpt, asJSON(t, d))
		}
	}
	fmt.Fprintln(b, err)
}

func asJSON(t *testing.T, v any) []byte {
	t.Helper()
	data, err := json.Marshal(v)
	require.NoError(t, err)
	return data
}

// request writes the files of a into a new directory. The lines "#:" of text
// say what to ask, as in package starlark.
func request(t testing.TB, text string, a *txtar.Archive) starlark.Request {
	t.Helper()
	dir := t.TempDir()
	for _, f := range a.Files {
		name := filepath.Join(dir, f.Name)
		require.NoError(t, os.MkdirAll(filepath.Dir(name), 0o777))
		if target, ok := bytes.CutPrefix(f.Data, []byte("symlink ")); ok {
			require.NoError(t, os.Symlink(strings.TrimSpace(string(target)), name))
			continue
		}
		require.NoError(t, os.WriteFile(name, f.Data, 0o666))
	}
	r := starlark.Request{
		Root: dir, Piper: "0.3.0", Params: map[string]string{}, Git: fakeGit{},
		Event:   plan.Event{Kind: "push", Branch: "main", Commit: "c0ffee", Time: time.Date(2026, 1, 31, 10, 0, 0, 0, time.UTC)},
		Environ: func(name string) (string, bool) { return "4", name == "CI_NODE" },
	}
	r.Limits.Time = time.Hour // no test may fail because the machine is slow
	for line := range strings.Lines(text) {
		words, ok := strings.CutPrefix(line, "#: ")
		if !ok {
			continue
		}
		for word := range strings.FieldsSeq(words) {
			key, value, assigned := strings.Cut(word, "=")
			if !assigned {
				value = strings.TrimSpace(strings.TrimPrefix(words, key))
			}
			number := func(to any) {
				_, err := fmt.Sscan(value, to)
				require.NoError(t, err)
			}
			switch key {
			case "pipeline":
				r.Pipeline = value
			case "param":
				name, value, _ := strings.Cut(value, "=")
				r.Params[name] = value
			case "environment":
				r.Environment = value
			case "catalog":
				r.CatalogOnly = true
			case "base":
				r.Event.Base = value
			case "git":
				r.Git = nil
			case "max_nodes":
				number(&r.Limits.Nodes)
			case "max_steps":
				number(&r.Limits.Steps)
			case "max_source":
				number(&r.Limits.Source)
			case "max_output":
				number(&r.Limits.Output)
			case "max_memory":
				number(&r.Limits.Memory)
			case "max_time":
				var err error
				r.Limits.Time, err = time.ParseDuration(value)
				require.NoError(t, err)
			}
		}
	}
	return r
}

// fakeGit is a repository that is always the same.
type fakeGit struct{}

func (fakeGit) Commit() (string, error) { return "c0ffee", nil }
func (fakeGit) Branch() (string, error) { return "main", nil }
func (fakeGit) Tag() (string, error)    { return "", nil }
func (fakeGit) Dirty() (bool, error)    { return true, nil }
func (fakeGit) Describe(flags ...string) (string, error) {
	return "v1.2.3-4-gc0ffee " + strings.Join(flags, " "), nil
}
func (fakeGit) Changed(base string) ([]string, error) {
	if base == "gone" {
		return nil, errors.New("there is no commit gone")
	}
	return []string{"docs/a.md", "web/b.js"}, nil
}
