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
	return m.AttachWith(target, 0)
}

// AttachWith is Attach with MOUNT_ATTR_ bits.
func (m Mount) AttachWith(target string, attrs int) error {
	tree, err := m.Tree(attrs)
	if err != nil {
		return err
	}
	defer tree.Close()
	return tree.AttachPath(target)
}

// Tree makes the mount without a place, with MOUNT_ATTR_ bits.
func (m Mount) Tree(attrs int) (*kernel.Tree, error) {
	o := m.overlay()
	if m.Owners.IsZero() {
		return o.Mount(attrs)
	}
	var err error
	if m.UserNS != "" {
		o.UserNS, err = kernel.OpenNamespace(m.UserNS, kernel.User)
	} else {
		o.UserNS, err = m.Owners.Namespace()
	}
	if err != nil {
		return nil, err
	}
	defer kernel.Close(o.UserNS)
	o.Base = m.Base
	return o.Mount(attrs)
}

// Open makes the mount without a place: a descriptor for move_mount, in whatever namespace.
func (m Mount) Open() (int, error) {
	tree, err := m.Tree(0)
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
