package plan

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"io"
	"maps"
	"slices"
	"strconv"
	"unicode/utf8"
)

// Canonical returns the one JSON text of p: UTF-8, keys sorted by their bytes,
// no white space between tokens, and no character escaped but '"', '\' and the
// controls below U+0020. Fields at their zero value are left out, the way the
// struct tags say. A byte that is not UTF-8, which Validate refuses, is written
// as U+FFFD.
func (p *Plan) Canonical() []byte {
	var size counter // so that the text of a large plan is not copied as it grows
	p.WriteCanonical(&size)
	e := encoder{buf: make([]byte, 0, size)}
	e.plan(p)
	return e.buf
}

// A counter counts the bytes that are written to it.
type counter int

func (c *counter) Write(p []byte) (int, error) {
	*c += counter(len(p))
	return len(p), nil
}

// WriteCanonical writes the canonical JSON of p to w, in pieces.
func (p *Plan) WriteCanonical(w io.Writer) error {
	e := encoder{buf: make([]byte, 0, 2*flushAt), to: w}
	e.plan(p)
	e.drain()
	return e.err
}

// Digest returns the SHA-256 of the canonical JSON as "sha256:<hex>".
func (p *Plan) Digest() string {
	sum := sha256.New()
	p.WriteCanonical(sum) // a hash never fails
	return "sha256:" + hex.EncodeToString(sum.Sum(nil))
}

const flushAt = 32 << 10

// An encoder appends JSON to buf. What has somewhere to go is drained now and
// then, so that buf stays small.
//
// Each method below writes one type. The calls within it stand in the order of
// their keys, which is what makes the text canonical.
type encoder struct {
	buf []byte
	to  io.Writer // nil keeps all in buf
	err error     // the first of to
}

func (e *encoder) flush() {
	if e.to != nil && len(e.buf) >= flushAt {
		e.drain()
	}
}

func (e *encoder) drain() {
	if e.err == nil {
		_, e.err = e.to.Write(e.buf)
	}
	e.buf = e.buf[:0]
}

func (e *encoder) plan(p *Plan) {
	e.open()
	e.str("concurrency", p.Concurrency)
	if len(p.Env) > 0 {
		e.key("env")
		e.env(p.Env)
	}
	e.str("environment", p.Environment)
	list(e, "environments", p.Environments, (*encoder).environment)
	e.key("format")
	e.number(p.Format)
	list(e, "groups", p.Groups, (*encoder).group)
	list(e, "inputs", p.Inputs, (*encoder).input)
	e.key("nodes")
	array(e, p.Nodes, (*encoder).node)
	if len(p.Params) > 0 {
		e.key("params")
		e.params(p.Params)
	}
	e.strs("pass_env", p.PassEnv)
	e.key("pipeline")
	e.string(p.Pipeline)
	e.int("priority", p.Priority)
	e.key("project")
	e.project(p.Project)
	e.duration("queue_timeout", p.QueueTimeout)
	e.duration("timeout", p.Timeout)
	e.close()
}

func (e *encoder) project(p Project) {
	e.open()
	e.key("name")
	e.string(p.Name)
	e.str("piper", p.Piper)
	e.str("version", p.Version)
	e.close()
}

func (e *encoder) node(n *Node) {
	e.open()
	e.str("allow_failure", n.AllowFailure())
	if n.Approve() != nil {
		e.key("approve")
		e.open()
		e.str("prompt", n.Approve().Prompt)
		e.close()
	}
	if n.Expand() != nil {
		e.key("expand")
		e.open()
		e.key("after")
		e.string(n.Expand().After)
		e.strs("services", n.Expand().Services)
		e.close()
	}
	e.str("group", n.Group)
	e.key("name")
	e.string(n.Name)
	e.strs("needs", n.Needs)
	e.pos(n.Pos)
	e.str("run_on", string(n.RunOn()))
	if n.Step != nil {
		e.key("step")
		e.step(n.Step)
	}
	if n.Trigger() != nil {
		e.key("trigger")
		e.trigger(n.Trigger())
	}
	e.close()
}

func (e *encoder) group(g *Group) {
	e.open()
	e.bool("fail_fast", g.FailFast)
	e.str("group", g.Group)
	e.int("limit", g.Limit)
	e.key("name")
	e.string(g.Name)
	e.pos(g.Pos)
	e.close()
}

