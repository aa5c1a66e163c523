package build

import (
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"path"
	"slices"
	"strconv"
	"strings"

	"github.com/moby/buildkit/frontend/dockerfile/instructions"
	"github.com/moby/buildkit/frontend/dockerfile/parser"
	"github.com/moby/buildkit/frontend/dockerfile/shell"
	dockerspec "github.com/moby/docker-image-spec/specs-go/v1"
)

// ImageConfig is an image's configuration with Docker's own fields.
type ImageConfig = dockerspec.DockerOCIImageConfig

// Step is one instruction with every variable replaced. At most one of Run, Copy and Dir is set; a step without any changes the
// configuration only.
type Step struct {
	Text    string      // as the Dockerfile has it
	History string      // for the image's history
	Line    int         // in the Dockerfile; 0 = none
	Last    int         // where it ends
	Note    string      // what the classic builder says of it
	Trigger bool        // comes from the base image's ONBUILD
	Config  ImageConfig // after the step
	Author  string      // of the image from now on, if it changes
	Run     *Run
	Copy    *Copy
	Dir     *Dir

	command bool // it is a CMD
	fresh   bool // it is made even if the cache has it
}

func (s *Step) writes() bool { return s.Run != nil || s.Copy != nil || s.Dir != nil }

// Run is a command to run over the stage's files.
type Run struct {
	Args    []string // the whole argument vector
	Env     []string // of the process: the stage's arguments, then its environment
	Secret  []string // further environment that no cache key may depend on (proxies)
	Dir     string
	User    string
	Script  *Script // put at its path for the time of the run
	Mounts  []*instructions.Mount
	Network string // "default", "none", "host"
	// Insecure asks for all privileges (RUN --security=insecure).
	Insecure bool
}

// Script is a here-document that names its own interpreter.
type Script struct {
	Name string // its path is scriptDir/Name
	Data string
}

const scriptDir = "/dev/pipes"

// Copy is COPY or ADD.
type Copy struct {
	Add      bool
	From     string // stage or image; "" = the context
	Sources  []string
	Inline   []instructions.SourceContent
	Dest     string // absolute; ends in "/" when it must be a folder
	Chown    string
	Chmod    string
	Link     bool
	Parents  bool
	Exclude  []string
	Checksum string
	Unpack   *bool
	Keep     bool // keep the repository of a source that is one
}

// Dir is a folder that WORKDIR wants to exist.
type Dir struct {
	Path string
	User string
}

// Scope is what a stage hands to the stage that continues it, besides files and configuration.
type Scope struct{ args []arg }

// Expand turns a stage's instructions into steps over its base's configuration. It does no I/O.
func (p *Plan) Expand(i int, base ImageConfig, inherited Scope) ([]Step, ImageConfig, Scope, error) {
	s := p.Stages[i]
	e := &expander{plan: p, stage: s, config: clone(base), args: slices.Clone(inherited.args)}
	triggers := e.config.OnBuild
	e.config.OnBuild = nil
	for _, t := range triggers {
		c, err := trigger(t)
		if err != nil {
			return nil, e.config, Scope{}, fmt.Errorf("%w: trigger %q of the base image: %w", ErrDockerfile, t, err)
		}
		e.trigger = true
		if err := e.add(c); err != nil {
			return nil, e.config, Scope{}, err
		}
	}
	e.trigger = false
	for _, c := range s.commands {
		if err := e.add(c); err != nil {
			return nil, e.config, Scope{}, err
		}
	}
	if i == p.Target && len(p.opts.Labels) > 0 {
		if e.config.Labels == nil {
			e.config.Labels = map[string]string{}
		}
		text := "LABEL"
		for _, k := range slices.Sorted(maps.Keys(p.opts.Labels)) {
			e.config.Labels[k] = p.opts.Labels[k]
			text += " " + k + "=" + p.opts.Labels[k]
			if p.opts.Classic {
				step := Step{Text: text, History: text, Config: clone(e.config)}
				step.History = classicText(nil, &step, step.Config, nil)
				e.steps, text = append(e.steps, step), "LABEL"
			}
		}
		if !p.opts.Classic { // the image has them, and its history does not
			e.steps = append(e.steps, Step{Text: text, Config: clone(e.config)})
		}
	}
	return e.steps, e.config, Scope{e.args}, nil
}

