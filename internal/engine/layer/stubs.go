package layer

import (
	"archive/tar"
	"errors"
	"io"
	"path"
	"strings"
	"time"
)

// RuntimeTargets are places that the runtime mounts on in every container.
var RuntimeTargets = []string{"/dev", "/dev/pts", "/dev/shm", "/dev/mqueue", "/proc", "/sys", "/sys/fs/cgroup", "/etc/resolv.conf", "/etc/hosts", "/etc/hostname"}

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
