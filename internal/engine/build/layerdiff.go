package build

import (
	"archive/tar"
	"errors"
	"io"
	"path"
	"strings"
	"time"

	"nau/internal/engine/layer"
)

// stubs finds what the runtime made only to have something to mount on: places of mounts, and folders on the way to them, that are new and
// hold nothing else. They are left out of the layer; nothing is ever deleted for it. Changes are sorted by path.
func stubs(changes []layer.Change, targets []string) map[string]bool {
	kinds := map[string]layer.ChangeKind{}
	children := map[string]int{}
	for _, c := range changes {
		kinds[c.Path] = c.Kind
		children[path.Dir(c.Path)]++
	}
	out := map[string]bool{}
	for _, t := range targets {
		t = path.Clean("/" + t)
		for first := true; t != "/"; first = false {
			kind, changed := kinds[t]
			if out[t] || changed && (kind == layer.Deleted || children[t] > 0) || changed && kind != layer.Added {
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

// rewrite copies a layer's archive without the names in drop, and with no time after epoch when there is one.
func rewrite(w io.Writer, r io.Reader, drop map[string]bool, epoch *time.Time) error {
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
