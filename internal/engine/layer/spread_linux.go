package layer

import "golang.org/x/sys/unix"

// topDir is FS_TOPDIR_FL of linux/fs.h, "T" of chattr.
const topDir = 0x20000

// spread tells ext4 that the directories made in dir have nothing to do with each other, so that each gets a block group of its own. Layers that
// unpack at the same time do not queue for one bitmap then, and a new layer does not land among the inodes of layers just deleted, which an ext4
// without a journal passes one by one, for minutes, at every file that it makes. It is a hint: other file systems refuse it and need it not.
func spread(dir string) {
	fd, err := unix.Open(dir, unix.O_RDONLY|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err != nil {
		return
	}
	defer unix.Close(fd)
	if flags, err := unix.IoctlGetUint32(fd, unix.FS_IOC_GETFLAGS); err == nil {
		_ = unix.IoctlSetPointerInt(fd, unix.FS_IOC_SETFLAGS, int(flags|topDir))
	}
}
