package layer

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/opencontainers/go-digest"
	"golang.org/x/sys/unix"
)

// An archive may use a directory that it does not describe: "tmp/x" without "tmp/". In the merged view that directory would show the attributes it
// was made up with, and a base image's /tmp would lose its sticky bit. Layers are unpacked without looking at each other, so it is put right
// when a chain of layers is first used: a directory of directories only, with the attributes of the topmost layer that does describe them,
// becomes the uppermost lower directory.
type fixRecord struct {
	Chain  string          `json:"chain"` // hash over the layers, top first
	Layers []digest.Digest `json:"layers"`
	Empty  bool            `json:"empty,omitempty"` // nothing to put right
}

type fixEntry struct {
	name string
	rec  fixRecord
}

// fixNeeded tells whether all layers of the fix's chain are still here. The lock is held.
func (s *Store) fixNeeded(f *fixEntry) bool {
	for _, d := range f.rec.Layers {
		if _, ok := s.layers[d]; !ok {
			return false
		}
	}
	return true
}

// fix answers the directory that puts the chain (top first) right, "" if it needs none.
func (s *Store) fix(chain []*layerEntry) (string, error) {
	if !slices.ContainsFunc(chain, func(l *layerEntry) bool { return len(l.rec.Implied) > 0 }) || len(chain) < 2 {
		return "", nil
	}
	rec := fixRecord{}
	for _, l := range chain {
		rec.Layers = append(rec.Layers, l.rec.DiffID)
	}
	var b strings.Builder
	for _, d := range rec.Layers {
		b.WriteString(string(d) + "\n")
	}
	rec.Chain = digest.FromString(b.String()).Encoded()
	s.mu.Lock()
	f, ok := s.fixes[rec.Chain]
	s.mu.Unlock()
	if !ok {
		var err error
		if f, err = s.makeFix(chain, rec); err != nil {
			return "", fmt.Errorf("put directories right: %w", err)
		}
	}
	if f.rec.Empty {
		return "", nil
	}
	return s.path(f.name, "fs"), nil
}

func (s *Store) makeFix(chain []*layerEntry, rec fixRecord) (*fixEntry, error) {
	n := s.number()
	tmp := s.path("t" + n)
	root, err := makeRoot(tmp)
	if err != nil {
		return nil, err
	}
	defer unix.Close(root)
	made := 0
	for _, p := range impliedPaths(chain) {
		if s.describer(chain, p) == "" {
			continue
		}
		if err := s.makeDirs(chain, p, root); err != nil {
			_ = removePath(tmp)
			return nil, err
		}
		made++
	}
	rec.Empty = made == 0
	if top := s.topRootOf(chain); top != "" {
		if err := copyAttributes(top, filepath.Join(tmp, "fs")); err != nil {
			_ = removePath(tmp)
			return nil, err
		}
	}
	if err := writeRecord(filepath.Join(tmp, "fix.json"), rec, false); err != nil {
		_ = removePath(tmp)
		return nil, err
	}
	f := &fixEntry{name: "f" + n, rec: rec}
	s.mu.Lock()
	defer s.mu.Unlock()
	if have, ok := s.fixes[rec.Chain]; ok {
		return have, removePath(tmp)
	}
	if err := os.Rename(tmp, s.path(f.name)); err != nil {
		return nil, err
	}
	s.fixes[rec.Chain] = f
	return f, nil
}

func (s *Store) topRootOf(chain []*layerEntry) string {
	if len(chain) == 0 {
		return ""
	}
	return s.path(chain[0].name, "fs")
}

// impliedPaths gathers all made-up directories, parents before children.
func impliedPaths(chain []*layerEntry) []string {
	var all []string
	for _, l := range chain {
		all = append(all, l.rec.Implied...)
	}
	slices.Sort(all)
	return slices.Compact(all)
}

