package store

import (
	"encoding/base64"
	"encoding/json"
	"fmt"
	"strings"
)

// tokenVersion and the shape below are upstream's: clients treat the token as
// opaque, but an upstream API server may have issued it.
const tokenVersion = "meta.k8s.io/v1"

// newest in a token's revision means: whatever is the most recent.
const newest int64 = -1

type token struct {
	Version  string `json:"v"`
	Revision int64  `json:"rv"`
	// Start is the first key of the next page, below the list's prefix.
	Start string `json:"start"`
}

// encodeContinue makes the token of the page that follows last, a key below the
// list's prefix.
func encodeContinue(last string, revision int64) string {
	b, err := json.Marshal(token{tokenVersion, revision, last + "\x00"})
	if err != nil {
		panic(err) // a struct of strings and a number
	}
	return base64.RawURLEncoding.EncodeToString(b)
}

func decodeContinue(s string) (token, error) {
	var t token
	b, err := base64.RawURLEncoding.DecodeString(s)
	if err != nil {
		return t, fmt.Errorf("%w: %w", ErrBadContinue, err)
	}
	if err := json.Unmarshal(b, &t); err != nil {
		return t, fmt.Errorf("%w: %w", ErrBadContinue, err)
	}
	switch {
	case t.Version != tokenVersion:
		return t, fmt.Errorf("%w: version %q", ErrBadContinue, t.Version)
	case t.Revision == 0 || t.Revision < newest:
		return t, fmt.Errorf("%w: revision %d", ErrBadContinue, t.Revision)
	case t.Start == "":
		return t, fmt.Errorf("%w: no start key", ErrBadContinue)
	}
	for part := range strings.SplitSeq(t.Start, "/") {
		if part == ".." || part == "." {
			return t, fmt.Errorf("%w: start key %q", ErrBadContinue, t.Start)
		}
	}
	return t, nil
}
