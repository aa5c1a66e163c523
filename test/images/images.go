// Package images makes the images that the tests run, with no network but Debian's packages: a busybox base, and on it stand-ins for the images that
// the examples name (nginx, alpine, debian, wordpress, an application), plus a big one for the pull benchmark. They are written as OCI
// layouts and docker archives, or pushed to a registry under upstream's repository paths, so that the registry serves as a mirror.
//
// Images are the same bytes every time for the same busybox and Go. Only tests and benchmarks import it.
package images

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"context"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"time"

	"github.com/opencontainers/go-digest"
	specs "github.com/opencontainers/image-spec/specs-go"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
)

// Options of Build. Zero fields have defaults.
type Options struct {
	Busybox string // a static busybox; "" = /usr/bin/busybox or /bin/busybox
	HTTPD   string // the built test/images/httpd; "" = built with go build
	Source  string // the repository's root, for building it; "" = found from the working directory
	Arch    string // "" = this machine's; busybox must be of the same
	Big     bool   // the 205 MB image too
}

// Set is a set of images with all their blobs in memory.
type Set struct {
	Images []Image
	blobs  map[digest.Digest][]byte
}

// Image is one image with its full names ("docker.io/library/nginx:alpine").
type Image struct {
	Names    []string
	Manifest ocispec.Descriptor
	manifest ocispec.Manifest
}

var epoch = time.Unix(1700000000, 0).UTC()

// entry is one path of a layer.
type entry struct {
	name string
	mode int64
	data []byte // of a file
	link string // of a symlink; "/"-less with hard = true
	hard bool
	dir  bool
}

func dir(name string, mode int64) entry { return entry{name: name + "/", mode: mode, dir: true} }
func file(name string, mode int64, data []byte) entry {
	return entry{name: name, mode: mode, data: data}
}
func symlink(name, to string) entry  { return entry{name: name, mode: 0o777, link: to} }
func hardlink(name, to string) entry { return entry{name: name, link: to, hard: true, mode: 0o755} }

type madeLayer struct {
	desc   ocispec.Descriptor
	diffID digest.Digest
}

// layer makes a gzip layer blob.
func (s *Set) layer(entries ...entry) (madeLayer, error) {
	var raw, zipped bytes.Buffer
	tw := tar.NewWriter(&raw)
	for _, e := range entries {
		h := &tar.Header{Name: e.name, Mode: e.mode, ModTime: epoch, Typeflag: tar.TypeReg, Size: int64(len(e.data)), Linkname: e.link}
		switch {
		case e.dir:
			h.Typeflag = tar.TypeDir
		case e.hard:
			h.Typeflag = tar.TypeLink
		case e.link != "":
			h.Typeflag = tar.TypeSymlink
		}
		if err := tw.WriteHeader(h); err != nil {
			return madeLayer{}, fmt.Errorf("write layer entry %s: %w", e.name, err)
		}
		if _, err := tw.Write(e.data); err != nil {
			return madeLayer{}, fmt.Errorf("write layer entry %s: %w", e.name, err)
		}
	}
	if err := tw.Close(); err != nil {
		return madeLayer{}, fmt.Errorf("write layer: %w", err)
	}
	zw, err := gzip.NewWriterLevel(&zipped, 5)
	if err != nil {
		return madeLayer{}, err
	}
	if _, err := zw.Write(raw.Bytes()); err != nil {
		return madeLayer{}, fmt.Errorf("compress layer: %w", err)
	}
	if err := zw.Close(); err != nil {
		return madeLayer{}, fmt.Errorf("compress layer: %w", err)
	}
	desc := s.put(ocispec.MediaTypeImageLayerGzip, zipped.Bytes())
	return madeLayer{desc, digest.FromBytes(raw.Bytes())}, nil
}

func (s *Set) put(media string, b []byte) ocispec.Descriptor {
	d := digest.FromBytes(b)
	s.blobs[d] = b
	return ocispec.Descriptor{MediaType: media, Digest: d, Size: int64(len(b))}
}