// describer finds the topmost layer that describes directory p; "" if there is none, if the topmost layer that has p already does (nothing to
// put right), or if p is hidden by a file, a whiteout or an opaque directory on the way.
func (s *Store) describer(chain []*layerEntry, p string) string {
	made := false // a layer above has p made up
	for _, l := range chain {
		root := s.path(l.name, "fs")
		state := look(root, p)
		switch state {
		case absent:
			continue
		case hides:
			return ""
		}
		if slices.Contains(l.rec.Implied, p) {
			made = true
			if state == opaque {
				return ""
			}
			continue
		}
		if made {
			return root
		}
		return ""
	}
	return ""
}

type lookState int

const (
	absent lookState = iota
	hides            // something that is no directory, or an opaque ancestor without p
	directory
	opaque // a directory that hides what lies below it
)

// look tells what a layer's own tree has at p, never following a symlink.
func look(root, p string) lookState {
	fd, err := unix.Open(root, unix.O_PATH|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err != nil {
		return absent
	}
	defer func() { unix.Close(fd) }()
	hidden := false
	for c := range strings.SplitSeq(p, "/") {
		sub, err := openDir(fd, c)
		if err != nil {
			var st unix.Stat_t
			if unix.Fstatat(fd, c, &st, unix.AT_SYMLINK_NOFOLLOW) == nil || hidden {
				return hides
			}
			return absent
		}
		var v [1]byte
		n, err := unix.Fgetxattr(sub, opaqueXattr, v[:])
		hidden = hidden || err == nil && n == 1 && v[0] == 'y'
		unix.Close(fd)
		fd = sub
	}
	if hidden {
		return opaque
	}
	return directory
}

// makeDirs makes p below root with all its parents, each like the directory that the merged view takes its attributes from.
func (s *Store) makeDirs(chain []*layerEntry, p string, root int) error {
	dst, err := unix.Openat(root, ".", unix.O_RDONLY|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err != nil {
		return fmt.Errorf("open fix: %w", err)
	}
	defer func() { unix.Close(dst) }()
	for i := 0; i <= len(p); i++ {
		if i < len(p) && p[i] != '/' {
			continue
		}
		prefix := p[:i]
		_, base := splitName(prefix)
		merr := unix.Mkdirat(dst, base, 0o755)
		d, err := openDir(dst, base)
		if err != nil {
			return fmt.Errorf("make %q: %w", prefix, err)
		}
		unix.Close(dst)
		dst = d
		if merr != nil {
			continue // made for an earlier path
		}
		if err := s.likeSource(chain, prefix, dst); err != nil {
			return fmt.Errorf("describe %q: %w", prefix, err)
		}
	}
	return nil
}

// likeSource gives dst the attributes of prefix in the topmost layer that describes it.
func (s *Store) likeSource(chain []*layerEntry, prefix string, dst int) error {
	for _, l := range chain {
		root := s.path(l.name, "fs")
		state := look(root, prefix)
		if state == hides {
			return nil
		}
		if state == absent || state == directory && slices.Contains(l.rec.Implied, prefix) {
			continue
		}
		r, err := unix.Open(root, unix.O_PATH|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
		if err != nil {
			return err
		}
		defer unix.Close(r)
		src, err := resolve(r, prefix)
		if err != nil {
			return err
		}
		defer unix.Close(src)
		return likeFd(src, dst)
	}
	return nil
}

func likeFd(src, dst int) error {
	var st unix.Stat_t
	if err := unix.Fstat(src, &st); err != nil {
		return err
	}
	if err := unix.Fchown(dst, int(st.Uid), int(st.Gid)); err != nil {
		return err
	}
	if err := unix.Fchmod(dst, st.Mode&0o7777); err != nil {
		return err
	}
	return futimens(dst, dirTime{st.Atim, st.Mtim})
}

func copyAttributes(from, to string) error {
	src, err := unix.Open(from, unix.O_RDONLY|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err != nil {
		return err
	}
	defer unix.Close(src)
	dst, err := unix.Open(to, unix.O_RDONLY|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err != nil {
		return err
	}
	defer unix.Close(dst)
	return likeFd(src, dst)
}
