package build

import (
	"archive/tar"
	"bufio"
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"hash"
	"io"
	"net/http"
	"net/url"
	"os"
	"path"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"github.com/opencontainers/go-digest"
	"golang.org/x/sys/unix"

	"nau/internal/engine/image"
	"nau/internal/engine/layer"
	"nau/internal/engine/spec"
	"nau/internal/kernel"
)

// maxDownload bounds what ADD reads from a URL.
const maxDownload = 16 << 30

// piece is one source of a COPY or ADD, resolved: files to go below dir, or an archive to unpack there.
type piece struct {
	dir     string // absolute folder in the stage
	walk    func(ctx context.Context, f func(entry) error) error
	archive func() (io.ReadCloser, error)
	known   string                                               // stands in the digest for what shown leaves out
	shown   func(ctx context.Context, f func(entry) error) error // nil = walk
}

// copy runs a COPY or ADD.
func (r *solving) copy(i int, st *state, step Step) (bool, error) {
	name := step.Copy.From
	if r.req.Classic && name == strconv.Itoa(i) {
		return false, fmt.Errorf("%w: invalid from flag value %s: refers to current build stage", ErrDockerfile, name)
	}
	v, err := r.from(i, name, step)
	if err != nil && r.req.Classic && name != "" {
		err = fmt.Errorf("invalid from flag value %s: %w", name, err)
	}
	if err != nil {
		return false, err
	}
	return r.copyFrom(v, st, step)
}

func (r *solving) copyFrom(v *view, st *state, step Step) (bool, error) {
	c := step.Copy
	t, err := r.tree(v)
	if err != nil {
		return false, err
	}
	defer t.close()
	// Where things go depends on what is there: "COPY a /b" makes /b/a when /b is a folder.
	under := st.diffIDs()
	stage, err := r.view(under)
	if err != nil {
		return false, err
	}
	root, err := kernel.OpenPath(stage.dir)
	if err != nil {
		return false, err
	}
	defer unix.Close(root)
	alter, owner, err := c.alter(root)
	if err != nil {
		return false, err
	}
	pieces, err := r.pieces(c, t, root)
	if err != nil {
		return false, err
	}
	h := sha256.New()
	for _, p := range pieces {
		fmt.Fprintf(h, "piece %q\n", p.dir)
		if err := p.sum(r.ctx, h, alter); err != nil {
			return false, err
		}
	}
	if c.Link {
		under = nil
	}
	sum := h.Sum(nil)
	if r.req.Classic {
		step.History = c.digested(step.History, sum, t)
	}
	key := keyOf("copy", under, sum, owner, c.Add, r.epoch)
	return r.cachedLayer(st, step, key, func() (image.LayerBlob, error) {
		return r.layer(under, func(dir string, root int) error {
			for _, p := range pieces {
				if err := mkdirAs(root, p.dir, owner); err != nil {
					return err
				}
				if err := p.put(r.ctx, dir, alter, c.Chown, owner); err != nil {
					return err
				}
			}
			return nil
		})
	})
}

// layer makes a layer of what write does to a snapshot over layers.
func (r *solving) layer(under []digest.Digest, write func(dir string, root int) error) (blob image.LayerBlob, err error) {
	key, dir, drop, err := r.snapshot(under)
	if err != nil {
		return blob, err
	}
	defer func() { err = errors.Join(err, drop()) }()
	root, err := kernel.OpenPath(dir)
	if err != nil {
		return blob, err
	}
	defer unix.Close(root)
	if err := write(dir, root); err != nil {
		return blob, err
	}
	return r.commit(key, nil)
}

// commit makes a layer of a snapshot's changes.
func (r *solving) commit(key string, drop map[string]bool) (image.LayerBlob, error) {
	pr, pw := io.Pipe()
	go func() { pw.CloseWithError(r.b.cfg.Layers.Diff(r.ctx, key, pw)) }()
	defer pr.CloseWithError(io.ErrClosedPipe)
	if len(drop) == 0 && r.epoch == nil {
		return r.work.AddLayer(r.ctx, pr)
	}
	fr, fw := io.Pipe()
	go func() { fw.CloseWithError(layer.Rewrite(fw, pr, drop, r.epoch)) }()
	defer fr.CloseWithError(io.ErrClosedPipe)
	return r.work.AddLayer(r.ctx, fr)
}

