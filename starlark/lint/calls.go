package lint

import (
	"maps"
	"slices"
	"strings"

	"go.starlark.net/syntax"

	"github.com/piper-build/piper/builtins"
)

// attribute evaluates e.name.
func (in *interpreter) attribute(fr *frame, x *syntax.DotExpr) value {
	v, name := in.eval(fr, x.X), x.Name.Name
	if held, ok := v.fields[name]; ok {
		return held
	}
	switch v.word {
	case "":
		return value{from: v.all()} // a field that is not known, or a method
	case "ctx.event":
		switch name {
		case "branch", "tag", "base", "title", "author", "payload":
			return in.origin(fr, x, name, false)
		}
		return value{}
	case "ctx.params":
		p := v.params[name].param
		if p == nil || p.safe {
			return value{list: p != nil && p.list}
		}
		held := in.origin(fr, x, name, true)
		if p.list {
			return value{list: true, loose: []value{held}}
		}
		return held
	case "ctx":
		if name == "git" {
			return value{word: "git"}
		}
	}
	return value{word: v.word + "." + name, params: v.params}
}

// origin is the value of e, which others choose.
func (in *interpreter) origin(fr *frame, e syntax.Expr, name string, param bool) value {
	o := in.origins[e]
	if o == nil {
		text := spelled(e)
		if call, ok := e.(*syntax.CallExpr); ok && text == "" {
			text = spelled(call.Fn) + "(…)"
		}
		o = &origin{file: fr.file, node: e, text: text, name: strings.ToUpper(name), param: param}
		in.origins[e] = o
	}
	return value{from: []*origin{o}}
}

// arguments are the values that a call gives.
type arguments struct {
	call   *syntax.CallExpr
	listed []value
	named  map[string]value
	nodes  map[string]syntax.Expr // of those that have a name
	more   []value                // of *args and of what is not known of **kwargs
}

func (in *interpreter) arguments(fr *frame, call *syntax.CallExpr) arguments {
	a := arguments{call: call, named: map[string]value{}, nodes: map[string]syntax.Expr{}}
	for _, arg := range call.Args {
		if pair, ok := arg.(*syntax.BinaryExpr); ok && pair.Op == syntax.EQ {
			name := pair.X.(*syntax.Ident).Name
			a.named[name], a.nodes[name] = in.eval(fr, pair.Y), pair.Y
			continue
		}
		star, ok := arg.(*syntax.UnaryExpr)
		if !ok || star.Op != syntax.STAR && star.Op != syntax.STARSTAR {
			a.listed = append(a.listed, in.eval(fr, arg))
			continue
		}
		v := in.eval(fr, star.X)
		if star.Op == syntax.STARSTAR {
			for name, held := range v.fields {
				a.named[name], a.nodes[name] = held, star.X
			}
			v.fields = nil
		} else if v.loose == nil {
			a.listed, v.elems = append(a.listed, v.elems...), nil
		}
		a.more = append(a.more, v)
	}
	return a
}

// get returns what a call gives to a parameter, and where it stands.
func (a arguments) get(name string, index int) (value, syntax.Expr) {
	if v, ok := a.named[name]; ok {
		return v, a.nodes[name]
	}
	if index >= 0 && index < len(a.listed) {
		if index < len(a.call.Args) {
			return a.listed[index], a.call.Args[index]
		}
		return a.listed[index], a.call
	}
	return value{}, nil
}

// all is the text of every argument.
func (a arguments) all() []*origin {
	var all []*origin
	for _, v := range slices.Concat(a.listed, a.more) {
		all = merge(all, v.all())
	}
	for _, name := range sortedKeys(a.named) {
		all = merge(all, a.named[name].all())
	}
	return all
}

