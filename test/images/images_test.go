package images

import (
	"bytes"
	"context"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"nau/internal/engine/content"
	"nau/internal/engine/image"
	"nau/internal/engine/layer"
	"nau/internal/registry"
)

func build(t *testing.T) *Set {
	t.Helper()
	if _, err := os.Stat("/usr/bin/busybox"); err != nil {
		if _, err := os.Stat("/bin/busybox"); err != nil {
			t.Skip("needs Debian's busybox-static")
		}
	}
	fake := filepath.Join(t.TempDir(), "httpd")
	if err := os.WriteFile(fake, []byte("a program"), 0o755); err != nil {
		t.Fatal(err)
	}
	s, err := Build(context.Background(), Options{HTTPD: fake})
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func TestImagesAreTheSameEveryTime(t *testing.T) {
	a, b := build(t), build(t)
	if len(a.Images) != 10 {
		t.Errorf("%d images", len(a.Images))
	}
	for _, i := range a.Images {
		j, err := b.Find(i.Names[0])
		if err != nil || j[0].Manifest.Digest != i.Manifest.Digest {
			t.Errorf("%s differs: %v", i.Names[0], err)
		}
	}
	for _, n := range []string{"nginx:stable-alpine", "nginx:alpine", "nginx:latest", "alpine:latest", "10.110.0.3:5000/app:v1", "debian:stretch-slim", "wordpress:latest", "busybox:latest"} {
		if _, err := a.Find(n); err != nil {
			t.Error(err)
		}
	}
}

// TestImagesTravel pushes all images to a registry and pulls one through it as a mirror; an archive of all goes the other way.
func TestImagesTravel(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("needs root: layers have owners")
	}
	s := build(t)
	ctx := context.Background()
	c, err := content.Open(t.TempDir(), nil)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	g, err := registry.New(registry.Config{Content: c})
	if err != nil {
		t.Fatal(err)
	}
	defer g.Close()
	srv := httptest.NewServer(g)
	defer srv.Close()
	if err := s.Push(ctx, srv.URL, s.Images); err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	own, err := content.Open(filepath.Join(dir, "content"), nil)
	if err != nil {
		t.Fatal(err)
	}
	defer own.Close()
	layers, err := layer.Open(layer.Config{Dir: filepath.Join(dir, "layers")})
	if err != nil {
		t.Fatal(err)
	}
	defer layers.Close()
	store, err := image.Open(image.Config{DB: filepath.Join(dir, "images.db"), Content: own, Layers: layers,
		Registries: image.Registries{Mirrors: map[string][]string{"docker.io": {srv.URL}, "10.110.0.3:5000": {srv.URL}}}})
	if err != nil {
		t.Fatal(err)
	}
	defer store.Close()
	for ref, cmd := range map[string]string{"nginx:alpine": "nginx -g daemon off;", "10.110.0.3:5000/app:v1": "app"} {
		img, err := store.Pull(ctx, ref, image.PullOptions{})
		if err != nil {
			t.Fatal(err)
		}
		if got := strings.Join(img.Config.Config.Cmd, " "); got != cmd {
			t.Errorf("%s runs %q", ref, got)
		}
	}
	var b bytes.Buffer
	if err := s.WriteArchive(&b, s.Images); err != nil {
		t.Fatal(err)
	}
	imgs, err := store.Import(ctx, &b, image.ImportOptions{})
	if err != nil || len(imgs) != 10 {
		t.Errorf("imported %d, %v", len(imgs), err)
	}
	if _, err := store.Get("debian:stretch-slim"); err != nil {
		t.Error(err)
	}
}
