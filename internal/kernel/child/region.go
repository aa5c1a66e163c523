package child

import (
	"fmt"
	"unsafe"

	"golang.org/x/sys/unix"
)

// region is memory outside the Go heap that holds all that a child looks at: the steps, what they point to, a stack. The
// child has a copy of it; of the heap it has none, see alone. The parent gives its own back as soon as the child is made.
type region struct {
	chunks [][]byte
	at     int // first free byte of the last chunk
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
		b, err := unix.Mmap(-1, 0, size, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_PRIVATE|unix.MAP_ANON)
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
		_ = unix.Munmap(b)
	}
	r.chunks, r.at = nil, 0
}
