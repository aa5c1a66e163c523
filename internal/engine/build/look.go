package build

import (
	"io"
	"os"
	"path"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"nau/internal/kernel"
)

// File describes one file of a result.
type File struct {
	Name     string
	Mode     os.FileMode
	UID, GID uint32
	Size     int64
	Changed  time.Time
	Link     string
}

// StatBelow describes a file below dir; nothing leads out of dir.
func StatBelow(dir, name string) (File, error) {
	t, err := openTree(dir)
	if err != nil {
		return File{}, err
	}
	defer t.close()
	return t.look(strings.TrimPrefix(path.Clean("/"+name), "/"))
}

// ListBelow lists a folder below dir, sorted by name.
func ListBelow(dir, name string) (out []File, err error) {
	t, err := openTree(dir)
	if err != nil {
		return nil, err
	}
	defer t.close()
	name = strings.TrimPrefix(path.Clean("/"+name), "/")
	names, err := t.names(name)
	if err != nil {
		return nil, err
	}
	for _, n := range names {
		f, err := t.look(path.Join(name, n))
		if err != nil {
			return nil, err
		}
		out = append(out, f)
	}
	return out, nil
}

// OpenBelow opens a file of a folder; nothing leads out of the folder.
func OpenBelow(dir, name string) (io.ReadCloser, error) {
	t, err := openTree(dir)
	if err != nil {
		return nil, err
	}
	defer t.close()
	fd, err := kernel.OpenFileInRoot(t.root, strings.TrimPrefix(path.Clean("/"+name), "/"))
	if err != nil {
		return nil, err
	}
	return os.NewFile(uintptr(fd), name), nil
}

// look describes a name without following a link that it is.
func (t *tree) look(name string) (f File, err error) {
	f.Name = path.Base("/" + name)
	dir, err := t.open(path.Dir(name))
	if err != nil {
		return f, err
	}
	defer unix.Close(dir)
	at := path.Base(name)
	if name == "" {
		at = "."
	}
	var st unix.Stat_t
	if err := unix.Fstatat(dir, at, &st, unix.AT_SYMLINK_NOFOLLOW); err != nil {
		return f, err
	}
	f.Mode, f.UID, f.GID, f.Size, f.Changed = os.FileMode(st.Mode&0o777), st.Uid, st.Gid, st.Size, time.Unix(st.Mtim.Sec, st.Mtim.Nsec)
	switch st.Mode & unix.S_IFMT {
	case unix.S_IFDIR:
		f.Mode |= os.ModeDir
	case unix.S_IFLNK:
		f.Mode |= os.ModeSymlink
		buf := make([]byte, unix.PathMax)
		n, err := unix.Readlinkat(dir, at, buf)
		if err != nil {
			return f, err
		}
		f.Link = string(buf[:n])
	}
	return f, nil
}
