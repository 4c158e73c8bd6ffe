package starlark

import (
	"bytes"
	"crypto/sha256"
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"
	"sync/atomic"

	"go.starlark.net/starlark"
	"go.starlark.net/syntax"
)

// A Coverage notes which lines of which files run, over any number of
// evaluations, also at the same time. A file is told to it with Include;
// evaluations then compile it with a probe in front of each statement and
// around what runs by itself inside one: the body of a lambda, the arms of a
// conditional, the body of a comprehension.
type Coverage struct {
	mu    sync.Mutex
	files map[string]*covered
}

// covered is what is known of one file.
type covered struct {
	sum   [sha256.Size]byte
	parts []part
	ran   []atomic.Bool // by part; nil in a NewCoverage, until it is compiled
}

// A part is what one probe tells of: these lines.
type part struct{ first, last int32 }

// FileCoverage is what ran of a file.
type FileCoverage struct {
	File   string
	Ran    []int // lines, in order
	Missed []int // lines that could have run
}

// Include has the file of that name and text noted. One with another text, as
// of a test that lays files over the tree, is not. A file that does not parse
// has no lines.
func (c *Coverage) Include(name string, text []byte) {
	s := &source{name: name, text: text, sum: sha256.Sum256(text)}
	f := &covered{sum: s.sum}
	if file := s.tree(); file != nil {
		f.probe(file)
	}
	f.ran = make([]atomic.Bool, len(f.parts))
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.files == nil {
		c.files = make(map[string]*covered)
	}
	c.files[name] = f
}

// Files returns what ran of each file, by name.
func (c *Coverage) Files() []FileCoverage {
	c.mu.Lock()
	defer c.mu.Unlock()
	var list []FileCoverage
	for _, name := range slices.Sorted(maps.Keys(c.files)) {
		list = append(list, c.files[name].lines(name))
	}
	return list
}

// lines says of each line whether all that begins on it ran. A line on which
// nothing begins goes with the innermost part around it.
func (f *covered) lines(name string) FileCoverage {
	type line struct {
		ran    bool
		begins bool
	}
	lines := make(map[int]line)
	for i, p := range f.parts { // what encloses comes before what is inside
		ran := f.ran[i].Load()
		for n := p.first; n <= p.last; n++ {
			l, begins := lines[int(n)], n == p.first
			switch {
			case begins && l.begins:
				l.ran = l.ran && ran
			case begins || !l.begins:
				l = line{ran, begins}
			}
			lines[int(n)] = l
		}
	}
	out := FileCoverage{File: name}
	for _, n := range slices.Sorted(maps.Keys(lines)) {
		if lines[n].ran {
			out.Ran = append(out.Ran, n)
		} else {
			out.Missed = append(out.Missed, n)
		}
	}
	return out
}

