package layer

import (
	"context"
	"fmt"
	"testing"

	"github.com/opencontainers/go-digest"
	"golang.org/x/sys/unix"
)

// BenchmarkSnapshot is a container's share: prepare, mount, unmount, remove.
func BenchmarkSnapshot(b *testing.B) {
	s := openStore(b)
	var chain []digest.Digest
	for i := range 5 {
		chain = append(chain, apply(b, s, te{name: fmt.Sprintf("f%d", i), body: "x"}))
	}
	target := b.TempDir()
	for i := range b.N {
		key := fmt.Sprint("c", i)
		m, err := s.Prepare(context.Background(), key, chain, Volatile())
		if err != nil {
			b.Fatal(err)
		}
		if err := m.Attach(target); err != nil {
			b.Fatal(err)
		}
		if err := unix.Unmount(target, 0); err != nil {
			b.Fatal(err)
		}
		if err := s.Remove(key); err != nil {
			b.Fatal(err)
		}
	}
}
