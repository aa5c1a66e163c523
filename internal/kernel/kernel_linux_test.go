package kernel

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

func needRoot(t *testing.T) {
	t.Helper()
	if err := Root.Check(); err != nil {
		t.Skip(err)
	}
}

func TestPinnedNamespacesOutliveTheirMaker(t *testing.T) {
	needRoot(t)
	dir := t.TempDir()
	pins := map[Namespace]string{Net: filepath.Join(dir, "a/net"), UTS: filepath.Join(dir, "a/uts"), IPC: filepath.Join(dir, "a/ipc")}
	if err := Pin(pins, nil); err != nil {
		t.Fatal(err)
	}
	before, err := os.Hostname()
	if err != nil {
		t.Fatal(err)
	}
	if err := EnterAll(pins, func() error { return unix.Sethostname([]byte("pinned")) }); err != nil {
		t.Fatal(err)
	}
	var inside string
	if err := Enter(pins[UTS], UTS, func() error {
		var u unix.Utsname
		err := unix.Uname(&u)
		inside = unix.ByteSliceToString(u.Nodename[:])
		return err
	}); err != nil {
		t.Fatal(err)
	}
	if inside != "pinned" {
		t.Errorf("hostname inside %q", inside)
	}
	if after, _ := os.Hostname(); after != before {
		t.Errorf("the host's name became %q", after)
	}
	if _, err := OpenNamespace(pins[UTS], Net); err == nil {
		t.Error("a uts namespace was opened as a network namespace")
	}
	if _, err := OpenNamespace("/etc/passwd", Net); err == nil {
		t.Error("a file was opened as a namespace")
	}
	for _, p := range pins {
		if err := Unpin(p); err != nil {
			t.Error(err)
		}
		if err := Unpin(p); err != nil {
			t.Errorf("a second time: %v", err)
		}
	}
	if err := Pin(map[Namespace]string{PID: filepath.Join(dir, "pid")}, nil); err == nil {
		t.Error("a PID namespace was pinned without a process")
	}
}

// What Pin has done inside is done in the new namespaces, all threads are at home afterwards, and an error leaves no pin.
func TestPinWorksInsideAndComesHome(t *testing.T) {
	needRoot(t)
	home, err := NamespaceInode("self", UTS)
	if err != nil {
		t.Fatal(err)
	}
	pins := map[Namespace]string{UTS: filepath.Join(t.TempDir(), "a/uts"), IPC: filepath.Join(t.TempDir(), "ipc")}
	for _, want := range []error{nil, unix.EADDRINUSE} {
		var inside, pinned uint64
		err := Pin(pins, func() (err error) {
			inside, err = NamespaceInode("thread-self", UTS)
			_, pinned, _ = NamespaceID(pins[UTS])
			return errors.Join(err, want)
		})
		if !errors.Is(err, want) {
			t.Fatalf("error %v, want %v", err, want)
		}
		if inside == home || inside != pinned {
			t.Errorf("inside is %d, pinned %d, the host's %d", inside, pinned, home)
		}
		tasks, err := os.ReadDir("/proc/self/task")
		if err != nil || len(tasks) == 0 {
			t.Fatal(err)
		}
		for _, task := range tasks {
			if at, err := NamespaceInode(task.Name(), UTS); err == nil && at != home {
				t.Errorf("thread %s is in %d", task.Name(), at)
			}
		}
		for _, p := range pins {
			if err := Unpin(p); err != nil {
				t.Error(err)
			}
		}
	}
	if err := Pin(map[Namespace]string{UTS: pins[UTS]}, func() error { return unix.EADDRINUSE }); err == nil {
		t.Error("no error")
	}
	if _, err := os.Lstat(pins[UTS]); err == nil {
		t.Error("a pin is left after an error")
	}
}

func TestPathsStayInTheirRoot(t *testing.T) {
	root := t.TempDir()
	if err := os.Symlink("/etc", filepath.Join(root, "absolute")); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink("../../../../etc/passwd", filepath.Join(root, "relative")); err != nil {
		t.Fatal(err)
	}
	dir, err := OpenPath(root)
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Close(dir)
	if fd, err := OpenInRoot(dir, "/relative", unix.O_RDONLY, 0); !errors.Is(err, unix.ENOENT) {
		Close(fd)
		t.Errorf("a link out: %v", err)
	}
	fd, err := CreateInRoot(dir, "/made/below/file", 0o600)
	if err != nil {
		t.Fatal(err)
	}
	Close(fd)
	if _, err := os.Stat(filepath.Join(root, "made/below/file")); err != nil {
		t.Error(err)
	}
	if fd, err = MkdirInRoot(dir, "../../up", 0o700); err != nil {
		t.Fatal(err)
	}
	Close(fd)
	if _, err := os.Stat(filepath.Join(root, "up")); err != nil {
		t.Error(err)
	}
	if _, err := MkdirInRoot(dir, "absolute/new", 0o700); err == nil {
		t.Error("a folder was made through a link that leads nowhere")
	}
	if _, err := os.Stat("/etc/new"); err == nil {
		t.Error("a folder was made outside")
	}
}