func (in *interpreter) call(fr *frame, x *syntax.CallExpr) value {
	method, isMethod := x.Fn.(*syntax.DotExpr)
	var fn, self value
	if isMethod {
		self = in.eval(fr, method.X)
	}
	fn = in.eval(fr, x.Fn)
	args := in.arguments(fr, x)
	switch {
	case fn.fn != nil:
		return in.invoke(fr, fn.fn, x, args)
	case fn.word != "":
		return in.builtin(fr, fn.word, x, args)
	case isMethod:
		return in.method(fr, self, method, args)
	}
	return value{from: merge(fn.from, args.all())}
}

// invoke runs a function of a file with its arguments.
func (in *interpreter) invoke(fr *frame, fn *function, x *syntax.CallExpr, args arguments) value {
	under := slices.ContainsFunc(in.calls, func(c call) bool { return c.fn.node == fn.node })
	if under || len(in.calls) >= maxDepth || in.budget < 0 {
		return value{from: args.all()}
	}
	in.budget--
	in.ran[fn.node] = true
	in.calls = append(in.calls, call{fn, x, fr.file})
	defer func() { in.calls = in.calls[:len(in.calls)-1] }()

	own := &frame{file: fn.file, vars: map[*syntax.Ident]value{}, around: fn.around}
	left, next, rest := maps.Clone(args.named), 0, value{}
	for _, v := range args.more {
		rest = either(rest, v.member())
	}
	for _, param := range fn.params {
		var id *syntax.Ident
		var byDefault syntax.Expr
		switch p := param.(type) {
		case *syntax.Ident:
			id = p
		case *syntax.BinaryExpr:
			id, byDefault = p.X.(*syntax.Ident), p.Y
		case *syntax.UnaryExpr:
			id, ok := p.X.(*syntax.Ident)
			switch {
			case !ok: // the * before parameters that are given by name
			case p.Op == syntax.STARSTAR:
				own.vars[variable(id)] = value{fields: left, loose: known(rest)}.bounded()
			default:
				own.vars[variable(id)] = value{list: true, elems: slices.Clone(args.listed[next:]), loose: known(rest)}.bounded()
				next = len(args.listed)
			}
			continue
		}
		v, named := left[id.Name]
		switch {
		case named:
			delete(left, id.Name)
		case next < len(args.listed):
			v = args.listed[next]
			next++
		case byDefault != nil:
			v = either(in.eval(fn.around, byDefault), rest)
		default:
			v = rest
		}
		own.vars[variable(id)] = v
	}
	if fn.result != nil {
		return in.eval(own, fn.result)
	}
	in.body(own, fn.body)
	return own.results
}

// known is a list of v, when anything is known of it.
func known(v value) []value {
	if v.nothing() {
		return nil
	}
	return []value{v}
}

// method evaluates the call of a method of a value: of a string, a list, a dict.
func (in *interpreter) method(fr *frame, self value, x *syntax.DotExpr, args arguments) value {
	change := func(with func(value) value) {
		if id, ok := x.X.(*syntax.Ident); ok {
			fr.change(variable(id), with)
		}
	}
	switch x.Name.Name {
	case "append", "insert", "add":
		change(func(v value) value {
			v.list = true
			if fr.inside == 0 && x.Name.Name == "append" && v.loose == nil {
				v.elems = slices.Concat(v.elems, args.listed)
			} else {
				v.loose = slices.Concat(v.loose, args.listed)
			}
			return v
		})
		return value{}
	case "extend":
		change(func(v value) value { return added(v, either(args.first(), value{list: true})) })
		return value{}
	case "update":
		change(func(v value) value { return added(added(v, args.first()), value{fields: args.named}) })
		return value{}
	case "get", "pop", "setdefault":
		fallback, _ := args.get("", 1)
		if key := args.first().text; key != nil && self.fields != nil {
			if v, ok := self.fields[*key]; ok {
				return either(v, fallback)
			}
			return either(value{from: self.from, loose: self.loose}.member(), fallback)
		}
		return either(self.member(), fallback)
	case "items":
		keys := value{from: self.from}
		return value{list: true, loose: []value{{list: true, elems: []value{keys, self.member()}}}}
	case "values":
		return value{list: true, loose: []value{self.member()}}
	case "keys":
		return value{list: true, from: self.from}
	case "split", "rsplit", "splitlines", "partition", "rpartition", "elems", "codepoints":
		return value{list: true, loose: []value{self.whole()}}
	case "startswith", "endswith", "find", "rfind", "index", "rindex", "count", "output",
		"isalnum", "isalpha", "isdigit", "islower", "isspace", "istitle", "isupper":
		return value{}
	}
	return value{from: merge(self.all(), args.all())}
}

