package host

import (
	"bufio"
	"fmt"
	"os"
	"runtime/debug"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// Settle gives memory back that only a start needs: garbage of the heap, and
// the pages of this program's file that have been mapped in passing. Kernels
// that keep files in large folios map megabytes of code around each function
// that runs once; what is needed again is mapped again, in small pieces, from
// the page cache. The same goes for etcd's database, which is mapped whole.
func Settle() error {
	debug.FreeOSMemory()
	exe, err := os.Readlink("/proc/self/exe")
	if err != nil {
		return fmt.Errorf("find own program: %w", err)
	}
	maps, err := os.Open("/proc/self/maps")
	if err != nil {
		return fmt.Errorf("read own mappings: %w", err)
	}
	defer maps.Close()
	for lines := bufio.NewScanner(maps); lines.Scan(); {
		start, end, ok := readOnlyPart(lines.Text(), " "+exe)
		if !ok {
			start, end, ok = readOnlyPart(lines.Text(), "/etcd/member/snap/db")
		}
		if !ok {
			continue
		}
		for _, advice := range []uintptr{unix.MADV_NOHUGEPAGE, unix.MADV_DONTNEED} {
			if _, _, errno := unix.Syscall(unix.SYS_MADVISE, start, end-start, advice); errno != 0 && errno != unix.EINVAL {
				return fmt.Errorf("advise on own mappings: %w", errno)
			}
		}
	}
	return nil
}

// readOnlyPart reads a line of /proc/PID/maps: the bounds of a mapping of a file,
// known by the end of the line, that cannot be written through it: its pages are
// there in the page cache.
func readOnlyPart(line, file string) (start, end uintptr, ok bool) {
	fields := strings.Fields(line)
	if len(fields) < 6 || strings.Contains(fields[1], "w") || !strings.HasSuffix(line, file) {
		return 0, 0, false
	}
	from, to, ok := strings.Cut(fields[0], "-")
	a, errA := strconv.ParseUint(from, 16, 64)
	b, errB := strconv.ParseUint(to, 16, 64)
	if !ok || errA != nil || errB != nil || b <= a {
		return 0, 0, false
	}
	return uintptr(a), uintptr(b), true
}
