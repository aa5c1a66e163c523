package git

import (
	"archive/tar"
	"context"
	"errors"
	"fmt"
	"io"
	"path"
	"strings"
	"time"

	"github.com/go-git/go-git/v5/plumbing"
	"github.com/go-git/go-git/v5/plumbing/filemode"
	"github.com/go-git/go-git/v5/plumbing/object"

	"nau/internal/engine/layer"
)

// What a checkout may have: trees may share their parts, so that a small pack can stand for very many files.
const (
	maxBytes = 16 << 30
	maxDepth = 256
	maxLink  = 4096 // bytes of what a symbolic link says
)

// maxEntries is a variable for tests.
var maxEntries = 2 << 20

// budget is what a checkout has spent, submodules together.
type budget struct {
	entries int
	bytes   int64
}

func (b *budget) spend(bytes int64) error {
	b.entries++
	if b.bytes += bytes; b.entries > maxEntries || b.bytes > maxBytes {
		return fmt.Errorf("%w: it has more than %d files or %d bytes", ErrRefused, maxEntries, int64(maxBytes))
	}
	return nil
}

// module is a place where another repository belongs.
type module struct {
	path   string // below the tree's root
	commit plumbing.Hash
}

// extract writes a tree's files into dir and tells where submodules belong.
func (s *store) extract(ctx context.Context, t *object.Tree, dir string, when time.Time, spent *budget) ([]module, error) {
	pr, pw := io.Pipe()
	w := &writer{ctx: ctx, store: s, tar: tar.NewWriter(pw), when: when, spent: spent}
	done := make(chan struct{})
	go func() {
		defer close(done)
		err := w.tree(t, "", 0)
		if err == nil {
			err = w.tar.Close()
		}
		pw.CloseWithError(err)
	}()
	err := layer.Extract(ctx, dir, "/", pr, layer.ExtractOptions{Owner: &[2]int{0, 0}, Overwrite: true})
	pr.CloseWithError(io.ErrClosedPipe)
	<-done
	if err != nil {
		return nil, fmt.Errorf("write files: %w", err)
	}
	return w.modules, nil
}

// writer makes an archive of a tree.
type writer struct {
	ctx     context.Context
	store   *store
	tar     *tar.Writer
	when    time.Time
	spent   *budget
	modules []module
}

func (w *writer) tree(t *object.Tree, dir string, depth int) error {
	if depth > maxDepth {
		return fmt.Errorf("%w: it has more than %d folders inside each other", ErrRefused, maxDepth)
	}
	seen := make(map[string]bool, len(t.Entries))
	for _, e := range t.Entries {
		if w.ctx.Err() != nil {
			return context.Cause(w.ctx)
		}
		name := path.Join(dir, e.Name)
		if err := checkName(e.Name); err != nil {
			return fmt.Errorf("%w: %q %w", ErrRefused, name, err)
		}
		if seen[e.Name] {
			return fmt.Errorf("%w: %q is there twice", ErrRefused, name)
		}
		seen[e.Name] = true
		if err := w.entry(e, name, depth); err != nil {
			return err
		}
	}
	return nil
}

func (w *writer) entry(e object.TreeEntry, name string, depth int) error {
	h := &tar.Header{Name: name, ModTime: w.when, Format: tar.FormatPAX, Typeflag: tar.TypeReg, Mode: 0o644}
	switch e.Mode {
	case filemode.Dir, filemode.Submodule:
		h.Typeflag, h.Mode, h.Name = tar.TypeDir, 0o755, name+"/"
		if err := errors.Join(w.spent.spend(0), w.tar.WriteHeader(h)); err != nil {
			return err
		}
		if e.Mode == filemode.Submodule {
			w.modules = append(w.modules, module{name, e.Hash})
			return nil
		}
		sub, err := object.GetTree(w.store, e.Hash)
		if err != nil {
			return fmt.Errorf("read tree of %s: %w", name, err)
		}
		return w.tree(sub, name, depth+1)
	case filemode.Executable:
		h.Mode = 0o755
	case filemode.Regular, filemode.Deprecated, filemode.Symlink:
	default:
		return fmt.Errorf("%w: %s is of the kind %s", ErrRefused, name, e.Mode)
	}
	b, err := object.GetBlob(w.store, e.Hash)
	if err != nil {
		return fmt.Errorf("read %s: %w", name, err)
	}
	if err := w.spent.spend(b.Size); err != nil {
		return err
	}
	r, err := b.Reader()
	if err != nil {
		return fmt.Errorf("read %s: %w", name, err)
	}
	defer r.Close()
	if e.Mode == filemode.Symlink {
		to, err := io.ReadAll(io.LimitReader(r, maxLink+1))
		if err != nil {
			return fmt.Errorf("read %s: %w", name, err)
		}
		if len(to) == 0 || len(to) > maxLink || strings.ContainsRune(string(to), 0) {
			return fmt.Errorf("%w: %s is no symbolic link that can be", ErrRefused, name)
		}
		h.Typeflag, h.Linkname, h.Mode = tar.TypeSymlink, string(to), 0o777
		return w.tar.WriteHeader(h)
	}
	h.Size = b.Size
	if err := w.tar.WriteHeader(h); err != nil {
		return err
	}
	if _, err := io.CopyN(w.tar, r, b.Size); err != nil {
		return fmt.Errorf("read %s: %w", name, err)
	}
	return nil
}

// checkName refuses names that no folder can have, and those by which a tree would write into a repository: .git in any case, and as it is called
// where names are short or some letters do not count (CVE-2014-9390).
func checkName(name string) error {
	switch {
	case name == "" || name == "." || name == ".." || strings.ContainsAny(name, "/\x00"):
		return errors.New("is no name")
	case len(name) > 255:
		return errors.New("is longer than a name can be")
	}
	bare := strings.Map(func(r rune) rune {
		switch {
		case r >= 0x200c && r <= 0x200f, r >= 0x202a && r <= 0x202e, r >= 0x206a && r <= 0x206f, r == 0xfeff:
			return -1
		}
		return r
	}, name)
	bare = strings.TrimRight(bare, ". ")
	if strings.EqualFold(bare, dotGit) || strings.EqualFold(bare, "git~1") {
		return errors.New("is the name of a repository")
	}
	return nil
}
