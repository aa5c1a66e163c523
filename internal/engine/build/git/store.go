package git

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path"
	"path/filepath"
	"strings"

	"github.com/go-git/go-billy/v5/osfs"
	"github.com/go-git/go-git/v5/plumbing"
	"github.com/go-git/go-git/v5/plumbing/cache"
	"github.com/go-git/go-git/v5/plumbing/filemode"
	"github.com/go-git/go-git/v5/plumbing/format/index"
	"github.com/go-git/go-git/v5/plumbing/format/packfile"
	"github.com/go-git/go-git/v5/plumbing/object"
	"github.com/go-git/go-git/v5/storage/filesystem"
)

const dotGit = ".git"

// What a pack may have. The decoder holds an object and what it is a change of in memory.
const (
	maxObjects = 2 << 20
	maxObject  = 256 << 20 // bytes of one
	maxChanges = 512       // of changes of changes
	cheap      = 48 << 20  // bytes of an object that the decoder remembers while it decodes what is a change of it
)

// maxWork bounds the bytes that are to be made to decode a pack: the whole chain again for each large change. It is a variable for tests.
var maxWork int64 = 128 << 30

// store is a repository in a folder.
type store struct {
	*filesystem.Storage
	home string
}

func openStore(home string) (*store, error) {
	s := &store{home: home, Storage: filesystem.NewStorageWithOptions(osfs.New(home, osfs.WithBoundOS()), cache.NewObjectLRU(32*cache.MiByte),
		filesystem.Options{ExclusiveAccess: true, KeepDescriptors: true, LargeObjectThreshold: 1 << 20})}
	if err := s.Init(); err != nil {
		return nil, fmt.Errorf("make repository: %w", err)
	}
	return s, nil
}

func (s *store) close() error { return s.Storage.Close() }

// receive takes a pack: to the disk, then looks it over, then keeps it.
func (s *store) receive(ctx context.Context, r io.Reader, offsets bool) (err error) {
	f, err := os.CreateTemp(s.home, "pack-")
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, f.Close(), os.Remove(f.Name())) }()
	if _, err := io.Copy(f, &limited{io.NopCloser(heeding{ctx, r}), maxPack}); err != nil {
		return err
	}
	for _, pass := range []func() error{
		func() error { return lookOver(heeding{ctx, f}, offsets) },
		func() error { return packfile.UpdateObjectStorage(s, heeding{ctx, f}) },
	} {
		if _, err := f.Seek(0, io.SeekStart); err != nil {
			return err
		}
		if err := pass(); err != nil {
			return err
		}
	}
	return nil
}

// heeding is a reader that ends with a context.
type heeding struct {
	ctx context.Context
	r   io.Reader
}

func (h heeding) Read(b []byte) (int, error) {
	if h.ctx.Err() != nil {
		return 0, context.Cause(h.ctx)
	}
	return h.r.Read(b)
}

// lookOver reads a pack through and refuses what would cost too much to decode. offsets says that changes name what they are of by its place.
func lookOver(r io.Reader, offsets bool) error {
	s := packfile.NewScanner(r)
	_, n, err := s.Header()
	if err != nil {
		return err
	}
	if n > maxObjects {
		return fmt.Errorf("%w: its pack has %d objects, more than %d", ErrRefused, n, maxObjects)
	}
	chain := map[int64]int16{}
	work := int64(0)
	for range n {
		h, err := s.NextObjectHeader()
		if err != nil {
			return err
		}
		if h.Length > maxObject {
			return fmt.Errorf("%w: a file of it has more than %d bytes", ErrRefused, maxObject)
		}
		switch {
		case h.Type == plumbing.OFSDeltaObject:
			if chain[h.Offset] = chain[h.OffsetReference] + 1; chain[h.Offset] > maxChanges {
				return fmt.Errorf("%w: its pack has more than %d changes of changes", ErrRefused, maxChanges)
			}
		case h.Type == plumbing.REFDeltaObject && offsets:
			return fmt.Errorf("%w: its pack is not whole", ErrRefused)
		}
		var c counter
		if _, _, err := s.NextObject(&c); err != nil {
			return err
		}
		if c.n != h.Length {
			return fmt.Errorf("%w: an object of its pack has %d bytes and says %d", ErrRefused, c.n, h.Length)
		}
		size := c.n
		if h.Type.IsDelta() {
			for at := 0; at < 2; at++ {
				if size, c.head, err = deltaSize(c.head); err != nil {
					return err
				}
				if size > maxObject {
					return fmt.Errorf("%w: a file of it has more than %d bytes", ErrRefused, maxObject)
				}
			}
		}
		if work += size; size > cheap {
			work += size * int64(chain[h.Offset])
		}
		if work > maxWork {
			return fmt.Errorf("%w: more than %d bytes have to be made to decode its pack", ErrRefused, maxWork)
		}
	}
	return nil
}

