package build

import (
	"bytes"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
	"sync/atomic"

	"github.com/distribution/reference"
	"github.com/moby/buildkit/frontend/dockerfile/instructions"
	"github.com/moby/buildkit/frontend/dockerfile/parser"
	"github.com/moby/buildkit/frontend/dockerfile/shell"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
)

// Bounds of a Dockerfile: what an honest one never reaches.
const (
	maxDockerfile = 4 << 20
	maxStages     = 1000
	maxSteps      = 10_000
)

// Scratch is the base that is empty.
const Scratch = "scratch"

// defaultPath is the environment over an empty base.
const defaultPath = "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"

// Options are what a plan depends on beside the Dockerfile.
type Options struct {
	Args     map[string]*string // --build-arg; nil = as the builder's own environment has it, which is not
	Target   string             // stage name or number; "" = the last
	Platform ocispec.Platform   // of the result
	Builder  ocispec.Platform   // of this machine
	Labels   map[string]string  // for the result
	Classic  bool               // every stage up to the target is needed, and steps are counted and worded as Docker's classic builder does
	Replaced func(string) bool  // tells stages that a further context stands in for; nil = none
}

// Options are those of a request's plan, without its further contexts.
func (b *Builder) Options(req Request) Options {
	return Options{Args: req.Args, Target: req.Target, Platform: parsePlatform(req.Platform), Builder: parsePlatform(""), Labels: req.Labels, Classic: req.Classic}
}

// Plan is a Dockerfile understood as far as it can be without its base images.
type Plan struct {
	Stages   []*Stage
	Target   int   // the stage that is the result
	Needed   []int // stages that the target needs, itself included, in order
	Warnings []string
	Unused   string   // a warning of arguments that no ARG asks for
	Opening  []string // the ARG instructions before the first FROM, if they count as steps
	Total    int      // instructions of the needed stages, FROM included

	escape  rune
	opts    Options
	opening []instructions.ArgCommand // before the first FROM
	global  []arg                     // ARG before the first FROM, with their values
	words   atomic.Int64              // bytes of all words that were expanded
}

// Stage is one FROM with what follows.
type Stage struct {
	Index    int
	Name     string // as given by AS, else ""
	From     string // the FROM line
	Base     string // image reference, or Scratch; "" when BaseStage is set
	Parent   int    // stage it continues, or -1
	Platform string // of the base; "" = the result's
	Deps     []int  // stages whose files it needs, Parent included
	First    int    // number of its FROM among the plan's Total, from 1; 0 = not needed

	commands   []instructions.Command
	written    string // the base as the Dockerfile has it
	platform   string // likewise
	doc        string // the comment that is about it
	line, last int
}

// arg is one ARG with its value.
type arg struct {
	name  string
	value *string
}

// Parse reads a Dockerfile and makes the plan. It does no I/O.
func Parse(dockerfile []byte, opts Options) (p *Plan, err error) {
	if len(dockerfile) > maxDockerfile {
		return nil, fmt.Errorf("parse Dockerfile: it has more than %d bytes: %w", maxDockerfile, ErrDockerfile)
	}
	ast, err := parser.Parse(bytes.NewReader(dockerfile))
	if err != nil {
		return nil, syntax(err)
	}
	stages, globals, err := instructions.Parse(ast.AST, nil)
	if err != nil {
		return nil, syntax(err)
	}
	if len(stages) == 0 {
		return nil, fmt.Errorf("%w: no build stage in current context", ErrDockerfile)
	}
	if len(stages) > maxStages {
		return nil, fmt.Errorf("%w: more than %d stages", ErrDockerfile, maxStages)
	}
	p = &Plan{escape: ast.EscapeToken, opts: opts}
	for _, w := range ast.Warnings {
		p.Warnings = append(p.Warnings, w.Short)
	}
	if err := p.globals(globals); err != nil {
		return nil, err
	}
	for i := range stages {
		if err := p.stage(i, &stages[i]); err != nil {
			return nil, err
		}
	}
	if err := p.later(stages); err != nil {
		return nil, err
	}
	if p.Target, err = p.find(opts.Target); err != nil {
		return nil, err
	}
	p.need()
	p.unconsumed(stages, globals)
	if p.Total > maxSteps {
		return nil, fmt.Errorf("%w: more than %d instructions", ErrDockerfile, maxSteps)
	}
	return p, nil
}