// add makes one image.
func (s *Set) add(arch string, cfg ocispec.ImageConfig, layers []madeLayer, names ...string) error {
	c := ocispec.Image{Created: &epoch, Platform: ocispec.Platform{OS: "linux", Architecture: arch}, Config: cfg, RootFS: ocispec.RootFS{Type: "layers"}}
	m := ocispec.Manifest{Versioned: specs.Versioned{SchemaVersion: 2}, MediaType: ocispec.MediaTypeImageManifest}
	for _, l := range layers {
		c.RootFS.DiffIDs = append(c.RootFS.DiffIDs, l.diffID)
		c.History = append(c.History, ocispec.History{Created: &epoch, CreatedBy: "test/images"})
		m.Layers = append(m.Layers, l.desc)
	}
	b, err := json.Marshal(c)
	if err != nil {
		return fmt.Errorf("write config of %s: %w", names[0], err)
	}
	m.Config = s.put(ocispec.MediaTypeImageConfig, b)
	if b, err = json.Marshal(m); err != nil {
		return fmt.Errorf("write manifest of %s: %w", names[0], err)
	}
	desc := s.put(ocispec.MediaTypeImageManifest, b)
	desc.Platform = &c.Platform
	s.Images = append(s.Images, Image{Names: names, Manifest: desc, manifest: m})
	return nil
}

var path = []string{"PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"}

// Build makes all images.
func Build(ctx context.Context, o Options) (*Set, error) {
	if o.Arch == "" {
		o.Arch = runtime.GOARCH
	}
	busybox, applets, err := findBusybox(ctx, o.Busybox)
	if err != nil {
		return nil, err
	}
	httpd, err := buildHTTPD(ctx, o)
	if err != nil {
		return nil, err
	}
	s := &Set{blobs: map[digest.Digest][]byte{}}
	base, err := s.layer(baseEntries(busybox, applets)...)
	if err != nil {
		return nil, err
	}
	// One file under all its names: the program looks at the name it is called by.
	tools, err := s.layer(dir("usr/sbin", 0o755), dir("usr/bin", 0o755), file("usr/sbin/nginx", 0o755, httpd),
		hardlink("usr/bin/wget", "usr/sbin/nginx"), hardlink("usr/bin/curl", "usr/sbin/nginx"), hardlink("usr/bin/nslookup", "usr/sbin/nginx"), hardlink("usr/bin/app", "usr/sbin/nginx"))
	if err != nil {
		return nil, err
	}
	for _, r := range recipes() {
		own, err := s.layer(r.entries...)
		if err != nil {
			return nil, err
		}
		layers := []madeLayer{base, tools, own}
		if r.bare {
			layers = []madeLayer{base, own}
		}
		r.config.Env = append(append([]string{}, path...), r.config.Env...)
		if err := s.add(o.Arch, r.config, layers, r.names...); err != nil {
			return nil, err
		}
	}
	if o.Big {
		if err := s.big(o.Arch, base); err != nil {
			return nil, err
		}
	}
	return s, nil
}

func findBusybox(ctx context.Context, at string) (program []byte, applets []string, err error) {
	for _, p := range []string{at, "/usr/bin/busybox", "/bin/busybox"} {
		if p == "" {
			continue
		}
		if program, err = os.ReadFile(p); err != nil {
			if p == at {
				break
			}
			continue
		}
		out, err := exec.CommandContext(ctx, p, "--list").Output()
		if err != nil {
			return nil, nil, fmt.Errorf("list applets of %s: %w", p, err)
		}
		return program, strings.Fields(string(out)), nil
	}
	return nil, nil, fmt.Errorf("find busybox: %w; install Debian's package busybox-static", err)
}

func buildHTTPD(ctx context.Context, o Options) ([]byte, error) {
	if o.HTTPD != "" {
		b, err := os.ReadFile(o.HTTPD)
		if err != nil {
			return nil, fmt.Errorf("read test web server: %w", err)
		}
		return b, nil
	}
	tmp, err := os.MkdirTemp("", "images-")
	if err != nil {
		return nil, fmt.Errorf("build test web server: %w", err)
	}
	defer os.RemoveAll(tmp)
	bin := filepath.Join(tmp, "httpd")
	cmd := exec.CommandContext(ctx, "go", "build", "-trimpath", "-buildvcs=false", "-ldflags=-s -w -buildid=", "-o", bin, "nau/test/images/httpd")
	cmd.Dir = o.Source
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0", "GOARCH="+o.Arch, "GOOS=linux")
	if out, err := cmd.CombinedOutput(); err != nil {
		return nil, fmt.Errorf("build test web server: %w: %s", err, out)
	}
	b, err := os.ReadFile(bin)
	if err != nil {
		return nil, fmt.Errorf("build test web server: %w", err)
	}
	return b, nil
}

