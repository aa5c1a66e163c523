package layer

import (
	"bytes"
	"context"
	"fmt"
	"math/rand/v2"
	"path/filepath"
	"testing"

	"github.com/klauspost/compress/gzip"
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

// BenchmarkApply unpacks one layer of gzip: many small files, as an image's usr/share has them, or few large ones. The processor's seconds count, on a
// machine that does other things too.
func BenchmarkApply(b *testing.B) {
	rnd := rand.New(rand.NewPCG(1, 2))
	words := make([]byte, 8<<20)
	for i := range words { // compresses to about a half
		words[i] = "etaoin shrdlu\ncmfwyp"[rnd.Uint32N(20)]
	}
	for name, c := range map[string]struct{ files, size int }{"small": {4000, 3000}, "large": {4, 8 << 20}} {
		var entries []te
		for i := range c.files {
			at := rnd.IntN(len(words) - c.size + 1)
			entries = append(entries, te{name: fmt.Sprintf("d%d/f%d", i/100, i), body: string(words[at : at+c.size])})
		}
		raw := tarOf(b, entries...)
		var packed bytes.Buffer
		w := gzip.NewWriter(&packed)
		w.Write(raw)
		w.Close()
		b.Run(name, func(b *testing.B) {
			needRoot(b)
			s, err := Open(Config{Dir: filepath.Join(b.TempDir(), "layers")})
			if err != nil {
				b.Fatal(err)
			}
			defer s.Close()
			var before, after unix.Rusage
			unix.Getrusage(unix.RUSAGE_SELF, &before)
			b.SetBytes(int64(len(raw)))
			for b.Loop() {
				if _, err := s.Apply(context.Background(), "", bytes.NewReader(packed.Bytes())); err != nil {
					b.Fatal(err)
				}
				b.StopTimer()
				if _, err := s.Collect(); err != nil {
					b.Fatal(err)
				}
				b.StartTimer()
			}
			unix.Getrusage(unix.RUSAGE_SELF, &after)
			b.ReportMetric(float64(after.Utime.Nano()-before.Utime.Nano())/1e6/float64(b.N), "user-ms/op")
			b.ReportMetric(float64(after.Stime.Nano()-before.Stime.Nano())/1e6/float64(b.N), "system-ms/op")
		})
	}
}
