package kernel

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// Namespace is a kind of namespace, by its name under /proc/PID/ns.
type Namespace string

// The kinds. See namespaces(7).
const (
	Mount  Namespace = "mnt"
	PID    Namespace = "pid"
	Net    Namespace = "net"
	IPC    Namespace = "ipc"
	UTS    Namespace = "uts"
	User   Namespace = "user"
	Cgroup Namespace = "cgroup"
	Time   Namespace = "time"
)

var cloneFlags = map[Namespace]int{
	Mount: unix.CLONE_NEWNS, PID: unix.CLONE_NEWPID, Net: unix.CLONE_NEWNET, IPC: unix.CLONE_NEWIPC, UTS: unix.CLONE_NEWUTS,
	User: unix.CLONE_NEWUSER, Cgroup: unix.CLONE_NEWCGROUP, Time: unix.CLONE_NEWTIME,
}

// Flag is the kind's CLONE_NEW… bit; 0 for an unknown kind.
func (n Namespace) Flag() int { return cloneFlags[n] }

// Pin makes new namespaces of the given kinds and pins each at its path with a bind mount, so that it lives without a
// process. Folders are made; a path that exists as a file is used. Mount, PID and User namespaces cannot be pinned this
// way: a mount namespace cannot hold itself, and the others need a process of their own (see PinProcess).
//
// Kinds pinned in one call belong together (all made by one thread at once). inside, if any, runs in them on that thread, as
// with Enter. On an error nothing stays pinned.
func Pin(paths map[Namespace]string, inside func() error) error {
	flags := 0
	for kind := range paths {
		switch kind {
		case Net, IPC, UTS, Cgroup, Time:
			flags |= kind.Flag()
		default:
			return fmt.Errorf("pin namespace of kind %q: only net, ipc, uts, cgroup and time can be pinned without a process", kind)
		}
	}
	return Excursion(flags, func() error {
		if err := unix.Unshare(flags); err != nil {
			return fmt.Errorf("unshare namespaces: %w", err)
		}
		links, err := OpenProc("thread-self/ns", unix.O_PATH|unix.O_DIRECTORY)
		if err != nil {
			return err
		}
		defer unix.Close(links)
		var pinned []string
		for kind, path := range paths {
			name := string(kind)
			if kind == Time {
				name = "time_for_children"
			}
			if err = pinLink(links, name, path); err != nil {
				break
			}
			pinned = append(pinned, path)
		}
		if err == nil && inside != nil {
			err = inside()
		}
		if err != nil {
			for _, p := range pinned {
				_ = Unpin(p)
			}
		}
		return err
	})
}

// PinProcess pins a namespace of a living process at path.
func PinProcess(pid int, kind Namespace, path string) error {
	links, err := OpenProc(strconv.Itoa(pid)+"/ns", unix.O_PATH|unix.O_DIRECTORY)
	if err != nil {
		return err
	}
	defer unix.Close(links)
	return pinLink(links, string(kind), path)
}

// pinLink pins what the link name in the folder links leads to. path is the host's: a thread that left for other namespaces
// keeps its view of files unless it unshared mounts too.
func pinLink(links int, name, path string) error {
	f, err := makePin(path)
	if err != nil {
		return fmt.Errorf("make namespace pin: %w", err)
	}
	defer unix.Close(f)
	tree, err := unix.OpenTree(links, name, unix.OPEN_TREE_CLONE|unix.OPEN_TREE_CLOEXEC)
	if err != nil {
		return fmt.Errorf("clone namespace link %s: %w", name, err)
	}
	defer unix.Close(tree)
	if err := unix.MoveMount(tree, "", f, "", unix.MOVE_MOUNT_F_EMPTY_PATH|unix.MOVE_MOUNT_T_EMPTY_PATH); err != nil {
		return fmt.Errorf("pin namespace at %s: %w", path, err)
	}
	return nil
}

// makePin opens a file to mount on, which is made where there is none, and its folder.
func makePin(path string) (int, error) {
	for {
		f, err := unix.Open(path, unix.O_CREAT|unix.O_RDONLY|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0o444)
		if err != unix.ENOENT {
			return f, err
		}
		if err := os.MkdirAll(filepath.Dir(path), 0o711); err != nil {
			return -1, err
		}
	}
}

