package lint

import (
	"maps"
	"slices"

	"go.starlark.net/resolve"
	"go.starlark.net/syntax"
)

// An interpreter runs files on values of which it knows only whose text is in
// them. Both branches of an if are taken, and a loop is run twice, so that what
// its end does reaches its beginning. A function runs anew for each call, with
// what it is given there; recursion is no part of the language.
type interpreter struct {
	*project
	files   map[string]*frame // the top level of each file that has run
	origins map[syntax.Expr]*origin
	calls   []call               // under way, innermost last
	ran     map[syntax.Node]bool // functions that were called
	flows   []flow               // of the pipelines that the file at hand registers
	params  map[string]value     // of the pipeline whose flow is made; nil when they are not known
	budget  int                  // of statements, for each file; what is left when it is used up is not looked at
}

// The bounds of the interpreter.
const (
	maxStatements = 100_000
	maxDepth      = 32
)

type call struct {
	fn *function
	at *syntax.CallExpr
	in *file
}

// A frame holds variables: those of one call, or of a file's top level.
type frame struct {
	file    *file
	vars    map[*syntax.Ident]value // by where they are first bound
	around  *frame
	results value
	inside  int      // how many branches and loops it is in, where nothing is sure to happen
	checked []string // expressions that were compared with what is allowed
}

func (fr *frame) get(id *syntax.Ident) value {
	for ; fr != nil; fr = fr.around {
		if v, ok := fr.vars[id]; ok {
			return v
		}
	}
	return value{}
}

func (fr *frame) set(id *syntax.Ident, v value) {
	if old, ok := fr.vars[id]; ok && fr.inside > 0 {
		v = either(old, v)
	}
	fr.vars[id] = v.bounded()
}

// change replaces a variable, in whichever frame it is.
func (fr *frame) change(id *syntax.Ident, with func(value) value) {
	for ; fr != nil; fr = fr.around {
		if v, ok := fr.vars[id]; ok {
			fr.vars[id] = with(v).bounded()
			return
		}
	}
}

// run runs the top level of a file, once.
func (in *interpreter) run(f *file) *frame {
	if fr := in.files[f.name]; fr != nil {
		return fr
	}
	fr := &frame{file: f, vars: map[*syntax.Ident]value{}}
	in.files[f.name] = fr
	if f.Source != nil {
		in.body(fr, f.File.Stmts)
	}
	return fr
}

func (in *interpreter) body(fr *frame, body []syntax.Stmt) {
	for _, stmt := range body {
		if in.budget--; in.budget < 0 {
			return
		}
		in.stmt(fr, stmt)
	}
}

// branch runs a body that may be left out, with what is known to be checked.
func (in *interpreter) branch(fr *frame, body []syntax.Stmt, checked []string) {
	before := fr.checked
	fr.checked = slices.Concat(fr.checked, checked)
	fr.inside++
	in.body(fr, body)
	fr.inside--
	fr.checked = before
}

func (in *interpreter) stmt(fr *frame, stmt syntax.Stmt) {
	switch s := stmt.(type) {
	case *syntax.ExprStmt:
		in.eval(fr, s.X)
	case *syntax.AssignStmt:
		v := in.eval(fr, s.RHS)
		if s.Op != syntax.EQ {
			v = added(in.eval(fr, s.LHS), v)
		}
		in.assign(fr, s.LHS, v)
	case *syntax.DefStmt:
		fr.set(variable(s.Name), value{fn: &function{file: fr.file, name: s.Name.Name, params: s.Params, body: s.Body, around: fr, node: s}})
	case *syntax.ReturnStmt:
		if s.Result != nil {
			fr.results = either(fr.results, in.eval(fr, s.Result))
		}
	case *syntax.ForStmt:
		over := in.eval(fr, s.X).member()
		for range 2 {
			in.assign(fr, s.Vars, over)
			in.branch(fr, s.Body, nil)
		}
	case *syntax.IfStmt:
		in.eval(fr, s.Cond)
		yes, no := in.checks(fr, s.Cond, true), in.checks(fr, s.Cond, false)
		in.branch(fr, s.True, yes)
		in.branch(fr, s.False, no)
		if left, _ := leaves(s.True); left {
			fr.checked = slices.Concat(fr.checked, no)
		}
		if left, _ := leaves(s.False); left {
			fr.checked = slices.Concat(fr.checked, yes)
		}
	case *syntax.LoadStmt:
		in.load(fr, s)
	}
}

