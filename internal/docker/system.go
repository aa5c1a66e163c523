package docker

import (
	"cmp"
	"net/http"
	"os"
	"runtime"
	"strconv"
	"strings"
	"time"

	"github.com/moby/moby/api/types/registry"
	"github.com/moby/moby/api/types/swarm"
	ds "github.com/moby/moby/api/types/system"
	"golang.org/x/sys/unix"

	"nau/internal/engine/container"
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

func (s *Server) getVersion(c *call) error {
	kernel := kernelRelease()
	doc := ds.VersionResponse{Platform: ds.PlatformInfo{Name: "Nau"}, Version: s.cfg.Version, APIVersion: MaxVersion, MinAPIVersion: MinVersion, Os: "linux", Arch: runtime.GOARCH,
		GoVersion: runtime.Version(), KernelVersion: kernel,
		Components: []ds.ComponentVersion{{Name: "Engine", Version: s.cfg.Version, Details: map[string]string{
			"ApiVersion": MaxVersion, "MinAPIVersion": MinVersion, "Os": "linux", "Arch": runtime.GOARCH, "GoVersion": runtime.Version(), "KernelVersion": kernel, "Experimental": "false",
			"GitCommit": "", "BuildTime": ""}}, {Name: "nau-oci", Version: s.cfg.Version}}}
	return c.json(http.StatusOK, doc)
}

func (s *Server) getInfo(c *call) error {
	host, _ := os.Hostname()
	var si unix.Sysinfo_t
	_ = unix.Sysinfo(&si)
	h := s.e.Host()
	cgroup := "1"
	if h.CgroupV2 {
		cgroup = "2"
	}
	doc := ds.Info{ID: s.identity(), Images: len(s.e.Images.List()), Driver: "overlay2", DriverStatus: [][2]string{{"Supports d_type", "true"}, {"Using metacopy", "false"}, {"Native Overlay Diff", "true"}},
		Plugins:     ds.PluginsInfo{Volume: []string{"local"}, Network: []string{"bridge", "host", "null"}, Log: logDrivers},
		MemoryLimit: s.can.Memory, SwapLimit: s.can.Swap, CPUCfsPeriod: s.can.CFS, CPUCfsQuota: s.can.CFS, CPUShares: s.can.CPUShares, CPUSet: s.can.Cpuset, PidsLimit: s.can.Pids,
		IPv4Forwarding: true, OomKillDisable: s.can.OOMKillDisable,
		NGoroutines: runtime.NumGoroutine(), SystemTime: time.Now().Format(time.RFC3339Nano), LoggingDriver: "json-file", CgroupDriver: "cgroupfs", CgroupVersion: cgroup,
		KernelVersion: kernelRelease(), OperatingSystem: osName(), OSType: "linux", Architecture: machine(), IndexServerAddress: "https://index.docker.io/v1/",
		RegistryConfig: &registry.ServiceConfig{IndexConfigs: map[string]*registry.IndexInfo{"docker.io": {Name: "docker.io", Mirrors: []string{}, Secure: true, Official: true}}},
		NCPU:           runtime.NumCPU(), MemTotal: int64(si.Totalram) * int64(max(si.Unit, 1)), DockerRootDir: s.e.Config().DataDir, Name: host, Labels: []string{}, ServerVersion: s.cfg.Version,
		Runtimes: map[string]ds.RuntimeWithStatus{container.BuiltIn: {Runtime: ds.Runtime{Path: s.e.Config().NauOCI}}}, DefaultRuntime: cmp.Or(s.e.Config().Runtime, container.BuiltIn), Swarm: swarm.Info{LocalNodeState: swarm.LocalNodeStateInactive},
		LiveRestoreEnabled: true, InitBinary: "nau-oci", SecurityOptions: []string{}, CDISpecDirs: s.e.Config().CDIDirs, Warnings: s.can.lacks()}
	for name, path := range s.e.Config().Runtimes {
		doc.Runtimes[name] = ds.RuntimeWithStatus{Runtime: ds.Runtime{Path: path}}
	}
	if h.Seccomp {
		doc.SecurityOptions = append(doc.SecurityOptions, "name=seccomp,profile=builtin")
	}
	if h.AppArmor {
		doc.SecurityOptions = append(doc.SecurityOptions, "name=apparmor")
	}
	for _, r := range s.e.Containers.List() {
		doc.Containers++
		switch r.State {
		case container.Running:
			doc.ContainersRunning++
		case container.Paused:
			doc.ContainersPaused++
		default:
			doc.ContainersStopped++
		}
	}
	return c.shaped(http.StatusOK, doc, infoShapes)
}

// identity is a name of this engine that stays.
func (s *Server) identity() string {
	if n := s.defaultNetwork(); n != nil {
		return n.ID[:8] + "-" + n.ID[8:12] + "-" + n.ID[12:16] + "-" + n.ID[16:20] + "-" + n.ID[20:32]
	}
	return s.e.Config().Instance
}

func osName() string {
	b, _ := os.ReadFile("/etc/os-release")
	for l := range strings.Lines(string(b)) {
		if v, ok := strings.CutPrefix(strings.TrimSpace(l), "PRETTY_NAME="); ok {
			if u, err := strconv.Unquote(v); err == nil {
				return u
			}
			return v
		}
	}
	return "Linux"
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

// noAttestations answers GET /images/{name}/attestations as Docker does where the store keeps an image's own manifest and not the index that
// names its attestations.
func (s *Server) noAttestations(c *call) error {
	if _, err := s.image(c.vars["name"]); err != nil {
		return err
	}
	return fail(http.StatusNotImplemented, "attestations are not kept: the image store keeps the manifest of each platform, not the index that names its attestations")
}
