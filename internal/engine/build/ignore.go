package build

import (
	"fmt"
	"path"
	"regexp"
	"strings"
)

// Ignore is the rules of a .dockerignore file, or of --exclude. The last rule that matches a path or a folder above it decides.
type Ignore struct{ rules []ignoreRule }

type ignoreRule struct {
	keep bool // "!"
	expr *regexp.Regexp
}

// ParseIgnore reads a .dockerignore file.
func ParseIgnore(text string) (*Ignore, error) { return NewIgnore(IgnorePatterns(text)) }

// IgnorePatterns lists the patterns of a .dockerignore file.
func IgnorePatterns(text string) (patterns []string) {
	for l := range strings.Lines(strings.TrimPrefix(text, "\ufeff")) {
		if strings.HasPrefix(l, "#") {
			continue
		}
		if l = strings.TrimSpace(l); l != "" {
			patterns = append(patterns, l)
		}
	}
	return patterns
}

// NewIgnore makes rules of patterns.
func NewIgnore(patterns []string) (*Ignore, error) {
	ig := &Ignore{}
	for _, p := range patterns {
		rest, keep := strings.CutPrefix(p, "!")
		rest = strings.TrimPrefix(path.Clean("/"+strings.TrimSpace(rest)), "/")
		if rest == "" {
			continue
		}
		expr, err := glob(rest)
		if err != nil {
			return nil, fmt.Errorf("read ignore pattern %q: %w", p, err)
		}
		ig.rules = append(ig.rules, ignoreRule{keep, expr})
	}
	return ig, nil
}

// Match tells whether the clean relative path p is left out.
func (ig *Ignore) Match(p string) bool {
	if ig == nil {
		return false
	}
	out := false
	for _, r := range ig.rules {
		if r.keep == out && r.matches(p) {
			out = !r.keep
		}
	}
	return out
}

func (r ignoreRule) matches(p string) bool {
	for {
		if r.expr.MatchString(p) {
			return true
		}
		i := strings.LastIndexByte(p, '/')
		if i < 0 {
			return false
		}
		p = p[:i]
	}
}

// Keeps tells whether any rule brings something back, so that an ignored folder must still be walked.
func (ig *Ignore) Keeps() bool {
	if ig == nil {
		return false
	}
	for _, r := range ig.rules {
		if r.keep {
			return true
		}
	}
	return false
}

// glob compiles a pattern with *, ?, [classes], \ and **, which crosses folders.
func glob(p string) (*regexp.Regexp, error) {
	var b strings.Builder
	b.WriteString("^")
	for i := 0; i < len(p); i++ {
		switch c := p[i]; c {
		case '*':
			if i+1 < len(p) && p[i+1] == '*' {
				i++
				switch {
				case i+1 < len(p) && p[i+1] == '/':
					i++
					b.WriteString("(?:.*/)?")
				default:
					b.WriteString(".*")
				}
				continue
			}
			b.WriteString("[^/]*")
		case '?':
			b.WriteString("[^/]")
		case '[':
			end := strings.IndexByte(p[i:], ']')
			if end < 2 {
				return nil, path.ErrBadPattern
			}
			class := p[i+1 : i+end]
			if class[0] == '^' || class[0] == '!' {
				class = "^" + class[1:]
			}
			b.WriteString("[" + strings.ReplaceAll(class, "[", `\[`) + "]")
			i += end
		case '\\':
			if i++; i >= len(p) {
				return nil, path.ErrBadPattern
			}
			b.WriteString(regexp.QuoteMeta(p[i : i+1]))
		default:
			b.WriteString(regexp.QuoteMeta(p[i : i+1]))
		}
	}
	b.WriteString("$")
	return regexp.Compile("(?s)" + b.String())
}
