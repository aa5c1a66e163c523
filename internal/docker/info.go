package docker

import (
	"cmp"
	"net/http"
	"net/netip"
	"net/url"
	"os"
	"runtime"
	"strconv"
	"strings"
	"time"

	"github.com/moby/moby/api/types/registry"
	"github.com/moby/moby/api/types/swarm"
	ds "github.com/moby/moby/api/types/system"
	"golang.org/x/sys/unix"

	"nau/internal/engine/cdi"
	"nau/internal/engine/container"
	"nau/internal/engine/image"
	"nau/internal/engine/network"
)

// getVersion answers GET /version.
func (s *Server) getVersion(c *call) error {
	kernel, built := kernelRelease(), ""
	if !s.cfg.Built.IsZero() {
		built = s.cfg.Built.UTC().Format(time.RFC3339Nano)
	}
	doc := ds.VersionResponse{Platform: ds.PlatformInfo{Name: "Nau"}, Version: s.cfg.Version, APIVersion: MaxVersion, MinAPIVersion: MinVersion, Os: "linux", Arch: runtime.GOARCH,
		GitCommit: s.cfg.Commit, Experimental: s.cfg.Experimental, GoVersion: runtime.Version(), KernelVersion: kernel, BuildTime: built,
		Components: []ds.ComponentVersion{
			{Name: "Engine", Version: s.cfg.Version, Details: map[string]string{"ApiVersion": MaxVersion, "MinAPIVersion": MinVersion, "Os": "linux", "Arch": runtime.GOARCH,
				"GoVersion": runtime.Version(), "KernelVersion": kernel, "Experimental": strconv.FormatBool(s.cfg.Experimental), "GitCommit": s.cfg.Commit, "BuildTime": built}},
			{Name: "nau-oci", Version: s.cfg.Version, Details: map[string]string{"GitCommit": s.cfg.Commit}}}}
	return c.json(http.StatusOK, doc)
}

