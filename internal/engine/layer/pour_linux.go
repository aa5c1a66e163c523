package layer

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

// Pour writes a layer's archive, in any compression, into the mounted file system at root, as if the layer lay over what is there: what its whiteouts
// hide is removed, then what it has is unpacked. The archive is read twice, since a whiteout speaks of lower layers only, wherever it stands.
func Pour(ctx context.Context, root string, archive func() (io.ReadCloser, error)) error {
	fd, err := openRoot(root)
	if err != nil {
		return err
	}
	defer unix.Close(fd)
	err = plainly(archive, func(in io.Reader) error { return hide(ctx, fd, in) })
	if err != nil {
		return fmt.Errorf("hide what a layer hides: %w", err)
	}
	return plainly(archive, func(in io.Reader) error {
		pr, pw := io.Pipe()
		done := make(chan struct{})
		go func() {
			defer close(done)
			pw.CloseWithError(unhidden(pw, in))
		}()
		defer func() {
			pr.CloseWithError(io.ErrClosedPipe)
			<-done // in is its reader's until then
		}()
		return Extract(ctx, root, "/", pr, ExtractOptions{Overwrite: true})
	})
}

// plainly reads an archive decompressed.
func plainly(archive func() (io.ReadCloser, error), read func(io.Reader) error) error {
	blob, err := archive()
	if err != nil {
		return err
	}
	defer blob.Close()
	plain, err := Decompress(blob)
	if err != nil {
		return err
	}
	defer plain.Close()
	return read(plain)
}

// hide removes what the whiteouts of a layer name, below root.
func hide(ctx context.Context, root int, in io.Reader) error {
	for tr := tar.NewReader(in); ; {
		h, err := tr.Next()
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err == nil {
			err = ctx.Err()
		}
		if err != nil {
			return err
		}
		dir, base := splitName(strings.TrimPrefix(path.Clean("/"+h.Name), "/"))
		name, ok := strings.CutPrefix(base, whiteoutPrefix)
		if !ok || base != whiteoutOpaque && (name == "" || name == "." || name == ".." || strings.HasPrefix(base, whiteoutMeta)) {
			continue
		}
		if err := hideOne(root, dir, name, base == whiteoutOpaque); err != nil && !errors.Is(err, unix.ENOENT) && !errors.Is(err, unix.ENOTDIR) {
			return fmt.Errorf("%s: %w", h.Name, err)
		}
	}
}

// hideOne removes a name of a folder, or all that the folder has. A link on the way is none of the folder's: nothing lies below it.
func hideOne(root int, dir, name string, all bool) error {
	if dir == "" {
		dir = "."
	}
	parent, err := unix.Openat2(root, dir, &unix.OpenHow{Flags: unix.O_PATH | unix.O_DIRECTORY | unix.O_CLOEXEC, Resolve: unix.RESOLVE_BENEATH | unix.RESOLVE_NO_SYMLINKS})
	if errors.Is(err, unix.ELOOP) {
		return nil
	}
	if err != nil {
		return err
	}
	defer unix.Close(parent)
	if all {
		moved := 0
		return emptyDir(parent, parent, 0, &moved)
	}
	err = unix.Unlinkat(parent, name, 0)
	if errors.Is(err, unix.EISDIR) {
		err = removeTree(parent, name)
	}
	return err
}

// unhidden copies a layer's archive without its whiteouts.
func unhidden(w io.Writer, r io.Reader) error {
	tr, tw := tar.NewReader(r), tar.NewWriter(w)
	for {
		h, err := tr.Next()
		if errors.Is(err, io.EOF) {
			return tw.Close()
		}
		if err != nil {
			return err
		}
		if strings.HasPrefix(path.Base(path.Clean("/"+h.Name)), whiteoutPrefix) {
			continue
		}
		if err := tw.WriteHeader(h); err != nil {
			return err
		}
		if _, err := io.Copy(tw, tr); err != nil {
			return err
		}
	}
}
