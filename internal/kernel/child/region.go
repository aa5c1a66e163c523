package child

import (
	"fmt"
	"sync/atomic"
	"unsafe"

	"golang.org/x/sys/unix"
)

// region is memory outside the Go heap that holds all that a child looks at: the steps, what they point to, a stack. The
// child has a copy of it; of the heap it has none, see alone. The parent gives its own back as soon as the child is made.
// Its pages are made at once: nearly all are written to, and a fault for each costs more than they do.
type region struct {
	chunks [][]byte
	at     int // first free byte of the last chunk
}

// regionsAt counts the bytes that regions were tried at so far.
var regionsAt atomic.Uintptr

// mapChunk maps memory where children get a copy of it.
func mapChunk(size int) ([]byte, error) {
	const span = regionsTo - regionsFrom
	n := uintptr(size)
	for range span/chunkSize + 1 {
		at := regionsFrom + (regionsAt.Add(n)-n)%span
		if at+n > regionsTo {
			continue // over the edge: the next one is at the beginning
		}
		p, err := unix.MmapPtr(-1, 0, unsafe.Add(nil, at), n, unix.PROT_READ|unix.PROT_WRITE,
			unix.MAP_PRIVATE|unix.MAP_ANON|unix.MAP_POPULATE|unix.MAP_FIXED_NOREPLACE)
		if err == nil {
			return unsafe.Slice((*byte)(p), size), nil
		}
		if err != unix.EEXIST {
			return nil, err
		}
	}
	return nil, unix.ENOMEM
}

const (
	chunkSize = 64 << 10
	stackSize = 16 << 10
)

// alloc hands out n bytes that are zero, aligned for anything.
func (r *region) alloc(n int) unsafe.Pointer {
	const align = 16
	n = (max(n, 1) + align - 1) &^ (align - 1)
	if len(r.chunks) == 0 || len(r.chunks[len(r.chunks)-1])-r.at < n {
		size := (max(n, chunkSize) + chunkSize - 1) &^ (chunkSize - 1)
		b, err := mapChunk(size)
		if err != nil {
			// As the Go heap does when it gets nothing: no caller could go on.
			panic(fmt.Errorf("map %d bytes for a child: %w", size, err))
		}
		r.chunks, r.at = append(r.chunks, b), 0
	}
	last := r.chunks[len(r.chunks)-1]
	p := unsafe.Pointer(&last[r.at])
	r.at += n
	return p
}

// copyIn keeps b and returns its address, nil for none.
func (r *region) copyIn(b []byte) *byte {
	if len(b) == 0 {
		return nil
	}
	p := (*byte)(r.alloc(len(b)))
	copy(unsafe.Slice(p, len(b)), b)
	return p
}

// pointers keeps C strings and a list of their addresses that ends with a null.
func (r *region) pointers(list []string) (uintptr, error) {
	p := r.alloc((len(list) + 1) * int(unsafe.Sizeof(uintptr(0))))
	to := unsafe.Slice((*uintptr)(p), len(list)+1)
	for i, s := range list {
		b, err := unix.ByteSliceFromString(s)
		if err != nil {
			return 0, fmt.Errorf("encode %q: %w", s, err)
		}
		to[i] = uintptr(unsafe.Pointer(r.copyIn(b)))
	}
	return uintptr(p), nil
}

func (r *region) free() {
	for _, b := range r.chunks {
		_ = unix.MunmapPtr(unsafe.Pointer(&b[0]), uintptr(len(b)))
	}
	r.chunks, r.at = nil, 0
}
