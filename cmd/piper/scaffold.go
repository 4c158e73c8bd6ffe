package main

import (
	"bufio"
	"bytes"
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
)

// A scaffold is a PIPER.star in the making: what piper init has found in a
// directory, and what it makes of that.
type scaffold struct {
	dir       string
	name      string // of the project
	called    bool   // a file says so
	versioned bool   // git can describe it
	parts     []part
	remarks   []string // comment lines at the end
}

// A part is what one kind of file calls for.
type part struct {
	from        string // the file
	environment string // a statement that defines one, named as from the steps
	steps       []scaffoldStep
	passEnv     []string
}

// A scaffoldStep is one step(...).
type scaffoldStep struct {
	name  string
	run   string // as it is written in the file
	stage int
	more  string // further arguments
}

// Stages run in a row; so do the steps that prepare, those of the others side
// by side.
const (
	prepare = iota
	check
	assemble
)

// look fills the scaffold from what stands in its directory.
func (s *scaffold) look() error {
	for _, look := range []func() error{s.lookGo, s.lookNode, s.lookPython, s.lookMake, s.lookScripts} {
		if err := look(); err != nil {
			return fmt.Errorf("look at the repository: %w", err)
		}
	}
	if len(s.parts) == 0 {
		s.parts = append(s.parts, part{from: "a start: replace it with what builds your project", steps: []scaffoldStep{
			{name: "hello", run: strconv.Quote("echo hello from $PIPER_STEP"), stage: check},
		}})
	}
	return nil
}

// call gives the project the name that a file has for it, when that can be one.
func (s *scaffold) call(name string) {
	if !s.called && name != "" && name == plainName(name) {
		s.name, s.called = name, true
	}
}

// read returns a file of the directory; nil when it is not there.
func (s *scaffold) read(name string) ([]byte, error) {
	data, err := os.ReadFile(filepath.Join(s.dir, name))
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	return data, err
}

func (s *scaffold) has(name string) bool { return exists(filepath.Join(s.dir, name)) }

func (s *scaffold) lookGo() error {
	if !s.has("go.mod") {
		return nil
	}
	p := part{from: "go.mod", passEnv: []string{"GO*", "CGO_ENABLED"}}
	some, err := s.anyFile(".go")
	if err != nil {
		return err
	}
	if some { // "go vet" of no package at all fails
		p.steps = append(p.steps,
			scaffoldStep{name: "vet", run: argv("go", "vet", "./..."), stage: check},
			scaffoldStep{name: "test", run: argv("go", "test", "./..."), stage: check, more: `timeout = "10m"`})
	}
	p.steps = append(p.steps, scaffoldStep{name: "build", run: argv("go", "build", "./..."), stage: assemble})
	s.parts = append(s.parts, p)
	return nil
}

// anyFile reports whether a file with that ending stands anywhere below the
// directory, hidden directories aside.
func (s *scaffold) anyFile(ending string) (found bool, err error) {
	err = filepath.WalkDir(s.dir, func(path string, d fs.DirEntry, err error) error {
		switch {
		case err != nil:
			return err
		case d.IsDir() && path != s.dir && strings.HasPrefix(d.Name(), "."):
			return fs.SkipDir
		case !d.IsDir() && strings.HasSuffix(d.Name(), ending):
			found = true
			return fs.SkipAll
		}
		return nil
	})
	return found, err
}

