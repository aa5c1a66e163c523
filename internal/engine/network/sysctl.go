package network

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
)

// sysctls changes settings of the host and remembers what they were, in a file written before the first change.
type sysctls struct {
	file string
	root string // "/proc/sys"
	was  map[string]string
}

func openSysctls(file string) (*sysctls, error) {
	s := &sysctls{file: file, root: "/proc/sys", was: map[string]string{}}
	b, err := os.ReadFile(file)
	switch {
	case errors.Is(err, fs.ErrNotExist):
	case err != nil:
		return nil, err
	default:
		if err := json.Unmarshal(b, &s.was); err != nil {
			return nil, fmt.Errorf("read saved sysctls %s: %w", file, err)
		}
	}
	return s, nil
}

// set writes a value ("net/ipv4/ip_forward", "1") unless it stands already. A setting that this host does not have is passed over.
func (s *sysctls) set(name, value string) error {
	path := filepath.Join(s.root, name)
	b, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("read sysctl %s: %w", name, err)
	}
	old := strings.TrimSpace(string(b))
	if old == value {
		return nil
	}
	if _, saved := s.was[name]; !saved {
		s.was[name] = old
		if err := s.save(); err != nil {
			return err
		}
	}
	if err := os.WriteFile(path, []byte(value), 0o644); err != nil {
		return fmt.Errorf("write sysctl %s: %w", name, err)
	}
	return nil
}

func (s *sysctls) save() error {
	b, err := json.Marshal(s.was)
	if err != nil {
		return err
	}
	return writeFile(s.file, b)
}

// restore writes the remembered values back, in the settings that still exist.
func (s *sysctls) restore() error {
	var errs []error
	for name, old := range s.was {
		if err := os.WriteFile(filepath.Join(s.root, name), []byte(old), 0o644); err != nil && !errors.Is(err, fs.ErrNotExist) {
			errs = append(errs, fmt.Errorf("restore sysctl %s: %w", name, err))
		}
	}
	if len(errs) == 0 {
		s.was = map[string]string{}
		_ = os.Remove(s.file)
	}
	return errors.Join(errs...)
}

// writeFile replaces a small file so that a reader sees the old or the new content, never a part.
func writeFile(path string, b []byte) error {
	tmp := path + ".new"
	if err := os.WriteFile(tmp, b, 0o600); err != nil {
		return err
	}
	return os.Rename(tmp, path)
}