// clone copies a configuration so that changes of one do not show in the other.
func clone(c ImageConfig) ImageConfig {
	b, err := json.Marshal(c)
	if err != nil {
		panic(err) // strings, numbers and maps of them
	}
	var out ImageConfig
	if err := json.Unmarshal(b, &out); err != nil {
		panic(err)
	}
	return out
}

func trigger(text string) (instructions.Command, error) {
	ast, err := parser.Parse(strings.NewReader(text))
	if err != nil {
		return nil, err
	}
	if len(ast.AST.Children) != 1 {
		return nil, errors.New("it is not one instruction")
	}
	c, err := instructions.ParseCommand(ast.AST.Children[0])
	if err != nil {
		return nil, err
	}
	switch c.(type) {
	case *instructions.OnbuildCommand, *instructions.MaintainerCommand:
		return nil, fmt.Errorf("%s is not allowed as an ONBUILD trigger", strings.ToUpper(c.Name()))
	}
	return c, nil
}

type expander struct {
	plan    *Plan
	stage   *Stage
	config  ImageConfig
	args    []arg
	steps   []Step
	trigger bool
}

// add expands one instruction and appends its step.
func (e *expander) add(c instructions.Command) error {
	text := strings.ToUpper(c.Name())
	if t, ok := c.(fmt.Stringer); ok {
		text = t.String()
	}
	step := Step{Text: text, History: text, Trigger: e.trigger}
	step.Line, step.Last = lines(c.Location())
	vars := variables(e.args, e.config.Env)
	var written *instructions.ArgCommand // as it is before its words are expanded
	if a, ok := c.(*instructions.ArgCommand); ok {
		written = &instructions.ArgCommand{Args: slices.Clone(a.Args)}
	}
	if x, ok := c.(instructions.SupportsSingleWordExpansion); ok {
		lex := shell.NewLex(e.plan.escape)
		if err := x.Expand(func(w string) (string, error) { return e.plan.expand(lex, w, vars) }); err != nil {
			return at(c, err)
		}
	}
	if x, ok := c.(instructions.SupportsSingleWordExpansionRaw); ok {
		lex := shell.NewLex(e.plan.escape)
		lex.RawQuotes, lex.RawEscapes, lex.SkipProcessQuotes = true, true, true
		if err := x.ExpandRaw(func(w string) (string, error) { return e.plan.expand(lex, w, vars) }); err != nil {
			return at(c, err)
		}
	}
	if err := e.apply(c, &step, vars); err != nil {
		return at(c, err)
	}
	step.Config = clone(e.config)
	if e.plan.opts.Classic {
		step.History = classicText(c, &step, step.Config, written)
	}
	e.steps = append(e.steps, step)
	return nil
}

