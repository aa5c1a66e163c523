package build

import (
	"bufio"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"

	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
)

// binfmt is where the kernel tells which foreign programs it can start (Documentation/admin-guide/binfmt-misc.rst).
const binfmt = "/proc/sys/fs/binfmt_misc"

// emulators are the names that qemu's handlers are registered under.
var emulators = map[string]string{"amd64": "qemu-x86_64", "arm64": "qemu-aarch64", "386": "qemu-i386", "arm": "qemu-arm", "ppc64le": "qemu-ppc64le",
	"s390x": "qemu-s390x", "riscv64": "qemu-riscv64", "loong64": "qemu-loongarch64", "mips64le": "qemu-mips64el", "mips64": "qemu-mips64"}

// runnable tells whether commands of a platform can run here.
func runnable(p ocispec.Platform) error {
	arch := p.Architecture
	if arch == "" || arch == runtime.GOARCH || arch == "386" && runtime.GOARCH == "amd64" {
		return nil
	}
	for _, name := range []string{emulators[arch], strings.TrimPrefix(emulators[arch], "qemu-")} {
		if f, err := os.Open(filepath.Join(binfmt, name)); name != "" && err == nil {
			ok := usable(bufio.NewScanner(f))
			f.Close()
			if ok {
				return nil
			}
		}
	}
	return fmt.Errorf("run a command of linux/%s on linux/%s: %w: this kernel has no emulator for it: register qemu with binfmt_misc (flag F), or keep RUN to stages FROM --platform=$BUILDPLATFORM",
		arch, runtime.GOARCH, ErrUnsupported)
}

// usable reads a handler's state: it must be on, and hold its interpreter open (F), since a container has no copy of it.
func usable(s *bufio.Scanner) bool {
	on, held := false, false
	for s.Scan() {
		switch line := s.Text(); {
		case line == "enabled":
			on = true
		case strings.HasPrefix(line, "flags:"):
			held = strings.Contains(line, "F")
		}
	}
	return on && held
}

// Platforms lists what commands can run here: this machine's first.
func (b *Builder) Platforms() []ocispec.Platform {
	out := []ocispec.Platform{parsePlatform("")}
	for arch := range emulators {
		if p := (ocispec.Platform{OS: "linux", Architecture: arch}); arch != out[0].Architecture && runnable(p) == nil {
			out = append(out, p)
		}
	}
	slices.SortFunc(out[1:], func(a, b ocispec.Platform) int { return strings.Compare(a.Architecture, b.Architecture) })
	return out
}