func baseEntries(busybox []byte, applets []string) []entry {
	var es []entry
	for _, d := range []string{"bin", "dev", "etc", "home", "lib", "mnt", "opt", "proc", "root", "run", "sbin", "srv", "sys", "usr", "usr/bin", "usr/local", "usr/local/bin", "usr/sbin", "usr/share", "var", "var/log", "var/www"} {
		mode := int64(0o755)
		if d == "root" {
			mode = 0o700
		}
		es = append(es, dir(d, mode))
	}
	es = append(es, dir("tmp", 0o1777), dir("var/tmp", 0o1777), symlink("var/run", "/run"), file("bin/busybox", 0o755, busybox))
	for _, a := range applets {
		switch a {
		case "busybox", "wget", "nslookup": // Debian's static busybox crashes where it resolves names
		default:
			es = append(es, symlink("bin/"+a, "busybox"))
		}
	}
	return append(es,
		file("bin/bash", 0o755, []byte("#!/bin/sh\nexec /bin/sh \"$@\"\n")),
		file("etc/passwd", 0o644, []byte("root:x:0:0:root:/root:/bin/sh\ndaemon:x:1:1:daemon:/usr/sbin:/bin/false\nwww-data:x:33:33:www-data:/var/www:/bin/false\nnginx:x:101:101:nginx:/nonexistent:/bin/false\nnobody:x:65534:65534:nobody:/:/bin/false\n")),
		file("etc/group", 0o644, []byte("root:x:0:\ndaemon:x:1:\ntty:x:5:\nwww-data:x:33:\nnginx:x:101:\nusers:x:100:\nnogroup:x:65534:\n")),
		file("etc/shadow", 0o640, []byte("root:*::0:::::\n")),
		file("etc/nsswitch.conf", 0o644, []byte("hosts: files dns\n")),
	)
}

// recipe is one image beyond the base.
type recipe struct {
	names   []string
	config  ocispec.ImageConfig
	entries []entry
	bare    bool // without the tools layer
}

func recipes() []recipe {
	var all []recipe
	all = append(all, recipe{
		names: []string{"docker.io/library/busybox:latest", "docker.io/library/busybox:1.36"}, bare: true,
		config:  ocispec.ImageConfig{Cmd: []string{"sh"}},
		entries: []entry{dir("etc", 0o755), file("etc/os-release", 0o644, []byte("NAME=\"BusyBox\"\nID=busybox\n"))},
	}, recipe{
		names: []string{"docker.io/library/pause:latest"}, bare: true, // what a runtime holds a pod's namespaces with
		config:  ocispec.ImageConfig{Cmd: []string{"sleep", "1000000"}},
		entries: []entry{dir("etc", 0o755)},
	}, recipe{
		names:   []string{"docker.io/library/alpine:latest", "docker.io/library/alpine:3.20"},
		config:  ocispec.ImageConfig{Cmd: []string{"/bin/sh"}},
		entries: release("Alpine Linux", "alpine", "3.20.0"),
	}, recipe{
		names:   []string{"docker.io/library/debian:stretch-slim", "docker.io/library/debian:latest"},
		config:  ocispec.ImageConfig{Cmd: []string{"bash"}},
		entries: append(release("Debian GNU/Linux", "debian", "9"), file("etc/debian_version", 0o644, []byte("9.13\n"))),
	}, recipe{
		names:   []string{"10.110.0.3:5000/app:v1"},
		config:  ocispec.ImageConfig{Cmd: []string{"app"}, Env: []string{"APP_VERSION=v1"}, ExposedPorts: map[string]struct{}{"8080/tcp": {}}},
		entries: release("app", "app", "v1"),
	}, recipe{
		names:   []string{"10.110.0.3:5000/app:v2"},
		config:  ocispec.ImageConfig{Cmd: []string{"app"}, Env: []string{"APP_VERSION=v2"}, ExposedPorts: map[string]struct{}{"8080/tcp": {}}},
		entries: release("app", "app", "v2"),
	}, web("wordpress", "6.5.3", "<h1>WordPress</h1>", "docker.io/library/wordpress:latest"))
	for version, names := range map[string][]string{"1.24.0": {"stable-alpine", "stable", "1.24"}, "1.25.3": {"alpine", "1.25-alpine", "1.25"}, "1.25.4": {"latest"}} {
		for i, n := range names {
			names[i] = "docker.io/library/nginx:" + n
		}
		all = append(all, web("nginx", version, "<h1>Welcome to nginx!</h1>", names...))
	}
	return all
}