func (e *expander) apply(c instructions.Command, step *Step, vars shell.EnvGetter) error {
	cfg := &e.config
	switch c := c.(type) {
	case *instructions.EnvCommand:
		for _, kv := range c.Env {
			cfg.Env = setEnv(cfg.Env, kv.Key, kv.Value)
		}
		step.History = "ENV " + pairs(c.Env)
	case *instructions.LabelCommand:
		if cfg.Labels == nil {
			cfg.Labels = map[string]string{}
		}
		for _, kv := range c.Labels {
			cfg.Labels[kv.Key] = kv.Value
		}
		step.History = "LABEL " + pairs(c.Labels)
	case *instructions.ArgCommand:
		return e.arg(c, step)
	case *instructions.MaintainerCommand:
		step.Author, step.History = c.Maintainer, "MAINTAINER "+c.Maintainer
	case *instructions.WorkdirCommand:
		if c.Path == "" {
			return errors.New("path is empty")
		}
		cfg.WorkingDir = path.Join("/", cfg.WorkingDir, c.Path)
		if path.IsAbs(c.Path) {
			cfg.WorkingDir = path.Clean(c.Path)
		}
		step.Dir = &Dir{cfg.WorkingDir, cfg.User}
		step.History = "WORKDIR " + cfg.WorkingDir
	case *instructions.UserCommand:
		cfg.User = c.User
		step.History = "USER " + c.User
	case *instructions.VolumeCommand:
		if cfg.Volumes == nil {
			cfg.Volumes = map[string]struct{}{}
		}
		for _, v := range c.Volumes {
			if v == "" {
				return errors.New("VOLUME specified can not be an empty string")
			}
			cfg.Volumes[v] = struct{}{}
		}
		step.History = fmt.Sprintf("VOLUME %v", c.Volumes)
	case *instructions.ExposeCommand:
		return e.expose(c, step, vars)
	case *instructions.StopSignalCommand:
		if !signal(c.Signal) {
			return fmt.Errorf("Invalid signal: %s", c.Signal)
		}
		cfg.StopSignal = c.Signal
		step.History = "STOPSIGNAL " + c.Signal
	case *instructions.HealthCheckCommand:
		if old := cfg.Healthcheck; old != nil && len(old.Test) > 0 && old.Test[0] != "NONE" {
			step.Note = fmt.Sprintf("Note: overriding previous HEALTHCHECK: %v", old.Test)
		}
		cfg.Healthcheck = c.Health
		step.History = fmt.Sprintf("HEALTHCHECK %+v", *c.Health)
	case *instructions.ShellCommand:
		cfg.Shell = c.Shell
		step.History = fmt.Sprintf("SHELL %v", c.Shell)
	case *instructions.CmdCommand:
		cfg.Cmd = e.commandLine(c.ShellDependantCmdLine)
		step.command, step.History = true, fmt.Sprintf("CMD %q", cfg.Cmd)
	case *instructions.EntrypointCommand:
		cfg.Entrypoint = e.commandLine(c.ShellDependantCmdLine)
		if !e.cmdSet() {
			cfg.Cmd = nil // the base image's command was for its own entrypoint
		}
		step.History = fmt.Sprintf("ENTRYPOINT %q", cfg.Entrypoint)
	case *instructions.OnbuildCommand:
		cfg.OnBuild = append(cfg.OnBuild, c.Expression)
		step.History = "" // what is to be done in another image is no part of this one's
	case *instructions.RunCommand:
		return e.run(c, step)
	case *instructions.CopyCommand:
		step.Copy = &Copy{From: c.From, Sources: c.SourcePaths, Inline: c.SourceContents, Dest: e.dest(c.DestPath), Chown: c.Chown, Chmod: c.Chmod,
			Link: c.Link, Parents: c.Parents, Exclude: c.ExcludePatterns}
		return e.copy(step, c.DestPath)
	case *instructions.AddCommand:
		step.Copy = &Copy{Add: true, Sources: c.SourcePaths, Inline: c.SourceContents, Dest: e.dest(c.DestPath), Chown: c.Chown, Chmod: c.Chmod,
			Link: c.Link, Exclude: c.ExcludePatterns, Checksum: c.Checksum, Unpack: c.Unpack, Keep: c.KeepGitDir != nil && *c.KeepGitDir}
		return e.copy(step, c.DestPath)
	default:
		return errors.New("not known")
	}
	return nil
}

// cmdSet tells whether this stage has a CMD of its own so far.
func (e *expander) cmdSet() bool {
	return slices.ContainsFunc(e.steps, func(s Step) bool { return s.command })
}

func (e *expander) arg(c *instructions.ArgCommand, step *Step) error {
	var shown []string
	for _, a := range c.Args {
		v := a.Value
		if given, ok := e.plan.opts.Args[a.Key]; ok && given != nil {
			v = given
		} else if v == nil {
			v = lookup(e.plan.global, a.Key)
		}
		e.args = append(e.args, arg{a.Key, v})
		if v == nil {
			shown = append(shown, a.Key)
		} else {
			shown = append(shown, a.Key+"="+*v)
		}
	}
	step.History = "ARG " + strings.Join(shown, " ")
	return nil
}

