package record

import (
	"bytes"
	"encoding/json"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
)

// Earlier versions kept each record in one or two files in the thing's folder: what was put since a commit, and what was committed. The first that is
// whole is the record.
var earlier = []string{"latest.json", "record.json"}

// files reads the records of an earlier version.
func files(dir string) (map[string][]byte, error) {
	folders, err := os.ReadDir(dir)
	if err != nil {
		return nil, err
	}
	all := map[string][]byte{}
	for _, f := range folders {
		for _, name := range earlier {
			if _, found := all[f.Name()]; found || !f.IsDir() {
				continue
			}
			b, err := os.ReadFile(filepath.Join(dir, f.Name(), name))
			if err != nil && !errors.Is(err, fs.ErrNotExist) {
				return nil, err
			}
			if err == nil && json.Valid(b) {
				all[f.Name()] = b
			}
		}
	}
	return all, nil
}

// adopt takes over the records of an earlier version, unless a crash came between that and the files' removal.
func (j *journal) adopt() error {
	old, err := files(j.dir)
	if err != nil || len(old) == 0 {
		return err
	}
	for id, b := range old {
		if _, known := j.live[id]; known {
			continue
		}
		var one bytes.Buffer
		err := json.Compact(&one, b)
		if err == nil {
			_, err = j.add(opCommit, id, one.Bytes())
		}
		if err != nil {
			return err
		}
	}
	if err := j.file.Sync(); err != nil {
		return err
	}
	for id := range old {
		for _, name := range earlier {
			if err := os.Remove(filepath.Join(j.dir, id, name)); err != nil && !errors.Is(err, fs.ErrNotExist) {
				return err
			}
		}
		_ = os.Remove(filepath.Join(j.dir, id)) // unless it holds more
	}
	return nil
}
