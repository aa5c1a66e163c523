// Package busybox makes what engine tests run: an image of the host's static busybox in a registry inside the test, and the nau-oci executable.
//
// For tests only.
package busybox

import (
	"archive/tar"
	"bytes"
	"io"
	"log"
	"maps"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/google/go-containerregistry/pkg/name"
	"github.com/google/go-containerregistry/pkg/registry"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/remote"
	"github.com/google/go-containerregistry/pkg/v1/tarball"
	"golang.org/x/sys/unix"
)

// Image builds the image. Skips where there is no static busybox. change, if not nil, alters its configuration; files are added to it.
func Image(t testing.TB, change func(*v1.Config), files map[string]string) v1.Image {
	t.Helper()
	binary, err := os.ReadFile("/bin/busybox")
	if err != nil {
		t.Skip("needs busybox-static")
	}
	var b bytes.Buffer
	w := tar.NewWriter(&b)
	dir := func(name string, mode int64) {
		_ = w.WriteHeader(&tar.Header{Typeflag: tar.TypeDir, Name: name, Mode: mode})
	}
	file := func(name string, mode int64, content []byte) {
		_ = w.WriteHeader(&tar.Header{Typeflag: tar.TypeReg, Name: name, Mode: mode, Size: int64(len(content))})
		_, _ = w.Write(content)
	}
	for _, d := range []string{"bin/", "etc/", "proc/", "sys/", "dev/", "root/", "home/", "var/", "usr/"} {
		dir(d, 0o755)
	}
	dir("tmp/", 0o1777)
	file("bin/busybox", 0o755, binary)
	list, err := exec.Command("/bin/busybox", "--list").Output()
	if err != nil {
		t.Fatal(err)
	}
	for _, a := range strings.Fields(string(list)) {
		if a == "busybox" {
			continue
		}
		_ = w.WriteHeader(&tar.Header{Typeflag: tar.TypeLink, Name: "bin/" + a, Linkname: "bin/busybox", Mode: 0o755})
	}
	file("etc/passwd", 0o644, []byte("root:x:0:0:root:/root:/bin/sh\nnobody:x:65534:65534:nobody:/home:/bin/sh\nwww-data:x:1000:33:web:/home:/bin/sh\nweb:x:33:33:web:/home:/bin/sh\n"))
	file("etc/group", 0o644, []byte("root:x:0:\nnobody:x:65534:\nweb:x:33:\nextra:x:50:web\n"))
	for _, name := range slices.Sorted(maps.Keys(files)) {
		mode := int64(0o644)
		if strings.HasPrefix(name, "bin/") {
			mode = 0o755
		}
		file(name, mode, []byte(files[name]))
	}
	_ = w.Close()
	layer, err := tarball.LayerFromOpener(func() (io.ReadCloser, error) { return io.NopCloser(bytes.NewReader(b.Bytes())), nil })
	if err != nil {
		t.Fatal(err)
	}
	img, err := mutate.AppendLayers(empty.Image, layer)
	if err != nil {
		t.Fatal(err)
	}
	cfg, err := img.ConfigFile()
	if err != nil {
		t.Fatal(err)
	}
	cfg = cfg.DeepCopy()
	cfg.OS, cfg.Architecture = "linux", runtime.GOARCH
	cfg.Config.Cmd, cfg.Config.Env = []string{"sh"}, []string{"PATH=/bin"}
	if change != nil {
		change(&cfg.Config)
	}
	if img, err = mutate.ConfigFile(img, cfg); err != nil {
		t.Fatal(err)
	}
	return img
}

// Registry serves the image as library/busybox:1 on loopback and returns its reference.
func Registry(t testing.TB) string {
	t.Helper()
	return Serve(t, map[string]v1.Image{"library/busybox:1": Image(t, nil, nil)}) + "/library/busybox:1"
}

// Serve serves images by their names from a registry on loopback until the test ends, and returns its host and port.
func Serve(t testing.TB, images map[string]v1.Image) string {
	t.Helper()
	Loopback(t)
	srv := httptest.NewServer(registry.New(registry.Logger(log.New(io.Discard, "", 0))))
	t.Cleanup(srv.Close)
	host := srv.Listener.Addr().String()
	for n, img := range images {
		ref, err := name.NewTag(host + "/" + n)
		if err != nil {
			t.Fatal(err)
		}
		if err := remote.Write(ref, img, remote.WithTransport(http.DefaultTransport)); err != nil {
			t.Fatal(err)
		}
	}
	return host
}

// Loopback sets the loopback device of this network namespace up.
func Loopback(t testing.TB) {
	t.Helper()
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Close(fd)
	ifr, err := unix.NewIfreq("lo")
	if err != nil {
		t.Fatal(err)
	}
	ifr.SetUint16(unix.IFF_UP | unix.IFF_LOOPBACK | unix.IFF_RUNNING)
	if err := unix.IoctlIfreq(fd, unix.SIOCSIFFLAGS, ifr); err != nil {
		t.Fatal(err)
	}
	if l, err := net.Listen("tcp", "127.0.0.1:0"); err == nil {
		_ = l.Close()
	}
}

var built struct {
	sync.Once
	path string
	err  error
	out  []byte
}

// NauOCI builds the executable once for each test process. NAU_OCI names one that is built already.
func NauOCI(t testing.TB) string {
	t.Helper()
	if p := os.Getenv("NAU_OCI"); p != "" {
		return p
	}
	built.Do(func() {
		dir, err := os.MkdirTemp("", "nau-oci-")
		if err != nil {
			built.err = err
			return
		}
		built.path = filepath.Join(dir, "nau-oci")
		cmd := exec.Command("go", "build", "-trimpath", "-ldflags=-s -w", "-o", built.path, "nau/cmd/nau-oci")
		cmd.Env = append(os.Environ(), "CGO_ENABLED=0")
		built.out, built.err = cmd.CombinedOutput()
	})
	if built.err != nil {
		t.Fatalf("build nau-oci: %v\n%s", built.err, built.out)
	}
	return built.path
}
