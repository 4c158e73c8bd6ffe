package starlark

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/rogpeppe/go-internal/txtar"
	"github.com/stretchr/testify/require"

	"github.com/piper-build/piper/runtime/plan"
)

var update = flag.Bool("update", false, "rewrite the expectations in testdata")

// TestChunks evaluates each chunk of testdata/*.star, which "---" separates, as
// a PIPER.star. What comes of it stands at its end, in lines that begin with
// "#|": the diagnostics, or the flow of the plan. Lines that begin with "#:"
// are the request; one with "#>" names an expand of the plan, which is asked
// with the outputs "key=value" that follow.
func TestChunks(t *testing.T) {
	names, err := filepath.Glob("testdata/*.star")
	require.NoError(t, err)
	require.NotEmpty(t, names)
	for _, name := range names {
		t.Run(strings.TrimSuffix(filepath.Base(name), ".star"), func(t *testing.T) {
			text, err := os.ReadFile(name)
			require.NoError(t, err)
			chunks := strings.Split(string(text), "\n---\n")
			for i, chunk := range chunks {
				chunk, want := cutExpectation(chunk)
				got := comment(evaluateChunk(t, chunk))
				if !*update {
					require.Equal(t, want, got, "chunk %d:\n%s", i+1, chunk)
				}
				chunks[i] = chunk + got
			}
			if *update {
				require.NoError(t, os.WriteFile(name, []byte(strings.Join(chunks, "\n---\n")+"\n"), 0o666))
			}
		})
	}
}

func cutExpectation(chunk string) (source, want string) {
	chunk = strings.TrimRight(chunk, "\n") + "\n"
	if i := strings.Index("\n"+chunk, "\n#|"); i >= 0 {
		return chunk[:i], strings.TrimRight(chunk[i:], "\n")
	}
	return chunk, ""
}

func comment(text string) string {
	var out []string
	for _, line := range strings.Split(strings.TrimRight(text, "\n"), "\n") {
		out = append(out, strings.TrimRight("#| "+line, " "))
	}
	return strings.Join(out, "\n")
}

// evaluateChunk evaluates a text as a PIPER.star in a tree of its own.
func evaluateChunk(t *testing.T, text string) string {
	t.Helper()
	r := request(t, text, &txtar.Archive{Files: []txtar.File{
		{Name: "PIPER.star", Data: []byte(text)},
		{Name: "VERSION", Data: []byte("1.2.3\n")},
		{Name: "ci/a.sh", Data: []byte("#!/bin/sh\n")},
		{Name: "ci/b.sh", Data: []byte("#!/bin/sh\n")},
	}})
	result, err := Evaluate(context.Background(), r)
	out := summary(result, err)
	for line := range strings.Lines(text) {
		line, ok := strings.CutPrefix(line, "#> ")
		if !ok {
			continue
		}
		words := strings.Fields(line)
		outputs := make(map[string]string)
		for _, word := range words[1:] {
			key, value, _ := strings.Cut(word, "=")
			outputs[key] = value
		}
		out += fmt.Sprintf("> %s\n", strings.TrimSpace(line))
		require.NotNil(t, result.Expand, out)
		found, err := result.Expand(context.Background(), words[0], outputs)
		if err != nil {
			out += strings.TrimRight(err.Error(), "\n") + "\n"
		} else {
			out += flow(found.Nodes, found.Groups, found.Inputs)
		}
		for _, env := range found.Environments {
			out += fmt.Sprintf("environment %s\n", env.Name)
		}
	}
	return out
}

// TestTrees is TestChunks for several files: testdata/*.txtar. What comes of
// one stands in its file "want".
func TestTrees(t *testing.T) {
	names, err := filepath.Glob("testdata/*.txtar")
	require.NoError(t, err)
	require.NotEmpty(t, names)
	for _, name := range names {
		t.Run(strings.TrimSuffix(filepath.Base(name), ".txtar"), func(t *testing.T) {
			a, err := txtar.ParseFile(name)
			require.NoError(t, err)
			i := slices.IndexFunc(a.Files, func(f txtar.File) bool { return f.Name == "want" })
			require.GreaterOrEqual(t, i, 0, "no file want")
			want := a.Files[i]
			a.Files = slices.Delete(a.Files, i, i+1)
			got := summary(Evaluate(context.Background(), request(t, string(a.Comment), a)))
			if *update {
				a.Files = append(a.Files, txtar.File{Name: "want", Data: []byte(got)})
				require.NoError(t, os.WriteFile(name, txtar.Format(a), 0o666))
				return
			}
			require.Equal(t, string(want.Data), got)
		})
	}
}

