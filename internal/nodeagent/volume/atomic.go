package volume

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
)

// File is one file of a volume whose content the agent writes.
type File struct {
	Data []byte
	Mode fs.FileMode
	UID  *int64 // owner; nil: root
}

// Payload maps relative paths to files.
type Payload map[string]File

const dataLink = "..data"

// writeAtomic makes dir show exactly payload: a fresh directory is filled, then ..data is renamed over. It tells whether
// anything changed. gid, if not nil, owns all files.
func writeAtomic(dir string, payload Payload, gid *int64) (bool, error) {
	for name := range payload {
		if err := validPath(name); err != nil {
			return false, err
		}
	}
	old, _ := os.Readlink(filepath.Join(dir, dataLink))
	if old != "" && same(filepath.Join(dir, old), payload) {
		return false, relink(dir, payload)
	}
	fresh, err := os.MkdirTemp(dir, "..nau_")
	if err != nil {
		return false, fmt.Errorf("write volume: %w", err)
	}
	if err := fill(fresh, payload, gid); err != nil {
		_ = os.RemoveAll(fresh)
		return false, err
	}
	tmp := filepath.Join(dir, "..data_tmp")
	_ = os.Remove(tmp)
	if err := os.Symlink(filepath.Base(fresh), tmp); err != nil {
		return false, fmt.Errorf("write volume: %w", err)
	}
	if err := os.Rename(tmp, filepath.Join(dir, dataLink)); err != nil {
		return false, fmt.Errorf("write volume: %w", err)
	}
	if err := relink(dir, payload); err != nil {
		return false, err
	}
	if old != "" {
		_ = os.RemoveAll(filepath.Join(dir, filepath.Base(old)))
	}
	return true, nil
}

// validPath refuses what could leave the volume or hide the agent's own entries.
func validPath(name string) error {
	if name == "" || filepath.IsAbs(name) || strings.HasPrefix(name, "..") {
		return fmt.Errorf("write volume: path %q is not allowed", name)
	}
	for _, part := range strings.Split(name, "/") {
		if part == ".." {
			return fmt.Errorf("write volume: path %q must not contain '..'", name)
		}
	}
	return nil
}

func fill(dir string, payload Payload, gid *int64) error {
	if err := os.Chmod(dir, 0o755); err != nil {
		return fmt.Errorf("write volume: %w", err)
	}
	own := func(path string, mode fs.FileMode, uid *int64, isDir bool) error {
		u, g := -1, -1
		if uid != nil {
			u = int(*uid)
		}
		if gid != nil {
			g = int(*gid)
			if isDir {
				mode |= 0o110 | fs.ModeSetgid
			}
			mode |= 0o440
		}
		if u >= 0 || g >= 0 {
			if err := os.Lchown(path, u, g); err != nil {
				return err
			}
		}
		return os.Chmod(path, mode)
	}
	if gid != nil {
		if err := own(dir, 0o755, nil, true); err != nil {
			return fmt.Errorf("write volume: %w", err)
		}
	}
	for name, f := range payload {
		path := filepath.Join(dir, name)
		if parent := filepath.Dir(path); parent != dir {
			if err := os.MkdirAll(parent, 0o755); err != nil {
				return fmt.Errorf("write volume: %w", err)
			}
			if gid != nil {
				for p := parent; p != dir; p = filepath.Dir(p) {
					if err := own(p, 0o755, nil, true); err != nil {
						return fmt.Errorf("write volume: %w", err)
					}
				}
			}
		}
		if err := os.WriteFile(path, f.Data, f.Mode.Perm()); err != nil {
			return fmt.Errorf("write volume: %w", err)
		}
		if err := own(path, f.Mode.Perm(), f.UID, false); err != nil {
			return fmt.Errorf("write volume: %w", err)
		}
	}
	return nil
}

// same tells whether dir holds exactly payload's contents and modes.
func same(dir string, payload Payload) bool {
	n := 0
	err := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		rel, _ := filepath.Rel(dir, path)
		f, ok := payload[rel]
		if !ok {
			return errors.New("more")
		}
		have, err := os.ReadFile(path)
		if err != nil || !bytes.Equal(have, f.Data) {
			return errors.New("other")
		}
		n++
		return nil
	})
	return err == nil && n == len(payload)
}

// relink makes the visible names point through ..data and removes those that are no more.
func relink(dir string, payload Payload) error {
	want := map[string]bool{}
	for name := range payload {
		first, _, _ := strings.Cut(filepath.Clean(name), "/")
		want[first] = true
	}
	for name := range want {
		err := os.Symlink(filepath.Join(dataLink, name), filepath.Join(dir, name))
		if err != nil && !errors.Is(err, fs.ErrExist) {
			return fmt.Errorf("write volume: %w", err)
		}
	}
	entries, err := os.ReadDir(dir)
	if err != nil {
		return fmt.Errorf("write volume: %w", err)
	}
	for _, e := range entries {
		if !want[e.Name()] && !strings.HasPrefix(e.Name(), "..") {
			if err := os.Remove(filepath.Join(dir, e.Name())); err != nil {
				return fmt.Errorf("write volume: %w", err)
			}
		}
	}
	return nil
}
