package layer

import (
	"strings"

	"nau/internal/kernel"
)

// Options are the mount options besides the directories. Redirects and metadata-only copies would put content where Diff does not look.
func (m Mount) Options() []string {
	opts := []string{"index=off", "redirect_dir=off", "metacopy=off"}
	if m.Volatile {
		opts = append(opts, "volatile")
	}
	return opts
}

// Attach mounts the snapshot on target.
func (m Mount) Attach(target string) error {
	return m.overlay().MountAt(target, 0)
}

// Open makes the mount without a place: a descriptor for move_mount, in whatever namespace.
func (m Mount) Open() (int, error) {
	tree, err := m.overlay().Mount(0)
	if err != nil {
		return -1, err
	}
	return tree.Fd(), nil
}

func (m Mount) overlay() kernel.Overlay {
	o := kernel.Overlay{Lower: m.Lower, Upper: m.Upper, Work: m.Work}
	for _, option := range m.Options() {
		key, value, valued := strings.Cut(option, "=")
		o.Extra = append(o.Extra, kernel.Param{Key: key, Value: value, Flag: !valued})
	}
	return o
}
