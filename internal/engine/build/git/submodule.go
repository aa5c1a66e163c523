package git

import (
	"context"
	"fmt"
	"io"
	"path"
	"path/filepath"
	"strings"

	format "github.com/go-git/go-git/v5/plumbing/format/config"
	"github.com/go-git/go-git/v5/plumbing/object"
)

// What submodules may be.
const (
	maxModules     = 256
	maxModuleDepth = 8
	maxModulesFile = 1 << 20
)

// submodules checks out what belongs at the places of a tree.
func (c *checkout) submodules(ctx context.Context, src Source, s *store, root *object.Tree, places []module, dir string, depth int) error {
	if depth >= maxModuleDepth {
		return fmt.Errorf("%w: it has more than %d submodules inside each other", ErrRefused, maxModuleDepth)
	}
	addresses, err := s.modules(root)
	if err != nil {
		return err
	}
	for _, m := range places {
		address, ok := addresses[path.Join(src.Subdir, m.path)]
		if !ok {
			continue // git leaves an empty folder as well
		}
		if c.modules++; c.modules > maxModules {
			return fmt.Errorf("%w: it has more than %d submodules", ErrRefused, maxModules)
		}
		sub, err := src.relative(address)
		if err != nil {
			return fmt.Errorf("submodule %s: %w", m.path, err)
		}
		sub.Ref = m.commit.String()
		at, err := layerFolder(dir, m.path)
		if err != nil {
			return fmt.Errorf("submodule %s: %w", m.path, err)
		}
		if _, err := c.one(ctx, sub, at, false, depth+1); err != nil {
			return fmt.Errorf("submodule %s of %s: %w", m.path, sub.URL.Redacted(), err)
		}
	}
	return nil
}

// modules reads where the submodules of a tree come from, by their paths.
func (s *store) modules(root *object.Tree) (map[string]string, error) {
	e, ok := entryOf(root, ".gitmodules")
	if !ok || !e.Mode.IsFile() {
		return nil, nil
	}
	b, err := object.GetBlob(s, e.Hash)
	if err != nil {
		return nil, fmt.Errorf("read .gitmodules: %w", err)
	}
	r, err := b.Reader()
	if err != nil {
		return nil, fmt.Errorf("read .gitmodules: %w", err)
	}
	defer r.Close()
	return readModules(io.LimitReader(r, maxModulesFile))
}

// readModules reads a .gitmodules file.
func readModules(r io.Reader) (map[string]string, error) {
	cfg := format.New()
	if err := format.NewDecoder(r).Decode(cfg); err != nil {
		return nil, fmt.Errorf("%w: read .gitmodules: %w", ErrRefused, err)
	}
	out := map[string]string{}
	for _, sub := range cfg.Section("submodule").Subsections {
		at, address := sub.Option("path"), sub.Option("url")
		if at == "" || address == "" || strings.HasPrefix(address, "-") || path.Clean("/"+at) != "/"+at {
			return nil, fmt.Errorf("%w: submodule %q has no place or address that can be", ErrRefused, sub.Name)
		}
		out[at] = address
	}
	return out, nil
}

// layerFolder is a folder that extract has made below dir; a tree has no two entries of one name, so no link stands in its way.
func layerFolder(dir, name string) (string, error) {
	at := filepath.Join(dir, filepath.FromSlash(name))
	real, err := filepath.EvalSymlinks(at)
	if err != nil {
		return "", err
	}
	if base, err := filepath.EvalSymlinks(dir); err != nil || !strings.HasPrefix(real, base+"/") || real != filepath.Join(base, name) {
		return "", fmt.Errorf("%w: its place is a link", ErrRefused)
	}
	return at, nil
}
