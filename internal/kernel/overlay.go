package kernel

import (
	"cmp"
	"errors"
	"fmt"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// Overlay describes an overlay file system. Lower is top first. Without Upper it is read-only and needs at least two
// lowers, which is overlayfs's own rule.
type Overlay struct {
	Lower       []string
	Upper, Work string
	Source      string  // shown in mountinfo; "" is "overlay"
	Extra       []Param // such as {Key: "volatile", Flag: true}

	// With a user namespace, the lower folders below Base are shown through its mapping (Linux 5.19): what user 0 owns there belongs to the
	// namespace's root. Upper is not: its files are owned by the users that the host sees.
	Base   string
	UserNS int
}

// Mount mounts the overlay detached. Each lower folder is a parameter of its own (lowerdir+), so that neither their number nor colons in their names
// matter. Before Linux 6.5 there is one text with all of them; where that is too long for a parameter, a mount of the old kind is made out of sight.
func (o Overlay) Mount(attrs int) (*Tree, error) {
	o.Source = cmp.Or(o.Source, "overlay")
	switch {
	case o.UserNS > 0:
		return o.mountMapped(attrs)
	case CanOverlayAppend():
		return o.mountEach(attrs)
	case o.fits():
		return NewFilesystem("overlay", o.Source, attrs, o.options()...)
	}
	return o.mountAside(attrs, nil)
}

// mountMapped mounts over one mapped clone of Base.
func (o Overlay) mountMapped(attrs int) (*Tree, error) {
	if CanOverlayAppend() {
		if tree, err := o.mapped(Overlay.mountEach, attrs); !errors.Is(err, unix.EINVAL) {
			return tree, err
		}
	}
	return o.MountPlaced(attrs)
}

// MountPlaced is Mount for an overlay with a user namespace where the layers have to lie in the mounting thread's own mounts, before Linux 6.15: the
// mapped clone is given a place there, out of sight.
func (o Overlay) MountPlaced(attrs int) (*Tree, error) {
	return o.mapped(func(plain Overlay, attrs int) (*Tree, error) {
		clone := plain.UserNS
		plain.UserNS = 0
		return plain.mountAside(attrs, func() error { return (&Tree{clone}).AttachPath(o.Base) })
	}, attrs)
}

// mapped calls mount with the same overlay, whose folders are those of the clone, and whose UserNS is the clone's descriptor.
func (o Overlay) mapped(mount func(Overlay, int) (*Tree, error), attrs int) (*Tree, error) {
	o.Source = cmp.Or(o.Source, "overlay")
	clone, err := CloneTree(unix.AT_FDCWD, o.Base, false)
	if err != nil {
		return nil, err
	}
	defer clone.Close()
	if err := clone.SetAttr(Attr{UserNS: o.UserNS, Propagation: unix.MS_PRIVATE}); err != nil {
		return nil, fmt.Errorf("map owners of %s: %w", o.Base, err)
	}
	place := "/proc/self/fd/" + strconv.Itoa(clone.Fd())
	plain, base := o, strings.TrimSuffix(o.Base, "/")
	plain.UserNS, plain.Lower = clone.Fd(), make([]string, len(o.Lower))
	for i, dir := range o.Lower {
		rest, ok := strings.CutPrefix(dir+"/", base+"/")
		if !ok {
			plain.Lower[i] = dir
			continue
		}
		plain.Lower[i] = place + "/" + strings.TrimSuffix(rest, "/")
	}
	return mount(plain, attrs)
}

func (o Overlay) mountEach(attrs int) (*Tree, error) {
	params := make([]Param, 0, len(o.Lower)+2+len(o.Extra))
	for _, l := range o.Lower {
		params = append(params, Param{Key: "lowerdir+", Value: l})
	}
	return NewFilesystem("overlay", o.Source, attrs, append(params, o.rest()...)...)
}

// options are all options with the lower folders as one text.
func (o Overlay) options() []Param {
	return append([]Param{{Key: "lowerdir", Value: strings.Join(o.Lower, ":")}}, o.rest()...)
}

func (o Overlay) rest() (params []Param) {
	if o.Upper != "" {
		params = append(params, Param{Key: "upperdir", Value: o.Upper}, Param{Key: "workdir", Value: o.Work})
	}
	return append(params, o.Extra...)
}

// maxParam is what fsconfig(2) takes as a value, with its end.
const maxParam = 256

// fits tells whether the options as one text do for fsconfig: short, and without characters that part folders and options.
func (o Overlay) fits() bool {
	for _, dir := range append([]string{o.Upper, o.Work}, o.Lower...) {
		if len(dir) >= maxParam || strings.ContainsAny(dir, `:,\`) {
			return false
		}
	}
	return len(strings.Join(o.Lower, ":")) < maxParam
}

// mountAside mounts with mount(2), which takes a page of options, in a mount namespace of one thread, and takes the mount from there. Folders are
// named by descriptors: the page holds the 500 that overlayfs allows at most only with such names. attrs are set afterwards. first, if any, runs in
// that namespace before all else.
func (o Overlay) mountAside(attrs int, first func() error) (tree *Tree, err error) {
	err = OnThread(func() error {
		if err := unix.Unshare(unix.CLONE_NEWNS); err != nil {
			return fmt.Errorf("unshare mounts for an overlay: %w", err)
		}
		if err := unix.Mount("", "/", "", unix.MS_REC|unix.MS_SLAVE, ""); err != nil {
			return fmt.Errorf("keep mounts private for an overlay: %w", err)
		}
		if first != nil {
			if err := first(); err != nil {
				return err
			}
		}
		named, hold, err := o.byDescriptor()
		defer closeAll(hold)
		if err != nil {
			return err
		}
		var data []string
		for _, p := range named.options() {
			if p.Flag {
				data = append(data, p.Key)
			} else {
				data = append(data, p.Key+"="+p.Value)
			}
		}
		// Any folder is as good a place as another: nobody sees this namespace.
		place := o.Lower[0]
		if err := unix.Mount(o.Source, place, "overlay", 0, strings.Join(data, ",")); err != nil {
			return fmt.Errorf("mount overlay of %d folders: %w", len(o.Lower), err)
		}
		if tree, err = CloneTree(unix.AT_FDCWD, place, false); err != nil {
			return err
		}
		if err := tree.SetAttr(Attr{Set: uint64(attrs), Propagation: unix.MS_PRIVATE}); err != nil {
			tree.Close()
			return err
		}
		return nil
	})
	return tree, err
}

// byDescriptor is the same overlay with its folders named by descriptors, which the caller closes, also after an error.
func (o Overlay) byDescriptor() (named Overlay, hold []int, err error) {
	name := func(dir string) string {
		if dir == "" || err != nil {
			return ""
		}
		fd, e := unix.Open(dir, unix.O_PATH|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
		if e != nil {
			err = fmt.Errorf("open folder %s of an overlay: %w", dir, e)
			return ""
		}
		hold = append(hold, fd)
		return "/proc/self/fd/" + strconv.Itoa(fd)
	}
	named = o
	named.Lower = make([]string, len(o.Lower))
	for i, dir := range o.Lower {
		named.Lower[i] = name(dir)
	}
	named.Upper, named.Work = name(o.Upper), name(o.Work)
	return named, hold, err
}

func closeAll(fds []int) {
	for _, fd := range fds {
		_ = unix.Close(fd)
	}
}

// MountAt mounts the overlay at target, which must exist.
func (o Overlay) MountAt(target string, attrs int) error {
	tree, err := o.Mount(attrs)
	if err != nil {
		return err
	}
	defer tree.Close()
	return tree.AttachPath(target)
}