// alter makes the change of headers that --chown and --chmod ask for; owner is who new folders belong to.
func (c *Copy) alter(root int) (func(*tar.Header), [2]int, error) {
	var owner [2]int
	if c.Chown != "" {
		u, err := lookupOwner(root, c.Chown)
		if err != nil {
			return nil, owner, err
		}
		owner = u
	}
	var mode change
	if c.Chmod != "" {
		var err error
		if mode, err = parseMode(c.Chmod); err != nil {
			return nil, owner, err
		}
	}
	return func(h *tar.Header) {
		if c.Chown != "" {
			h.Uid, h.Gid = owner[0], owner[1]
		}
		if mode != nil && h.Typeflag != tar.TypeSymlink {
			h.Mode = int64(mode(uint32(h.Mode), h.Typeflag == tar.TypeDir))
		}
	}, owner, nil
}

// lookupOwner reads "user:group" by the stage's own account files; a number without a group is the group too.
func lookupOwner(root int, s string) ([2]int, error) {
	if n, err := strconv.ParseUint(s, 10, 31); err == nil {
		return [2]int{int(n), int(n)}, nil
	}
	u, err := spec.LookupUser(root, spec.User{Name: s}, "")
	if user, _, ok := strings.Cut(s, ":"); ok && err != nil {
		// As BuildKit has it, a group that the image does not have leaves the user's own: "nobody:nobody" is written everywhere.
		if own, uerr := lookupOwner(root, user); uerr == nil {
			return own, nil
		}
	}
	if err != nil {
		return [2]int{}, fmt.Errorf("look up owner %q: %w", s, err)
	}
	return [2]int{int(u.UID), int(u.GID)}, nil
}

// mkdirAs makes a folder with those above it, new ones belonging to owner.
func mkdirAs(root int, dir string, owner [2]int) error {
	return mkdirLinked(root, dir, owner, maxLinks)
}

// maxLinks is how many links one path may lead over. Source: path_resolution(7).
const maxLinks = 40

func mkdirLinked(root int, dir string, owner [2]int, links int) error {
	at := ""
	for part := range strings.SplitSeq(strings.Trim(dir, "/"), "/") {
		if part == "" {
			continue
		}
		at += "/" + part
		_, err := statIn(root, at)
		if err == nil {
			continue
		}
		if to, ok := linkIn(root, at); ok { // it leads nowhere yet
			if links--; links < 0 {
				return fmt.Errorf("make folder %s: %w", at, unix.ELOOP)
			}
			if err := mkdirLinked(root, to, owner, links); err != nil {
				return err
			}
			continue
		}
		fd, err := kernel.MkdirInRoot(root, at, 0o755)
		if err != nil {
			return err
		}
		err = unix.Fchownat(fd, "", owner[0], owner[1], unix.AT_EMPTY_PATH)
		unix.Close(fd)
		if err != nil {
			return fmt.Errorf("give %s to its owner: %w", at, err)
		}
	}
	return nil
}

// linkIn tells where the link at a path leads, as a path from the root.
func linkIn(root int, name string) (to string, ok bool) {
	above, last := path.Split(path.Clean("/" + name))
	dir, err := kernel.OpenInRoot(root, above, unix.O_PATH|unix.O_DIRECTORY, 0)
	if err != nil {
		return "", false
	}
	defer unix.Close(dir)
	buf := make([]byte, unix.PathMax)
	n, err := unix.Readlinkat(dir, last, buf)
	if err != nil {
		return "", false
	}
	if to = string(buf[:n]); !path.IsAbs(to) {
		to = path.Join(above, to)
	}
	return path.Clean(to), true
}

func statIn(root int, name string) (*unix.Stat_t, error) {
	return (&tree{root: root}).stat(strings.TrimPrefix(path.Clean("/"+name), "/"))
}