func (in *interpreter) load(fr *frame, s *syntax.LoadStmt) {
	name := fr.file.Loaded(s)
	if name == "" {
		return
	}
	f, err := in.open(name)
	if err != nil || f.Source == nil {
		return // check says so
	}
	from := in.run(f)
	for i, id := range s.To {
		for first, v := range from.vars {
			if first.Name == s.From[i].Name {
				fr.vars[id] = v
			}
		}
	}
}

// assign gives a target its value. What an assignment leaves unchecked is no
// longer checked.
func (in *interpreter) assign(fr *frame, target syntax.Expr, v value) {
	switch x := target.(type) {
	case *syntax.Ident:
		if id := variable(x); id != nil {
			fr.set(id, v)
		}
		fr.checked = slices.DeleteFunc(slices.Clone(fr.checked), func(text string) bool { return text == x.Name })
	case *syntax.ParenExpr:
		in.assign(fr, x.X, v)
	case *syntax.TupleExpr:
		in.unpack(fr, x.List, v)
	case *syntax.ListExpr:
		in.unpack(fr, x.List, v)
	case *syntax.IndexExpr:
		id, ok := x.X.(*syntax.Ident)
		if !ok {
			return
		}
		key := in.eval(fr, x.Y)
		fr.change(variable(id), func(dict value) value {
			dict.fields = maps.Clone(dict.fields)
			if key.text == nil {
				dict.loose = append(slices.Clip(dict.loose), v)
				return dict
			}
			if dict.fields == nil {
				dict.fields = map[string]value{}
			}
			if old, ok := dict.fields[*key.text]; ok && fr.inside > 0 {
				v = either(old, v)
			}
			dict.fields[*key.text] = v
			return dict
		})
	}
}

func (in *interpreter) unpack(fr *frame, targets []syntax.Expr, v value) {
	for i, target := range targets {
		if len(v.elems) == len(targets) {
			in.assign(fr, target, v.elems[i])
		} else {
			in.assign(fr, target, v.member())
		}
	}
}

func (in *interpreter) eval(fr *frame, e syntax.Expr) value {
	v := in.evalAny(fr, e)
	if len(fr.checked) > 0 && slices.Contains(fr.checked, spelled(e)) {
		v.from = nil
	}
	return v.bounded()
}

func (in *interpreter) evalAny(fr *frame, e syntax.Expr) value {
	switch x := e.(type) {
	case *syntax.Ident:
		if b, ok := x.Binding.(*resolve.Binding); ok && b.First != nil {
			return fr.get(b.First)
		}
		return value{word: x.Name}
	case *syntax.Literal:
		if s, ok := x.Value.(string); ok {
			return value{text: &s}
		}
	case *syntax.ParenExpr:
		return in.eval(fr, x.X)
	case *syntax.ListExpr:
		return in.several(fr, x.List)
	case *syntax.TupleExpr:
		return in.several(fr, x.List)
	case *syntax.DictExpr:
		return in.dict(fr, x)
	case *syntax.Comprehension:
		return in.comprehension(fr, x)
	case *syntax.CondExpr:
		in.eval(fr, x.Cond)
		return either(in.checkedEval(fr, x.True, in.checks(fr, x.Cond, true)), in.checkedEval(fr, x.False, in.checks(fr, x.Cond, false)))
	case *syntax.LambdaExpr:
		return value{fn: &function{file: fr.file, name: "lambda", params: x.Params, result: x.Body, around: fr, node: x}}
	case *syntax.UnaryExpr:
		if x.X != nil {
			in.eval(fr, x.X)
		}
	case *syntax.BinaryExpr:
		return in.binary(fr, x)
	case *syntax.DotExpr:
		return in.attribute(fr, x)
	case *syntax.IndexExpr:
		return in.index(fr, x)
	case *syntax.SliceExpr:
		v := in.eval(fr, x.X)
		return value{from: v.from, list: v.list, loose: slices.Concat(v.elems, v.loose)}
	case *syntax.CallExpr:
		return in.call(fr, x)
	}
	return value{}
}