// deltaSize reads one of the two sizes that a change begins with: seven bits a byte, the lowest first.
func deltaSize(b []byte) (int64, []byte, error) {
	var size int64
	for i := 0; i < len(b) && i < 8; i++ {
		size |= int64(b[i]&0x7f) << (7 * i)
		if b[i]&0x80 == 0 {
			return size, b[i+1:], nil
		}
	}
	return 0, nil, fmt.Errorf("%w: a size in its pack has no end", ErrRefused)
}

// counter counts what is written to it, and keeps the beginning.
type counter struct {
	n    int64
	head []byte
}

func (c *counter) Write(b []byte) (int, error) {
	if room := 20 - len(c.head); room > 0 {
		c.head = append(c.head, b[:min(room, len(b))]...)
	}
	c.n += int64(len(b))
	return len(b), nil
}

// commit finds the commit that a hash means, through tags, and its tree.
func (s *store) commit(h plumbing.Hash) (*object.Commit, *object.Tree, error) {
	for range 8 {
		tag, err := object.GetTag(s, h)
		if err != nil {
			break
		}
		h = tag.Target
	}
	c, err := object.GetCommit(s, h)
	if errors.Is(err, plumbing.ErrObjectNotFound) {
		return nil, nil, fmt.Errorf("%w: commit %s", ErrNotFound, h)
	} else if err != nil {
		return nil, nil, fmt.Errorf("read commit %s: %w", h, err)
	}
	t, err := object.GetTree(s, c.TreeHash)
	if err != nil {
		return nil, nil, fmt.Errorf("read tree of commit %s: %w", h, err)
	}
	return c, t, nil
}

// below finds a folder of a tree; links are not followed.
func (s *store) below(t *object.Tree, dir string) (*object.Tree, error) {
	if dir == "" {
		return t, nil
	}
	for part := range strings.SplitSeq(dir, "/") {
		e, ok := entryOf(t, part)
		if !ok || e.Mode != filemode.Dir {
			return nil, fmt.Errorf("%w: folder %s", ErrNotFound, dir)
		}
		next, err := object.GetTree(s, e.Hash)
		if err != nil {
			return nil, fmt.Errorf("read tree of %s: %w", dir, err)
		}
		t = next
	}
	return t, nil
}

func entryOf(t *object.Tree, name string) (object.TreeEntry, bool) {
	for _, e := range t.Entries {
		if e.Name == name {
			return e, true
		}
	}
	return object.TreeEntry{}, false
}

// settle makes a repository of the store that git itself is content with: its head, its origin, and an index of the files.
func (s *store) settle(src Source, ch choice, c *object.Commit, t *object.Tree) error {
	head := plumbing.NewHashReference(plumbing.HEAD, c.Hash)
	if ch.ref != "" {
		name := plumbing.ReferenceName(ch.ref)
		if err := s.SetReference(plumbing.NewHashReference(name, ch.want)); err != nil {
			return fmt.Errorf("note %s: %w", name, err)
		}
		if name.IsBranch() {
			head = plumbing.NewSymbolicReference(plumbing.HEAD, name)
		}
	}
	if err := s.SetReference(head); err != nil {
		return fmt.Errorf("note head: %w", err)
	}
	ix := &index.Index{Version: 2}
	if err := s.list(t, "", &ix.Entries, 0); err != nil {
		return err
	}
	if err := s.SetIndex(ix); err != nil {
		return fmt.Errorf("note index: %w", err)
	}
	u := *src.URL
	u.User = nil
	if src.URL.Scheme == "ssh" {
		u.User = src.URL.User
	}
	text := "[core]\n\trepositoryformatversion = 0\n\tfilemode = true\n\tbare = false\n[remote \"origin\"]\n\turl = \"" +
		strings.NewReplacer(`\`, `\\`, `"`, `\"`).Replace(u.String()) + "\"\n\tfetch = +refs/heads/*:refs/remotes/origin/*\n"
	return os.WriteFile(filepath.Join(s.home, "config"), []byte(text), 0o644)
}

// list adds a tree's files to an index.
func (s *store) list(t *object.Tree, dir string, to *[]*index.Entry, depth int) error {
	for _, e := range t.Entries {
		name := path.Join(dir, e.Name)
		if e.Mode != filemode.Dir {
			*to = append(*to, &index.Entry{Name: name, Hash: e.Hash, Mode: e.Mode})
			continue
		}
		sub, err := object.GetTree(s, e.Hash)
		if err != nil {
			return fmt.Errorf("read tree of %s: %w", name, err)
		}
		if err := s.list(sub, name, to, depth+1); err != nil {
			return err
		}
	}
	return nil
}