// Check parses a Dockerfile and tells what is wrong in it by itself.
func Check(dockerfile []byte) error {
	ast, err := parser.Parse(bytes.NewReader(dockerfile))
	if err == nil {
		_, _, err = instructions.Parse(ast.AST, nil)
	}
	if err != nil {
		return syntax(err)
	}
	return nil
}

// syntax says of what kind a parser's error is; the parser may have said so itself.
func syntax(err error) error {
	if strings.HasPrefix(err.Error(), ErrDockerfile.Error()) {
		return &said{err}
	}
	return fmt.Errorf("%w: %w", ErrDockerfile, err)
}

// said is an ErrDockerfile whose text says so.
type said struct{ error }

func (s *said) Unwrap() []error { return []error{ErrDockerfile, s.error} }

// platformArgs are the arguments that every Dockerfile may use in FROM, and in a stage after a bare ARG.
func platformArgs(target, builder ocispec.Platform) []arg {
	text := func(p ocispec.Platform) string {
		return strings.TrimSuffix(p.OS+"/"+p.Architecture+"/"+p.Variant, "/")
	}
	list := [][2]string{
		{"BUILDPLATFORM", text(builder)}, {"BUILDOS", builder.OS}, {"BUILDOSVERSION", builder.OSVersion}, {"BUILDARCH", builder.Architecture}, {"BUILDVARIANT", builder.Variant},
		{"TARGETPLATFORM", text(target)}, {"TARGETOS", target.OS}, {"TARGETOSVERSION", target.OSVersion}, {"TARGETARCH", target.Architecture}, {"TARGETVARIANT", target.Variant},
	}
	out := make([]arg, len(list))
	for i, kv := range list {
		out[i] = arg{kv[0], &kv[1]}
	}
	return out
}

// proxyArgs may be given without an ARG; they reach RUN, and neither cache keys nor history.
var proxyArgs = []string{"ALL_PROXY", "FTP_PROXY", "HTTP_PROXY", "HTTPS_PROXY", "NO_PROXY", "all_proxy", "ftp_proxy", "http_proxy", "https_proxy", "no_proxy"}

func (p *Plan) globals(list []instructions.ArgCommand) error {
	p.opening = list
	p.global = platformArgs(p.opts.Platform, p.opts.Builder)
	p.global = append(p.global, arg{"TARGETSTAGE", new(orDefault(p.opts.Target))})
	for i := range p.global {
		if v := p.opts.Args[p.global[i].name]; v != nil {
			p.global[i].value = v
		}
	}
	for _, c := range list {
		if p.opts.Classic {
			p.Opening = append(p.Opening, c.String())
		}
		for _, a := range c.Args {
			v := a.Value
			if given, ok := p.opts.Args[a.Key]; ok && given != nil {
				v = given
			} else if v != nil {
				text, err := p.word(*v, p.global, nil)
				if err != nil {
					return at(&c, err)
				}
				v = &text
			} else if have := lookup(p.global, a.Key); have != nil {
				v = have
			}
			p.global = append(p.global, arg{a.Key, v})
		}
	}
	return nil
}

func orDefault(s string) string {
	if s == "" {
		return "default"
	}
	return s
}

func lookup(args []arg, name string) *string {
	for _, a := range slices.Backward(args) {
		if a.name == name {
			return a.value
		}
	}
	return nil
}

// variables is args below env: what a word of the Dockerfile can name.
func variables(args []arg, env []string) shell.EnvGetter {
	merged := map[string]string{}
	for _, a := range args {
		if a.value != nil {
			merged[a.name] = *a.value
		} else {
			delete(merged, a.name)
		}
	}
	for _, e := range env {
		k, v, _ := strings.Cut(e, "=")
		merged[k] = v
	}
	list := make([]string, 0, len(merged))
	for _, k := range slices.Sorted(maps.Keys(merged)) {
		list = append(list, k+"="+merged[k])
	}
	return shell.EnvsFromSlice(list)
}