func (e *expander) expose(c *instructions.ExposeCommand, step *Step, vars shell.EnvGetter) error {
	lex := shell.NewLex(e.plan.escape)
	if e.config.ExposedPorts == nil {
		e.config.ExposedPorts = map[string]struct{}{}
	}
	var all []string
	for _, w := range c.Ports {
		if err := bounded(w, vars); err != nil {
			return err
		}
		words, err := lex.ProcessWords(w, vars)
		if err != nil {
			return err
		}
		for _, w := range words {
			ports, err := exposed(w)
			if err != nil {
				return err
			}
			all = append(all, ports...)
		}
	}
	if len(all) > 1<<17 {
		return errors.New("too many ports")
	}
	for _, port := range all {
		e.config.ExposedPorts[port] = struct{}{}
	}
	slices.Sort(all)
	step.History = "EXPOSE [" + strings.Join(all, " ") + "]"
	return nil
}

// exposed reads "80", "80/udp" or "8000-8010/tcp".
func exposed(s string) ([]string, error) {
	ports, proto, has := strings.Cut(s, "/")
	if proto = strings.ToLower(proto); !has {
		proto = "tcp"
	}
	if proto != "tcp" && proto != "udp" && proto != "sctp" {
		return nil, fmt.Errorf("invalid proto: %s", proto)
	}
	// A published port before it ("8080:80") says nothing about the image.
	ports = ports[strings.LastIndexByte(ports, ':')+1:]
	from, to, isRange := strings.Cut(ports, "-")
	if !isRange {
		to = from
	}
	a, err1 := strconv.ParseUint(from, 10, 16)
	b, err2 := strconv.ParseUint(to, 10, 16)
	if err1 != nil || err2 != nil || b < a {
		return nil, fmt.Errorf("invalid containerPort: %s", ports)
	}
	var out []string
	for ; a <= b; a++ {
		out = append(out, fmt.Sprintf("%d/%s", a, proto))
	}
	return out, nil
}

func (e *expander) shell() []string {
	if len(e.config.Shell) > 0 {
		return slices.Clone(e.config.Shell)
	}
	return []string{"/bin/sh", "-c"}
}

func (e *expander) commandLine(c instructions.ShellDependantCmdLine) []string {
	if c.PrependShell {
		return append(e.shell(), strings.Join(c.CmdLine, " "))
	}
	return c.CmdLine
}

func (e *expander) run(c *instructions.RunCommand, step *Step) error {
	r := &Run{Dir: path.Join("/", e.config.WorkingDir), User: e.config.User, Mounts: instructions.GetMounts(c), Network: instructions.GetNetwork(c),
		Insecure: instructions.GetSecurity(c) == instructions.SecurityInsecure}
	args := c.CmdLine
	if len(c.Files) > 0 {
		if len(args) != 1 || !c.PrependShell {
			return errors.New("here-documents need the shell form")
		}
		args = []string{heredoc(args[0], c.Files, r)}
	}
	if c.PrependShell {
		args = append(e.shell(), strings.Join(args, " "))
	}
	r.Args = args
	set := map[string]string{}
	for _, a := range e.args {
		if a.value != nil {
			set[a.name] = *a.value
		} else {
			delete(set, a.name)
		}
	}
	var shown []string
	for _, k := range slices.Sorted(maps.Keys(set)) {
		if slices.Contains(proxyArgs, k) {
			continue
		}
		v := set[k]
		for _, kv := range e.config.Env { // which stands above ARG
			if name, set, _ := strings.Cut(kv, "="); name == k {
				v = set
			}
		}
		shown = append(shown, k+"="+v)
	}
	r.Env = slices.Clone(shown)
	for _, kv := range e.config.Env {
		k, v, _ := strings.Cut(kv, "=")
		r.Env = setEnv(r.Env, k, v)
	}
	for _, k := range proxyArgs {
		if v := e.plan.opts.Args[k]; v != nil {
			r.Secret = append(r.Secret, k+"="+*v)
		}
	}
	for i, m := range r.Mounts {
		if err := checkMount(m); err != nil {
			return err
		}
		if m.Target != "" && !path.IsAbs(m.Target) {
			abs := *m
			abs.Target = path.Join(r.Dir, m.Target)
			r.Mounts[i] = &abs
		}
	}
	step.Run = r
	step.History = "RUN "
	if e.plan.opts.Classic {
		step.History += classicArguments(set, e.config.Env, e.plan.opts.Args)
	} else if len(shown) > 0 {
		step.History += fmt.Sprintf("|%d %s ", len(shown), strings.Join(shown, " "))
	}
	step.History += strings.Join(args, " ")
	return nil
}

