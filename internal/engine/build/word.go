package build

import (
	"fmt"
	"regexp"
	"strings"

	"github.com/moby/buildkit/frontend/dockerfile/shell"
)

// A word may become mostWord bytes long, and all words of a Dockerfile mostWords: `ENV A=$A$A` a few dozen times is a word that no
// memory holds. A process takes no variable of more than 128 KiB anyway.
const (
	mostWord  = 1 << 20
	mostWords = 64 << 20
)

// replaces finds ${NAME/old/new}, which can put something long in many places.
var replaces = regexp.MustCompile(`\$\{[^}]*/`)

// bounded is a word that may be expanded: before that is done, for it is too late afterwards.
func bounded(w string, vars shell.EnvGetter) error {
	n := strings.Count(w, "$")
	if n == 0 {
		return nil
	}
	longest := 0
	for _, k := range vars.Keys() {
		if v, ok := vars.Get(k); ok {
			longest = max(longest, len(v))
		}
	}
	each := longest
	if replaces.MatchString(w) {
		each *= max(1, longest, len(w))
	}
	if size := len(w) + n*each; size > mostWord {
		return fmt.Errorf("a word with %d variables, the longest of which has %d bytes, may become longer than %d bytes", n, longest, mostWord)
	}
	return nil
}

// expand expands one word with lex.
func (p *Plan) expand(lex *shell.Lex, w string, vars shell.EnvGetter) (string, error) {
	if err := bounded(w, vars); err != nil {
		return "", err
	}
	out, _, err := lex.ProcessWord(w, vars)
	if err == nil && p.words.Add(int64(len(out))) > mostWords {
		return "", fmt.Errorf("the words of the Dockerfile become longer than %d bytes together", mostWords)
	}
	return out, err
}
