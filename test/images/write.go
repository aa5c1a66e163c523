package images

import (
	"archive/tar"
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/opencontainers/go-digest"
	specs "github.com/opencontainers/image-spec/specs-go"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"nau/internal/engine/image/remote"
)

// Find picks images by full or short name ("nginx:alpine"); no names = all.
func (s *Set) Find(names ...string) ([]Image, error) {
	if len(names) == 0 {
		return s.Images, nil
	}
	var out []Image
	for _, n := range names {
		i := slices.IndexFunc(s.Images, func(i Image) bool {
			return slices.Contains(i.Names, n) || slices.Contains(i.Names, "docker.io/library/"+n)
		})
		if i < 0 {
			return nil, fmt.Errorf("find test image %s: no such image", n)
		}
		out = append(out, s.Images[i])
	}
	return out, nil
}

// blobsOf lists an image's blobs, the manifest last.
func (i Image) blobsOf() []ocispec.Descriptor {
	return append(append(slices.Clone(i.manifest.Layers), i.manifest.Config), i.Manifest)
}

func splitTag(name string) (repo, tag string) {
	at := strings.LastIndexByte(name, ':')
	return name[:at], name[at+1:]
}

func index(images []Image) ocispec.Index {
	x := ocispec.Index{Versioned: specs.Versioned{SchemaVersion: 2}, MediaType: ocispec.MediaTypeImageIndex}
	for _, i := range images {
		for _, n := range i.Names {
			_, tag := splitTag(n)
			d := i.Manifest
			d.Annotations = map[string]string{"io.containerd.image.name": n, ocispec.AnnotationRefName: tag}
			x.Manifests = append(x.Manifests, d)
		}
	}
	return x
}

// WriteLayout writes images as one OCI layout (image-spec, image-layout.md).
func (s *Set) WriteLayout(dir string, images []Image) error {
	blobs := filepath.Join(dir, "blobs", "sha256")
	if err := os.MkdirAll(blobs, 0o755); err != nil {
		return fmt.Errorf("write layout: %w", err)
	}
	for _, i := range images {
		for _, b := range i.blobsOf() {
			if err := os.WriteFile(filepath.Join(blobs, b.Digest.Encoded()), s.blobs[b.Digest], 0o644); err != nil {
				return fmt.Errorf("write layout: %w", err)
			}
		}
	}
	for name, v := range map[string]any{"oci-layout": ocispec.ImageLayout{Version: ocispec.ImageLayoutVersion}, "index.json": index(images)} {
		b, err := json.Marshal(v)
		if err == nil {
			err = os.WriteFile(filepath.Join(dir, name), b, 0o644)
		}
		if err != nil {
			return fmt.Errorf("write layout: %w", err)
		}
	}
	return nil
}

// WriteArchive writes images as one tar that is an OCI layout and a docker-save archive at once.
func (s *Set) WriteArchive(w io.Writer, images []Image) error {
	tw := tar.NewWriter(w)
	add := func(name string, b []byte) error {
		if err := tw.WriteHeader(&tar.Header{Name: name, Mode: 0o644, Size: int64(len(b)), ModTime: epoch}); err != nil {
			return err
		}
		_, err := tw.Write(b)
		return err
	}
	type saved struct {
		Config   string
		RepoTags []string
		Layers   []string
	}
	var docker []saved
	seen := map[digest.Digest]bool{}
	blob := func(d ocispec.Descriptor) string { return "blobs/sha256/" + d.Digest.Encoded() }
	for _, i := range images {
		m := saved{Config: blob(i.manifest.Config)}
		for _, n := range i.Names {
			m.RepoTags = append(m.RepoTags, strings.TrimPrefix(n, "docker.io/library/"))
		}
		for _, l := range i.manifest.Layers {
			m.Layers = append(m.Layers, blob(l))
		}
		docker = append(docker, m)
		for _, b := range i.blobsOf() {
			if seen[b.Digest] {
				continue
			}
			seen[b.Digest] = true
			if err := add(blob(b), s.blobs[b.Digest]); err != nil {
				return fmt.Errorf("write archive: %w", err)
			}
		}
	}
	for _, x := range []struct {
		name string
		v    any
	}{{"manifest.json", docker}, {"oci-layout", ocispec.ImageLayout{Version: ocispec.ImageLayoutVersion}}, {"index.json", index(images)}} {
		b, err := json.Marshal(x.v)
		if err == nil {
			err = add(x.name, b)
		}
		if err != nil {
			return fmt.Errorf("write archive: %w", err)
		}
	}
	if err := tw.Close(); err != nil {
		return fmt.Errorf("write archive: %w", err)
	}
	return nil
}

// Push sends images to the registry at a URL ("http://127.0.0.1:5001"), each under its repository path without the host: "library/nginx", "app".
func (s *Set) Push(ctx context.Context, registry string, images []Image) error {
	u, err := url.Parse(registry)
	if err != nil || u.Host == "" {
		return fmt.Errorf("push test images: %q is not a registry's URL", registry)
	}
	c := remote.New(remote.Config{Insecure: []string{u.Host}, UserAgent: "nau-test-images"})
	defer c.Close()
	for _, i := range images {
		for _, n := range i.Names {
			repo, tag := splitTag(n)
			_, path, _ := strings.Cut(repo, "/")
			r, err := c.Repository(u.Host, path, remote.Auth{})
			if err != nil {
				return fmt.Errorf("push %s: %w", n, err)
			}
			for _, b := range i.blobsOf() {
				if b.Digest == i.Manifest.Digest {
					continue
				}
				has, err := r.HasBlob(ctx, b.Digest)
				if err != nil {
					return fmt.Errorf("push %s: %w", n, err)
				}
				if has {
					continue
				}
				if _, err := r.Upload(ctx, b, "", func() (io.ReadCloser, error) { return io.NopCloser(bytes.NewReader(s.blobs[b.Digest])), nil }); err != nil {
					return fmt.Errorf("push %s: %w", n, err)
				}
			}
			if err := r.PutManifest(ctx, tag, i.Manifest, s.blobs[i.Manifest.Digest]); err != nil {
				return fmt.Errorf("push %s: %w", n, err)
			}
		}
	}
	return nil
}