// of returns what is noted of s, or nil.
func (c *Coverage) of(s *source) *covered {
	if c == nil {
		return nil
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if f := c.files[s.name]; f != nil && bytes.Equal(f.sum[:], s.sum[:]) {
		return f
	}
	return nil
}

// probeName is what a probe is called in the syntax tree. No file can write it.
const probeName = "#"

// steps is a limit of steps that leaves room for the probes.
func (c *Coverage) steps(limit uint64) uint64 {
	if c == nil || limit > 1<<60 {
		return limit
	}
	return 4 * limit
}

// names is what s can name: with its probe, when it has any.
func (c *Coverage) names(s *source, names starlark.StringDict) starlark.StringDict {
	f := c.of(s)
	if f == nil {
		return names
	}
	with := maps.Clone(names)
	with[probeName] = starlark.NewBuiltin(probeName, func(_ *starlark.Thread, _ *starlark.Builtin, args starlark.Tuple, _ []starlark.Tuple) (starlark.Value, error) {
		n, _ := starlark.AsInt32(args[0])
		f.ran[n].Store(true)
		if len(args) > 1 {
			return args[1], nil
		}
		return starlark.None, nil
	})
	return with
}

// instrument compiles s, which is right, a second time with probes in it.
func (c *Coverage) instrument(s *source, known func(string) bool) {
	f := c.of(s)
	if f == nil {
		return
	}
	file, err := dialect.Parse(s.name, s.text, 0)
	if err != nil {
		panic(fmt.Sprintf("starlark: %s parsed before: %v", s.name, err))
	}
	again := new(covered)
	again.probe(file)
	c.mu.Lock()
	if f.ran == nil {
		f.ran = make([]atomic.Bool, len(again.parts))
	}
	c.mu.Unlock()
	s.program, err = starlark.FileProgram(file, func(name string) bool { return name == probeName || known(name) })
	if err != nil {
		panic(fmt.Sprintf("starlark: %s compiled before: %v", s.name, err))
	}
}

// probe puts probes into file, and notes what each one tells of.
func (f *covered) probe(file *syntax.File) { file.Stmts = f.block(file.Stmts) }

// add notes the lines of a part, and returns the call that tells of it.
func (f *covered) add(from, to syntax.Position, with ...syntax.Expr) *syntax.CallExpr {
	n := len(f.parts)
	f.parts = append(f.parts, part{from.Line, max(from.Line, to.Line)})
	number := &syntax.Literal{Token: syntax.INT, TokenPos: from, Raw: fmt.Sprint(n), Value: int64(n)}
	return &syntax.CallExpr{
		Fn:     &syntax.Ident{NamePos: from, Name: probeName},
		Lparen: from, Args: append([]syntax.Expr{number}, with...), Rparen: from,
	}
}

// block puts a probe in front of each statement.
func (f *covered) block(stmts []syntax.Stmt) []syntax.Stmt {
	var out []syntax.Stmt
	for i, stmt := range stmts {
		if _, load := stmt.(*syntax.LoadStmt); load || i == 0 && isDoc(stmt) {
			out = append(out, stmt)
			continue
		}
		from, to := stmt.Span()
		switch stmt := stmt.(type) {
		case *syntax.IfStmt:
			_, to = stmt.Cond.Span()
		case *syntax.ForStmt:
			_, to = stmt.X.Span()
		case *syntax.WhileStmt:
			_, to = stmt.Cond.Span()
		case *syntax.DefStmt:
			to = from
			if n := len(stmt.Params); n > 0 {
				_, to = stmt.Params[n-1].Span()
			}
		}
		out = append(out, &syntax.ExprStmt{X: f.add(from, to)})
		f.inside(stmt)
		out = append(out, stmt)
	}
	return out
}

// isDoc reports whether stmt is a text that only documents.
func isDoc(stmt syntax.Stmt) bool {
	e, ok := stmt.(*syntax.ExprStmt)
	if !ok {
		return false
	}
	l, ok := e.X.(*syntax.Literal)
	return ok && l.Token == syntax.STRING
}

// inside puts probes into a statement.
func (f *covered) inside(stmt syntax.Stmt) {
	switch stmt := stmt.(type) {
	case *syntax.AssignStmt:
		stmt.RHS = f.expr(stmt.RHS)
	case *syntax.ExprStmt:
		stmt.X = f.expr(stmt.X)
	case *syntax.ReturnStmt:
		if stmt.Result != nil {
			stmt.Result = f.expr(stmt.Result)
		}
	case *syntax.IfStmt:
		stmt.Cond = f.expr(stmt.Cond)
		stmt.True = f.block(stmt.True)
		stmt.False = f.block(stmt.False)
	case *syntax.ForStmt:
		stmt.X = f.expr(stmt.X)
		stmt.Body = f.block(stmt.Body)
	case *syntax.DefStmt:
		f.exprs(stmt.Params)
		stmt.Body = f.block(stmt.Body)
	}
}

func (f *covered) exprs(list []syntax.Expr) {
	for i, e := range list {
		list[i] = f.expr(e)
	}
}

// own returns e with a probe around it, for what runs by itself.
func (f *covered) own(e syntax.Expr) syntax.Expr {
	from, to := e.Span()
	call := f.add(from, to, e)
	call.Args[1] = f.expr(e)
	return call
}

// expr puts probes into an expression.
func (f *covered) expr(e syntax.Expr) syntax.Expr {
	switch e := e.(type) {
	case *syntax.BinaryExpr:
		if e.Op != syntax.EQ { // of a keyword argument only the value
			e.X = f.expr(e.X)
		}
		e.Y = f.expr(e.Y)
	case *syntax.CallExpr:
		e.Fn = f.expr(e.Fn)
		f.exprs(e.Args)
	case *syntax.Comprehension:
		if entry, ok := e.Body.(*syntax.DictEntry); ok {
			entry.Value = f.own(entry.Value)
		} else {
			e.Body = f.own(e.Body)
		}
		for _, clause := range e.Clauses {
			switch clause := clause.(type) {
			case *syntax.ForClause:
				clause.X = f.expr(clause.X)
			case *syntax.IfClause:
				clause.Cond = f.expr(clause.Cond)
			}
		}
	case *syntax.CondExpr:
		e.Cond = f.expr(e.Cond)
		e.True, e.False = f.own(e.True), f.own(e.False)
	case *syntax.DictEntry:
		e.Key, e.Value = f.expr(e.Key), f.expr(e.Value)
	case *syntax.DictExpr:
		f.exprs(e.List)
	case *syntax.DotExpr:
		e.X = f.expr(e.X)
	case *syntax.IndexExpr:
		e.X, e.Y = f.expr(e.X), f.expr(e.Y)
	case *syntax.LambdaExpr:
		f.exprs(e.Params)
		e.Body = f.own(e.Body)
	case *syntax.ListExpr:
		f.exprs(e.List)
	case *syntax.ParenExpr:
		e.X = f.expr(e.X)
	case *syntax.SliceExpr:
		for _, p := range []*syntax.Expr{&e.X, &e.Lo, &e.Hi, &e.Step} {
			if *p != nil {
				*p = f.expr(*p)
			}
		}
	case *syntax.TupleExpr:
		f.exprs(e.List)
	case *syntax.UnaryExpr:
		if e.X != nil {
			e.X = f.expr(e.X)
		}
	}
	return e
}

// Ranges writes lines as "3, 7-9".
func Ranges(lines []int) string {
	var parts []string
	for i := 0; i < len(lines); {
		j := i
		for j+1 < len(lines) && lines[j+1] == lines[j]+1 {
			j++
		}
		if i == j {
			parts = append(parts, fmt.Sprint(lines[i]))
		} else {
			parts = append(parts, fmt.Sprintf("%d-%d", lines[i], lines[j]))
		}
		i = j + 1
	}
	return strings.Join(parts, ", ")
}
