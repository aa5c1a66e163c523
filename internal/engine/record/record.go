// Package record keeps small JSON records, so that a crash of the program leaves each old or new and never torn, and a loss of power leaves at least
// what was committed.
//
// The records of one type are the lines of one file, to which only is added, beside which a thing may have a folder for further files:
//
//	journal       one line a change: checksum, "put", "commit" or "delete", the thing's ID, the record
//	ID/           what else the thing keeps
//
// The last whole line about a thing is its record. Commits at one time share the disk's work: one writing of the file to disk serves all who wait. When
// most lines are out of date the file is written anew and renamed. After a loss of power lines at the end may be missing, empty or torn: then what was put
// since the last commit is lost, which is right for what describes running processes. A folder without a record is what is left of a thing that was never
// committed; All reports it as damaged, and the caller treats it as never made. The engine's rooms import it.
package record

import (
	"bytes"
	"crypto/rand"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
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
type Dir[T any] struct{ j *journal }

// Open makes the folder, or reads what is there.
func Open[T any](path string) (Dir[T], error) {
	j, err := openJournal(path)
	if err != nil {
		return Dir[T]{}, fmt.Errorf("open records %s: %w", path, err)
	}
	return Dir[T]{j}, nil
}

// Close ends what runs in the background, and the file stays as it is: another may open the folder. Changes that are under way come into it still.
func (d Dir[T]) Close() { d.j.close() }

// Path is the folder of the thing id, where it may keep further files. It is there when somebody made it.
func (d Dir[T]) Path(id string) string { return filepath.Join(d.j.dir, id) }

// Put writes a record that a crash of the program does not take away.
func (d Dir[T]) Put(id string, v *T) error {
	b, err := json.Marshal(v)
	if err == nil {
		_, err = d.j.add(opPut, id, b)
	}
	if err != nil {
		return fmt.Errorf("write record %s: %w", id, err)
	}
	return nil
}

// Commit writes a record that a loss of power does not take away either.
func (d Dir[T]) Commit(id string, v *T) error {
	b, err := json.Marshal(v)
	if err == nil {
		err = d.j.commit(id, b)
	}
	if err != nil {
		return fmt.Errorf("commit record %s: %w", id, err)
	}
	return nil
}

// Replace writes a file for which one record is enough: a reader sees the old or the new content, and a loss of power does not take the new one away.
// What is there already is not written again, so that a start needs no room on a full disk; what cannot be written leaves nothing.
func Replace(path string, b []byte) error {
	if have, err := os.ReadFile(path); err == nil && bytes.Equal(have, b) {
		return nil
	}
	f, err := os.OpenFile(path+".new", os.O_WRONLY|os.O_CREATE|os.O_TRUNC, 0o600)
	if err != nil {
		return err
	}
	_, err = f.Write(b)
	if err == nil {
		err = f.Sync()
	}
	if err = errors.Join(err, f.Close()); err == nil {
		err = os.Rename(path+".new", path)
	}
	if err != nil {
		return errors.Join(err, os.Remove(path+".new"))
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

// Delete forgets a thing and removes its folder; the record goes first, so that a crash in between leaves a folder that All cleans.
func (d Dir[T]) Delete(id string) error {
	if err := d.j.delete(id); err != nil {
		return fmt.Errorf("delete record %s: %w", id, err)
	}
	if err := os.RemoveAll(d.Path(id)); err != nil {
		return fmt.Errorf("delete record %s: %w", id, err)
	}
	return nil
}

// All reads every record. Damaged ones, and folders without one, are removed and named in damaged.
func (d Dir[T]) All() (all map[string]*T, damaged []string, err error) {
	lines, err := d.j.all()
	if err != nil {
		return nil, nil, err
	}
	if all, damaged, err = decode[T](d.j.dir, lines); err != nil {
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
	lines, err := look(path)
	if err != nil {
		return nil, nil, err
	}
	return decode[T](path, lines)
}

func decode[T any](path string, lines map[string][]byte) (all map[string]*T, damaged []string, err error) {
	all = make(map[string]*T, len(lines))
	for id, b := range lines {
		v := new(T)
		if err := json.Unmarshal(b, v); err != nil {
			damaged = append(damaged, id)
			continue
		}
		all[id] = v
	}
	folders, err := os.ReadDir(path)
	if err != nil {
		return nil, nil, err
	}
	for _, f := range folders {
		if _, known := lines[f.Name()]; f.IsDir() && !known {
			damaged = append(damaged, f.Name())
		}
	}
	return all, damaged, nil
}
