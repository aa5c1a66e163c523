// Package spent holds a decoder to its memory: a test tells how much an input may cost. It is for tests only; they are what
// imports it.
package spent

import (
	"runtime/metrics"
	"testing"
)

// A decoder may allocate Base for any input, and Each for every byte of it. Base is large beside what one input costs, for others
// allocate in the same process; what is looked for are inputs whose cost has nothing to do with their size.
const (
	Base = 64 << 20
	Each = 8 << 10
)

// On runs f, which decodes an input of so many bytes, and reports when it allocates more.
func On(t testing.TB, size int, f func()) {
	t.Helper()
	before := allocated()
	f()
	if spent := allocated() - before; spent > Base+Each*uint64(size) {
		t.Errorf("%d KiB were allocated for an input of %d bytes", spent>>10, size)
	}
}

// allocated is how many bytes this process ever took from its heap.
func allocated() uint64 {
	sample := []metrics.Sample{{Name: "/gc/heap/allocs:bytes"}}
	metrics.Read(sample)
	return sample[0].Value.Uint64()
}