func (e *encoder) step(s *Step) {
	e.open()
	list(e, "argv", s.Argv, func(e *encoder, t *Text) { e.text(*t) })
	e.str("concurrency", s.Concurrency)
	e.str("dir", s.Dir)
	e.str("doc", s.Doc)
	if len(s.Env) > 0 {
		e.key("env")
		e.env(s.Env)
	}
	e.str("environment", s.Environment)
	e.duration("grace", s.Grace)
	e.strs("inputs", s.Inputs)
	e.bool("once", s.Once)
	e.strs("outputs", s.Outputs)
	e.strs("pass_env", s.PassEnv)
	list(e, "requires", s.Requires, (*encoder).requirement)
	if s.Retry != nil {
		e.key("retry")
		e.open()
		e.key("attempts")
		e.number(s.Retry.Attempts)
		e.duration("backoff", s.Retry.Backoff)
		e.strs("on", s.Retry.On)
		e.close()
	}
	e.str("script", s.Script)
	if s.Service != nil {
		e.key("service")
		e.service(s.Service)
	}
	e.strs("services", s.Services)
	e.str("shell", s.Shell)
	e.duration("timeout", s.Timeout)
	e.bool("tty", s.TTY)
	e.close()
}

func (e *encoder) service(s *Service) {
	e.open()
	if r := s.Ready; !r.IsZero() {
		e.key("ready")
		e.open()
		list(e, "argv", r.Argv, func(e *encoder, t *Text) { e.text(*t) })
		e.str("log", r.Log)
		e.int("port", r.Port)
		e.str("script", r.Script)
		e.close()
	}
	e.duration("ready_timeout", s.ReadyTimeout)
	e.close()
}

func (e *encoder) trigger(t *Trigger) {
	e.open()
	if len(t.Params) > 0 {
		e.key("params")
		e.env(t.Params)
	}
	e.key("pipeline")
	e.string(t.Pipeline)
	e.str("project", t.Project)
	e.str("ref", t.Ref)
	e.bool("wait", t.Wait)
	e.close()
}

func (e *encoder) environment(v *Environment) {
	e.open()
	e.str("doc", v.Doc)
	if len(v.Env) > 0 {
		e.key("env")
		e.env(v.Env)
	}
	e.str("image", v.Image)
	e.bool("keep", v.Keep)
	e.key("kind")
	e.string(v.Kind)
	e.key("name")
	e.string(v.Name)
	e.strs("options", v.Options)
	e.strs("pass_env", v.PassEnv)
	e.str("path", v.Path)
	e.pos(v.Pos)
	e.str("python", v.Python)
	e.strs("requirements", v.Requirements)
	list(e, "requires", v.Requires, (*encoder).requirement)
	e.str("runtime", v.Runtime)
	e.close()
}

func (e *encoder) requirement(r *Requirement) {
	e.open()
	e.str("key", r.Key)
	list(e, "of", r.Of, (*encoder).requirement)
	e.key("op")
	e.string(r.Op)
	e.str("reason", r.Reason)
	e.strs("values", r.Values)
	e.close()
}

func (e *encoder) input(i *Input) {
	e.open()
	e.key("digest")
	e.string(i.Digest)
	e.key("key")
	e.string(i.Key)
	e.key("kind")
	e.string(i.Kind)
	e.close()
}

// params writes what Plan.Params may hold.
func (e *encoder) params(m map[string]any) {
	e.open()
	for _, name := range slices.Sorted(maps.Keys(m)) {
		e.comma()
		e.string(name)
		e.buf = append(e.buf, ':')
		switch v := m[name].(type) {
		case string:
			e.string(v)
		case bool:
			e.buf = strconv.AppendBool(e.buf, v)
		case int64:
			e.buf = strconv.AppendInt(e.buf, v, 10)
		case []string:
			array(e, v, func(e *encoder, s *string) { e.string(*s) })
		default:
			panic(fmt.Sprintf("plan: parameter %q is a %T: want string, bool, int64 or []string", name, v))
		}
	}
	e.close()
}

func (e *encoder) env(env Env) {
	e.open()
	for _, v := range env.sorted() {
		e.comma()
		e.string(v.Name)
		e.buf = append(e.buf, ':')
		e.text(v.Value)
	}
	e.close()
}