func (s *scaffold) lookNode() error {
	data, err := s.read("package.json")
	if data == nil || err != nil {
		return err
	}
	var pkg struct {
		Name            string            `json:"name"`
		Main            string            `json:"main"`
		PackageManager  string            `json:"packageManager"`
		Scripts         map[string]string `json:"scripts"`
		Dependencies    map[string]string `json:"dependencies"`
		DevDependencies map[string]string `json:"devDependencies"`
	}
	if err := json.Unmarshal(data, &pkg); err != nil {
		s.remarks = append(s.remarks, "package.json could not be read: "+firstLine(err.Error()))
		return nil
	}
	s.call(path.Base(pkg.Name)) // without its scope
	manager, install := s.nodeManager(pkg.PackageManager)
	p := part{from: "package.json", passEnv: []string{"NPM_CONFIG_*", "npm_config_*", "NODE_*"}}
	if len(pkg.Dependencies)+len(pkg.DevDependencies) > 0 {
		p.steps = append(p.steps, scaffoldStep{name: "install", run: argv(install...), stage: prepare})
	}
	for _, script := range []string{"lint", "typecheck", "test", "build"} {
		command, ok := pkg.Scripts[script]
		if !ok || strings.Contains(command, "no test specified") {
			continue
		}
		stage := check
		if script == "build" {
			stage = assemble
		}
		p.steps = append(p.steps, scaffoldStep{name: script, run: argv(manager, "run", script), stage: stage})
	}
	main := cmp.Or(pkg.Main, "index.js")
	if len(p.steps) == 0 && strings.HasSuffix(main, "js") && s.has(main) {
		p.steps = append(p.steps, scaffoldStep{name: "syntax", run: argv("node", "--check", main), stage: check})
	}
	if len(p.steps) > 0 {
		s.parts = append(s.parts, p)
	} else {
		s.remarks = append(s.remarks, "package.json has no script lint, typecheck, test or build.")
	}
	return nil
}

// nodeManager is the package manager that a project uses, and how it installs
// exactly what was locked.
func (s *scaffold) nodeManager(named string) (manager string, install []string) {
	named, _, _ = strings.Cut(named, "@")
	switch {
	case named == "pnpm" || s.has("pnpm-lock.yaml"):
		install = []string{"pnpm", "install"}
		if s.has("pnpm-lock.yaml") {
			install = append(install, "--frozen-lockfile")
		}
	case named == "yarn" || s.has("yarn.lock"):
		install = []string{"yarn", "install"}
		if s.has(".yarnrc.yml") {
			install = append(install, "--immutable")
		} else if s.has("yarn.lock") {
			install = append(install, "--frozen-lockfile")
		}
	case named == "bun" || s.has("bun.lock") || s.has("bun.lockb"):
		install = []string{"bun", "install"}
	case s.has("package-lock.json") || s.has("npm-shrinkwrap.json"):
		install = []string{"npm", "ci"}
	default:
		install = []string{"npm", "install"}
	}
	return install[0], install
}

func (s *scaffold) lookPython() error {
	project, err := s.read("pyproject.toml")
	if err != nil {
		return err
	}
	requirements, err := filepath.Glob(filepath.Join(s.dir, "requirements*.txt"))
	if err != nil || project == nil && len(requirements) == 0 {
		return err
	}
	p := part{from: "requirements.txt", passEnv: []string{"PIP_*"}}
	if project != nil {
		p.from = "pyproject.toml"
	}
	tools := project
	names := []string{}
	for _, file := range requirements {
		data, err := os.ReadFile(file)
		if err != nil {
			return err
		}
		tools = append(tools, data...)
		names = append(names, filepath.Base(file))
	}
	s.call(pythonName(project))
	venv := "venv()"
	if len(names) > 0 {
		venv = "venv(requirements = " + argv(names...) + ")"
	}
	p.environment = fmt.Sprintf("python = environment(%q, kind = %s)", "python", venv)

	in := "environment = python"
	if bytes.Contains(project, []byte("[build-system]")) || bytes.Contains(project, []byte("[project]")) {
		p.steps = append(p.steps, scaffoldStep{name: "install", run: argv("python", "-m", "pip", "install", "--editable", "."), stage: prepare, more: in})
	}
	tests, _ := filepath.Glob(filepath.Join(s.dir, "test*"))
	switch {
	case bytes.Contains(tools, []byte("pytest")) && len(tests) > 0:
		if !bytes.Contains(tools[len(project):], []byte("pytest")) {
			p.steps = append(p.steps, scaffoldStep{name: "pytest", run: argv("python", "-m", "pip", "install", "pytest"), stage: prepare, more: in})
		}
		p.steps = append(p.steps, scaffoldStep{name: "test", run: argv("python", "-m", "pytest"), stage: check, more: in})
	case len(tests) > 0:
		discover := []string{"python", "-m", "unittest", "discover"}
		if s.has("tests") && !s.has("tests/__init__.py") { // it looks only into packages by itself
			discover = append(discover, "-s", "tests")
		}
		p.steps = append(p.steps, scaffoldStep{name: "test", run: argv(discover...), stage: check, more: in})
	default:
		p.steps = append(p.steps, scaffoldStep{name: "compile", run: argv("python", "-m", "compileall", "-q", "-x", `[.]venv|[.]git`, "."), stage: check, more: in})
	}
	s.parts = append(s.parts, p)
	return nil
}

