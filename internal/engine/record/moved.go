package record

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"strings"
)

// Moved rewrites the paths in the records of a folder whose data directory was moved: what lay at from, or below it, lies at to now. Fronts
// keep documents of their own in fields named Extra, encoded as bytes; paths in them are rewritten too.
func Moved(dir, from, to string) error {
	if _, err := os.Stat(dir); errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	j, err := openJournal(dir)
	if err != nil {
		return fmt.Errorf("open records %s: %w", dir, err)
	}
	j.syncing.Lock()
	err = j.rewrite(func(b []byte) ([]byte, error) { return moved(b, from, to) })
	j.syncing.Unlock()
	j.close()
	if err = errors.Join(err, j.file.Close()); err != nil {
		return fmt.Errorf("rewrite records %s: %w", dir, err)
	}
	return nil
}

// moved rewrites one document.
func moved(b []byte, from, to string) ([]byte, error) {
	dec := json.NewDecoder(bytes.NewReader(b))
	dec.UseNumber() // sizes and times keep every digit
	var v any
	if err := dec.Decode(&v); err != nil {
		return nil, err
	}
	var walk func(key string, v any) any
	walk = func(key string, v any) any {
		switch x := v.(type) {
		case map[string]any:
			for k, e := range x {
				x[k] = walk(k, e)
			}
		case []any:
			for i, e := range x {
				x[i] = walk("", e)
			}
		case string:
			if rest, ok := strings.CutPrefix(x, from); ok && (rest == "" || rest[0] == '/') {
				return to + rest
			}
			if key != "Extra" {
				return x
			}
			inner, err := base64.StdEncoding.DecodeString(x)
			if err != nil {
				return x
			}
			if out, err := moved(inner, from, to); err == nil {
				return base64.StdEncoding.EncodeToString(out)
			}
		}
		return v
	}
	return json.Marshal(walk("", v))
}
