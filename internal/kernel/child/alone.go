package child

import (
	"bytes"
	"os"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"unsafe"

	"golang.org/x/sys/unix"
)

// arena is the size and alignment in which the Go heap grows.
const arena = 64 << 20

// alone keeps the runtime's own memory out of children made from now on, heapAlone the Go heap: a fork does not copy their
// page tables, and, which is far more, the parent does not copy every page that it writes to while the child lives. Memory
// that they miss is copied, which is slow and no harm. Programs that are executed with os/exec are not touched: they are
// made with vfork, which shares memory and copies none. The first region must be mapped after alone.
var alone = sync.OnceFunc(func() {
	maps, err := os.ReadFile("/proc/self/maps")
	if err != nil {
		return
	}
	for _, m := range anonymous(maps) {
		apart(m[0], m[1])
	}
})

// heapAlone is to be called before every fork: the heap grows.
func heapAlone() {
	start := uintptr(unsafe.Pointer(new([64]byte))) &^ (arena - 1)
	apart(start, start+arena)
}

func apart(from, to uintptr) {
	_, _, _ = syscall.RawSyscall(unix.SYS_MADVISE, from, to-from, unix.MADV_DONTFORK)
}

// anonymous picks from the text of /proc/PID/maps the private mappings of no file. The program's own variables, which
// directly follow what is mapped of its file, and the first thread's stack stay.
func anonymous(maps []byte) (list [][2]uintptr) {
	var kept uint64
	for line := range bytes.Lines(maps) {
		f := strings.Fields(string(line))
		if len(f) < 5 {
			continue
		}
		low, high, _ := strings.Cut(f[0], "-")
		from, err1 := strconv.ParseUint(low, 16, 64)
		to, err2 := strconv.ParseUint(high, 16, 64)
		if err1 != nil || err2 != nil {
			continue
		}
		named := len(f) > 5 && !strings.HasPrefix(strings.Join(f[5:], " "), "[anon:")
		if f[4] != "0" || named || from == kept || !strings.HasSuffix(f[1], "p") {
			kept = to
			continue
		}
		list = append(list, [2]uintptr{uintptr(from), uintptr(to)})
	}
	return list
}
