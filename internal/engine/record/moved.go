package record

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
)

// Moved rewrites the paths in the records of a folder whose data directory was moved: what lay at from, or below it, lies at to now. Fronts
// keep documents of their own in fields named Extra, encoded as bytes; paths in them are rewritten too.
func Moved(dir, from, to string) error {
	entries, err := os.ReadDir(dir)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	for _, e := range entries {
		for _, name := range []string{committed, latest} {
			if err := moveFile(filepath.Join(dir, e.Name(), name), from, to); err != nil {
				return fmt.Errorf("rewrite record %s: %w", e.Name(), err)
			}
		}
	}
	return nil
}

// moveFile rewrites one file, whole or not at all. What is missing or damaged is left to All.
func moveFile(file, from, to string) error {
	b, err := os.ReadFile(file)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	out, err := moved(b, from, to)
	if err != nil || bytes.Equal(out, b) {
		return nil
	}
	f, err := os.OpenFile(file+".new", os.O_WRONLY|os.O_CREATE|os.O_TRUNC, 0o600)
	if err != nil {
		return err
	}
	_, err = f.Write(out)
	if err == nil {
		err = f.Sync()
	}
	if err = errors.Join(err, f.Close()); err != nil {
		return err
	}
	return os.Rename(file+".new", file)
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