func TestOverlayOfManyLayers(t *testing.T) {
	needRoot(t)
	dir := t.TempDir()
	o := Overlay{Upper: filepath.Join(dir, "upper"), Work: filepath.Join(dir, "work")}
	for i := 0; i < 40; i++ {
		lower := filepath.Join(dir, "a:rather,long\\name of a layer that would not fit a page of options", string(rune('A'+i)))
		if err := os.MkdirAll(lower, 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(lower, "file"), []byte{byte('A' + i)}, 0o644); err != nil {
			t.Fatal(err)
		}
		o.Lower = append(o.Lower, lower)
	}
	target := filepath.Join(dir, "target")
	for _, d := range []string{o.Upper, o.Work, target} {
		if err := os.Mkdir(d, 0o755); err != nil {
			t.Fatal(err)
		}
	}
	if err := overlayAppend.Check(); err != nil {
		t.Skip(err)
	}
	if err := o.MountAt(target, unix.MOUNT_ATTR_NODEV); err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := Unmount(target); err != nil {
			t.Error(err)
		}
	}()
	if b, err := os.ReadFile(filepath.Join(target, "file")); err != nil || string(b) != "A" {
		t.Errorf("the top layer's file: %q, %v", b, err)
	}
}

// TestOnlyFilesAreOpened: what an image has in a file's place is looked at and left alone. A device that is opened may act on it, a watchdog above all.
func TestOnlyFilesAreOpened(t *testing.T) {
	needRoot(t)
	root := t.TempDir()
	if err := os.WriteFile(root+"/file", []byte("text"), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := unix.Mknod(root+"/device", unix.S_IFCHR|0o666, int(unix.Mkdev(1, 3))); err != nil {
		t.Fatal(err)
	}
	if err := unix.Mkfifo(root+"/fifo", 0o666); err != nil {
		t.Fatal(err)
	}
	for _, l := range []string{"file", "device"} {
		if err := os.Symlink("/"+l, root+"/to-"+l); err != nil {
			t.Fatal(err)
		}
	}
	watch, err := unix.InotifyInit1(unix.IN_CLOEXEC | unix.IN_NONBLOCK)
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Close(watch)
	for _, name := range []string{"device", "fifo"} {
		if _, err := unix.InotifyAddWatch(watch, filepath.Join(root, name), unix.IN_OPEN); err != nil {
			t.Fatal(err)
		}
	}
	dir, err := OpenPath(root)
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Close(dir)
	for _, c := range []struct {
		name           string
		plain, resolve error
	}{
		{"file", nil, nil},
		{"to-file", ErrNotFile, nil},
		{"device", ErrNotFile, ErrNotFile},
		{"to-device", ErrNotFile, ErrNotFile},
		{"fifo", ErrNotFile, ErrNotFile},
		{".", ErrNotFile, ErrNotFile},
		{"nothing", unix.ENOENT, unix.ENOENT},
	} {
		fd, err := OpenFile(dir, c.name)
		Close(fd)
		if !errors.Is(err, c.plain) {
			t.Errorf("OpenFile %s: %v, want %v", c.name, err, c.plain)
		}
		fd, err = OpenFileInRoot(dir, c.name)
		Close(fd)
		if !errors.Is(err, c.resolve) {
			t.Errorf("OpenFileInRoot %s: %v, want %v", c.name, err, c.resolve)
		}
	}
	if n, err := unix.Read(watch, make([]byte, 4096)); err != unix.EAGAIN {
		t.Errorf("a device or a pipe was opened: %d bytes of notices, %v", n, err)
	}
}

func TestProcIsProven(t *testing.T) {
	fd, err := OpenProc("self/status", unix.O_RDONLY)
	if err != nil {
		t.Fatal(err)
	}
	Close(fd)
	if fd, err := OpenProc("self/root/etc/passwd", unix.O_RDONLY); err == nil {
		Close(fd)
		t.Error("a magic link was followed")
	}
	if fd, err := OpenProc("../etc/passwd", unix.O_RDONLY); err == nil {
		Close(fd)
		t.Error("a path out was followed")
	}
}

// Both ways of naming lower folders give the same tree, with names and a number of them that one page of options cannot hold.
func TestOverlayOfManyFolders(t *testing.T) {
	needRoot(t)
	dir := t.TempDir()
	o := Overlay{Upper: filepath.Join(dir, "upper, with: all"), Work: filepath.Join(dir, "work")}
	for i := range 100 {
		o.Lower = append(o.Lower, filepath.Join(dir, strings.Repeat("long", 20), fmt.Sprintf("a:b,c\\d%d", i)))
	}
	for _, d := range append([]string{o.Upper, o.Work}, o.Lower...) {
		if err := os.MkdirAll(d, 0o755); err != nil {
			t.Fatal(err)
		}
	}
	for i, d := range o.Lower {
		if err := os.WriteFile(filepath.Join(d, fmt.Sprint(i)), nil, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	ways := map[string]func(int) (*Tree, error){"aside": func(attrs int) (*Tree, error) { return o.mountAside(attrs, nil) }}
	if CanOverlayAppend() {
		ways["one by one"] = o.mountEach
	}
	for way, mount := range ways {
		tree, err := mount(unix.MOUNT_ATTR_NOSUID)
		if err != nil {
			t.Errorf("%s: %v", way, err)
			continue
		}
		at := fmt.Sprintf("/proc/self/fd/%d", tree.Fd())
		entries, err := os.ReadDir(at)
		if err != nil || len(entries) != len(o.Lower) {
			t.Errorf("%s: the overlay shows %d files: %v", way, len(entries), err)
		}
		var fs unix.Statfs_t
		if err := unix.Fstatfs(tree.Fd(), &fs); err != nil || fs.Flags&unix.ST_NOSUID == 0 {
			t.Errorf("%s: the mount's flags are %x: %v", way, fs.Flags, err)
		}
		place := filepath.Join(dir, "place")
		if err := os.MkdirAll(place, 0o755); err != nil {
			t.Fatal(err)
		}
		if err := tree.AttachPath(place); err != nil {
			t.Errorf("%s: %v", way, err)
		}
		if err := Unmount(place); err != nil {
			t.Errorf("%s: %v", way, err)
		}
		tree.Close()
	}
}
