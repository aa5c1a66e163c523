package build

import (
	"archive/tar"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"hash"
	"io"
	"os"
	"path"
	"slices"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"nau/internal/kernel"
)

// maxTreeDepth bounds the folders inside each other in a tree to copy.
const maxTreeDepth = 512

// tree is files to copy from. Names are resolved by the kernel below root; nothing leads out of it.
type tree struct {
	root   int // handle of a folder
	ignore *Ignore
	owner  bool // files keep their owners, instead of belonging to root
}

func openTree(dir string) (*tree, error) {
	fd, err := kernel.OpenPath(dir)
	if err != nil {
		return nil, err
	}
	return &tree{root: fd}, nil
}

// open opens a folder of the tree for looking.
func (t *tree) open(dir string) (int, error) {
	if dir == "" {
		dir = "."
	}
	return kernel.OpenInRoot(t.root, dir, unix.O_PATH|unix.O_DIRECTORY, 0)
}

func (t *tree) close() { unix.Close(t.root) }

// entry is one thing of a tree, under the name that it gets. open is nil unless it is a regular file.
type entry struct {
	header *tar.Header
	open   func() (io.ReadCloser, error)
}

// find resolves a source, which may have wildcards, to names in the tree, sorted.
func (t *tree) find(pattern string, deep bool) ([]string, error) {
	clean := strings.TrimPrefix(path.Clean("/"+pattern), "/")
	if !strings.ContainsAny(clean, `*?[\`) {
		if clean == "" {
			return []string{""}, nil
		}
		fd, err := kernel.OpenInRoot(t.root, clean, unix.O_PATH, 0)
		if err != nil || t.ignore.Match(clean) && !t.ignore.Keeps() {
			return nil, &MissingError{clean}
		}
		unix.Close(fd)
		return []string{clean}, nil
	}
	found := []string{""}
	for part := range strings.SplitSeq(clean, "/") {
		var next []string
		for _, dir := range found {
			names, err := t.matching(dir, part, deep)
			if err != nil {
				return nil, err
			}
			next = append(next, names...)
		}
		found = next
	}
	found = slices.DeleteFunc(found, func(n string) bool { return t.ignore.Match(n) })
	slices.Sort(found)
	return slices.Compact(found), nil
}

// matching lists what of a folder one part of a pattern names.
func (t *tree) matching(dir, part string, deep bool) ([]string, error) {
	if deep && part == "**" {
		out := []string{dir}
		for at := 0; at < len(out) && len(out) < 1<<20; at++ {
			names, err := t.names(out[at])
			if err != nil {
				continue // no folder
			}
			for _, n := range names {
				out = append(out, path.Join(out[at], n))
			}
		}
		return out, nil
	}
	if !strings.ContainsAny(part, `*?[\`) {
		name := path.Join(dir, part)
		fd, err := kernel.OpenInRoot(t.root, name, unix.O_PATH|unix.O_NOFOLLOW, 0)
		if err != nil {
			return nil, nil
		}
		unix.Close(fd)
		return []string{name}, nil
	}
	if _, err := path.Match(part, ""); err != nil {
		return nil, fmt.Errorf("%w: bad pattern %q", ErrDockerfile, part)
	}
	names, err := t.names(dir)
	if err != nil {
		return nil, nil // no folder
	}
	var out []string
	for _, n := range names {
		if ok, _ := path.Match(part, n); ok {
			out = append(out, path.Join(dir, n))
		}
	}
	return out, nil
}

func (t *tree) names(dir string) ([]string, error) {
	if dir == "" {
		dir = "."
	}
	fd, err := kernel.OpenInRoot(t.root, dir, unix.O_RDONLY|unix.O_DIRECTORY, 0)
	if err != nil {
		return nil, err
	}
	return namesOf(fd)
}

// namesOf reads a folder's names, sorted, and closes it.
func namesOf(fd int) ([]string, error) {
	f := os.NewFile(uintptr(fd), "folder")
	defer f.Close()
	names, err := f.Readdirnames(-1)
	slices.Sort(names)
	return names, err
}

// stat describes a name, following links.
func (t *tree) stat(name string) (*unix.Stat_t, error) {
	if name == "" {
		name = "."
	}
	fd, err := kernel.OpenInRoot(t.root, name, unix.O_PATH, 0)
	if err != nil {
		return nil, err
	}
	defer unix.Close(fd)
	var st unix.Stat_t
	return &st, unix.Fstat(fd, &st)
}

// walk gives the thing at name (links followed) to f as as; of a folder, first the folder itself when as is not empty, then what is in it.
// skip, if not nil, leaves things out by their name in the tree and their name below name.
func (t *tree) walk(ctx context.Context, name, as string, skip func(full, rel string) bool, f func(entry) error) error {
	if name == "" {
		name = "."
	}
	fd, err := kernel.OpenInRoot(t.root, name, unix.O_PATH, 0)
	if err != nil {
		return fmt.Errorf("%w: %w", ErrContext, err)
	}
	defer unix.Close(fd)
	var st unix.Stat_t
	if err := unix.Fstat(fd, &st); err != nil {
		return err
	}
	w := &walker{ctx: ctx, tree: t, skip: skip, f: f}
	full := strings.TrimPrefix(path.Clean("/"+name), "/")
	switch st.Mode & unix.S_IFMT {
	case unix.S_IFDIR:
		if as != "" {
			if err := f(entry{header: t.header(&st, as+"/")}); err != nil {
				return err
			}
		}
		dir, err := unix.Openat(fd, ".", unix.O_RDONLY|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
		if err != nil {
			return err
		}
		return w.dir(dir, full, "", as, 0)
	case unix.S_IFREG:
		h := t.header(&st, as)
		h.Size = st.Size
		return f(entry{h, func() (io.ReadCloser, error) {
			file, err := kernel.OpenFileInRoot(t.root, name)
			if err != nil {
				return nil, err
			}
			return regular(file, st.Ino)
		}})
	}
	return fmt.Errorf("%w: %s is neither a file nor a folder", ErrContext, name)
}

// regular makes sure that a descriptor is the file that was looked at.
func regular(fd int, ino uint64) (io.ReadCloser, error) {
	var st unix.Stat_t
	if err := unix.Fstat(fd, &st); err != nil || st.Mode&unix.S_IFMT != unix.S_IFREG || st.Ino != ino {
		unix.Close(fd)
		return nil, errors.Join(err, fmt.Errorf("%w: a file changed while it was read", ErrContext))
	}
	return os.NewFile(uintptr(fd), "file"), nil
}

type walker struct {
	ctx  context.Context
	tree *tree
	skip func(full, rel string) bool
	f    func(entry) error
}

// dir walks an open folder and closes it.
func (w *walker) dir(fd int, full, rel, as string, depth int) error {
	d, err := unix.Dup(fd)
	if err != nil {
		unix.Close(fd)
		return err
	}
	defer unix.Close(fd)
	names, err := namesOf(d)
	if err != nil {
		return err
	}
	if depth > maxTreeDepth {
		return fmt.Errorf("%w: more than %d folders inside each other", ErrContext, maxTreeDepth)
	}
	for _, n := range names {
		if err := w.ctx.Err(); err != nil {
			return context.Cause(w.ctx)
		}
		if err := w.one(fd, n, path.Join(full, n), path.Join(rel, n), path.Join(as, n), depth); err != nil {
			return err
		}
	}
	return nil
}

func (w *walker) one(dir int, name, full, rel, as string, depth int) error {
	var st unix.Stat_t
	if err := unix.Fstatat(dir, name, &st, unix.AT_SYMLINK_NOFOLLOW); err != nil {
		return err
	}
	out := w.tree.ignore.Match(full) || w.skip != nil && w.skip(full, rel)
	kind := st.Mode & unix.S_IFMT
	if out && (kind != unix.S_IFDIR || !w.tree.ignore.Keeps() && w.skip == nil) {
		return nil
	}
	h := w.tree.header(&st, as)
	switch kind {
	case unix.S_IFDIR:
		if !out {
			h.Name += "/"
			if err := w.f(entry{header: h}); err != nil {
				return err
			}
		}
		sub, err := unix.Openat(dir, name, unix.O_RDONLY|unix.O_DIRECTORY|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0)
		if err != nil {
			return err
		}
		return w.dir(sub, full, rel, as, depth+1)
	case unix.S_IFREG:
		h.Size = st.Size
		return w.f(entry{h, func() (io.ReadCloser, error) {
			fd, err := kernel.OpenFile(dir, name)
			if err != nil {
				return nil, err
			}
			return regular(fd, st.Ino)
		}})
	case unix.S_IFLNK:
		buf := make([]byte, unix.PathMax)
		n, err := unix.Readlinkat(dir, name, buf)
		if err != nil {
			return err
		}
		h.Linkname = string(buf[:n])
		return w.f(entry{header: h})
	case unix.S_IFIFO, unix.S_IFCHR, unix.S_IFBLK:
		h.Devmajor, h.Devminor = int64(unix.Major(uint64(st.Rdev))), int64(unix.Minor(uint64(st.Rdev)))
		return w.f(entry{header: h})
	}
	return nil // sockets mean nothing in an image
}

func (t *tree) header(st *unix.Stat_t, as string) *tar.Header {
	types := map[uint32]byte{unix.S_IFDIR: tar.TypeDir, unix.S_IFREG: tar.TypeReg, unix.S_IFLNK: tar.TypeSymlink, unix.S_IFIFO: tar.TypeFifo,
		unix.S_IFCHR: tar.TypeChar, unix.S_IFBLK: tar.TypeBlock}
	h := &tar.Header{Typeflag: types[st.Mode&unix.S_IFMT], Name: as, Mode: int64(st.Mode & 0o7777), ModTime: time.Unix(st.Mtim.Sec, st.Mtim.Nsec), Format: tar.FormatPAX}
	if t.owner {
		h.Uid, h.Gid = int(st.Uid), int(st.Gid)
	}
	return h
}

// capability is the extended attribute that programs of an image rely on.
const capability = "security.capability"

// pack writes entries as an archive; alter may change headers.
func pack(w io.Writer, walk func(func(entry) error) error, alter func(*tar.Header)) error {
	tw := tar.NewWriter(w)
	err := walk(func(e entry) error {
		alter(e.header)
		if e.open == nil {
			return tw.WriteHeader(e.header)
		}
		r, err := e.open()
		if err != nil {
			return err
		}
		defer r.Close()
		if f, ok := r.(*os.File); ok {
			buf := make([]byte, 64)
			if n, err := unix.Fgetxattr(int(f.Fd()), capability, buf); err == nil && n > 0 {
				e.header.PAXRecords = map[string]string{"SCHILY.xattr." + capability: string(buf[:n])}
			}
		}
		if err := tw.WriteHeader(e.header); err != nil {
			return err
		}
		if _, err := io.CopyN(tw, r, e.header.Size); err != nil {
			return fmt.Errorf("%w: read %s: %w", ErrContext, e.header.Name, err)
		}
		return nil
	})
	if err != nil {
		return err
	}
	return tw.Close()
}

// sum adds entries to a digest: everything but times.
func sum(h hash.Hash, walk func(func(entry) error) error, alter func(*tar.Header)) error {
	return walk(func(e entry) error {
		alter(e.header)
		fmt.Fprintf(h, "%q %d %o %d:%d %q %d:%d %d\n", e.header.Name, e.header.Typeflag, e.header.Mode, e.header.Uid, e.header.Gid, e.header.Linkname,
			e.header.Devmajor, e.header.Devminor, e.header.Size)
		if e.open == nil {
			return nil
		}
		r, err := e.open()
		if err != nil {
			return err
		}
		defer r.Close()
		content := sha256.New()
		if _, err := io.Copy(content, r); err != nil {
			return err
		}
		_, err = h.Write(content.Sum(nil))
		return err
	})
}
