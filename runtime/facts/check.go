package facts

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"maps"
	"math"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"github.com/piper-build/piper/runtime/plan"
)

// An Unmet error says which requirements a machine does not meet.
type Unmet []Lack

// A Lack is one requirement that is not met, in words.
type Lack struct {
	Key    string // of the fact; "" when several are combined
	Reason string // the author's; "" when there is none
	Wanted string // such as "tools.docker at least 25.0"
	Found  string // such as "20.10.5", or "nothing"
	Hint   string // the key that was meant, when nobody knows the one that was written
}

// Error is one line: each lack with the author's reason first.
func (u Unmet) Error() string {
	lines := make([]string, len(u))
	for i, lack := range u {
		lines[i] = lack.String()
	}
	return strings.Join(lines, "; ")
}

// String is such as "image store: needs tools.docker at least 25.0, found
// 20.10.5".
func (l Lack) String() string {
	var b strings.Builder
	if l.Reason != "" {
		b.WriteString(l.Reason + ": ")
	}
	b.WriteString("needs " + l.Wanted)
	if l.Found != "" {
		b.WriteString(", found " + l.Found)
	}
	if l.Hint != "" {
		fmt.Fprintf(&b, " (did you mean %q?)", l.Hint)
	}
	return b.String()
}

// Check holds requirements against a machine, and asks it for the facts they
// name and no others. The error is an Unmet with every requirement that does
// not hold; any other error says that the machine could not be asked, or that a
// requirement has no meaning.
func Check(ctx context.Context, m *Machine, requirements []plan.Requirement) error {
	return against(ctx, m, requirements)
}

// Hold is Check against facts that somebody told. What is not among them is not
// there.
func Hold(values map[string]string, requirements []plan.Requirement) error {
	return against(context.Background(), told(values), requirements)
}

// Keys returns the facts that requirements ask for, each once, in order.
func Keys(requirements []plan.Requirement) (keys []string) {
	for _, r := range requirements {
		for _, key := range append(Keys(r.Of), r.Key) {
			if key != "" && !slices.Contains(keys, key) {
				keys = append(keys, key)
			}
		}
	}
	return keys
}

// Seen says what values have of the facts that a requirement names.
func Seen(values map[string]string, r plan.Requirement) string {
	keys := Keys([]plan.Requirement{r})
	var seen []string
	for _, key := range keys {
		found := "nothing"
		if value, ok := values[key]; ok && value == "" {
			found = "it without a version"
		} else if ok {
			found = human(key, value)
		}
		if len(keys) > 1 {
			found = key + " " + found
		}
		seen = append(seen, found)
	}
	return strings.Join(seen, ", ")
}

// A source knows facts.
type source interface {
	Get(ctx context.Context, key string) (value string, ok bool, err error)
	has(ctx context.Context, key string) (bool, error)
	near(key string) string // the known key that was most likely meant by one nobody knows, or ""
}

// told is a source of what somebody told.
type told map[string]string

// Get implements source. A tool that did not tell its version is there, with an
// empty value.
func (t told) Get(_ context.Context, key string) (string, bool, error) {
	value, ok := t[key]
	return value, ok && (value != "" || strings.HasPrefix(key, toolPrefix)), nil
}

func (t told) has(ctx context.Context, key string) (bool, error) {
	_, ok, err := t.Get(ctx, key)
	return ok, err
}

func (t told) near(key string) string {
	known := slices.AppendSeq(basics(), maps.Keys(t))
	return nearest(key, known, func(tool string) bool { _, ok := t[toolPrefix+tool]; return ok })
}

func (m *Machine) near(key string) string {
	known := slices.AppendSeq(slices.AppendSeq(basics(), maps.Keys(m.Static)), maps.Keys(m.Commands))
	return nearest(key, known, func(tool string) bool { _, ok := m.lookPath(tool); return ok })
}

func against(ctx context.Context, from source, requirements []plan.Requirement) error {
	var unmet Unmet
	for _, r := range requirements {
		lacks, err := check(ctx, from, r)
		if err != nil {
			return fmt.Errorf("check requirement %s: %w", Describe(r), err)
		}
		unmet = append(unmet, lacks...)
	}
	if len(unmet) > 0 {
		return unmet
	}
	return nil
}

// check returns what r lacks: nothing, one thing, or of all_of several.
func check(ctx context.Context, from source, r plan.Requirement) ([]Lack, error) {
	switch r.Op {
	case "all_of", "any_of", "not":
		if len(r.Of) == 0 {
			return nil, errors.New("it combines nothing")
		}
	default:
		return checkFact(ctx, from, r)
	}
	var lacks []Lack
	whole := Lack{Reason: r.Reason, Wanted: Describe(r)} // for any_of and not
	var found []string
	for _, each := range r.Of {
		inner, err := check(ctx, from, each)
		if err != nil {
			return nil, err
		}
		if r.Op == "any_of" && len(inner) == 0 {
			return nil, nil
		}
		for _, lack := range inner {
			found = append(found, strings.TrimSpace(lack.Key+" "+lack.Found))
			whole.Hint = cmp.Or(whole.Hint, lack.Hint)
			lack.Reason = join(r.Reason, lack.Reason)
			lacks = append(lacks, lack)
		}
	}
	switch {
	case r.Op == "any_of":
		whole.Found = strings.Join(found, ", ")
		return []Lack{whole}, nil
	case r.Op == "not" && len(lacks) > 0:
		return nil, nil
	case r.Op == "not":
		whole.Found = "it"
		return []Lack{whole}, nil
	}
	return lacks, nil
}

