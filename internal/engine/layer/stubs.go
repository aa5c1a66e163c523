package layer

import (
	"archive/tar"
	"errors"
	"io"
	"os"
	"path"
	"path/filepath"
	"strings"
	"time"
)

// RuntimeTargets are places that the runtime mounts on in every container.
var RuntimeTargets = []string{"/dev", "/dev/pts", "/dev/shm", "/dev/mqueue", "/proc", "/sys", "/sys/fs/cgroup", "/etc/resolv.conf", "/etc/hosts", "/etc/hostname"}

// Targets is the folder that has a place for each of RuntimeTargets that no mount of the runtime's own brings. Beneath all layers of a container it
// saves the making of them in each container's own layer, with copies of the image's folders that they lie in; where an image has something else
// in a place, or hides it, the image's counts.
func (s *Store) Targets() string { return s.path("r") }

// makeTargets makes what is missing in the folder of Targets.
func makeTargets(dir string) error {
	for _, folder := range []string{"dev", "proc", "sys", "etc"} {
		folder = filepath.Join(dir, folder)
		if err := errors.Join(os.MkdirAll(folder, 0o755), os.Chmod(folder, 0o755)); err != nil { // whatever the umask is
			return err
		}
	}
	for _, t := range RuntimeTargets {
		if path.Dir(t) != "/etc" {
			continue
		}
		f, err := os.OpenFile(filepath.Join(dir, t), os.O_CREATE|os.O_RDONLY, 0o755)
		if err != nil {
			return err
		}
		err = f.Chmod(0o755)
		f.Close()
		if err != nil {
			return err
		}
	}
	return nil
}

// Stubs finds what the runtime made only to have something to mount on: places of mounts, and folders on the way to them, that are new or as they
// were, and hold nothing else. They are left out of the layer; nothing is ever deleted for it. Changes are sorted by path.
func Stubs(changes []Change, targets []string) map[string]bool {
	kinds := map[string]Change{}
	children := map[string]int{}
	for _, c := range changes {
		kinds[c.Path] = c
		children[path.Dir(c.Path)]++
	}
	out := map[string]bool{}
	for _, t := range targets {
		t = path.Clean("/" + t)
		for first := true; t != "/"; first = false {
			c, changed := kinds[t]
			mine := c.Kind == Added || c.Kind == Modified && c.Same && !first
			if out[t] || changed && (children[t] > 0 || !mine) {
				break
			}
			if !changed {
				if !first {
					break
				}
				t = path.Dir(t)
				continue
			}
			out[t] = true
			children[path.Dir(t)]--
			t = path.Dir(t)
		}
	}
	return out
}

// Rewrite copies a layer's archive without the names in drop, and with no time after epoch when there is one.
func Rewrite(w io.Writer, r io.Reader, drop map[string]bool, epoch *time.Time) error {
	tr, tw := tar.NewReader(r), tar.NewWriter(w)
	for {
		h, err := tr.Next()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return err
		}
		if drop["/"+strings.Trim(h.Name, "/")] && (h.Typeflag == tar.TypeDir || h.Typeflag == tar.TypeReg && h.Size == 0) {
			continue
		}
		if epoch != nil {
			h.AccessTime, h.ChangeTime = time.Time{}, time.Time{}
			if h.ModTime.After(*epoch) {
				h.ModTime = *epoch
			}
			for _, k := range []string{"atime", "ctime", "mtime"} {
				delete(h.PAXRecords, k)
			}
		}
		if err := tw.WriteHeader(h); err != nil {
			return err
		}
		if _, err := io.Copy(tw, tr); err != nil {
			return err
		}
	}
	if err := tw.Close(); err != nil {
		return err
	}
	_, err := io.Copy(io.Discard, r)
	return err
}
