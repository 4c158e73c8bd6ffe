package build

import (
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/piper-build/piper/runtime/plan"
	"github.com/stretchr/testify/require"
)

var update = flag.Bool("update", false, "write what the scripts print into testdata")

// TestScripts runs the cases of testdata/*.txt. A case is a headline
// "=== what it shows", the plan in short (see parsePlan), an empty line, and
// commands (see script.do). Below each command, set in, stands what Next asked
// for; all of it is carried out before the next command.
func TestScripts(t *testing.T) {
	files, err := filepath.Glob("testdata/*.txt")
	require.NoError(t, err)
	require.NotEmpty(t, files)
	for _, file := range files {
		data, err := os.ReadFile(file)
		require.NoError(t, err)
		var out strings.Builder
		cases := strings.Split(string(data), "=== ")
		out.WriteString(cases[0])
		for _, text := range cases[1:] {
			title, body, _ := strings.Cut(text, "\n")
			t.Run(strings.TrimSuffix(filepath.Base(file), ".txt")+"/"+title, func(t *testing.T) {
				got := runScript(t, body)
				fmt.Fprintf(&out, "=== %s\n%s", title, got)
				if !*update {
					require.Equal(t, body, got)
				}
			})
		}
		if *update {
			require.NoError(t, os.WriteFile(file, []byte(out.String()), 0o666))
		}
	}
}

func runScript(t *testing.T, body string) string {
	head, commands, ok := strings.Cut(body, "\n\n")
	require.True(t, ok, "no empty line after the plan")
	p := parsePlan(t, head)
	require.Empty(t, plan.Validate(p, 0))
	s := &script{t: t, p: p, b: New(p), now: time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC), slots: 100}
	fmt.Fprintf(&s.out, "%s\n\n", head)
	for line := range strings.Lines(commands) {
		if strings.HasPrefix(line, "\t") {
			continue
		}
		s.out.WriteString(line)
		if line = strings.TrimSpace(line); line != "" && line[0] != '#' {
			s.do(strings.Fields(line))
		}
	}
	folded, err := Fold(p, s.events)
	require.NoError(t, err)
	require.True(t, s.b.Equal(folded), "the fold of the events is another state")
	require.Equal(t, s.b.Steps(), folded.Steps())
	return s.out.String()
}

// parsePlan reads a plan. A line is a node, "name@group: need need word=value",
// a group, "group name@group word=value", or "plan word=value".
//
// kind=service is a service, services=a,b lists some, and after=a is an expand.
func parsePlan(t require.TestingT, text string) *plan.Plan {
	p := &plan.Plan{Format: plan.Format, Pipeline: "test"}
	for i, line := range strings.Split(strings.TrimSpace(text), "\n") {
		pos := plan.Pos{File: "PIPER.star", Line: int32(i + 1), Column: 1}
		var words, options []string
		for _, w := range strings.Fields(line) {
			if strings.Contains(w, "=") {
				options = append(options, w)
			} else {
				words = append(words, w)
			}
		}
		list := func(s string) []string {
			if s == "" {
				return nil
			}
			return strings.Split(s, ",")
		}
		option := func(name string) string {
			for i, o := range options {
				if v, ok := strings.CutPrefix(o, name+"="); ok {
					options = slices.Delete(options, i, i+1)
					return v
				}
			}
			return ""
		}
		duration := func(s string) plan.Duration {
			if s == "" {
				return 0
			}
			d, err := plan.ParseDuration(s)
			require.NoError(t, err)
			return d
		}
		if words[0] == "plan" {
			p.Timeout = duration(option("timeout"))
		} else if words[0] == "group" {
			name, outer, _ := strings.Cut(words[1], "@")
			g := plan.Group{Name: name, Group: outer, FailFast: option("fail_fast") != "", Pos: pos}
			if limit := option("limit"); limit != "" {
				g.Limit, _ = strconv.Atoi(limit)
			}
			p.Groups = append(p.Groups, g)
		} else {
			name, group, _ := strings.Cut(strings.TrimSuffix(words[0], ":"), "@")
			n := plan.Node{Name: name, Group: group, Needs: words[1:], Pos: pos, More: &plan.More{RunOn: plan.RunOn(option("run_on")), AllowFailure: option("allow")}}
			switch option("kind") {
			case "trigger":
				n.Own().Trigger = &plan.Trigger{Pipeline: "other"}
			case "wait":
				n.Own().Trigger = &plan.Trigger{Pipeline: "other", Wait: true}
			case "approve":
				n.Own().Approve = &plan.Approve{Prompt: option("prompt")}
			case "service":
				n.Step = &plan.Step{Script: "true", Service: &plan.Service{}}
			case "expand":
				n.Own().Expand = &plan.Expand{After: option("after"), Services: list(option("services"))}
			default:
				n.Step = &plan.Step{Script: "true", Concurrency: option("key"), Services: list(option("services"))}
				if attempts, _ := strconv.Atoi(option("attempts")); attempts > 0 {
					n.Step.Retry = &plan.Retry{Attempts: attempts, Backoff: duration(option("backoff"))}
					n.Step.Retry.On = list(option("on"))
				}
			}
			p.Nodes = append(p.Nodes, n)
		}
		require.Empty(t, options, line)
	}
	return p
}