// pieces resolves the sources. root is the stage's files.
func (r *solving) pieces(c *Copy, t *tree, root int) ([]piece, error) {
	into := strings.HasSuffix(c.Dest, "/")
	if st, err := statIn(root, c.Dest); err == nil && st.Mode&unix.S_IFMT == unix.S_IFDIR {
		into = true
	}
	var out []piece
	for _, in := range c.Inline {
		data := []byte(in.Data)
		dir, name := c.place(in.Path, into)
		out = append(out, piece{dir: dir, walk: func(_ context.Context, f func(entry) error) error {
			h := &tar.Header{Typeflag: tar.TypeReg, Name: name, Mode: 0o644, Size: int64(len(data)), ModTime: time.Unix(0, 0), Format: tar.FormatPAX}
			return f(entry{h, func() (io.ReadCloser, error) { return io.NopCloser(bytes.NewReader(data)), nil }})
		}})
	}
	skip, err := c.skip()
	if err != nil {
		return nil, err
	}
	for _, src := range c.Sources {
		if c.Add && isRepository(src) {
			p, err := r.repository(c, src, skip)
			if err != nil {
				return nil, err
			}
			out = append(out, p)
			continue
		}
		if c.Add && isURL(src) {
			p, err := r.download(c, src, into)
			if err != nil {
				return nil, err
			}
			out = append(out, p)
			continue
		}
		pivot := ""
		if c.Parents {
			if before, _, ok := strings.Cut(src, "/./"); ok {
				pivot = strings.Trim(path.Clean("/"+before), "/")
			}
		}
		names, err := t.find(src, c.Parents)
		if err != nil {
			return nil, err
		}
		if len(names) > 1 && !strings.HasSuffix(c.Dest, "/") {
			return nil, fmt.Errorf("%w: %s with more than one source file needs a destination that ends with a /", ErrDockerfile, strings.ToUpper(c.verb()))
		}
		for _, n := range names {
			p, err := r.piece(c, t, n, pivot, into, skip)
			if err != nil {
				return nil, err
			}
			out = append(out, p)
		}
	}
	if len(out) == 0 && r.req.Classic { // wildcards alone; BuildKit lets them find nothing
		return nil, fmt.Errorf("%w: no source files were specified: %s", ErrContext, strings.Join(c.Sources, " "))
	}
	return out, nil
}

// place says where a file goes: the folder, and the name in it.
func (c *Copy) place(name string, into bool) (dir, base string) {
	if into {
		return path.Clean(c.Dest), path.Base(name)
	}
	return path.Dir(c.Dest), path.Base(c.Dest)
}

func (c *Copy) skip() (func(full, rel string) bool, error) {
	if len(c.Exclude) == 0 {
		return nil, nil
	}
	ig, err := NewIgnore(c.Exclude)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrDockerfile, err)
	}
	return func(full, rel string) bool { return ig.Match(full) || rel != "" && ig.Match(rel) }, nil
}

// piece resolves one name of the tree.
func (r *solving) piece(c *Copy, t *tree, name, pivot string, into bool, skip func(full, rel string) bool) (piece, error) {
	st, err := t.stat(name)
	if err != nil {
		return piece{}, fmt.Errorf("%w: %w", ErrContext, err)
	}
	folder := st.Mode&unix.S_IFMT == unix.S_IFDIR
	if skip != nil && name != "" && !folder && skip(name, path.Base(name)) {
		return piece{dir: path.Clean(c.Dest), walk: func(context.Context, func(entry) error) error { return nil }}, nil
	}
	if c.Parents {
		rel := strings.TrimPrefix(strings.TrimPrefix(name, pivot), "/")
		return piece{dir: path.Clean(c.Dest), walk: func(ctx context.Context, f func(entry) error) error { return t.walk(ctx, name, rel, skip, f) }}, nil
	}
	if folder {
		return piece{dir: path.Clean(c.Dest), walk: func(ctx context.Context, f func(entry) error) error { return t.walk(ctx, name, "", skip, f) }}, nil
	}
	if c.Add && (c.Unpack == nil || *c.Unpack) {
		open := func() (io.ReadCloser, error) {
			fd, err := kernel.OpenFileInRoot(t.root, name)
			if err != nil {
				return nil, err
			}
			return regular(fd, st.Ino)
		}
		if isArchive(open) {
			return piece{dir: path.Clean(c.Dest), archive: open}, nil
		}
	}
	dir, base := c.place(name, into)
	return piece{dir: dir, walk: func(ctx context.Context, f func(entry) error) error { return t.walk(ctx, name, base, nil, f) }}, nil
}

// isArchive tells whether a file is a tar archive in any compression.
func isArchive(open func() (io.ReadCloser, error)) bool {
	f, err := open()
	if err != nil {
		return false
	}
	defer f.Close()
	plain, err := layer.Decompress(f)
	if err != nil {
		return false
	}
	defer plain.Close()
	_, err = tar.NewReader(bufio.NewReader(plain)).Next()
	return err == nil
}

// sum adds a piece to a digest.
func (p piece) sum(ctx context.Context, h hash.Hash, alter func(*tar.Header)) error {
	if p.archive == nil {
		walk := p.walk
		if p.shown != nil {
			fmt.Fprintln(h, p.known)
			walk = p.shown
		}
		return sum(h, func(f func(entry) error) error { return walk(ctx, f) }, alter)
	}
	f, err := p.archive()
	if err != nil {
		return err
	}
	defer f.Close()
	fmt.Fprintln(h, "archive")
	_, err = io.Copy(h, f)
	return err
}

