package layer

import (
	"errors"
	"fmt"
	"strings"

	"golang.org/x/sys/unix"
)

// Options are the mount options besides the directories. Redirects and metadata-only copies would put content where Diff does not look.
func (m Mount) Options() []string {
	opts := []string{"index=off", "redirect_dir=off", "metacopy=off"}
	if m.Volatile {
		opts = append(opts, "volatile")
	}
	return opts
}

// Attach mounts the snapshot on target, with the new mount API: one call per lower directory, so that neither their number nor the length of
// their paths nor a colon in them matters. Kernels before 6.5 lack "lowerdir+"; there all lowers share one option string.
func (m Mount) Attach(target string) error {
	fd, err := m.Open()
	if err != nil {
		return err
	}
	defer unix.Close(fd)
	if err := unix.MoveMount(fd, "", unix.AT_FDCWD, target, unix.MOVE_MOUNT_F_EMPTY_PATH); err != nil {
		return fmt.Errorf("mount snapshot on %s: %w", target, err)
	}
	return nil
}

// Open makes the mount without a place: a descriptor for move_mount, in whatever namespace.
func (m Mount) Open() (int, error) {
	fd, err := m.open(true)
	if errors.Is(err, unix.EINVAL) {
		fd, err = m.open(false)
	}
	return fd, err
}

func (m Mount) open(each bool) (int, error) {
	fs, err := unix.Fsopen("overlay", unix.FSOPEN_CLOEXEC)
	if err != nil {
		return -1, fmt.Errorf("open overlay file system: %w", err)
	}
	defer unix.Close(fs)
	set := func(key, value string) error {
		if err := unix.FsconfigSetString(fs, key, value); err != nil {
			return fmt.Errorf("configure overlay: %s=%s: %w%s", key, value, err, complaint(fs))
		}
		return nil
	}
	if err := set("source", "overlay"); err != nil {
		return -1, err
	}
	if each {
		for _, l := range m.Lower {
			if err := set("lowerdir+", l); err != nil {
				return -1, err
			}
		}
	} else if err := set("lowerdir", strings.Join(m.Lower, ":")); err != nil {
		return -1, err
	}
	if m.Upper != "" {
		if err := set("upperdir", m.Upper); err != nil {
			return -1, err
		}
		if err := set("workdir", m.Work); err != nil {
			return -1, err
		}
	}
	for _, o := range m.Options() {
		k, v, value := strings.Cut(o, "=")
		if value {
			err = set(k, v)
		} else if err = unix.FsconfigSetFlag(fs, k); err != nil {
			err = fmt.Errorf("configure overlay: %s: %w%s", k, err, complaint(fs))
		}
		if err != nil {
			return -1, err
		}
	}
	if err := unix.FsconfigCreate(fs); err != nil {
		return -1, fmt.Errorf("create overlay: %w%s", err, complaint(fs))
	}
	fd, err := unix.Fsmount(fs, unix.FSMOUNT_CLOEXEC, 0)
	if err != nil {
		return -1, fmt.Errorf("mount overlay: %w", err)
	}
	return fd, nil
}

// complaint reads what the kernel has to say about a configuration.
func complaint(fs int) string {
	var buf [512]byte
	n, err := unix.Read(fs, buf[:])
	if err != nil || n == 0 {
		return ""
	}
	return " (" + strings.TrimSpace(string(buf[:n])) + ")"
}
