package git

import (
	"fmt"
	"net/url"
	"path"
	"regexp"
	"strconv"
	"strings"
	"unicode"
)

// Source is a place in a repository.
type Source struct {
	URL        *url.URL // http, https, ssh or git; without query and fragment
	Ref        string   // branch, tag, full name or full hash; "" = what the server says
	Subdir     string   // clean, without a leading slash; "" = all
	Checksum   string   // beginning of the commit's hash, hexadecimal
	Keep       *bool    // keep the repository; nil = as the caller likes
	Submodules bool
}

// scp is the short form of an SSH address.
var scp = regexp.MustCompile(`^([A-Za-z0-9_][A-Za-z0-9_.-]*@)?([A-Za-z0-9.-]+):([^/:].*|/[^/].*)$`)

var hexadecimal = regexp.MustCompile(`^[0-9a-fA-F]{4,64}$`)

// Is tells whether a text is the address of a repository, as Docker's clients tell: by scheme, by the end .git, or by GitHub's name.
func Is(s string) bool {
	base, _, _ := strings.Cut(s, "#")
	base, _, _ = strings.Cut(base, "?")
	switch {
	case strings.HasPrefix(s, "git://"), strings.HasPrefix(s, "ssh://"), strings.HasPrefix(s, "git@"), strings.HasPrefix(s, "github.com/"):
		return true
	}
	return (strings.HasPrefix(s, "http://") || strings.HasPrefix(s, "https://")) && strings.HasSuffix(base, ".git")
}

// Parse reads the address of a repository. A fragment is REF:SUBDIR; a query has ref, branch, tag, commit (or checksum), subdir, keep-git-dir and
// submodules. Source: Docker's documentation of build contexts, "Git repositories".
func Parse(s string) (Source, error) {
	src := Source{Submodules: true}
	bad := func(format string, args ...any) (Source, error) {
		return Source{}, fmt.Errorf("%w %q: %s", ErrAddress, hideUser(s), fmt.Sprintf(format, args...))
	}
	text := s
	if strings.HasPrefix(text, "github.com/") {
		text = "https://" + text
	}
	if m := scp.FindStringSubmatch(text); m != nil && !strings.Contains(text, "://") {
		u := "ssh://" + m[1] + m[2] + "/"
		if text = u + m[3]; strings.HasPrefix(m[3], "/") {
			text = u + m[3][1:]
		}
	}
	u, err := url.Parse(text)
	if err != nil {
		return bad("it is no address")
	}
	switch u.Scheme {
	case "http", "https", "ssh", "git":
	default:
		return bad("%q is not http, https, ssh or git", u.Scheme)
	}
	if u.Host == "" || strings.HasPrefix(u.Host, "-") || strings.Trim(u.Path, "/") == "" {
		return bad("it names no server or no repository")
	}
	if strings.ContainsFunc(u.Path, unicode.IsControl) {
		return bad("its path has characters that are not printed")
	}
	fragment, query := u.Fragment, u.RawQuery
	u.Fragment, u.RawFragment, u.RawQuery, u.ForceQuery = "", "", "", false
	src.URL = u
	if src.Ref, src.Subdir, _ = strings.Cut(fragment, ":"); src.Ref != "" && query != "" {
		return bad("a query and a fragment both say what is meant: use one of them")
	}
	if query != "" {
		if err := src.query(query); err != nil {
			return bad("%v", err)
		}
	}
	if strings.HasPrefix(src.Ref, "-") || strings.ContainsAny(src.Ref, " \t\n\x00~^:?*[\\") || strings.Contains(src.Ref, "..") {
		return bad("%q is no name of a branch or tag", src.Ref)
	}
	if src.Checksum != "" && !hexadecimal.MatchString(src.Checksum) {
		return bad("%q is not the hash of a commit", src.Checksum)
	}
	src.Subdir = strings.TrimPrefix(path.Clean("/"+src.Subdir), "/")
	return src, nil
}

// query reads what a query asks for.
func (s *Source) query(text string) error {
	values, err := url.ParseQuery(text)
	if err != nil {
		return err
	}
	names := 0
	name := func(v string) {
		s.Ref = v
		names++
	}
	for key, list := range values {
		if len(list) > 1 {
			return fmt.Errorf("%s is there %d times", key, len(list))
		}
		v := list[0]
		switch key {
		case "ref":
			name(v)
		case "branch":
			name("refs/heads/" + v)
		case "tag":
			name("refs/tags/" + v)
		case "commit", "checksum":
			if s.Checksum != "" && s.Checksum != v {
				return fmt.Errorf("commit and checksum differ")
			}
			s.Checksum = v
		case "subdir":
			s.Subdir = v
		case "mtime":
			if v != "commit" {
				return fmt.Errorf("mtime=%q: files are dated by their commit", v)
			}
		case "keep-git-dir":
			keep, err := flag(v)
			if err != nil {
				return fmt.Errorf("%s=%q is neither true nor false", key, v)
			}
			s.Keep = &keep
		case "submodules":
			if s.Submodules, err = flag(v); err != nil {
				return fmt.Errorf("%s=%q is neither true nor false", key, v)
			}
		default:
			return fmt.Errorf("%q is not known: ref, branch, tag, commit, checksum, subdir, mtime, keep-git-dir and submodules are", key)
		}
	}
	if names > 1 {
		return fmt.Errorf("only one of ref, branch and tag can be there")
	}
	if s.Ref == "" && len(s.Checksum) == hashLength {
		s.Ref = s.Checksum
	}
	return nil
}

// flag reads a truth; a name alone is true.
func flag(v string) (bool, error) {
	if v == "" {
		return true, nil
	}
	return strconv.ParseBool(v)
}

// hideUser leaves out what may be a password.
func hideUser(s string) string {
	if scheme, rest, ok := strings.Cut(s, "://"); ok {
		if at := strings.LastIndex(strings.SplitN(rest, "/", 2)[0], "@"); at >= 0 {
			return scheme + "://xxxxx@" + rest[at+1:]
		}
	}
	return s
}

// relative reads a submodule's address, which may be relative to its repository's.
func (s Source) relative(address string) (Source, error) {
	if strings.HasPrefix(address, "./") || strings.HasPrefix(address, "../") {
		u := *s.URL
		u.Path, u.RawPath = path.Join(u.Path, address), ""
		return Source{URL: &u, Submodules: true}, nil
	}
	if strings.ContainsAny(address, "#?") {
		return Source{}, fmt.Errorf("%w %q: that of a submodule has no query and no fragment", ErrAddress, hideUser(address))
	}
	sub, err := Parse(address)
	if err != nil {
		return Source{}, err
	}
	if sub.URL.User == nil && sub.URL.Scheme == s.URL.Scheme && sub.URL.Host == s.URL.Host {
		sub.URL.User = s.URL.User
	}
	return sub, nil
}