func checkMount(m *instructions.Mount) error {
	needs := m.Type == instructions.MountTypeBind || m.Type == instructions.MountTypeCache || m.Type == instructions.MountTypeTmpfs
	if needs && (m.Target == "" || path.Clean("/"+m.Target) == "/") {
		return fmt.Errorf("mount of type %s needs a target other than /", m.Type)
	}
	return nil
}

// heredoc makes the shell's argument of a RUN with here-documents: their text, a script's path, or the line with the documents after it.
func heredoc(first string, files []instructions.ShellInlineFile, r *Run) string {
	if parser.MustParseHeredoc(first) == nil {
		for _, f := range files {
			first += "\n" + f.Data + f.Name
		}
		return first
	}
	f := files[0]
	data := f.Data
	if f.Chomp {
		data = parser.ChompHeredocContent(data)
	}
	if strings.HasPrefix(data, "#!") && f.Name != "." && f.Name != ".." && !strings.Contains(f.Name, "/") {
		r.Script = &Script{f.Name, data}
		return scriptDir + "/" + f.Name
	}
	return data
}

func (e *expander) dest(d string) string {
	abs := d
	if !path.IsAbs(d) {
		abs = path.Join("/", e.config.WorkingDir, d)
	}
	clean := path.Clean(abs)
	if clean != "/" && (strings.HasSuffix(d, "/") || d == "." || strings.HasSuffix(d, "/.")) {
		clean += "/"
	}
	return clean
}

// copy checks a COPY or ADD, and words it for the history with dest as it is written.
func (e *expander) copy(step *Step, dest string) error {
	c := step.Copy
	if len(c.Sources)+len(c.Inline) > 1 && !strings.HasSuffix(c.Dest, "/") {
		return fmt.Errorf("When using %s with more than one source file, the destination must be a directory and end with a /", strings.ToUpper(c.verb()))
	}
	if c.From != "" && strings.EqualFold(c.From, e.stage.Name) && e.plan.named(c.From, e.stage.Index) < 0 {
		return errors.New("circular dependency on the stage itself")
	}
	if c.Chmod != "" {
		if _, err := parseMode(c.Chmod); err != nil {
			return err
		}
	}
	if c.Checksum != "" && len(c.Sources)+len(c.Inline) != 1 {
		return errors.New("checksum can't be specified for multiple sources")
	}
	if c.Checksum != "" && len(c.Sources) == 1 && !IsRemote(c.Sources[0]) {
		return errors.New("checksum requires HTTP(S) or Git sources")
	}
	words := []string{strings.ToUpper(c.verb())}
	if c.Parents {
		words = append(words, "--parents")
	}
	if c.Chown != "" {
		words = append(words, "--chown="+c.Chown)
	}
	if c.Chmod != "" {
		words = append(words, "--chmod="+c.Chmod)
	}
	words = append(words, c.Sources...)
	for _, doc := range c.Inline {
		words = append(words, "<<"+doc.Path)
	}
	step.History = strings.Join(append(words, dest), " ")
	return nil
}

func (c *Copy) verb() string {
	if c.Add {
		return "add"
	}
	return "copy"
}

// setEnv replaces or appends.
func setEnv(env []string, key, value string) []string {
	for i, e := range env {
		if k, _, _ := strings.Cut(e, "="); k == key {
			env = slices.Clone(env)
			env[i] = key + "=" + value
			return env
		}
	}
	return append(env, key+"="+value)
}

func pairs(kvs instructions.KeyValuePairs) string {
	out := make([]string, len(kvs))
	for i, kv := range kvs {
		out[i] = kv.String()
	}
	return strings.Join(out, " ")
}