// pythonName is the name that a pyproject.toml gives its project, "" when it
// does not plainly say.
func pythonName(pyproject []byte) string {
	section := ""
	for line := range strings.Lines(string(pyproject)) {
		line = strings.TrimSpace(line)
		if strings.HasPrefix(line, "[") {
			section = line
		}
		key, value, _ := strings.Cut(line, "=")
		if strings.TrimSpace(key) != "name" || section != "[project]" && section != "[tool.poetry]" {
			continue
		}
		if value = strings.TrimSpace(value); len(value) > 1 && strings.ContainsAny(value[:1], "\"'") {
			name, _, _ := strings.Cut(value[1:], value[:1])
			return name
		}
	}
	return ""
}

// lookMake takes the targets that only look and build. Where another file has
// told how to do that already, they are a remark.
func (s *scaffold) lookMake() error {
	for _, name := range []string{"GNUmakefile", "makefile", "Makefile"} {
		data, err := s.read(name)
		if err != nil {
			return err
		}
		if data == nil {
			continue
		}
		targets := makeTargets(data)
		p := part{from: name}
		for _, target := range []string{"lint", "check", "test", "build", "all"} {
			if !slices.Contains(targets, target) || target == "all" && len(p.steps) > 0 {
				continue
			}
			stage := check
			if target == "build" || target == "all" {
				stage = assemble
			}
			p.steps = append(p.steps, scaffoldStep{name: target, run: argv("make", target), stage: stage})
		}
		s.offer(p, "make")
		return nil
	}
	return nil
}

// makeTargets returns the targets of a Makefile that have plain names.
func makeTargets(makefile []byte) []string {
	var targets []string
	in := bufio.NewScanner(bytes.NewReader(makefile))
	for in.Scan() {
		line := in.Text()
		names, rest, ok := strings.Cut(line, ":")
		if !ok || line[0] == '\t' || strings.HasPrefix(rest, "=") || strings.HasPrefix(rest, ":=") || strings.ContainsAny(names, "=#$%") {
			continue
		}
		targets = append(targets, strings.Fields(names)...)
	}
	return targets
}

// lookScripts takes the scripts whose names say that they only look and build.
func (s *scaffold) lookScripts() error {
	p := part{from: "shell scripts"}
	for _, dir := range []string{".", "scripts", "script", "ci"} {
		for _, base := range []string{"lint", "check", "test", "build"} {
			file := path.Join(dir, base+".sh")
			info, err := os.Stat(filepath.Join(s.dir, file))
			if err != nil || !info.Mode().IsRegular() {
				continue
			}
			if slices.ContainsFunc(p.steps, func(step scaffoldStep) bool { return step.name == base }) {
				continue
			}
			run := argv("./" + file)
			if info.Mode()&0o111 == 0 {
				shell := "sh"
				if data, err := s.read(file); err == nil && bytes.Contains(data[:min(len(data), 40)], []byte("bash")) {
					shell = "bash"
				}
				run = argv(shell, file)
			}
			stage := check
			if base == "build" {
				stage = assemble
			}
			p.steps = append(p.steps, scaffoldStep{name: base, run: run, stage: stage})
		}
	}
	s.offer(p, "script")
	return nil
}