// A script drives a Build the way an engine does.
type script struct {
	t      *testing.T
	p      *plan.Plan // as it was before any expand
	b      *Build
	now    time.Time
	slots  int // in all
	events []Event
	out    strings.Builder
}

func (s *script) print(format string, args ...any) { fmt.Fprintf(&s.out, "\t"+format+"\n", args...) }

// apply records an event of the given kind, or prints why it cannot be.
func (s *script) apply(ev Event) {
	ev.Seq = s.b.Seq() + 1
	ev.Time = s.now
	before, err := Fold(s.p, s.events)
	require.NoError(s.t, err)
	if err := s.b.Apply(ev); err != nil {
		_, why, _ := strings.Cut(err.Error(), ": ")
		s.print("error: %s", strings.ReplaceAll(why, "\n", "\n\t"))
		require.True(s.t, s.b.Equal(before), "an error has changed the state")
		return
	}
	s.events = append(s.events, ev)
}

func (s *script) do(words []string) {
	var rest, options []string
	for _, w := range words[1:] {
		if strings.Contains(w, "=") {
			options = append(options, w)
		} else {
			rest = append(rest, w)
		}
	}
	rest = append(rest, "", "")
	var ev Event
	if words[0] == "found" { // found node: line; line: an expand ends with these nodes and groups
		_, text, _ := strings.Cut(strings.Join(words, " "), ":")
		x := &plan.Expansion{}
		if strings.TrimSpace(text) != "" {
			found := parsePlan(s.t, strings.ReplaceAll(text, ";", "\n"))
			x.Nodes, x.Groups = found.Nodes, found.Groups
		}
		s.apply(Event{Kind: AttemptEnded, Node: strings.TrimSuffix(words[1], ":"), Attempt: 1, State: Success, Expansion: x})
		s.carryOut()
		return
	}
	for _, o := range options {
		k, v, _ := strings.Cut(o, "=")
		v = strings.ReplaceAll(v, "_", " ")
		switch k {
		case "exit":
			code, err := strconv.Atoi(v)
			require.NoError(s.t, err)
			ev.Exit = &code
		case "signal":
			ev.Signal = v
		case "reason":
			ev.Reason = v
		case "by":
			ev.By = v
		case "force":
			ev.Force = true
		case "infra":
			ev.Infra = true
		case "child":
			ev.Child = ID(v)
		case "attempt":
			ev.Attempt, _ = strconv.Atoi(v)
		case "state":
			ev.State = State(v)
		default:
			s.t.Fatalf("no option %q", o)
		}
	}
	switch words[0] {
	case "begin":
		if rest[0] != "" {
			s.slots, _ = strconv.Atoi(rest[0])
		}
		ev.Kind = BuildStarted
		s.apply(ev)
	case "end": // end node state: the attempt that runs ends
		ev.Kind, ev.Node, ev.State = AttemptEnded, rest[0], State(strings.ReplaceAll(rest[1], "-", "_"))
		if step, _ := s.b.Step(ev.Node); ev.Attempt == 0 {
			ev.Attempt = step.Attempt
		}
		s.apply(ev)
	case "ready": // ready node: a service can be used
		ev.Kind, ev.Node = NodeReady, rest[0]
		s.apply(ev)
	case "cancel":
		ev.Kind = CancelRequested
		s.apply(ev)
	case "deadline":
		ev.Kind = DeadlinePassed
		s.apply(ev)
	case "child": // child node id: a trigger made a build
		ev.Kind, ev.Node, ev.Child = NodeTriggered, rest[0], ID(rest[1])
		s.apply(ev)
	case "event", "only": // event kind node: whatever it is; only: without what Next then asks for
		ev.Kind, ev.Node = Kind(rest[0]), rest[1]
		s.apply(ev)
		if words[0] == "only" {
			return
		}
	case "wait":
		d, err := time.ParseDuration(rest[0])
		require.NoError(s.t, err)
		s.now = s.now.Add(d)
	case "slots":
		s.slots, _ = strconv.Atoi(rest[0])
	case "why":
		i, ok := s.b.Lookup(rest[0])
		require.True(s.t, ok)
		s.print("%s: %s", s.b.Node(i).State, s.b.Why(i))
		return
	case "states":
		for i, n := range s.b.Plan().Nodes {
			s.print("%s %s", n.Name, describe(s.b.Node(i)))
		}
		s.print("%s %+v", s.b.State(), s.b.Progress())
		return
	default:
		s.t.Fatalf("no command %q", words[0])
	}
	s.carryOut()
}

