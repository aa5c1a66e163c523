package layer

import (
	"os"

	"golang.org/x/sys/unix"
)

// Most containers write nothing into their layers: services have volumes, jobs end as they began. Of such a snapshot the directory, the work
// directory and the record's file are kept for the next one, which saves the file system half of what a container has it make and remove. The upper
// directory is always a new one: whatever a container did to it, its owner, mode, attributes or flags, is gone with it. A spare is a t<N> like what is
// being removed, so that it is never taken for a snapshot and is freed at open.

// maxSpares is how many are kept: as many as come and go at one time.
const maxSpares = 32

// begin makes the directory of a snapshot to be, with a work directory, or takes a spare.
func (s *Store) begin(n string) (tmp string, err error) {
	s.mu.Lock()
	if last := len(s.spares) - 1; last >= 0 {
		tmp, s.spares = s.spares[last], s.spares[:last]
	}
	s.mu.Unlock()
	if tmp != "" {
		return tmp, nil
	}
	tmp = s.path("t" + n)
	if err := os.Mkdir(tmp, 0o700); err != nil {
		return tmp, err
	}
	return tmp, os.Mkdir(tmp+"/w", 0o700)
}

// spare keeps what clearUnused left, unless there are enough.
func (s *Store) spare(tmp string) {
	s.mu.Lock()
	keep := len(s.spares) < maxSpares
	if keep {
		s.spares = append(s.spares, tmp)
	}
	s.mu.Unlock()
	if !keep {
		_ = removePath(tmp)
	}
}

// clearUnused makes a spare of a snapshot that nothing was written to, without looking what is in it. It tells whether that was so; if not, the rest
// is there. Nothing is followed: a link in a folder's place is no folder.
func clearUnused(tmp string) bool {
	if unix.Rmdir(tmp+"/u") != nil {
		return false
	}
	if err := unix.Rmdir(tmp + "/w/work"); err == unix.ENOTEMPTY { // overlayfs's; of a volatile mount there is a mark in it
		if unix.Unlink(tmp+"/w/work/incompat/volatile/dirty") != nil || unix.Rmdir(tmp+"/w/work/incompat/volatile") != nil ||
			unix.Rmdir(tmp+"/w/work/incompat") != nil || unix.Rmdir(tmp+"/w/work") != nil {
			return false
		}
	} else if err != nil && err != unix.ENOENT {
		return false
	}
	var st unix.Stat_t
	return unix.Lstat(tmp+"/w", &st) == nil && st.Mode&unix.S_IFMT == unix.S_IFDIR
}
