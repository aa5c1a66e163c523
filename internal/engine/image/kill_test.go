package image

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	"nau/internal/engine/content"
	"nau/internal/engine/layer"
)

// TestKillDuringPulls kills a process again and again in the middle of pulls and removals. What it leaves opens, every listed image has all its layers,
// a pull goes through, and a prune of everything leaves no byte.
func TestKillDuringPulls(t *testing.T) {
	if dir := os.Getenv("IMAGE_TEST_KILL"); dir != "" {
		pullForever(dir, os.Getenv("IMAGE_TEST_HOST"))
		return
	}
	u, b := newUpstream(t, nil), newBed(t)
	shared := layerTar(t, file{"base", big(300000, 1)})
	for i := range 3 {
		u.push(t, fmt.Sprintf("k%d", i), "latest", makeImage(t, [][]byte{shared, layerTar(t, file{"own", big(200000, byte(i+2))})}))
	}
	b.close()
	for round := range 8 {
		cmd := exec.Command(os.Args[0], "-test.run=^TestKillDuringPulls$")
		cmd.Env = append(os.Environ(), "IMAGE_TEST_KILL="+b.dir, "IMAGE_TEST_HOST="+u.host())
		out, err := cmd.StdoutPipe()
		if err != nil {
			t.Fatal(err)
		}
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		// It tells every event; it dies after another number of them each time.
		buf := make([]byte, 1)
		for range 5 + 7*round {
			if _, err := out.Read(buf); err != nil {
				break
			}
		}
		cmd.Process.Kill()
		cmd.Wait()
		b.open()
		for _, img := range b.List() {
			for _, d := range img.DiffIDs {
				if _, ok := b.layers.Has(d); !ok {
					t.Errorf("image %s lacks layer %s", img.ID, d)
				}
			}
			for _, l := range img.Layers {
				if !b.content.Has(l.Digest) {
					t.Errorf("image %s lacks blob %s", img.ID, l.Digest)
				}
			}
		}
		if _, err := b.Pull(context.Background(), u.host()+"/k0", PullOptions{}); err != nil {
			t.Fatal(err)
		}
		if round%2 == 1 {
			if _, _, err := b.Prune(context.Background(), PruneOptions{All: true}); err != nil {
				t.Fatal(err)
			}
			if left := b.leftovers(); left != nil {
				t.Fatalf("round %d: left on disk after a prune of everything: %v", round, left)
			}
		}
		b.close()
	}
}

func pullForever(dir, host string) {
	check := func(err error) {
		if err != nil {
			panic(err)
		}
	}
	c, err := content.Open(filepath.Join(dir, "content"), nil)
	check(err)
	l, err := layer.Open(layer.Config{Dir: filepath.Join(dir, "layers")})
	check(err)
	s, err := Open(Config{DB: filepath.Join(dir, "images.db"), Content: c, Layers: l})
	check(err)
	for i := 0; ; i++ {
		ref := fmt.Sprintf("%s/k%d", host, i%3)
		_, err := s.Pull(context.Background(), ref, PullOptions{Progress: func(Event) { os.Stdout.Write([]byte(".")) }})
		check(err)
		_, err = s.Remove(context.Background(), ref, RemoveOptions{})
		check(err)
	}
}
