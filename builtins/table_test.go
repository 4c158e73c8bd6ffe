package builtins

import (
	"flag"
	"fmt"
	"os"
	"regexp"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/piper-build/piper/runtime/facts"
)

var update = flag.Bool("update", false, "rewrite README.md")

// TestTable holds what readers of the table rely on.
func TestTable(t *testing.T) {
	seen := make(map[string]bool)
	for _, b := range Table() {
		t.Run(b.Name, func(t *testing.T) {
			require.False(t, seen[b.Name], "the name stands twice")
			seen[b.Name] = true
			require.Regexp(t, `^(<[a-z]+>\.)?[a-z_0-9]+(\.[a-z_0-9]+)*$`, b.Name)
			require.True(t, strings.HasSuffix(b.Doc, "."), "the doc is no sentence")
			require.NotEmpty(t, b.Example)
			require.LessOrEqual(t, len(b.Params), maxParams)
			if b.Value {
				require.Empty(t, b.Params)
				require.NotEmpty(t, b.Returns)
			} else if b.Name != "struct" {
				require.NotNil(t, b.call)
			}
			rest := false
			for i, p := range b.Params {
				require.Regexp(t, `^[a-z_]+$`, p.Name)
				require.NotEmpty(t, p.Type, p.Name)
				require.NotEmpty(t, p.Doc, p.Name)
				require.False(t, p.Required && p.Default != "", "%s is required and has a default", p.Name)
				require.Equal(t, i, max(i, indexParam(b.Params, p.Name)), "%s stands twice", p.Name)
				require.True(t, !rest || p.Named, "%s follows *, and is not named", p.Name)
				rest = rest || p.Rest
			}
		})
	}
}

// TestStepParams holds the constants of step and pipeline against the table.
func TestStepParams(t *testing.T) {
	for name, at := range map[string]map[string]int{
		"step": {
			"name": stepName, "run": stepRun, "depends_on": stepDependsOn, "dir": stepDir, "requires": stepRequires,
			"retry": stepRetry, "allow_failure": stepAllowFailure, "outputs": stepOutputs, "tty": stepTTY,
		},
		"t.plan": {"pipeline": askPipeline, "params": askParams, "event": askEvent, "environment": askEnvironment, "environ": askEnviron, "file": askFile},
		"t.simulate": {
			"file": askFile, "outcomes": simulateOutcomes, "secrets": simulateSecrets, "facts": simulateFacts, "slots": simulateSlots, "cancel": simulateCancel,
		},
		"t.ok":     {"ready": 2},
		"t.fails":  {"exit": 0, "kind": 1, "ready": 5},
		"t.cancel": {"after": 0, "during": 1, "by": 2, "reason": 3, "force": 4},
		"pipeline": {"name": pipelineName, "impl": pipelineImpl, "on": pipelineOn, "environment": pipelineEnvironment, "priority": pipelinePriority},
	} {
		b, ok := Lookup(name)
		require.True(t, ok)
		for param, i := range at {
			require.Equal(t, param, b.Params[i].Name)
		}
	}
}

func TestLookup(t *testing.T) {
	b, ok := Lookup("fs.glob")
	require.True(t, ok)
	require.Equal(t, "fs", b.Namespace())
	require.Equal(t, "fs.glob(*patterns, exclude = [])", b.Signature())
	require.Equal(t, "Returns the files of the tree that match, sorted.", b.Summary())
	b, _ = Lookup("retry")
	require.Equal(t, "retry(attempts, *, backoff = None, on = [])", b.Signature())
	b, _ = Lookup("time.hour")
	require.Equal(t, "time.hour", b.Signature())
	_, ok = Lookup("nope")
	require.False(t, ok)
	require.Contains(t, Names(), "fs")
	require.NotContains(t, Names(), "ctx")
	require.NotContains(t, strings.Join(Names(), " "), "<")
}

// TestFactsAreListed sees that no fact is left out of what is said of them.
func TestFactsAreListed(t *testing.T) {
	all, err := (&facts.Machine{Environ: []string{"PATH="}}).All(t.Context())
	require.NoError(t, err)
	require.Contains(t, all, "os")
	eq, _ := Lookup("facts.eq")
	for key := range all {
		require.Regexp(t, `(?m)^    `+regexp.QuoteMeta(key)+` `, eq.Doc)
	}
}

// TestReadme keeps README.md what the table says.
func TestReadme(t *testing.T) {
	want := readme()
	if *update {
		require.NoError(t, os.WriteFile("README.md", []byte(want), 0o666))
	}
	got, err := os.ReadFile("README.md")
	require.NoError(t, err)
	require.Equal(t, want, string(got), "run: go test ./builtins -update")
}

func readme() string {
	var b strings.Builder
	b.WriteString("# The words of PIPER.star\n\nMade from the table in this folder by `go test ./builtins -update`. `piper doc` shows the same.\n")
	for _, word := range Table() {
		fmt.Fprintf(&b, "\n## `%s`\n\n%s\n", word.Name, escape(word.Doc))
		if word.TestOnly {
			b.WriteString("\nIn files of tests (`*_test.star`) only.\n")
		}
		if !word.Value {
			fmt.Fprintf(&b, "\n    %s\n", word.Signature())
		}
		if len(word.Params) > 0 {
			b.WriteString("\n| parameter | type | |\n|---|---|---|\n")
			for _, p := range word.Params {
				doc := escape(p.Doc)
				if len(p.Choices) > 0 {
					doc += " (`" + strings.Join(p.Choices, "`, `") + "`)"
				}
				switch {
				case p.Required:
					doc += "; must be given"
				case p.Default != "":
					doc += "; default `" + p.Default + "`"
				}
				fmt.Fprintf(&b, "| `%s` | %s | %s |\n", p.Name, p.Type, doc)
			}
		}
		if word.Returns != "" {
			fmt.Fprintf(&b, "\nReturns: %s.\n", word.Returns)
		}
		fmt.Fprintf(&b, "\n```python\n%s\n```\n", strings.Trim(word.Example, "\n"))
	}
	return b.String()
}

var special = regexp.MustCompile(`[|<>*\\]`)

func escape(text string) string { return special.ReplaceAllString(text, `\$0`) }
