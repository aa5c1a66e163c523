package build

import (
	"bytes"
	"fmt"
	"regexp"
	"strings"

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

// Lint finds what Docker's build checks are about (docs.docker.com/reference/build-checks), as far as the Dockerfile alone tells it. The line
// "# check=skip=RULE;error=true" of the Dockerfile, or options, which go before it, leave rules out; strict is its error=true.
func Lint(dockerfile []byte, options string) (found []Finding, strict bool, err error) {
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
	casing(lint, ast.AST)
	stages, globals, err := instructions.Parse(ast.AST, lint)
	if err != nil {
		return nil, false, syntax(err)
	}
	names := map[string]bool{}
	for i := range globals {
		secrets(lint, &globals[i])
	}
	for i := range stages {
		lintStage(lint, &stages[i], names)
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

func lintStage(lint *linter.Linter, s *instructions.Stage, names map[string]bool) {
	if s.Name != "" {
		if names[s.Name] {
			lint.Run(&linter.RuleDuplicateStageName, s.Location, linter.RuleDuplicateStageName.Format(s.Name))
		}
		names[s.Name] = true
		if s.Name == Scratch || s.Name == "context" {
			lint.Run(&linter.RuleReservedStageName, s.Location, linter.RuleReservedStageName.Format(s.Name))
		}
	}
	switch p := s.Platform; {
	case p == "$TARGETPLATFORM" || p == "${TARGETPLATFORM}":
		lint.Run(&linter.RuleRedundantTargetPlatform, s.Location, linter.RuleRedundantTargetPlatform.Format(p))
	case p != "" && !strings.Contains(p, "$") && s.Name == "":
		lint.Run(&linter.RuleFromPlatformFlagConstDisallowed, s.Location, linter.RuleFromPlatformFlagConstDisallowed.Format(p))
	}
	last, absolute := map[string]instructions.Command{}, false
	for _, c := range s.Commands {
		switch c := c.(type) {
		case *instructions.WorkdirCommand:
			if !strings.HasPrefix(c.Path, "/") && !strings.HasPrefix(c.Path, "$") && !absolute {
				lint.Run(&linter.RuleWorkdirRelativePath, c.Location(), linter.RuleWorkdirRelativePath.Format(c.Path))
			}
			absolute = true
		case *instructions.ArgCommand, *instructions.EnvCommand:
			secrets(lint, c)
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
