package child

import (
	"bytes"
	"os"
	"strconv"
	"strings"
	"sync"
	"syscall"

	"golang.org/x/sys/unix"
)

// Where the regions are mapped, and nothing else of the program's: above its variables, below its heap.
const (
	regionsFrom = 256 << 20
	regionsTo   = 2 << 30
)

// upTo is where the memory ends that alone keeps out of children, which begins at regionsTo.
var upTo uintptr

// alone keeps the program's variables out of children, and heapAlone, which is to be called before every fork since they
// grow, the Go heap and the runtime's own memory: a fork does not copy their page tables, and, which is far more, the
// parent does not copy every page that it writes to while the child lives. Memory that they miss is copied, which is slow
// and no harm. run reads no variable of the package level, and must not (nor may it be built to count its own coverage).
// Programs that are executed with os/exec are not touched: they are made with vfork, which shares memory and copies none.
var alone = sync.OnceFunc(func() {
	maps, err := os.ReadFile("/proc/self/maps")
	if err != nil {
		return
	}
	var variables [][2]uintptr
	variables, upTo = private(maps)
	for _, m := range variables {
		apart(m[0], m[1])
	}
})

func heapAlone() {
	if upTo > regionsTo {
		apart(regionsTo, upTo)
	}
}

// apart passes over holes: the kernel complains of them when it has done the rest.
func apart(from, to uintptr) {
	_, _, _ = syscall.RawSyscall(unix.SYS_MADVISE, from, to-from, unix.MADV_DONTFORK)
}

// private reads the text of /proc/PID/maps: the private mappings below the regions that can be written, which are the
// program's variables; and where, above the regions, the first mapping lies that a child needs or that is the kernel's.
func private(maps []byte) (variables [][2]uintptr, end uintptr) {
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
		named := f[4] != "0" || len(f) > 5 && !strings.HasPrefix(strings.Join(f[5:], " "), "[anon:")
		switch {
		case to <= regionsFrom && strings.HasPrefix(f[1], "rw") && strings.HasSuffix(f[1], "p"):
			variables = append(variables, [2]uintptr{uintptr(from), uintptr(to)})
		case from >= regionsTo && (named || !strings.HasSuffix(f[1], "p")):
			return variables, uintptr(from)
		}
	}
	return variables, 0
}
