package build

import (
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/moby/buildkit/frontend/dockerfile/instructions"
	"github.com/moby/buildkit/frontend/dockerfile/parser"
)

// changes are the instructions that change a configuration and nothing else. Source: docker commit's documentation, "Commit a container with
// new configurations".
var changes = []string{"cmd", "entrypoint", "env", "expose", "healthcheck", "label", "onbuild", "stopsignal", "user", "volume", "workdir"}

// Change applies instructions of a Dockerfile to a configuration, as commits and imports may name them.
func Change(base ImageConfig, lines []string) (ImageConfig, error) {
	if len(lines) == 0 {
		return base, nil
	}
	ast, err := parser.Parse(strings.NewReader(strings.Join(lines, "\n")))
	if err != nil {
		return base, err
	}
	e := &expander{plan: &Plan{escape: ast.EscapeToken}, stage: &Stage{}, config: clone(base)}
	for _, n := range ast.AST.Children {
		if !slices.Contains(changes, strings.ToLower(n.Value)) {
			return base, fmt.Errorf("%s is not a valid change command", n.Value)
		}
		c, err := instructions.ParseCommand(n)
		if err != nil {
			return base, err
		}
		if err := e.add(c); err != nil {
			var in *StepError
			if errors.As(err, &in) {
				err = in.Err // the line would be that of no file
			}
			return base, err
		}
	}
	return e.config, nil
}
