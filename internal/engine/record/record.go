// Package record keeps small JSON records, one folder a thing, so that a crash of the program leaves each old or new and never torn.
//
// A record is replaced by writing beside it and renaming. Records are not forced to disk: after a power loss the newest ones may be
// missing or empty, which All reports as damaged, and the caller then treats the thing as never made. The engine's rooms import it.
package record

import (
	"crypto/rand"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
)

// NewID returns 64 hexadecimal digits, in Docker's manner.
func NewID() string {
	var b [32]byte
	_, _ = rand.Read(b[:]) // never fails since Go 1.24
	return hex.EncodeToString(b[:])
}

// Dir is a folder of records of one type.
type Dir[T any] struct{ path string }

// Open makes the folder.
func Open[T any](path string) (Dir[T], error) {
	if err := os.MkdirAll(path, 0o700); err != nil {
		return Dir[T]{}, err
	}
	return Dir[T]{path}, nil
}

// Path is the folder of the thing id, where it may keep further files.
func (d Dir[T]) Path(id string) string { return filepath.Join(d.path, id) }

const name = "record.json"

// Put writes a record.
func (d Dir[T]) Put(id string, v *T) error {
	b, err := json.Marshal(v)
	if err != nil {
		return fmt.Errorf("encode record %s: %w", id, err)
	}
	final := filepath.Join(d.path, id, name)
	tmp := final + ".new"
	err = os.WriteFile(tmp, b, 0o600)
	if errors.Is(err, fs.ErrNotExist) {
		if err = os.Mkdir(d.Path(id), 0o700); err == nil || errors.Is(err, fs.ErrExist) {
			err = os.WriteFile(tmp, b, 0o600)
		}
	}
	if err == nil {
		err = os.Rename(tmp, final)
	}
	if err != nil {
		return fmt.Errorf("write record %s: %w", id, err)
	}
	return nil
}

// Delete removes a thing's folder; the record goes first, so that a crash in between leaves no record.
func (d Dir[T]) Delete(id string) error {
	if err := os.Remove(filepath.Join(d.path, id, name)); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("delete record %s: %w", id, err)
	}
	if err := os.RemoveAll(d.Path(id)); err != nil {
		return fmt.Errorf("delete record %s: %w", id, err)
	}
	return nil
}

// All reads every record. Damaged ones, and folders without one, are removed and named in damaged.
func (d Dir[T]) All() (all map[string]*T, damaged []string, err error) {
	entries, err := os.ReadDir(d.path)
	if err != nil {
		return nil, nil, err
	}
	all = map[string]*T{}
	for _, e := range entries {
		if !e.IsDir() {
			continue
		}
		b, err := os.ReadFile(filepath.Join(d.path, e.Name(), name))
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			return nil, nil, err
		}
		v := new(T)
		if err != nil || json.Unmarshal(b, v) != nil {
			damaged = append(damaged, e.Name())
			if err := d.Delete(e.Name()); err != nil {
				return nil, nil, err
			}
			continue
		}
		all[e.Name()] = v
	}
	return all, damaged, nil
}