func (a arguments) first() value {
	v, _ := a.get("", 0)
	return v
}

// builtin evaluates the call of a builtin.
func (in *interpreter) builtin(fr *frame, word string, x *syntax.CallExpr, args arguments) value {
	first := args.first()
	switch word {
	case "git.branch", "git.tag", "git.describe":
		return in.origin(fr, x, strings.TrimPrefix(word, "git."), false)
	case "os.environ":
		name, fallback := "VALUE", value{}
		if v, _ := args.get("name", 0); v.text != nil {
			name = *v.text
		}
		fallback, _ = args.get("default", 1)
		return either(in.origin(fr, x, name, false), fallback)
	case "param.string", "param.list":
		_, choices := args.get("choices", -1)
		pattern, _ := args.get("pattern", -1)
		return value{param: &parameter{safe: choices != nil || pattern.text != nil && sure(*pattern.text), list: word == "param.list"}}
	case "param.int", "param.bool", "param.enum":
		return value{param: &parameter{safe: true}}
	case "pipeline":
		in.pipeline(args)
		return value{}
	case "expand":
		impl, _ := args.get("impl", 1)
		if impl.fn != nil {
			in.invoke(fr, impl.fn, x, arguments{call: x, listed: []value{{word: "ctx", params: in.params}, {}}})
		}
		return value{}
	case "step", "service", "ready.run":
		index := 1
		if word == "ready.run" {
			index = 0
		}
		if run, node := args.get("run", index); node != nil {
			in.command(fr, run, node)
		}
		return value{}
	case "struct":
		return value{fields: args.named}
	case "dict":
		v := value{fields: maps.Clone(first.fields), loose: first.loose, from: first.from}
		if v.fields == nil {
			v.fields = map[string]value{}
		}
		maps.Copy(v.fields, args.named)
		for _, more := range args.more {
			v.loose = append(v.loose, more.member())
		}
		return v
	case "list", "tuple":
		return value{list: true, from: first.from, elems: first.elems, loose: first.loose}
	case "sorted", "reversed", "set":
		return value{list: true, loose: []value{first.member()}}
	case "enumerate":
		return value{list: true, loose: []value{{list: true, elems: []value{{}, first.member()}}}}
	case "zip":
		row := value{list: true}
		for _, v := range args.listed {
			row.elems = append(row.elems, v.member())
		}
		return value{list: true, loose: []value{row}}
	case "str", "repr", "min", "max", "getattr":
		return value{from: args.all()}
	case "int", "float", "bool", "len", "any", "all", "abs", "hash", "type", "range", "hasattr", "print", "fail", "dir", "chr", "ord", "bytes":
		return value{list: word == "range"}
	}
	if strings.HasPrefix(word, "shlex.") && word != "shlex.split" || strings.HasPrefix(word, "hash.") || strings.HasPrefix(word, "semver.") {
		return value{}
	}
	b, ok := builtins.Lookup(word)
	switch {
	case !ok:
		return value{from: args.all()}
	case strings.HasPrefix(b.Returns, "list"), strings.HasPrefix(b.Returns, "tuple"):
		return value{list: true, loose: known(value{from: args.all()})}
	case b.Returns == "string" || b.Returns == "any":
		return value{from: args.all()}
	}
	return value{}
}