// put writes a piece into the root file system mounted at dir.
func (p piece) put(ctx context.Context, dir string, alter func(*tar.Header), chown string, owner [2]int) error {
	opts := layer.ExtractOptions{}
	if p.archive != nil {
		opts.Overwrite = true // as tar does; a COPY that would put a folder in a link's place is refused
		f, err := p.archive()
		if err != nil {
			return err
		}
		defer f.Close()
		if chown != "" {
			opts.Owner = &owner
		}
		return layer.Extract(ctx, dir, p.dir, f, opts)
	}
	pr, pw := io.Pipe()
	done := make(chan struct{})
	go func() {
		defer close(done)
		pw.CloseWithError(pack(pw, func(f func(entry) error) error { return p.walk(ctx, f) }, alter))
	}()
	err := layer.Extract(ctx, dir, p.dir, pr, opts)
	pr.CloseWithError(io.ErrClosedPipe)
	<-done
	return err
}

func isURL(s string) bool { return strings.HasPrefix(s, "http://") || strings.HasPrefix(s, "https://") }

// download brings a URL of an ADD into the build's folder.
func (r *solving) download(c *Copy, src string, into bool) (piece, error) {
	var p piece
	fail := func(err error) (piece, error) { return piece{}, fmt.Errorf("download %s: %w", src, err) }
	u, err := url.Parse(src)
	if err != nil {
		return fail(err)
	}
	name := path.Base(path.Clean("/" + u.Path))
	if into && name == "/" {
		return fail(fmt.Errorf("%w: cannot determine a file name from the URL", ErrDockerfile))
	}
	body, head, err := download(r.ctx, src)
	if err != nil {
		return piece{}, err
	}
	defer body.Close()
	dir, err := r.place("add")
	if err != nil {
		return fail(err)
	}
	file := filepath.Join(dir, "content")
	f, err := os.OpenFile(file, os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o600)
	if err != nil {
		return fail(err)
	}
	h := sha256.New()
	n, err := io.Copy(io.MultiWriter(f, h), io.LimitReader(body, maxDownload+1))
	if err = errors.Join(err, f.Close()); err != nil {
		return fail(err)
	}
	if n > maxDownload {
		return fail(fmt.Errorf("%w: more than %d bytes", ErrContext, int64(maxDownload)))
	}
	r.took(downloaded(src, h.Sum(nil)))
	if got := digest.NewDigest(digest.SHA256, h); c.Checksum != "" && got.String() != c.Checksum {
		return fail(fmt.Errorf("%w: digest mismatch %s: %s", ErrContext, got, c.Checksum))
	}
	open := func() (io.ReadCloser, error) { return os.Open(file) }
	if c.Unpack != nil && *c.Unpack && isArchive(open) {
		return piece{dir: path.Clean(c.Dest), archive: open}, nil
	}
	date := time.Unix(0, 0)
	if t, err := http.ParseTime(head.Get("Last-Modified")); err == nil {
		date = t
	}
	to, base := c.place(name, into)
	p.dir = to
	p.walk = func(_ context.Context, f func(entry) error) error {
		return f(entry{&tar.Header{Typeflag: tar.TypeReg, Name: base, Mode: 0o600, Size: n, ModTime: date, Format: tar.FormatPAX}, open})
	}
	return p, nil
}

// workdir makes the folder of a WORKDIR; one that exists costs no layer.
func (r *solving) workdir(i int, st *state, step Step) (bool, error) {
	under := st.diffIDs()
	v, err := r.view(under)
	if err != nil {
		return false, err
	}
	root, err := kernel.OpenPath(v.dir)
	if err != nil {
		return false, err
	}
	defer unix.Close(root)
	if have, err := statIn(root, step.Dir.Path); err == nil && have.Mode&unix.S_IFMT == unix.S_IFDIR {
		return r.noted(i, st, step)
	}
	var owner [2]int
	if step.Dir.User != "" {
		u, err := spec.LookupUser(root, spec.User{Name: step.Dir.User}, "")
		if err != nil {
			return false, err
		}
		owner = [2]int{int(u.UID), int(u.GID)}
		if n, err := strconv.ParseUint(step.Dir.User, 10, 31); err == nil && !r.req.Classic {
			owner = [2]int{int(n), int(n)} // a number alone is the group too, as in --chown
		}
	}
	return r.cachedLayer(st, step, keyOf("workdir", under, step.Dir.Path, owner, r.epoch), func() (image.LayerBlob, error) {
		if r.req.Classic {
			if err := r.noted_(i, st, step); err != nil {
				return image.LayerBlob{}, err
			}
		}
		return r.layer(under, func(_ string, root int) error { return mkdirAs(root, step.Dir.Path, owner) })
	})
}
