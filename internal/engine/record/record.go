// Package record keeps small JSON records, one folder a thing, so that a crash of the program leaves each old or new and never torn, and a loss of
// power leaves at least what was committed.
//
// A folder holds up to two files, each written beside and renamed:
//
//	record.json   what was committed: on disk when Commit returns
//	latest.json   what was put since, not forced to disk; a commit takes it away
//
// The newer one that is whole is the record. After a loss of power latest.json may be missing, empty or old: then what was put since the last commit is
// lost, which is right for what describes running processes. A thing that was never committed may be lost altogether, which All reports as damaged where
// something of it is left, and the caller then treats it as never made. The engine's rooms import it.
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

// Dir is a folder of records of one type. Calls about one thing do not overlap; those about several may.
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

const (
	committed = "record.json"
	latest    = "latest.json"
)

// Put writes a record that a crash of the program does not take away.
func (d Dir[T]) Put(id string, v *T) error {
	if err := d.write(id, latest, v, false); err != nil {
		return fmt.Errorf("write record %s: %w", id, err)
	}
	return nil
}

// Commit writes a record that a loss of power does not take away either. Commits at one time share the disk's work: it is the file system's journal
// that they wait for.
func (d Dir[T]) Commit(id string, v *T) error {
	err := d.write(id, committed, v, true)
	if err == nil {
		// The order is the journal's too: where this is gone, the new record is there.
		err = os.Remove(filepath.Join(d.path, id, latest))
		if errors.Is(err, fs.ErrNotExist) {
			err = nil
		}
	}
	if err = errors.Join(err, syncFolder(d.Path(id)), syncFolder(d.path)); err != nil {
		return fmt.Errorf("commit record %s: %w", id, err)
	}
	return nil
}

func (d Dir[T]) write(id, name string, v *T, sync bool) error {
	b, err := json.Marshal(v)
	if err != nil {
		return err
	}
	final := filepath.Join(d.path, id, name)
	written := final + ".new"
	f, err := os.OpenFile(written, os.O_WRONLY|os.O_CREATE|os.O_TRUNC, 0o600)
	if errors.Is(err, fs.ErrNotExist) {
		if err = os.Mkdir(d.Path(id), 0o700); err != nil && !errors.Is(err, fs.ErrExist) {
			return err
		}
		// The first record has nothing to replace, and half of one counts as none: no renaming, which the disk would have to hear of too.
		written = final
		f, err = os.OpenFile(written, os.O_WRONLY|os.O_CREATE|os.O_TRUNC, 0o600)
	}
	if err != nil {
		return err
	}
	_, err = f.Write(b)
	if err == nil && sync {
		err = f.Sync()
	}
	if err = errors.Join(err, f.Close()); err != nil {
		return err
	}
	if written == final {
		return nil
	}
	return os.Rename(written, final)
}

// Replace writes a file for which one record is enough: a reader sees the old or the new content, and a loss of power does not take the new one away.
func Replace(path string, b []byte) error {
	f, err := os.OpenFile(path+".new", os.O_WRONLY|os.O_CREATE|os.O_TRUNC, 0o600)
	if err != nil {
		return err
	}
	_, err = f.Write(b)
	if err == nil {
		err = f.Sync()
	}
	if err = errors.Join(err, f.Close()); err != nil {
		return err
	}
	if err := os.Rename(path+".new", path); err != nil {
		return err
	}
	return syncFolder(filepath.Dir(path))
}

func syncFolder(path string) error {
	f, err := os.Open(path)
	if err != nil {
		return err
	}
	return errors.Join(f.Sync(), f.Close())
}

// Delete removes a thing's folder; the records go first, the older one before the newer, so that a crash in between leaves none that is out of date.
func (d Dir[T]) Delete(id string) error {
	for _, name := range []string{committed, latest} {
		if err := os.Remove(filepath.Join(d.path, id, name)); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return fmt.Errorf("delete record %s: %w", id, err)
		}
	}
	if err := os.RemoveAll(d.Path(id)); err != nil {
		return fmt.Errorf("delete record %s: %w", id, err)
	}
	return nil
}

// All reads every record. Damaged ones, and folders without one, are removed and named in damaged.
func (d Dir[T]) All() (all map[string]*T, damaged []string, err error) {
	all, damaged, err = Look[T](d.path)
	if err != nil {
		return nil, nil, err
	}
	for _, id := range damaged {
		if err := d.Delete(id); err != nil {
			return nil, nil, err
		}
	}
	return all, damaged, nil
}

// Look reads every record of the folder path and changes nothing, for who looks on while another program owns the folder. A thing that is being
// made or removed at that moment may count as damaged.
func Look[T any](path string) (all map[string]*T, damaged []string, err error) {
	entries, err := os.ReadDir(path)
	if err != nil {
		return nil, nil, err
	}
	d := Dir[T]{path}
	all = map[string]*T{}
	for _, e := range entries {
		if !e.IsDir() {
			continue
		}
		v, err := d.read(e.Name())
		if err != nil {
			return nil, nil, err
		}
		if v == nil {
			damaged = append(damaged, e.Name())
			continue
		}
		all[e.Name()] = v
	}
	return all, damaged, nil
}

// read gives the newest whole record of a thing, nil if there is none.
func (d Dir[T]) read(id string) (*T, error) {
	for _, name := range []string{latest, committed} {
		b, err := os.ReadFile(filepath.Join(d.path, id, name))
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			return nil, err
		}
		if v := new(T); err == nil && json.Unmarshal(b, v) == nil {
			return v, nil
		}
	}
	return nil, nil
}