func release(name, id, version string) []entry {
	text := fmt.Sprintf("NAME=%q\nID=%s\nVERSION_ID=%s\nPRETTY_NAME=%q\n", name, id, version, name+" "+version)
	return []entry{dir("etc", 0o755), file("etc/os-release", 0o644, []byte(text))}
}

const nginxConf = `worker_processes auto;
events { worker_connections 1024; }
http {
    include /etc/nginx/conf.d/*.conf;
}
`

const defaultConf = `server {
    listen 80;
    listen [::]:80;
    location / {
        root  /usr/share/nginx/html;
        index index.html index.htm;
    }
}
`

func web(what, version, heading string, names ...string) recipe {
	html := "<!DOCTYPE html>\n<html>\n<head><title>" + strings.TrimSuffix(strings.TrimPrefix(heading, "<h1>"), "</h1>") + "</title></head>\n<body>\n" + heading + "\n</body>\n</html>\n"
	return recipe{
		names: names,
		config: ocispec.ImageConfig{
			Cmd: []string{"nginx", "-g", "daemon off;"}, Env: []string{"NGINX_VERSION=" + version}, StopSignal: "SIGQUIT",
			ExposedPorts: map[string]struct{}{"80/tcp": {}},
			Labels:       map[string]string{"maintainer": "test images", ocispec.AnnotationDescription: "Stand-in for " + what + " in tests"},
		},
		entries: append(release(what, what, version),
			dir("etc/nginx", 0o755), file("etc/nginx/nginx.conf", 0o644, []byte(nginxConf)),
			dir("etc/nginx/conf.d", 0o755), file("etc/nginx/conf.d/default.conf", 0o644, []byte(defaultConf)),
			dir("usr/share/nginx", 0o755), dir("usr/share/nginx/html", 0o755), file("usr/share/nginx/html/index.html", 0o644, []byte(html)),
			dir("var/cache", 0o755), dir("var/cache/nginx", 0o755), dir("var/log/nginx", 0o755),
			symlink("var/log/nginx/access.log", "/dev/stdout"), symlink("var/log/nginx/error.log", "/dev/stderr")),
	}
}

// big is the pull benchmark's image: eight layers of 25 MB, 600 small files, 40 middling, 4 large each, about half of it compressible.
func (s *Set) big(arch string, base madeLayer) error {
	rnd := rand.New(rand.NewPCG(42, 42))
	words := make([][]byte, 3000)
	for i := range words {
		w := make([]byte, 3+rnd.IntN(8))
		for j := range w {
			w[j] = byte('a' + rnd.IntN(26))
		}
		words[i] = append(w, ' ')
	}
	data := func(n int, compressible bool) []byte {
		b := make([]byte, 0, n+16)
		for len(b) < n {
			if compressible {
				b = append(b, words[rnd.IntN(len(words))]...)
			} else {
				v := rnd.Uint64()
				b = append(b, byte(v), byte(v>>8), byte(v>>16), byte(v>>24), byte(v>>32), byte(v>>40), byte(v>>48), byte(v>>56))
			}
		}
		return b[:n]
	}
	layers := []madeLayer{base}
	for k := range 8 {
		d := fmt.Sprintf("data%d", k)
		es := []entry{dir(d, 0o755), dir(d+"/s", 0o755)}
		for i := range 600 {
			es = append(es, file(fmt.Sprintf("%s/s/f%d", d, i), 0o644, data(4096+rnd.IntN(8192), true)))
		}
		for i := range 40 {
			es = append(es, file(fmt.Sprintf("%s/m%d", d, i), 0o644, data(200_000, i%2 == 0)))
		}
		for i := range 4 {
			es = append(es, file(fmt.Sprintf("%s/b%d", d, i), 0o755, data(3_000_000, i%2 == 0)))
		}
		l, err := s.layer(es...)
		if err != nil {
			return err
		}
		layers = append(layers, l)
	}
	return s.add(arch, ocispec.ImageConfig{Cmd: []string{"sh"}, Env: path}, layers, "docker.io/library/big:latest")
}
