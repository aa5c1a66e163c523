package logs

import (
	"context"
	"fmt"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"
)

// watcher tells when a log file has grown or was replaced.
type watcher struct {
	news chan struct{}
	f    *os.File
	stop func() bool
}

func watch(ctx context.Context, path string) (*watcher, error) {
	fd, err := unix.InotifyInit1(unix.IN_CLOEXEC | unix.IN_NONBLOCK)
	if err != nil {
		return nil, fmt.Errorf("watch log: %w", err)
	}
	for p, mask := range map[string]uint32{path: unix.IN_MODIFY, filepath.Dir(path): unix.IN_CREATE | unix.IN_MOVED_TO} {
		if _, err := unix.InotifyAddWatch(fd, p, mask); err != nil {
			unix.Close(fd)
			return nil, fmt.Errorf("watch log %s: %w", p, err)
		}
	}
	w := &watcher{news: make(chan struct{}, 1), f: os.NewFile(uintptr(fd), "inotify")}
	w.stop = context.AfterFunc(ctx, func() { w.f.Close() })
	go func() {
		buf := make([]byte, 4096)
		for {
			n, err := w.f.Read(buf)
			if err != nil || n == 0 {
				return
			}
			// After a rotation the new file has to be watched; adding one that is watched already changes nothing.
			if raw, err := w.f.SyscallConn(); err == nil {
				_ = raw.Control(func(fd uintptr) { _, _ = unix.InotifyAddWatch(int(fd), path, unix.IN_MODIFY) })
			}
			select {
			case w.news <- struct{}{}:
			default:
			}
		}
	}()
	return w, nil
}

func (w *watcher) close() {
	w.stop()
	w.f.Close()
}
