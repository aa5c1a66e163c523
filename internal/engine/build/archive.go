package build

import (
	"archive/tar"
	"context"
	"errors"
	"fmt"
	"io"
	"path"
	"strings"

	"golang.org/x/sys/unix"
)

// Archive writes a folder as a context: what its ignore file leaves out is not in it, except the Dockerfile and the ignore files themselves, which
// the builder needs and leaves out of copies by the same rules. dockerfile is a path in the folder; "" is "Dockerfile".
func Archive(ctx context.Context, w io.Writer, folder, dockerfile string) error {
	t, err := openTree(folder)
	if err != nil {
		return fmt.Errorf("%w: %w", ErrContext, err)
	}
	defer t.close()
	if dockerfile == "" {
		dockerfile = "Dockerfile"
	}
	dockerfile = strings.TrimPrefix(path.Clean("/"+dockerfile), "/")
	if _, err := t.stat(dockerfile); err != nil {
		return fmt.Errorf("%w: open Dockerfile: %w", ErrContext, err)
	}
	rules, err := t.read(dockerfile + ".dockerignore")
	if errors.Is(err, unix.ENOENT) {
		rules, err = t.read(".dockerignore")
	}
	if err != nil && !errors.Is(err, unix.ENOENT) {
		return fmt.Errorf("%w: %w", ErrContext, err)
	}
	text := string(rules)
	if strings.TrimSpace(text) != "" {
		text += "\n!" + dockerfile + "\n!" + dockerfile + ".dockerignore\n!.dockerignore\n"
	}
	if t.ignore, err = ParseIgnore(text); err != nil {
		return fmt.Errorf("%w: %w", ErrContext, err)
	}
	return pack(w, func(f func(entry) error) error { return t.walk(ctx, "", "", nil, f) }, func(h *tar.Header) {})
}