// offer adds a part, or only remarks on it when there is one already.
func (s *scaffold) offer(p part, prefix string) {
	switch {
	case len(p.steps) == 0:
	case len(s.parts) == 0:
		s.parts = append(s.parts, p)
	default:
		for _, step := range p.steps {
			s.remarks = append(s.remarks, fmt.Sprintf("From %s: %s = step(%q, run = %s)", p.from, prefix+"_"+step.name, prefix+"-"+step.name, step.run))
		}
	}
}

// argv is a list of strings as it is written in a PIPER.star.
func argv(words ...string) string {
	quoted := make([]string, len(words))
	for i, w := range words {
		quoted[i] = strconv.Quote(w)
	}
	return "[" + strings.Join(quoted, ", ") + "]"
}

// source is the text of the PIPER.star.
func (s *scaffold) source() string {
	s.tellApart()
	var b strings.Builder
	fmt.Fprintf(&b, "# The pipelines of %s.\n#\n#   piper exec          run the pipeline \"build\"\n#   piper plan          look at it first\n#   piper doc step      what a step can say\n\n", s.name)
	version := ""
	if s.versioned {
		version = ", version = git.describe(tags = True, always = True, dirty = True)"
	}
	fmt.Fprintf(&b, "project(name = %q%s)\n", s.name, version)

	stages := make([][]string, assemble+1)
	var passEnv []string
	for _, p := range s.parts {
		fmt.Fprintf(&b, "\n# %s\n", p.from)
		if p.environment != "" {
			fmt.Fprintf(&b, "%s\n", p.environment)
		}
		for _, step := range p.steps {
			more := ""
			if step.more != "" {
				more = ", " + step.more
			}
			fmt.Fprintf(&b, "%s = step(%q, run = %s%s)\n", variable(step.name), step.name, step.run, more)
			stages[step.stage] = append(stages[step.stage], variable(step.name))
		}
		passEnv = append(passEnv, p.passEnv...)
	}

	var flow []string
	for i, stage := range stages {
		if i == prepare || len(stage) < 2 {
			flow = append(flow, stage...)
		} else {
			flow = append(flow, "parallel("+strings.Join(stage, ", ")+")")
		}
	}
	fmt.Fprintf(&b, "\npipeline(\n    name = \"build\",\n    doc = \"Check and build\",\n")
	fmt.Fprintf(&b, "    # A list runs in order, the members of parallel(...) side by side.\n    steps = [%s],\n", strings.Join(flow, ", "))
	if len(passEnv) > 0 {
		passEnv = append(passEnv, "*_PROXY", "*_proxy", "SSL_CERT_*")
		fmt.Fprintf(&b, "    # Of your environment a step sees PATH, HOME and what is named here.\n    pass_env = %s,\n", argv(passEnv...))
	}
	b.WriteString("    on = [on.push(), on.manual()],\n)\n")
	if len(s.remarks) > 0 {
		b.WriteString("\n")
		for _, remark := range s.remarks {
			fmt.Fprintf(&b, "# %s\n", remark)
		}
	}
	return b.String()
}

// tellApart gives steps that more than one part calls the same the name of
// their part's language too.
func (s *scaffold) tellApart() {
	count := map[string]int{}
	for _, p := range s.parts {
		for _, step := range p.steps {
			count[step.name]++
		}
	}
	prefix := map[string]string{"go.mod": "go", "package.json": "node", "pyproject.toml": "python", "requirements.txt": "python"}
	for _, p := range s.parts {
		for i, step := range p.steps {
			if count[step.name] > 1 && prefix[p.from] != "" {
				p.steps[i].name = prefix[p.from] + "/" + step.name
			}
		}
	}
}

// variable is the name of a step as a name of the language.
func variable(name string) string {
	return strings.NewReplacer("/", "_", "-", "_", ".", "_").Replace(name)
}
