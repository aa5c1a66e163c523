package build

import (
	"fmt"
	"strings"

	"github.com/distribution/reference"
	"github.com/moby/buildkit/frontend/dockerfile/parser"
)

// AskedSyntax is the place that stands above the file's own line.
const AskedSyntax = "the build argument BUILDKIT_SYNTAX"

// CheckSyntax lets pass the images of the Dockerfile language, of any version and from any mirror: they ask for what is built in here. Others are front ends
// that would have to run. where says what names it, as the user wrote it.
func CheckSyntax(ref, where string) error {
	ref, _, _ = strings.Cut(strings.TrimSpace(ref), " ")
	if ref == "" {
		return nil
	}
	named, err := reference.ParseNormalizedNamed(ref)
	if err != nil {
		return fmt.Errorf("front end image %q, of %s: %w: %w", ref, where, ErrDockerfile, err)
	}
	for _, own := range []string{"docker/dockerfile", "docker/dockerfile-upstream"} {
		if path := reference.Path(named); path == own || strings.HasSuffix(path, "/"+own) {
			return nil
		}
	}
	return fmt.Errorf("front end image %s: %w: it reads the Dockerfile language itself and runs no other front end: remove %s, or name docker/dockerfile:1 there", ref, ErrUnsupported, where)
}

// SyntaxLine is CheckSyntax of what the file's first lines name.
func SyntaxLine(file []byte) error {
	if ref, _, _, ok := parser.DetectSyntax(file); ok {
		return CheckSyntax(ref, "the line # syntax="+ref)
	}
	return nil
}

// syntax checks what a build asks for. Docker's classic builder heeds none of it.
func (req *Request) syntax(file []byte) error {
	if req.Classic {
		return nil
	}
	if asked := req.Args["BUILDKIT_SYNTAX"]; asked != nil && *asked != "" {
		return CheckSyntax(*asked, AskedSyntax)
	}
	return SyntaxLine(file)
}