// word expands one word.
func (p *Plan) word(w string, args []arg, env []string) (string, error) {
	return p.expand(shell.NewLex(p.escape), w, variables(args, env))
}

func (p *Plan) stage(i int, in *instructions.Stage) error {
	s := &Stage{Index: i, Name: in.Name, From: in.SourceCode, Parent: -1, commands: in.Commands, written: in.BaseName, platform: in.Platform, doc: in.DocComment}
	s.line, s.last = lines(in.Location)
	wrong := func(err error) error {
		return fmt.Errorf("%w: %w", ErrDockerfile, &StepError{Text: in.SourceCode, From: s.line, To: s.last, Err: err})
	}
	base, err := p.word(in.BaseName, p.global, nil)
	if err != nil {
		return wrong(err)
	}
	if base == "" {
		return wrong(fmt.Errorf("base name (%s) should not be blank", in.BaseName))
	}
	if s.Platform, err = p.word(in.Platform, p.global, nil); err != nil {
		return wrong(err)
	}
	if in.Platform != "" && s.Platform == "" {
		return wrong(fmt.Errorf("empty platform value from expression %s", in.Platform))
	}
	if s.Name != "" && p.opts.Replaced != nil && p.opts.Replaced(s.Name) {
		s.Base, s.commands = s.Name, nil
		p.Stages = append(p.Stages, s)
		return nil
	}
	if n := p.named(base, i); n >= 0 {
		s.Parent = n
		s.Deps = append(s.Deps, n)
	} else {
		s.Base = base
		if _, err := reference.ParseNormalizedNamed(base); err != nil && base != Scratch && !isID(base) && (p.opts.Replaced == nil || !p.opts.Replaced(base)) {
			return wrong(fmt.Errorf("parse stage name %q: %w", base, err))
		}
	}
	for _, c := range in.Commands {
		froms, err := sources(c)
		if err != nil {
			return err
		}
		for _, from := range froms {
			if n := p.source(from, i); n >= 0 && !slices.Contains(s.Deps, n) {
				s.Deps = append(s.Deps, n)
			}
		}
		if c, ok := c.(*instructions.CopyCommand); ok && strings.EqualFold(c.From, in.Name) && in.Name != "" && p.named(c.From, i) < 0 {
			return at(c, fmt.Errorf("circular dependency: stage %q copies from itself", in.Name))
		}
	}
	p.Stages = append(p.Stages, s)
	return nil
}

// later refuses what copies from a stage that is not there yet.
func (p *Plan) later(stages []instructions.Stage) error {
	for i := range stages {
		for _, c := range stages[i].Commands {
			c, ok := c.(*instructions.CopyCommand)
			if !ok || c.From == "" || p.source(c.From, i) >= 0 || p.opts.Replaced != nil && p.opts.Replaced(c.From) {
				continue
			}
			for _, s := range p.Stages[i+1:] {
				if s.Name != "" && strings.EqualFold(s.Name, c.From) {
					return at(c, fmt.Errorf("cannot copy from stage %q, it needs to be defined before current stage %q", c.From, p.Stages[i].Name))
				}
			}
		}
	}
	return nil
}

// writes counts the stage's own instructions that make files.
func (s *Stage) writes() (n int) {
	for _, c := range s.commands {
		switch c.(type) {
		case *instructions.RunCommand, *instructions.CopyCommand, *instructions.AddCommand, *instructions.WorkdirCommand:
			n++
		}
	}
	return n
}

// title is what a stage is called on screen.
func (p *Plan) title(i int) string {
	if name := p.Stages[i].Name; name != "" || len(p.Stages) == 1 {
		return name
	}
	return fmt.Sprintf("stage-%d", i)
}

