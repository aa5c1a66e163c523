package layer

import (
	"context"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"

	"github.com/opencontainers/go-digest"
	"golang.org/x/sys/unix"
)

// Diff writes the snapshot's changes as an uncompressed OCI layer archive. Of a running container it is what was there in passing.
func (s *Store) Diff(ctx context.Context, key string, w io.Writer) error {
	e, err := s.snapshot(key)
	if err != nil {
		return err
	}
	if err := archive(ctx, w, s.path(e.name, "u"), true, e.rec.Owners); err != nil {
		return fmt.Errorf("diff snapshot %s: %w", key, err)
	}
	return nil
}

// Commit is Diff, and tells the archive's digest (the diff ID) and size.
func (s *Store) Commit(ctx context.Context, key string, w io.Writer) (digest.Digest, int64, error) {
	sum := digest.SHA256.Digester()
	c := &countWriter{}
	if err := s.Diff(ctx, key, io.MultiWriter(w, sum.Hash(), c)); err != nil {
		return "", 0, err
	}
	return sum.Digest(), c.n, nil
}

type countWriter struct{ n int64 }

func (c *countWriter) Write(p []byte) (int, error) {
	c.n += int64(len(p))
	return len(p), nil
}

// Changes lists what the snapshot changes, sorted by path (docker diff).
func (s *Store) Changes(ctx context.Context, key string) ([]Change, error) {
	e, err := s.snapshot(key)
	if err != nil {
		return nil, err
	}
	lower, err := s.Lower(e.rec.Parent)
	if err != nil {
		return nil, fmt.Errorf("compare snapshot %s: %w", key, err)
	}
	var out []Change
	fd, err := unix.Open(s.path(e.name, "u"), unix.O_RDONLY|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err != nil {
		return nil, fmt.Errorf("compare snapshot %s: %w", key, err)
	}
	if err := changes(ctx, fd, "", lower, &out); err != nil {
		return nil, fmt.Errorf("compare snapshot %s: %w", key, err)
	}
	slices.SortFunc(out, func(a, b Change) int { return strings.Compare(a.Path, b.Path) })
	return out, nil
}

// changes walks one directory of the upper tree and closes it. lower are the lower directories in which things of this directory may show.
func changes(ctx context.Context, fd int, prefix string, lower []string, out *[]Change) error {
	d := os.NewFile(uintptr(fd), prefix)
	defer d.Close()
	if err := ctx.Err(); err != nil {
		return context.Cause(ctx)
	}
	names, err := d.Readdirnames(-1)
	if err != nil {
		return fmt.Errorf("read directory %q: %w", prefix, err)
	}
	for _, n := range names {
		var st unix.Stat_t
		if err := unix.Fstatat(fd, n, &st, unix.AT_SYMLINK_NOFOLLOW); err != nil {
			continue // gone meanwhile
		}
		p := prefix + n
		c := Change{Path: "/" + p, Kind: Added}
		switch {
		case isWhiteout(&st):
			c.Kind = Deleted
		default:
			if was, ok := shows(lower, p); ok {
				c.Kind, c.Same = Modified, was.Mode == st.Mode && was.Uid == st.Uid && was.Gid == st.Gid
			}
		}
		if st.Mode&unix.S_IFMT != unix.S_IFDIR {
			c.Same = false
			*out = append(*out, c)
			continue
		}
		sub, err := openDir(fd, n)
		if err == nil && hasXattrs(sub) {
			c.Same = false
		}
		*out = append(*out, c)
		if err != nil {
			continue
		}
		below := lower
		if isOpaque(sub) {
			below = nil
		}
		if err := changes(ctx, sub, p+"/", below, out); err != nil {
			return err
		}
	}
	return nil
}

// hasXattrs tells whether a directory has extended attributes beside overlayfs' own.
func hasXattrs(fd int) bool {
	buf := make([]byte, 4<<10)
	n, err := unix.Flistxattr(fd, buf)
	if err != nil {
		return true // more than is usual
	}
	for name := range strings.SplitSeq(string(buf[:n]), "\x00") {
		if name != "" && !strings.HasPrefix(name, "trusted.overlay.") {
			return true
		}
	}
	return false
}

// shows tells what the lower directories (top first) show at p, if anything.
func shows(lower []string, p string) (st unix.Stat_t, ok bool) {
	for _, root := range lower {
		st, found, hidden := lookAny(root, p)
		if found {
			return st, true
		}
		if hidden {
			return st, false
		}
	}
	return st, false
}

// lookAny looks for p in one layer: found, or hidden (a whiteout, a file on the way, an opaque directory without it).
func lookAny(root, p string) (st unix.Stat_t, found, hidden bool) {
	fd, err := unix.Open(root, unix.O_PATH|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err != nil {
		return st, false, false
	}
	defer func() { unix.Close(fd) }()
	for {
		c, rest, more := strings.Cut(p, "/")
		if err := unix.Fstatat(fd, c, &st, unix.AT_SYMLINK_NOFOLLOW); err != nil {
			return st, false, hidden
		}
		if isWhiteout(&st) {
			return st, false, true
		}
		if !more {
			return st, true, false
		}
		sub, err := openDir(fd, c)
		if err != nil {
			return st, false, true
		}
		hidden = hidden || isOpaque(sub)
		unix.Close(fd)
		fd, p = sub, rest
	}
}