func describe(step Step) string {
	text := string(step.State)
	if step.Attempt > 1 {
		text += fmt.Sprintf(" attempt=%d", step.Attempt)
	}
	if !step.Ready.IsZero() {
		text += " ready"
	}
	if step.Exit != nil {
		text += fmt.Sprintf(" exit=%d", *step.Exit)
	}
	if step.Signal != "" {
		text += " signal=" + step.Signal
	}
	if step.Infra {
		text += " infra"
	}
	if step.Allowed {
		text += " allowed"
	}
	if step.Child != "" {
		text += " child=" + string(step.Child)
	}
	if step.By != "" {
		text += " by=" + step.By
	}
	if step.Reason != "" {
		text += ": " + step.Reason
	}
	return text
}

// carryOut does what Next asks for until it asks for nothing more, and prints
// it. A stop is printed at each round it is asked for, as it stays.
func (s *script) carryOut() {
	for round := 0; ; round++ {
		free := s.slots
		for i, n := range s.b.Plan().Nodes {
			if n.Step != nil && !n.IsService() && s.b.Node(i).State == Running {
				free--
			}
		}
		actions, wake := s.b.Next(s.now, free)
		again, wakeAgain := s.b.Next(s.now, free)
		require.Equal(s.t, actions, again, "a second look differs")
		require.Equal(s.t, wake, wakeAgain)
		done := 0
		for _, a := range actions {
			name := ""
			if a.Node >= 0 {
				name = s.b.Plan().Nodes[a.Node].Name
			}
			switch a.Verb {
			case Start:
				attempt := s.b.Node(a.Node).Attempt + 1
				if attempt == 1 {
					s.print("start %s", name)
				} else {
					s.print("start %s attempt %d", name, attempt)
				}
				s.apply(Event{Kind: AttemptStarted, Node: name, Attempt: attempt})
				done++
			case Skip:
				s.print("skip %s, %s: %s", name, a.State, a.Reason)
				s.apply(Event{Kind: NodeSkipped, Node: name, State: a.State, Reason: a.Reason})
				done++
			case Stop:
				if round == 0 {
					s.print("stop %s: %s", name, a.Reason)
				}
			case End:
				s.print("%s", strings.TrimSuffix(fmt.Sprintf("end %s: %s", a.State, a.Reason), ": "))
				s.apply(Event{Kind: BuildEnded, State: a.State, Reason: a.Reason})
				done++
			}
		}
		if done == 0 {
			if !wake.IsZero() {
				s.print("wake in %s", wake.Sub(s.now))
			}
			return
		}
	}
}