// getInfo answers GET /info.
func (s *Server) getInfo(c *call) error {
	host, _ := os.Hostname()
	var si unix.Sysinfo_t
	_ = unix.Sysinfo(&si)
	h, cfg := s.e.Host(), s.e.Config()
	cgroup := "1"
	if h.CgroupV2 {
		cgroup = "2"
	}
	fds, _ := os.ReadDir("/proc/self/fd")
	forwards, _ := os.ReadFile("/proc/sys/net/ipv4/ip_forward")
	ours := ds.Commit{ID: cmp.Or(s.cfg.Commit, s.cfg.Version)}
	doc := ds.Info{ID: s.identity(), Images: len(s.e.Images.List()), Driver: "overlay2", DriverStatus: storageStatus(cfg.DataDir),
		Plugins:     ds.PluginsInfo{Volume: []string{"local"}, Network: networkDrivers(s.e.Networks), Log: logDrivers},
		MemoryLimit: s.can.Memory, SwapLimit: s.can.Swap, CPUCfsPeriod: s.can.CFS, CPUCfsQuota: s.can.CFS, CPUShares: s.can.CPUShares, CPUSet: s.can.Cpuset, PidsLimit: s.can.Pids,
		IPv4Forwarding: strings.TrimSpace(string(forwards)) == "1", OomKillDisable: s.can.OOMKillDisable, NFd: len(fds), NEventsListener: s.hub.listeners(),
		NGoroutines: runtime.NumGoroutine(), SystemTime: time.Now().Format(time.RFC3339Nano), LoggingDriver: "json-file", CgroupDriver: "cgroupfs", CgroupVersion: cgroup,
		KernelVersion: kernelRelease(), OperatingSystem: osRelease("PRETTY_NAME", "Linux"), OSVersion: osRelease("VERSION_ID", ""), OSType: "linux", Architecture: machine(),
		IndexServerAddress: "https://index.docker.io/v1/", RegistryConfig: registries(cfg.Registries),
		NCPU: runtime.NumCPU(), MemTotal: int64(si.Totalram) * int64(max(si.Unit, 1)), DockerRootDir: cfg.DataDir, Name: host, Labels: []string{}, ServerVersion: s.cfg.Version,
		HTTPProxy: proxy("HTTP_PROXY"), HTTPSProxy: proxy("HTTPS_PROXY"), NoProxy: cmp.Or(os.Getenv("NO_PROXY"), os.Getenv("no_proxy")),
		Runtimes: map[string]ds.RuntimeWithStatus{container.BuiltIn: {Runtime: ds.Runtime{Path: cfg.NauOCI}}}, DefaultRuntime: cmp.Or(cfg.Runtime, container.BuiltIn), Swarm: swarm.Info{LocalNodeState: swarm.LocalNodeStateInactive},
		RuncCommit: ours, InitCommit: ours, FirewallBackend: &ds.FirewallInfo{Driver: "nftables"},
		LiveRestoreEnabled: true, ExperimentalBuild: s.cfg.Experimental, InitBinary: "nau-oci", SecurityOptions: []string{}, CDISpecDirs: cfg.CDIDirs, Warnings: s.can.lacks()}
	for name, path := range cfg.Runtimes {
		doc.Runtimes[name] = ds.RuntimeWithStatus{Runtime: ds.Runtime{Path: path}}
	}
	for _, name := range cdi.Load(cfg.CDIDirs).Devices(func(string) bool { return true }) {
		doc.DiscoveredDevices = append(doc.DiscoveredDevices, ds.DeviceInfo{Source: "cdi", ID: name})
	}
	for _, o := range []struct {
		holds bool
		name  string
	}{{h.AppArmor, "name=apparmor"}, {h.Seccomp, "name=seccomp,profile=builtin"}, {!cfg.Remap.IsZero(), "name=userns"}, {h.CgroupV2, "name=cgroupns"}} {
		if o.holds {
			doc.SecurityOptions = append(doc.SecurityOptions, o.name)
		}
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

// indexKeeper is by which buildx, Compose and others know an engine that takes and keeps images of several platforms, with what is said about them.
const indexKeeper = "io.containerd.snapshotter.v1"

// storageStatus describes what layers are kept on. Source of the numbers: statfs(2).
func storageStatus(dir string) [][2]string {
	var fs unix.Statfs_t
	name := "<unknown>"
	if unix.Statfs(dir, &fs) == nil {
		if known, ok := map[int64]string{unix.EXT4_SUPER_MAGIC: "extfs", unix.XFS_SUPER_MAGIC: "xfs", unix.BTRFS_SUPER_MAGIC: "btrfs", unix.TMPFS_MAGIC: "tmpfs",
			unix.OVERLAYFS_SUPER_MAGIC: "overlayfs", unix.F2FS_SUPER_MAGIC: "f2fs", 0x2fc12fc1: "zfs"}[int64(fs.Type)]; ok {
			name = known
		}
	}
	on := func(parameter string) string {
		if b, err := os.ReadFile("/sys/module/overlay/parameters/" + parameter); err == nil && strings.HasPrefix(string(b), "Y") {
			return "true"
		}
		return "false"
	}
	return [][2]string{{"driver-type", indexKeeper}, {"Backing Filesystem", name}, {"Supports d_type", "true"}, {"Using metacopy", on("metacopy")}, {"Native Overlay Diff", "true"}, {"userxattr", "false"}}
}

// networkDrivers are the kinds of network that can be made here.
func networkDrivers(m *network.Manager) []string {
	out := []string{"bridge", "host"}
	if m != nil {
		for _, kind := range m.Kinds() {
			out = append(out, string(kind))
		}
	}
	return append(out, "null")
}

// registries say how registries are reached.
func registries(r image.Registries) *registry.ServiceConfig {
	mirrors := append([]string{}, r.Mirrors["docker.io"]...)
	out := &registry.ServiceConfig{Mirrors: mirrors, InsecureRegistryCIDRs: []netip.Prefix{netip.MustParsePrefix("::1/128"), netip.MustParsePrefix("127.0.0.0/8")},
		IndexConfigs: map[string]*registry.IndexInfo{"docker.io": {Name: "docker.io", Mirrors: mirrors, Secure: true, Official: true}}}
	for _, name := range r.Insecure {
		if p, err := netip.ParsePrefix(name); err == nil {
			out.InsecureRegistryCIDRs = append(out.InsecureRegistryCIDRs, p.Masked())
			continue
		}
		out.IndexConfigs[name] = &registry.IndexInfo{Name: name, Mirrors: append([]string{}, r.Mirrors[name]...)}
	}
	return out
}

// proxy is the proxy that the environment names, without its password.
func proxy(name string) string {
	text := cmp.Or(os.Getenv(name), os.Getenv(strings.ToLower(name)))
	if u, err := url.Parse(text); err == nil && u.User != nil {
		u.User = url.UserPassword("xxxxx", "xxxxx")
		return u.String()
	}
	return text
}
