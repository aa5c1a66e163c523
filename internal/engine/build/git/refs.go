package git

import (
	"fmt"
	"strings"

	"github.com/go-git/go-git/v5/plumbing"
	"github.com/go-git/go-git/v5/plumbing/protocol/packp"
	"github.com/go-git/go-git/v5/plumbing/protocol/packp/capability"
)

// hashLength is that of a full hash in hexadecimal.
const hashLength = 40

// choice is what to take from a server.
type choice struct {
	want  plumbing.Hash   // what is meant: a commit, or a tag of one
	ref   string          // its full name; "" = it is named by its hash
	wants []plumbing.Hash // what to ask for
	whole bool            // with all of the history
}

// choose finds what a name means among what a server has.
func choose(name string, ar *packp.AdvRefs) (choice, error) {
	if ar.Capabilities.Supports("object-format") {
		if f := ar.Capabilities.Get("object-format"); len(f) > 0 && f[0] != "sha1" {
			return choice{}, fmt.Errorf("%w: its hashes are %s, and only sha1 is read", ErrRefused, f[0])
		}
	}
	if len(name) == hashLength && plumbing.IsHash(name) {
		return chooseHash(plumbing.NewHash(name), ar), nil
	}
	if name == "" || name == "HEAD" {
		if ar.Head == nil {
			return choice{}, fmt.Errorf("%w: it has no default branch: name one", ErrNotFound)
		}
		return choice{want: *ar.Head, ref: headOf(ar), wants: []plumbing.Hash{*ar.Head}}, nil
	}
	for _, full := range []string{name, "refs/heads/" + name, "refs/tags/" + name, "refs/" + name} {
		if h, ok := ar.References[full]; ok && strings.HasPrefix(full, "refs/") {
			return choice{want: h, ref: full, wants: []plumbing.Hash{h}}, nil
		}
	}
	if hexadecimal.MatchString(name) {
		return choice{}, fmt.Errorf("%w: %s: a commit needs all %d digits of its hash", ErrNotFound, name, hashLength)
	}
	return choice{}, fmt.Errorf("%w: %s", ErrNotFound, name)
}

// chooseHash asks for a commit alone where the server allows, else for all that it shows.
func chooseHash(h plumbing.Hash, ar *packp.AdvRefs) choice {
	c := choice{want: h, wants: []plumbing.Hash{h}}
	for _, tip := range ar.References {
		if tip == h {
			return c
		}
	}
	for _, allows := range []capability.Capability{capability.AllowReachableSHA1InWant, "allow-any-sha1-in-want"} {
		if ar.Capabilities.Supports(allows) {
			return c
		}
	}
	c.whole, c.wants = true, nil
	seen := map[plumbing.Hash]bool{}
	for name, tip := range ar.References {
		if !seen[tip] && (strings.HasPrefix(name, "refs/heads/") || strings.HasPrefix(name, "refs/tags/")) {
			seen[tip] = true
			c.wants = append(c.wants, tip)
		}
	}
	return c
}

// headOf names the default branch.
func headOf(ar *packp.AdvRefs) string {
	for _, s := range ar.Capabilities.Get(capability.SymRef) {
		if from, to, ok := strings.Cut(s, ":"); ok && from == "HEAD" && ar.References[to] == *ar.Head {
			return to
		}
	}
	for _, to := range []string{"refs/heads/main", "refs/heads/master"} {
		if ar.References[to] == *ar.Head {
			return to
		}
	}
	return ""
}
