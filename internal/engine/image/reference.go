package image

import (
	"fmt"
	"strings"
	"sync"

	"github.com/distribution/reference"
	"github.com/opencontainers/go-digest"
)

// parseRef normalises a reference as docker does: "nginx" is docker.io/library/nginx:latest; with tag and digest the digest counts.
func parseRef(ref string) (reference.Named, error) {
	n, err := reference.ParseDockerRef(ref)
	if err != nil {
		return nil, fmt.Errorf("read reference %q: %w: %w", ref, ErrInvalidReference, err)
	}
	return n, nil
}

// refTag tells the tag or digest that a registry is asked for.
func refTag(n reference.Named) string {
	if d, ok := n.(reference.Digested); ok {
		return d.Digest().String()
	}
	if t, ok := n.(reference.Tagged); ok {
		return t.Tag()
	}
	return "latest"
}

// isDigestName tells "repo@sha256:…" from "repo:tag".
func isDigestName(name string) bool { return strings.Contains(name, "@") }

// repoOf cuts tag or digest off a full name.
func repoOf(name string) string {
	if repo, _, ok := strings.Cut(name, "@"); ok {
		return repo
	}
	if i := strings.LastIndexByte(name, ':'); i > strings.LastIndexByte(name, '/') {
		return name[:i]
	}
	return name
}

// familiars are the short forms worked out lately: every start of a container asks for its image's, and the grammar is regular expressions.
var familiars struct {
	sync.RWMutex
	of map[string]string
}

// familiar is the short form that users see.
func familiar(name string) string {
	familiars.RLock()
	short, known := familiars.of[name]
	familiars.RUnlock()
	if known {
		return short
	}
	short = name
	if n, err := reference.ParseNormalizedNamed(name); err == nil {
		short = reference.FamiliarString(n)
	}
	const most = 1024
	familiars.Lock()
	defer familiars.Unlock()
	if familiars.of == nil || len(familiars.of) >= most {
		familiars.of = map[string]string{}
	}
	familiars.of[name] = short
	return short
}

// idPrefix reads an ID or a prefix of one: 64 hex digits or fewer, "sha256:" before it or not.
func idPrefix(s string) (string, bool) {
	s = strings.TrimPrefix(s, "sha256:")
	if s == "" || len(s) > 64 {
		return "", false
	}
	for _, c := range s {
		if (c < '0' || c > '9') && (c < 'a' || c > 'f') {
			return "", false
		}
	}
	return s, true
}

// shortID is what docker prints: twelve digits.
func shortID(d digest.Digest) string {
	e := d.Encoded()
	return e[:min(12, len(e))]
}
