package docker

import (
	"net/http"
	"os"
	"runtime"
	"strconv"
	"strings"

	"github.com/moby/moby/api/types/registry"
	"golang.org/x/sys/unix"

	"nau/internal/engine/image"
)

func (s *Server) ping(c *call) error {
	h := c.w.Header()
	h.Set("Builder-Version", "2")
	h.Set("Swarm", "inactive")
	h.Set("Cache-Control", "no-cache, no-store, must-revalidate")
	h.Set("Pragma", "no-cache")
	h.Set("Content-Type", "text/plain; charset=utf-8")
	if c.Method == http.MethodHead {
		h.Set("Content-Length", "0")
		return nil
	}
	_, err := c.w.Write([]byte("OK"))
	return err
}

func kernelRelease() string {
	var u unix.Utsname
	if unix.Uname(&u) != nil {
		return ""
	}
	return unix.ByteSliceToString(u.Release[:])
}

// identity is a name of this engine that stays.
func (s *Server) identity() string {
	if n := s.defaultNetwork(); n != nil {
		return n.ID[:8] + "-" + n.ID[8:12] + "-" + n.ID[12:16] + "-" + n.ID[16:20] + "-" + n.ID[20:32]
	}
	return s.e.Config().Instance
}

// osRelease reads a value of this machine's os-release(5).
func osRelease(name, otherwise string) string {
	b, _ := os.ReadFile("/etc/os-release")
	for l := range strings.Lines(string(b)) {
		if v, ok := strings.CutPrefix(strings.TrimSpace(l), name+"="); ok {
			if u, err := strconv.Unquote(v); err == nil {
				return u
			}
			return v
		}
	}
	return otherwise
}

func machine() string {
	var u unix.Utsname
	if unix.Uname(&u) != nil {
		return runtime.GOARCH
	}
	return unix.ByteSliceToString(u.Machine[:])
}

func authOf(a registry.AuthConfig) *image.Auth {
	return &image.Auth{Username: a.Username, Password: a.Password, IdentityToken: a.IdentityToken, RegistryToken: a.RegistryToken}
}