// sources lists what an instruction names with from=.
func sources(c instructions.Command) ([]string, error) {
	var out []string
	switch c := c.(type) {
	case *instructions.CopyCommand:
		if c.From != "" {
			out = append(out, c.From)
		}
	case *instructions.RunCommand:
		for _, m := range instructions.GetMounts(c) {
			if m.From != "" {
				out = append(out, m.From)
			}
		}
	case *instructions.OnbuildCommand:
		// The trigger runs in another build.
	}
	return out, nil
}

// named finds the last stage of that name before stage i; names have no case.
func (p *Plan) named(name string, i int) int {
	for n := i - 1; n >= 0; n-- {
		if p.Stages[n].Name != "" && strings.EqualFold(p.Stages[n].Name, name) {
			return n
		}
	}
	return -1
}

// source finds the stage that from=NAME means in stage i: by name or number; -1 = an image.
func (p *Plan) source(from string, i int) int {
	if n := p.named(from, i); n >= 0 {
		return n
	}
	if n, err := strconv.Atoi(from); err == nil && n >= 0 && n < i {
		return n
	}
	return -1
}

func (p *Plan) find(target string) (int, error) {
	last := len(p.Stages) - 1
	if target == "" {
		return last, nil
	}
	if n := p.named(target, last+1); n >= 0 {
		return n, nil
	}
	if n, err := strconv.Atoi(target); err == nil && n >= 0 && n <= last {
		return n, nil
	}
	return 0, fmt.Errorf("target stage %q could not be found: %w", target, ErrDockerfile)
}

// need marks what the target rests on and numbers the steps.
func (p *Plan) need() {
	seen := map[int]bool{}
	var mark func(int)
	mark = func(i int) {
		if seen[i] {
			return
		}
		seen[i] = true
		for _, d := range p.Stages[i].Deps {
			mark(d)
		}
	}
	mark(p.Target)
	p.Needed = slices.Sorted(maps.Keys(seen))
	labels := min(len(p.opts.Labels), 1)
	if p.opts.Classic {
		p.Needed = nil
		for i := range p.Target + 1 {
			p.Needed = append(p.Needed, i)
		}
		p.Total, labels = len(p.Opening), len(p.opts.Labels)
	}
	for _, i := range p.Needed {
		p.Stages[i].First = p.Total + 1
		p.Total += 1 + len(p.Stages[i].commands)
	}
	p.Total += labels
}

// unconsumed warns of arguments that no ARG asks for.
func (p *Plan) unconsumed(stages []instructions.Stage, globals []instructions.ArgCommand) {
	asked := map[string]bool{"SOURCE_DATE_EPOCH": true}
	note := func(c *instructions.ArgCommand) {
		for _, a := range c.Args {
			asked[a.Key] = true
		}
	}
	for i := range globals {
		note(&globals[i])
	}
	for _, s := range stages {
		for _, c := range s.Commands {
			if c, ok := c.(*instructions.ArgCommand); ok {
				note(c)
			}
		}
	}
	for _, a := range p.global {
		asked[a.name] = true
	}
	var left []string
	for name := range p.opts.Args {
		if !asked[name] && !slices.Contains(proxyArgs, name) && !strings.HasPrefix(name, "BUILDKIT_") {
			left = append(left, name)
		}
	}
	if slices.Sort(left); len(left) > 0 {
		p.Unused = fmt.Sprintf("One or more build-args %v were not consumed", left)
	}
}

// isID tells the ID of an image from a name.
func isID(s string) bool { return strings.HasPrefix(s, "sha256:") }

func lines(r []parser.Range) (from, to int) {
	if len(r) == 0 {
		return 0, 0
	}
	return r[0].Start.Line, r[len(r)-1].End.Line
}

// at adds an instruction's line to an error.
func at(c instructions.Command, err error) error {
	from, to := lines(c.Location())
	return fmt.Errorf("%w: %w", ErrDockerfile, &StepError{From: from, To: to, Err: fmt.Errorf("%s: %w", strings.ToUpper(c.Name()), err)})
}