func (e *encoder) text(t Text) {
	switch {
	case len(t.Parts) == 0:
		e.string(t.Literal)
	case len(t.Parts) == 1 && (t.Parts[0].Output != nil || t.Parts[0].Secret != ""):
		e.part(t.Parts[0])
	default: // a lone literal part too: without its brackets it would read as a literal
		array(e, t.Parts, func(e *encoder, p *Part) { e.part(*p) })
	}
}

func (e *encoder) part(p Part) {
	switch {
	case p.Output != nil:
		e.open()
		e.key("output")
		e.open()
		e.key("key")
		e.string(p.Output.Key)
		e.key("step")
		e.string(p.Output.Step)
		e.close()
		e.close()
	case p.Secret != "":
		e.open()
		e.str("secret", p.Secret)
		e.close()
	default:
		e.string(p.Literal)
	}
}

func (e *encoder) pos(p Pos) {
	if p != (Pos{}) {
		e.key("pos")
		var room [80]byte
		e.string(string(p.append(room[:0])))
	}
}

// The pieces of an object. A method that takes a key leaves the field out at
// its zero value; one that must write it anyway calls key first.

func (e *encoder) open()  { e.buf = append(e.buf, '{') }
func (e *encoder) close() { e.buf = append(e.buf, '}') }

// comma separates from what came before, if anything did.
func (e *encoder) comma() {
	switch e.buf[len(e.buf)-1] {
	case '{', '[':
	default:
		e.buf = append(e.buf, ',')
	}
}

func (e *encoder) key(k string) {
	e.comma()
	e.buf = append(e.buf, '"')
	e.buf = append(e.buf, k...)
	e.buf = append(e.buf, '"', ':')
}

func (e *encoder) str(k, s string) {
	if s != "" {
		e.key(k)
		e.string(s)
	}
}

func (e *encoder) strs(k string, s []string) {
	list(e, k, s, func(e *encoder, s *string) { e.string(*s) })
}

func (e *encoder) bool(k string, b bool) {
	if b {
		e.key(k)
		e.buf = append(e.buf, "true"...)
	}
}

func (e *encoder) int(k string, i int) {
	if i != 0 {
		e.key(k)
		e.number(i)
	}
}

func (e *encoder) duration(k string, d Duration) {
	if d != 0 {
		e.key(k)
		e.string(d.String())
	}
}

func (e *encoder) number(i int) { e.buf = strconv.AppendInt(e.buf, int64(i), 10) }

func list[T any](e *encoder, k string, all []T, one func(*encoder, *T)) {
	if len(all) > 0 {
		e.key(k)
		array(e, all, one)
	}
}

func array[T any](e *encoder, all []T, one func(*encoder, *T)) {
	e.buf = append(e.buf, '[')
	for i := range all {
		if i > 0 {
			e.buf = append(e.buf, ',')
			e.flush()
		}
		one(e, &all[i])
	}
	e.buf = append(e.buf, ']')
}

// string writes s in quotes. Most strings hold nothing to escape and are
// copied in one piece.
func (e *encoder) string(s string) {
	const hexDigits = "0123456789abcdef"
	buf := append(e.buf, '"')
	from := 0 // of what is still to be copied
	for i := 0; i < len(s); {
		c := s[i]
		if c >= ' ' && c != '"' && c != '\\' && c < utf8.RuneSelf {
			i++
			continue
		}
		if c >= utf8.RuneSelf {
			r, size := utf8.DecodeRuneInString(s[i:])
			if r == utf8.RuneError && size == 1 {
				buf = append(append(buf, s[from:i]...), "\uFFFD"...)
				from = i + 1
			}
			i += size
			continue
		}
		buf = append(buf, s[from:i]...)
		switch c {
		case '"', '\\':
			buf = append(buf, '\\', c)
		case '\b':
			buf = append(buf, '\\', 'b')
		case '\f':
			buf = append(buf, '\\', 'f')
		case '\n':
			buf = append(buf, '\\', 'n')
		case '\r':
			buf = append(buf, '\\', 'r')
		case '\t':
			buf = append(buf, '\\', 't')
		default:
			buf = append(buf, '\\', 'u', '0', '0', hexDigits[c>>4], hexDigits[c&15])
		}
		i++
		from = i
	}
	e.buf = append(append(buf, s[from:]...), '"')
}
