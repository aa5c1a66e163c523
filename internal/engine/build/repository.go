package build

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net"
	"net/url"
	"os"
	"path"
	"path/filepath"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"

	"nau/internal/engine/build/git"
	"nau/internal/kernel"
)

// keepsRepository is the argument by which a build keeps the repository of its context.
const keepsRepository = "BUILDKIT_CONTEXT_KEEP_GIT_DIR"

// isRepository tells whether a source of ADD is a repository: without a scheme it is a path of the context.
func isRepository(s string) bool { return git.Is(s) && !strings.HasPrefix(s, "github.com/") }

// checkout fills dir with the files of a repository; scratch is an empty folder for it.
func (b *Builder) checkout(ctx context.Context, src git.Source, keep bool, scratch, dir string, req Request) (git.Commit, error) {
	opts := git.Options{Scratch: scratch, Keep: keep, KnownHosts: filepath.Join(b.cfg.Dir, "known_hosts")}
	if req.Secret != nil {
		opts.Secret = func(ctx context.Context, id string) ([]byte, error) {
			secret, err := req.Secret(ctx, id)
			if errors.Is(err, ErrNotGiven) {
				return nil, nil
			}
			return secret, err
		}
	}
	if req.Agent != nil {
		opts.Agent = func(ctx context.Context) (net.Conn, error) { return openAgent(ctx, scratch, req) }
	}
	c, err := git.Checkout(ctx, src, opts, dir)
	if err != nil && ctx.Err() == nil {
		err = fmt.Errorf("%w: %w", ErrContext, err)
	}
	return c, err
}

// openAgent connects to the agent that the build is given, over a socket below dir.
func openAgent(ctx context.Context, dir string, req Request) (net.Conn, error) {
	dir, err := os.MkdirTemp(dir, "agent-")
	if err != nil {
		return nil, err
	}
	fd, err := kernel.OpenPath(dir)
	if err != nil {
		return nil, err
	}
	defer unix.Close(fd)
	at := Socket{Path: fmt.Sprintf("/proc/self/fd/%d/socket", fd), Mode: 0o600}
	stop, err := req.Agent(ctx, "default", at)
	if errors.Is(err, ErrNotGiven) {
		return nil, fmt.Errorf("%w: pass it with --ssh default", err)
	} else if err != nil {
		return nil, err
	}
	conn, err := (&net.Dialer{}).DialContext(ctx, "unix", at.Path)
	if err != nil {
		return nil, errors.Join(err, stop(), os.RemoveAll(dir))
	}
	return &agentConn{conn, func() error { return errors.Join(stop(), os.RemoveAll(dir)) }}, nil
}

// agentConn is a connection to an agent that goes with it.
type agentConn struct {
	net.Conn
	after func() error
}

func (a *agentConn) Close() error { return errors.Join(a.Conn.Close(), a.after()) }

// repository checks out what an ADD names.
func (r *solving) repository(c *Copy, address string, skip func(full, rel string) bool) (piece, error) {
	src, err := git.Parse(address)
	if err != nil {
		return piece{}, fmt.Errorf("%w: %w", ErrDockerfile, err)
	}
	if c.Checksum != "" {
		if src.Checksum != "" && src.Checksum != c.Checksum {
			return piece{}, fmt.Errorf("%w: ADD %s: the address and --checksum want different commits", ErrDockerfile, address)
		}
		src.Checksum = c.Checksum
	}
	if src.Keep == nil {
		src.Keep = &c.Keep
	}
	scratch, err := r.place("scratch")
	if err != nil {
		return piece{}, err
	}
	dir, err := r.place("git")
	if err != nil {
		return piece{}, err
	}
	commit, err := r.b.checkout(r.ctx, src, false, scratch, dir, r.req)
	if err != nil {
		return piece{}, err
	}
	r.took(materialOf(src, commit))
	walk := func(skip func(full, rel string) bool) func(context.Context, func(entry) error) error {
		return func(ctx context.Context, f func(entry) error) error {
			t, err := openTree(dir)
			if err != nil {
				return err
			}
			defer t.close()
			return t.walk(ctx, "", "", skip, f)
		}
	}
	p := piece{dir: path.Clean(c.Dest), walk: walk(skip)}
	if *src.Keep && src.Subdir == "" {
		// The same commit may come in another pack: the digest is of the commit, not of the repository's files.
		p.known = fmt.Sprintf("repository %q %s %s", src.URL.Redacted(), commit.Hash, commit.Ref)
		p.shown = walk(func(full, rel string) bool {
			return full == ".git" || strings.HasPrefix(full, ".git/") || skip != nil && skip(full, rel)
		})
	}
	return p, nil
}

// Repository fills dir with the files of a repository. Of the request its arguments, secrets and agent count.
func (b *Builder) Repository(ctx context.Context, address, dir string, req Request) (Material, error) {
	src, err := git.Parse(address)
	if err != nil {
		return Material{}, fmt.Errorf("%w: %w", ErrContext, err)
	}
	keep := false
	if v := req.Args[keepsRepository]; v != nil {
		if keep, err = strconv.ParseBool(*v); err != nil {
			return Material{}, fmt.Errorf("%w: %s=%s is neither true nor false", ErrContext, keepsRepository, *v)
		}
	}
	scratch, release, err := b.Scratch()
	if err != nil {
		return Material{}, err
	}
	defer release()
	commit, err := b.checkout(ctx, src, keep, scratch, dir, req)
	return materialOf(src, commit), err
}

// materialOf names a repository as a material, without credentials.
func materialOf(src git.Source, c git.Commit) Material {
	u := *src.URL
	if u.User = nil; u.Scheme == "ssh" {
		u.User = url.User(src.URL.User.Username())
	}
	m := Material{Address: u.String(), Algorithm: "sha1", Digest: c.Hash}
	what := cmp.Or(c.Ref, src.Ref)
	if src.Subdir != "" {
		what += ":" + src.Subdir
	}
	if what != "" {
		m.Address += "#" + what
	}
	return m
}