// request writes the files of a into a new directory and reads the lines "#:"
// of text.
func request(t *testing.T, text string, a *txtar.Archive) Request {
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
	r := Request{
		Root:   dir,
		Piper:  "0.3.0",
		Params: map[string]string{},
		Event:  plan.Event{Kind: "push", Branch: "main", Commit: "c0ffee", Time: time.Date(2026, 1, 31, 10, 0, 0, 0, time.UTC)},
		Git:    fakeGit{},
		Environ: func(name string) (string, bool) {
			return "4", name == "CI_NODE"
		},
	}
	for line := range strings.Lines(text) {
		line, ok := strings.CutPrefix(line, "#: ")
		if !ok {
			continue
		}
		for word := range strings.FieldsSeq(line) {
			key, value, _ := strings.Cut(word, "=")
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
				_, err := fmt.Sscan(value, &r.Limits.Nodes)
				require.NoError(t, err)
			case "max_steps":
				_, err := fmt.Sscan(value, &r.Limits.Steps)
				require.NoError(t, err)
			case "max_source":
				_, err := fmt.Sscan(value, &r.Limits.Source)
				require.NoError(t, err)
			default:
				t.Fatalf("unknown word %q", key)
			}
		}
	}
	return r
}

// texts shows a list of texts on one line.
func texts(list []plan.Text) string {
	data, err := json.Marshal(list)
	if err != nil {
		panic(err)
	}
	return string(data)
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

// summary says what came of an evaluation: what is wrong, or what the plan is
// and what was looked at.
func summary(r Result, err error) string {
	var b strings.Builder
	if len(r.Warnings) > 0 {
		fmt.Fprintln(&b, strings.TrimRight(r.Warnings.Error(), "\n"))
	}
	if err != nil {
		fmt.Fprintln(&b, strings.TrimRight(err.Error(), "\n"))
		return b.String()
	}
	if r.Plan == nil {
		for _, p := range r.Catalog.Pipelines {
			fmt.Fprintf(&b, "pipeline %s %v\n", p.Name, p.Params)
		}
		return b.String()
	}
	b.WriteString(flow(r.Plan.Nodes, r.Plan.Groups, r.Plan.Inputs))
	return b.String()
}

// flow shows the nodes of a plan, and what was looked at.
func flow(nodes []plan.Node, groups []plan.Group, inputs []plan.Input) string {
	var b strings.Builder
	for _, n := range nodes {
		b.WriteString(n.Name)
		if len(n.Needs) > 0 {
			fmt.Fprintf(&b, " needs %s", strings.Join(n.Needs, " "))
		}
		if n.Group != "" {
			fmt.Fprintf(&b, " in %s", n.Group)
		}
		if n.Expand() != nil {
			fmt.Fprintf(&b, " expands %s", n.Expand().After)
		}
		if n.IsService() {
			b.WriteString(" serves")
		}
		if list := n.Services(); len(list) > 0 {
			fmt.Fprintf(&b, " beside %s", strings.Join(list, " "))
		}
		switch {
		case n.Step == nil:
		case n.Step.Script != "":
			fmt.Fprintf(&b, " runs %q", n.Step.Script)
		default:
			fmt.Fprintf(&b, " runs %s", texts(n.Step.Argv))
		}
		if n.Step != nil {
			for _, v := range n.Step.Env {
				fmt.Fprintf(&b, " with %s=%s", v.Name, texts([]plan.Text{v.Value}))
			}
		}
		b.WriteString("\n")
	}
	for _, g := range groups {
		fmt.Fprintf(&b, "%s in %q limit %d fail_fast %v\n", g.Name, g.Group, g.Limit, g.FailFast)
	}
	var looked []string
	for _, in := range inputs {
		if in.Key != "PIPER.star" {
			looked = append(looked, fmt.Sprintf("%s %q", in.Kind, in.Key))
		}
	}
	if len(looked) > 0 {
		fmt.Fprintf(&b, "looked at %s\n", strings.Join(looked, ", "))
	}
	if len(nodes) == 0 {
		b.WriteString("no nodes\n")
	}
	return b.String()
}
