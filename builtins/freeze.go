package builtins

import (
	"go.starlark.net/starlark"
	"go.starlark.net/starlarkstruct"
)

// Freeze is v.Freeze, which calls itself for all that v holds: without an end
// for a function inside a function that it names itself, for a very long time
// for tuples of tuples that share members, and too deep for a goroutine's stack.
// Freeze goes the same way before it, and where that is too long it reports
// false, and a function on the way there, if there was one.
func Freeze(v starlark.Value) (culprit *starlark.Function, ok bool) {
	f := freezing{seen: make(map[starlark.Value]bool)}
	if !f.visit(v, 0) {
		return f.culprit, false
	}
	v.Freeze()
	return nil, true
}

// The bounds of what is frozen.
const (
	maxFreezeDepth = 10_000
	maxFreezeWays  = 1 << 20 // through what is not visited only once
)

type freezing struct {
	seen    map[starlark.Value]bool // lists, dicts and sets, which are frozen once
	ways    int
	culprit *starlark.Function
}

// visit reports whether v, which stands at a depth, can be frozen.
func (f *freezing) visit(v starlark.Value, depth int) bool {
	ok := true
	each := func(v starlark.Value) {
		ok = ok && f.visit(v, depth+1)
	}
	switch v := v.(type) {
	case *starlark.List, *starlark.Dict, *starlark.Set:
		if f.seen[v] {
			return true
		}
		f.seen[v] = true
	case starlark.Tuple, *starlarkstruct.Struct, *starlark.Function, *starlark.Builtin:
		if f.ways++; f.ways > maxFreezeWays {
			return false
		}
	default:
		return true
	}
	if depth > maxFreezeDepth {
		return false
	}
	switch v := v.(type) {
	case *starlark.List:
		for v := range v.Elements() {
			each(v)
		}
	case *starlark.Dict:
		for key, v := range v.Entries() {
			each(key)
			each(v)
		}
	case *starlark.Set:
		for v := range v.Elements() {
			each(v)
		}
	case starlark.Tuple:
		for _, v := range v {
			each(v)
		}
	case *starlarkstruct.Struct:
		for _, name := range v.AttrNames() {
			field, _ := v.Attr(name)
			each(field)
		}
	case *starlark.Builtin:
		each(v.Receiver())
	case *starlark.Function:
		for i := range v.NumParams() {
			each(v.ParamDefault(i))
		}
		for i := range v.NumFreeVars() {
			_, free := v.FreeVar(i)
			each(free)
		}
		if !ok {
			f.culprit = v
		}
	}
	return ok
}