// checkedEval evaluates e where some expressions are known to be checked.
func (in *interpreter) checkedEval(fr *frame, e syntax.Expr, checked []string) value {
	before := fr.checked
	fr.checked = slices.Concat(fr.checked, checked)
	defer func() { fr.checked = before }()
	return in.eval(fr, e)
}

func (in *interpreter) several(fr *frame, list []syntax.Expr) value {
	v := value{list: true}
	for _, e := range list {
		v.elems = append(v.elems, in.eval(fr, e))
	}
	return v
}

func (in *interpreter) dict(fr *frame, x *syntax.DictExpr) value {
	v := value{fields: map[string]value{}}
	for _, e := range x.List {
		entry := e.(*syntax.DictEntry)
		key, held := in.eval(fr, entry.Key), in.eval(fr, entry.Value)
		if key.text != nil {
			v.fields[*key.text] = held
		} else {
			v.loose = append(v.loose, key, held)
		}
	}
	return v
}

func (in *interpreter) comprehension(fr *frame, x *syntax.Comprehension) value {
	before := fr.checked
	defer func() { fr.checked = before }()
	for _, clause := range x.Clauses {
		switch c := clause.(type) {
		case *syntax.ForClause:
			fr.inside++
			in.assign(fr, c.Vars, in.eval(fr, c.X).member())
			fr.inside--
		case *syntax.IfClause:
			in.eval(fr, c.Cond)
			fr.checked = slices.Concat(fr.checked, in.checks(fr, c.Cond, true))
		}
	}
	v := value{list: true}
	if entry, ok := x.Body.(*syntax.DictEntry); ok {
		v.list = false
		v.loose = []value{in.eval(fr, entry.Key), in.eval(fr, entry.Value)}
	} else {
		v.loose = []value{in.eval(fr, x.Body)}
	}
	return v
}

func (in *interpreter) binary(fr *frame, x *syntax.BinaryExpr) value {
	a, b := in.eval(fr, x.X), in.checkedRight(fr, x)
	switch x.Op {
	case syntax.PLUS, syntax.PIPE:
		return added(a, b)
	case syntax.STAR:
		return value{from: merge(a.from, b.from), list: a.list || b.list, loose: slices.Concat(a.elems, a.loose, b.elems, b.loose)}
	case syntax.PERCENT:
		return value{from: merge(a.from, b.all())}
	case syntax.AND, syntax.OR:
		return either(a, b)
	}
	return value{} // a comparison, or a number
}

// checkedRight evaluates the right side of x, of which the left side of an and
// may have checked something.
func (in *interpreter) checkedRight(fr *frame, x *syntax.BinaryExpr) value {
	switch x.Op {
	case syntax.AND:
		return in.checkedEval(fr, x.Y, in.checks(fr, x.X, true))
	case syntax.OR:
		return in.checkedEval(fr, x.Y, in.checks(fr, x.X, false))
	}
	return in.eval(fr, x.Y)
}