// checkFact checks a requirement on one fact.
func checkFact(ctx context.Context, from source, r plan.Requirement) ([]Lack, error) {
	holds, err := condition(r)
	if err != nil {
		return nil, err
	}
	lack := Lack{Key: r.Key, Reason: r.Reason, Wanted: Describe(r), Found: "nothing"}
	if r.Op == "has" {
		ok, err := from.has(ctx, r.Key)
		if err != nil || ok {
			return nil, err
		}
	} else {
		value, ok, err := from.Get(ctx, r.Key)
		switch {
		case err != nil:
			return nil, err
		case ok && value == "":
			lack.Found = "it without a version"
		case ok && holds(value):
			return nil, nil
		case ok:
			lack.Found = human(r.Key, value)
		}
	}
	if lack.Found == "nothing" {
		lack.Hint = from.near(r.Key)
	}
	return []Lack{lack}, nil
}

// condition returns the test that a fact has to pass.
func condition(r plan.Requirement) (func(found string) bool, error) {
	if r.Key == "" {
		return nil, errors.New("it names no fact")
	}
	want, least := 1, r.Op == "one_of"
	if r.Op == "has" {
		want = 0
	}
	if len(r.Values) != want && !(least && len(r.Values) > 1) {
		return nil, fmt.Errorf("it has %d values", len(r.Values))
	}
	switch r.Op {
	case "has":
		return nil, nil
	case "eq", "one_of":
		return func(found string) bool {
			return slices.ContainsFunc(r.Values, func(v string) bool { return equal(r.Key, found, v) })
		}, nil
	case "at_least":
		if plan.Numeric(r.Key) {
			floor, ok := plan.ParseAmount(r.Values[0])
			if !ok {
				return nil, fmt.Errorf("%q is no number", r.Values[0])
			}
			return func(found string) bool {
				n, ok := plan.ParseAmount(found)
				return ok && n >= floor
			}, nil
		}
		if !isVersion(r.Values[0]) {
			return nil, fmt.Errorf("%q is no version", r.Values[0])
		}
		return func(found string) bool { return isVersion(found) && CompareVersions(found, r.Values[0]) >= 0 }, nil
	case "matches":
		re, err := regexp.Compile(r.Values[0])
		if err != nil {
			return nil, err
		}
		return re.MatchString, nil
	}
	return nil, fmt.Errorf("there is no condition %q", r.Op)
}

func equal(key, found, wanted string) bool {
	if plan.Numeric(key) {
		f, okF := plan.ParseAmount(found)
		w, okW := plan.ParseAmount(wanted)
		return okF && okW && f == w
	}
	return found == wanted
}

// human writes a fact for a person.
func human(key, value string) string {
	n, err := strconv.ParseFloat(value, 64)
	if key != "memory" || err != nil || n < 1<<20 {
		return value
	}
	if n < 1<<30 {
		return strconv.FormatFloat(math.Floor(n/(1<<20)), 'f', 0, 64) + "MiB"
	}
	return strconv.FormatFloat(math.Floor(n/(1<<30)*10)/10, 'f', 1, 64) + "GiB"
}

// Describe says in words what a requirement wants.
func Describe(r plan.Requirement) string {
	return strings.TrimSpace(words(r))
}

func words(r plan.Requirement) string {
	values := strings.Join(r.Values, " or ")
	switch r.Op {
	case "eq", "one_of":
		return r.Key + " " + values
	case "at_least":
		return r.Key + " at least " + values
	case "has":
		return r.Key
	case "matches":
		return r.Key + " matching " + values
	case "all_of":
		return list(r.Of, " and ")
	case "any_of":
		return list(r.Of, " or ")
	case "not":
		return "anything but " + list(r.Of, " and ")
	}
	return r.Op + " " + r.Key
}

func list(requirements []plan.Requirement, word string) string {
	all := make([]string, len(requirements))
	for i, r := range requirements {
		all[i] = Describe(r)
		if len(requirements) > 1 && len(r.Of) > 1 {
			all[i] = "(" + all[i] + ")"
		}
	}
	return strings.Join(all, word)
}

// join puts an outer reason before an inner one.
func join(outer, inner string) string {
	if outer == "" || inner == "" {
		return outer + inner
	}
	return outer + ": " + inner
}

// nearest returns the known key that a key nobody knows was most likely meant
// to be, or "". There tells whether there is a tool of that name.
func nearest(key string, known []string, there func(tool string) bool) string {
	slices.Sort(known)
	if slices.Contains(known, key) || strings.HasPrefix(key, toolPrefix) && key != toolPrefix {
		return ""
	}
	// A tool's name without what goes before it is the likeliest slip.
	if i := strings.LastIndexByte(key, '.'); i < 0 || key[:i] == "tool" {
		name := key[i+1:]
		if there(name) || slices.ContainsFunc(tools[:], func(t tool) bool { return t.name == name }) {
			return toolPrefix + name
		}
	}
	best, _ := plan.Nearest(key, known)
	return best
}