// Unpin takes a pin away, the file too. A path that does not exist is fine.
func Unpin(path string) error {
	// EINVAL: not a mount point (any more).
	if err := unix.Unmount(path, unix.MNT_DETACH|unix.UMOUNT_NOFOLLOW); err != nil && err != unix.EINVAL && err != unix.ENOENT {
		return fmt.Errorf("unpin namespace %s: %w", path, err)
	}
	if err := os.Remove(path); err != nil && !errors.Is(err, os.ErrNotExist) {
		return fmt.Errorf("remove namespace pin: %w", err)
	}
	return nil
}

// Enter runs f on a thread of its own inside the namespace at path (a pin, or /proc/PID/ns/KIND). The goroutines that f
// starts are not inside. Not for User, which a program of several threads cannot join.
func Enter(path string, kind Namespace, f func() error) error {
	fd, err := OpenNamespace(path, kind)
	if err != nil {
		return err
	}
	defer unix.Close(fd)
	return OnThread(func() error {
		if err := JoinThread(fd, kind); err != nil {
			return fmt.Errorf("enter %s: %w", path, err)
		}
		return f()
	})
}

// EnterAll is Enter for several namespaces at once. The mount namespace, if any, is joined last.
func EnterAll(paths map[Namespace]string, f func() error) error {
	var fds []int
	defer func() { Close(fds...) }()
	var kinds []Namespace
	for _, kind := range []Namespace{IPC, UTS, Net, Cgroup, Time, PID, Mount} {
		path, ok := paths[kind]
		if !ok {
			continue
		}
		fd, err := OpenNamespace(path, kind)
		if err != nil {
			return err
		}
		fds, kinds = append(fds, fd), append(kinds, kind)
	}
	if len(fds) != len(paths) {
		return fmt.Errorf("enter namespaces: a kind among %v cannot be joined by a thread", paths)
	}
	return OnThread(func() error {
		for i, fd := range fds {
			if err := JoinThread(fd, kinds[i]); err != nil {
				return err
			}
		}
		return f()
	})
}

// JoinThread moves the calling thread, which must be locked, into the namespace fd.
func JoinThread(fd int, kind Namespace) error {
	if kind == Mount {
		// A thread that shares its root and working directory with others may not change its mount namespace.
		if err := unix.Unshare(unix.CLONE_FS); err != nil {
			return fmt.Errorf("unshare working directory: %w", err)
		}
	}
	if err := unix.Setns(fd, kind.Flag()); err != nil {
		return fmt.Errorf("join %s namespace: %w", kind, err)
	}
	return nil
}

// nsfs's magic number, and the request that tells a namespace's kind: linux/magic.h, linux/nsfs.h.
const (
	nsfsMagic   = 0x6e736673
	nsGetNSType = 0xb703
)

// OpenNamespace opens a namespace file and proves that it is one of the kind.
func OpenNamespace(path string, kind Namespace) (int, error) {
	fd, err := unix.Open(path, unix.O_RDONLY|unix.O_CLOEXEC|unix.O_NONBLOCK, 0)
	if err != nil {
		return -1, fmt.Errorf("open %s namespace %s: %w", kind, path, err)
	}
	var st unix.Statfs_t
	if err := unix.Fstatfs(fd, &st); err != nil {
		_ = unix.Close(fd)
		return -1, fmt.Errorf("fstatfs %s: %w", path, err)
	}
	if int64(st.Type) != nsfsMagic {
		_ = unix.Close(fd)
		return -1, fmt.Errorf("open %s namespace %s: not a namespace", kind, path)
	}
	typ, err := unix.IoctlRetInt(fd, nsGetNSType)
	if err == nil && typ != kind.Flag() {
		_ = unix.Close(fd)
		return -1, fmt.Errorf("open %s namespace %s: it is of another kind (%#x)", kind, path, typ)
	}
	return fd, nil
}

// NamespaceID tells a namespace's identity: two paths with the same numbers are the same namespace.
func NamespaceID(path string) (dev, ino uint64, err error) {
	var st unix.Stat_t
	if err := unix.Stat(path, &st); err != nil {
		return 0, 0, fmt.Errorf("stat namespace %s: %w", path, err)
	}
	return st.Dev, st.Ino, nil
}

// NamespaceInode reads the inode number of "KIND:[NUMBER]" links of a process or "self".
func NamespaceInode(pid string, kind Namespace) (uint64, error) {
	link, err := os.Readlink("/proc/" + pid + "/ns/" + string(kind))
	if err != nil {
		return 0, fmt.Errorf("read namespace link: %w", err)
	}
	_, number, ok := strings.Cut(link, ":[")
	if !ok {
		return 0, fmt.Errorf("read namespace link %q: malformed", link)
	}
	return strconv.ParseUint(strings.TrimSuffix(number, "]"), 10, 64)
}