// added is a + b, or a | b.
func added(a, b value) value {
	v := value{from: merge(a.from, b.from), list: a.list || b.list}
	if a.text != nil && b.text != nil {
		text := *a.text + *b.text
		v.text = &text
	}
	switch {
	case a.list && b.list && a.loose == nil && b.loose == nil:
		v.elems = slices.Concat(a.elems, b.elems)
	default:
		v.elems = a.elems // what comes after is in no known place
		v.loose = slices.Concat(a.loose, b.elems, b.loose)
		if a.loose != nil {
			v.elems, v.loose = nil, slices.Concat(a.elems, v.loose)
		}
	}
	if a.fields != nil || b.fields != nil {
		v.fields = maps.Clone(a.fields)
		if v.fields == nil {
			v.fields = map[string]value{}
		}
		maps.Copy(v.fields, b.fields)
	}
	return v
}

func (in *interpreter) index(fr *frame, x *syntax.IndexExpr) value {
	v, key := in.eval(fr, x.X), in.eval(fr, x.Y)
	if key.text != nil {
		if held, ok := v.fields[*key.text]; ok {
			return held
		}
	}
	if n, ok := x.Y.(*syntax.Literal); ok && v.elems != nil {
		if i, ok := n.Value.(int64); ok && int(i) < len(v.elems) {
			return v.elems[i]
		}
	}
	return v.member()
}

// spelled is a variable or an attribute of one as it is written, such as
// "ctx.event.branch", or such a call without arguments; "" for all else.
func spelled(e syntax.Expr) string {
	switch x := e.(type) {
	case *syntax.Ident:
		return x.Name
	case *syntax.ParenExpr:
		return spelled(x.X)
	case *syntax.DotExpr:
		if space := spelled(x.X); space != "" {
			return space + "." + x.Name.Name
		}
	case *syntax.CallExpr:
		if fn := spelled(x.Fn); fn != "" && len(x.Args) == 0 {
			return fn + "()"
		}
	}
	return ""
}

// checks returns what is known to be one of a few harmless texts when cond is
// true, or is false.
func (in *interpreter) checks(fr *frame, cond syntax.Expr, truth bool) []string {
	switch x := cond.(type) {
	case *syntax.ParenExpr:
		return in.checks(fr, x.X, truth)
	case *syntax.UnaryExpr:
		if x.Op == syntax.NOT {
			return in.checks(fr, x.X, !truth)
		}
	case *syntax.BinaryExpr:
		harmless := func(e syntax.Expr) bool { return len(in.eval(fr, e).all()) == 0 }
		switch {
		case x.Op == syntax.AND && truth, x.Op == syntax.OR && !truth:
			return slices.Concat(in.checks(fr, x.X, truth), in.checks(fr, x.Y, truth))
		case x.Op == syntax.EQL && truth, x.Op == syntax.NEQ && !truth:
			if harmless(x.Y) {
				return some(spelled(x.X))
			}
			if harmless(x.X) {
				return some(spelled(x.Y))
			}
		case x.Op == syntax.IN && truth, x.Op == syntax.NOT_IN && !truth:
			if right := in.eval(fr, x.Y); len(right.all()) == 0 && right.text == nil {
				return some(spelled(x.X))
			}
		case (x.Op == syntax.NEQ && truth || x.Op == syntax.EQL && !truth) && predeclared(x.Y) == "None":
			return in.checks(fr, x.X, true) // re.match(...) != None
		}
	case *syntax.CallExpr:
		if !truth {
			return nil
		}
		switch predeclared(x.Fn) {
		case "re.match", "re.search":
			if len(x.Args) == 2 {
				if pattern := in.eval(fr, x.Args[0]); pattern.text != nil && sure(*pattern.text) {
					return some(spelled(x.Args[1]))
				}
			}
		case "semver.valid":
			if len(x.Args) == 1 {
				return some(spelled(x.Args[0]))
			}
		}
		if method, ok := x.Fn.(*syntax.DotExpr); ok {
			switch method.Name.Name {
			case "isalnum", "isalpha", "isdigit":
				return some(spelled(method.X))
			}
		}
	}
	return nil
}

func some(text string) []string {
	if text == "" {
		return nil
	}
	return []string{text}
}
