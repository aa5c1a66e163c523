// Package git brings the files of a repository: contexts named by a repository's address, and ADD of one.
//
// The life of a checkout: Parse reads an address into a Source; Checkout asks the server what it has, finds the commit that is meant, takes a pack
// of it (one commit deep where the server allows), looks the pack over for what it would cost, and writes the commit's tree into a folder through
// internal/engine/layer's hardened unpacking, submodules with it. http, https, ssh and git are spoken; nothing is read from this machine's own
// repositories or git configuration, no hook, filter or program is run, and attributes change nothing (files of LFS stay pointers).
//
// The object formats are go-git's (docs/decisions/022); its file transport, which runs programs, is not linked. Only internal/engine/build imports
// this.
package git

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/go-git/go-git/v5/plumbing"
)

// Kinds of errors; test with errors.Is.
var (
	ErrAddress  = errors.New("git address") // not one, or one that asks for what there is not
	ErrNotFound = errors.New("not in the repository")
	ErrRefused  = errors.New("repository is refused") // it has what is not written to a disk
	ErrChecksum = errors.New("git checksum")
)

// Options of a Checkout.
type Options struct {
	Scratch    string       // a folder for packs; what lies in it afterwards is rubbish
	Keep       bool         // keep the repository as .git, unless the source says otherwise
	Client     *http.Client // nil = the default
	KnownHosts string       // file of SSH host keys seen before; a server that is new is added, one with another key is refused
	// Secret answers for GIT_AUTH_TOKEN and GIT_AUTH_HEADER, alone or followed by a dot and the host; nil with nil = there is none. Alone,
	// they are for the server of the source: a repository chooses where its submodules are, but not who hears the build's secrets.
	Secret func(ctx context.Context, id string) ([]byte, error)
	// Agent opens a connection to an SSH agent; nil = there is none.
	Agent func(ctx context.Context) (net.Conn, error)
}

// Commit is what was checked out.
type Commit struct {
	Hash string
	Ref  string // full name of what was asked for; "" = it was a commit
	Time time.Time
}

// Checkout fills dir, which is empty, with a source's files. All of them belong to root and are dated by their commit.
func Checkout(ctx context.Context, src Source, opts Options, dir string) (Commit, error) {
	c := &checkout{opts: opts, home: origin(src.URL)}
	keep := opts.Keep
	if src.Keep != nil {
		keep = *src.Keep
	}
	got, err := c.one(ctx, src, dir, keep && src.Subdir == "", 0)
	if err != nil {
		return Commit{}, fmt.Errorf("check out %s: %w", src.URL.Redacted(), err)
	}
	return got, nil
}

// checkout is one Checkout under way; its submodules count together.
type checkout struct {
	opts    Options
	home    string // the server that the build named: secrets for no server in particular are for it, and not for those of submodules
	modules int
	spent   budget
}

// one checks out a repository or a submodule into dir.
func (c *checkout) one(ctx context.Context, src Source, dir string, keep bool, depth int) (_ Commit, err error) {
	home := filepath.Join(dir, dotGit)
	if !keep {
		if home, err = os.MkdirTemp(c.opts.Scratch, "git-"); err != nil {
			return Commit{}, err
		}
		defer func() { err = errors.Join(err, os.RemoveAll(home)) }()
	}
	r, err := openStore(home)
	if err != nil {
		return Commit{}, err
	}
	defer func() { err = errors.Join(err, r.close()) }()
	got, err := c.fetch(ctx, src, r)
	if err != nil {
		return Commit{}, err
	}
	commit, root, err := r.commit(got.want)
	if err != nil {
		return Commit{}, err
	}
	if err := checkSum(src.Checksum, commit.Hash, got.want); err != nil {
		return Commit{}, err
	}
	top, err := r.below(root, src.Subdir)
	if err != nil {
		return Commit{}, err
	}
	modules, err := r.extract(ctx, top, dir, commit.Committer.When, &c.spent)
	if err != nil {
		return Commit{}, err
	}
	if keep {
		if err := r.settle(src, got, commit, top); err != nil {
			return Commit{}, err
		}
	}
	if len(modules) > 0 && src.Submodules {
		if err := c.submodules(ctx, src, r, root, modules, dir, depth); err != nil {
			return Commit{}, err
		}
	}
	return Commit{Hash: commit.Hash.String(), Ref: got.ref, Time: commit.Committer.When}, nil
}

// checkSum compares a commit, or the tag that named it, with what the source says.
func checkSum(want string, have ...plumbing.Hash) error {
	if want == "" {
		return nil
	}
	for _, h := range have {
		if strings.HasPrefix(h.String(), strings.ToLower(want)) {
			return nil
		}
	}
	return fmt.Errorf("%w: expected checksum to match %s, got %s", ErrChecksum, want, have[0])
}
