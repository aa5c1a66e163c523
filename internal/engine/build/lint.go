package build

import (
	"bytes"
	"fmt"
	"path"
	"regexp"
	"slices"
	"strings"

	"github.com/distribution/reference"
	"github.com/moby/buildkit/frontend/dockerfile/instructions"
	"github.com/moby/buildkit/frontend/dockerfile/linter"
	"github.com/moby/buildkit/frontend/dockerfile/parser"
)

// Finding is what is allowed in a Dockerfile and better done otherwise.
type Finding struct {
	Rule, Description, URL string
	Text                   string
	From, To               int // lines
}

// Lint finds what Docker's build checks are about (docs.docker.com/reference/build-checks), as far as the Dockerfile and its ignore rules tell it. The line
// "# check=skip=RULE;error=true" of the Dockerfile, or options, which go before it, leave rules out; strict is its error=true.
func Lint(dockerfile []byte, options, ignore string) (found []Finding, strict bool, err error) {
	if options == "" {
		options, _, _, _ = parser.ParseDirective("check", dockerfile)
	}
	cfg, err := linter.ParseLintOptions(options)
	if err != nil {
		return nil, false, fmt.Errorf("%w: read check options %q: %w", ErrDockerfile, options, err)
	}
	seen := map[Finding]bool{}
	cfg.Warn = func(rule, description, url, text string, at []parser.Range) {
		f := Finding{Rule: rule, Description: description, URL: url, Text: text}
		f.From, f.To = lines(at)
		if !seen[f] {
			seen[f] = true
			found = append(found, f)
		}
	}
	lint := linter.New(cfg)
	ast, err := parser.Parse(bytes.NewReader(dockerfile))
	if err != nil {
		return nil, false, syntax(err)
	}
	for _, w := range ast.Warnings {
		if w.URL == linter.RuleNoEmptyContinuation.URL && w.Location != nil {
			lint.Run(&linter.RuleNoEmptyContinuation, []parser.Range{*w.Location}, linter.RuleNoEmptyContinuation.Format())
		}
	}
	stages, globals, err := instructions.Parse(ast.AST, lint)
	if err != nil {
		return nil, false, syntax(err)
	}
	stageNames(lint, stages)
	casing(lint, ast.AST)
	for i := range globals {
		secrets(lint, &globals[i])
	}
	bases(lint, stages, globals, ast.EscapeToken)
	left, err := ParseIgnore(ignore)
	if err != nil {
		return nil, false, fmt.Errorf("%w: %w", ErrContext, err)
	}
	for i := range stages {
		lintStage(lint, &stages[i])
		for _, c := range stages[i].Commands {
			switch c := c.(type) {
			case *instructions.CopyCommand:
				if c.From == "" {
					ignored(lint, c, "Copy", c.SourcePaths, left)
				}
			case *instructions.AddCommand:
				ignored(lint, c, "Add", c.SourcePaths, left)
			}
		}
	}
	return found, cfg.ReturnAsError, nil
}

// casing: instructions are all in capitals or all in small letters, as most of them are.
func casing(lint *linter.Linter, ast *parser.Node) {
	upper, lower := 0, 0
	for _, n := range ast.Children {
		word, _, _ := strings.Cut(strings.TrimSpace(n.Original), " ")
		switch word {
		case strings.ToUpper(word):
			upper++
		case strings.ToLower(word):
			lower++
		}
	}
	want, convert := "uppercase", strings.ToUpper
	if lower > upper {
		want, convert = "lowercase", strings.ToLower
	}
	for _, n := range ast.Children {
		if word, _, _ := strings.Cut(strings.TrimSpace(n.Original), " "); word != convert(word) && strings.EqualFold(word, n.Value) {
			lint.Run(&linter.RuleConsistentInstructionCasing, n.Location(), linter.RuleConsistentInstructionCasing.Format(word, want))
		}
	}
}

func stageNames(lint *linter.Linter, stages []instructions.Stage) {
	names := map[string]bool{}
	for _, s := range stages {
		if s.Name == "" {
			continue
		}
		if names[s.Name] {
			lint.Run(&linter.RuleDuplicateStageName, s.Location, linter.RuleDuplicateStageName.Format(s.Name))
		}
		names[s.Name] = true
		if s.Name == Scratch || s.Name == "context" {
			lint.Run(&linter.RuleReservedStageName, s.Location, linter.RuleReservedStageName.Format(s.Name))
		}
	}
}

// bases: what FROM names is declared, and means something when nothing is given.
func bases(lint *linter.Linter, stages []instructions.Stage, globals []instructions.ArgCommand, escape rune) {
	p := &Plan{escape: escape}
	if p.globals(globals) != nil {
		return // the build says what is wrong
	}
	for _, s := range stages {
		switch t := s.Platform; {
		case t == "$TARGETPLATFORM" || t == "${TARGETPLATFORM}":
			lint.Run(&linter.RuleRedundantTargetPlatform, s.Location, linter.RuleRedundantTargetPlatform.Format(t))
		case t != "" && !strings.Contains(t, "$"):
			lint.Run(&linter.RuleFromPlatformFlagConstDisallowed, s.Location, linter.RuleFromPlatformFlagConstDisallowed.Format(t))
		}
		for _, word := range []string{s.BaseName, s.Platform} {
			for _, m := range nameInWord.FindAllStringSubmatch(word, -1) {
				if !slices.ContainsFunc(p.global, func(a arg) bool { return a.name == m[1] }) {
					lint.Run(&linter.RuleUndefinedArgInFrom, s.Location, linter.RuleUndefinedArgInFrom.Format(m[1], ""))
				}
			}
		}
		base, err := p.word(s.BaseName, p.global, nil)
		if err != nil {
			continue
		}
		if _, err := reference.ParseNormalizedNamed(base); err != nil && !isID(base) {
			lint.Run(&linter.RuleInvalidDefaultArgInFrom, s.Location, linter.RuleInvalidDefaultArgInFrom.Format(s.BaseName))
		}
	}
}

