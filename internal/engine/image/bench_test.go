package image

import (
	"context"
	"fmt"
	"testing"

	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
)

// What lists and look-ups cost with many images: the plain paths of every front end.
func BenchmarkLookups(b *testing.B) {
	ctx := context.Background()
	f := newBed(b)
	for i := range 200 {
		m := makeImage(b, nil, func(c *ocispec.Image, _ *ocispec.Manifest) { c.Author = fmt.Sprint(i) })
		w := f.Work()
		raw := m.blobs[m.config]
		if _, err := w.Create(ctx, CreateOptions{Config: raw, Names: []string{fmt.Sprintf("x/%d:1", i), fmt.Sprintf("y/%d:1", i)}}); err != nil {
			b.Fatal(err)
		}
		w.Done()
	}
	all := f.List()
	b.Run("list", func(b *testing.B) {
		for b.Loop() {
			f.List()
		}
	})
	b.Run("get by name", func(b *testing.B) {
		for b.Loop() {
			if _, err := f.Get("x/7:1"); err != nil {
				b.Fatal(err)
			}
		}
	})
	b.Run("get by ID", func(b *testing.B) {
		for b.Loop() {
			if _, err := f.Get(all[9].ID.String()); err != nil {
				b.Fatal(err)
			}
		}
	})
}