func lintStage(lint *linter.Linter, s *instructions.Stage) {
	last, absolute := map[string]instructions.Command{}, false
	for _, c := range s.Commands {
		switch c := c.(type) {
		case *instructions.WorkdirCommand:
			if !strings.HasPrefix(c.Path, "/") && !strings.HasPrefix(c.Path, "$") && !absolute {
				lint.Run(&linter.RuleWorkdirRelativePath, c.Location(), linter.RuleWorkdirRelativePath.Format(c.Path))
			}
			absolute = true
		case *instructions.ArgCommand:
			secrets(lint, c)
		case *instructions.EnvCommand:
			secrets(lint, c)
			legacy(lint, c, c.Env)
		case *instructions.LabelCommand:
			legacy(lint, c, c.Labels)
		case *instructions.ExposeCommand:
			for _, port := range c.Ports {
				ports(lint, c, port)
			}
		case *instructions.CmdCommand:
			form(lint, c, c.ShellDependantCmdLine, s)
		case *instructions.EntrypointCommand:
			form(lint, c, c.ShellDependantCmdLine, s)
		}
		switch name := strings.ToLower(c.Name()); name {
		case "cmd", "entrypoint", "healthcheck":
			if before := last[name]; before != nil {
				lint.Run(&linter.RuleMultipleInstructionsDisallowed, before.Location(), linter.RuleMultipleInstructionsDisallowed.Format(strings.ToUpper(name)))
			}
			last[name] = c
		}
	}
}

// ignored: what is copied is not left out by the ignore rules.
func ignored(lint *linter.Linter, c instructions.Command, verb string, sources []string, rules *Ignore) {
	for _, src := range sources {
		if name := strings.TrimPrefix(path.Clean("/"+src), "/"); !IsRemote(src) && rules.Match(name) {
			lint.Run(&linter.RuleCopyIgnoredFile, c.Location(), linter.RuleCopyIgnoredFile.Format(verb, src))
		}
	}
}

// legacy: keys and values have an = between them.
func legacy(lint *linter.Linter, c instructions.Command, pairs []instructions.KeyValuePair) {
	if slices.ContainsFunc(pairs, func(kv instructions.KeyValuePair) bool { return kv.NoDelim }) {
		lint.Run(&linter.RuleLegacyKeyValueFormat, c.Location(), linter.RuleLegacyKeyValueFormat.Format(strings.ToUpper(c.Name())))
	}
}

// ports: a protocol is in small letters, and an address or a port of the host says nothing about an image.
func ports(lint *linter.Linter, c instructions.Command, port string) {
	number, proto, _ := strings.Cut(port, "/")
	if proto != strings.ToLower(proto) {
		lint.Run(&linter.RuleExposeProtoCasing, c.Location(), linter.RuleExposeProtoCasing.Format(port))
	}
	if strings.Contains(number, ":") && !strings.Contains(number, "$") {
		lint.Run(&linter.RuleExposeInvalidFormat, c.Location(), linter.RuleExposeInvalidFormat.Format(port))
	}
}

// form: the shell form of a command does not pass signals on.
func form(lint *linter.Linter, c instructions.Command, line instructions.ShellDependantCmdLine, s *instructions.Stage) {
	for _, other := range s.Commands {
		if _, ok := other.(*instructions.ShellCommand); ok {
			return // the shell was chosen
		}
	}
	if line.PrependShell {
		lint.Run(&linter.RuleJSONArgsRecommended, c.Location(), linter.RuleJSONArgsRecommended.Format(strings.ToUpper(c.Name())))
	}
}

// Names that look as if they held secrets, and those that only look so.
var (
	secretName = regexp.MustCompile(`(?i)(?:^|_)(?:apikey|auth|credential|credentials|key|password|pword|passwd|secret|token)(?:_|$)`)
	publicName = regexp.MustCompile(`(?i)(?:_|^)public(?:_|$)|_file$`)
)

func secrets(lint *linter.Linter, c instructions.Command) {
	look := func(name string) {
		if secretName.MatchString(name) && !publicName.MatchString(name) {
			lint.Run(&linter.RuleSecretsUsedInArgOrEnv, c.Location(), linter.RuleSecretsUsedInArgOrEnv.Format(strings.ToUpper(c.Name()), name))
		}
	}
	switch c := c.(type) {
	case *instructions.ArgCommand:
		for _, a := range c.Args {
			look(a.Key)
		}
	case *instructions.EnvCommand:
		for _, kv := range c.Env {
			look(kv.Key)
		}
	}
}
