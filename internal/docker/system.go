package docker

import (
	"cmp"
	"net/http"
	"os"
	"runtime"
	"strconv"
	"strings"
	"time"

	db "github.com/moby/moby/api/types/build"
	dc "github.com/moby/moby/api/types/container"
	di "github.com/moby/moby/api/types/image"
	"github.com/moby/moby/api/types/registry"
	"github.com/moby/moby/api/types/swarm"
	ds "github.com/moby/moby/api/types/system"
	dv "github.com/moby/moby/api/types/volume"
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
		LiveRestoreEnabled: true, InitBinary: "nau-oci", SecurityOptions: []string{}, CDISpecDirs: s.e.Config().CDIDirs, Warnings: []string{}}
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
	return c.json(http.StatusOK, doc)
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

// getDiskUsage answers GET /system/df.
func (s *Server) getDiskUsage(c *call) error {
	kinds := c.query["type"]
	wants := func(k string) bool {
		if len(kinds) == 0 {
			return true
		}
		for _, v := range kinds {
			if v == k {
				return true
			}
		}
		return false
	}
	images, containers, volumes := &di.DiskUsage{Items: []di.Summary{}}, &dc.DiskUsage{Items: []dc.Summary{}}, &dv.DiskUsage{Items: []dv.Volume{}}
	if wants("image") {
		use, err := s.e.Images.Usage(c.ctx())
		if err != nil {
			return err
		}
		users := map[string]int64{}
		for _, r := range s.e.Containers.List() {
			users[r.Image.String()]++
		}
		shared := map[string]int64{}
		for _, u := range use.Images {
			shared[u.ID.String()] = u.Shared
		}
		images.TotalSize, images.Reclaimable = use.LayersSize+use.BlobsSize, use.Reclaimable
		for _, img := range s.e.Images.List() {
			sum := s.summaryOf(img, users)
			sum.SharedSize = shared[sum.ID]
			images.Items = append(images.Items, sum)
			images.TotalCount++
			if sum.Containers > 0 {
				images.ActiveCount++
			}
		}
	}
	if wants("container") {
		for _, r := range s.e.Containers.List() {
			sum := s.summary(r, load(r))
			sum.SizeRw, sum.SizeRootFs = s.sizes(c.ctx(), r)
			containers.Items = append(containers.Items, sum)
			containers.TotalCount++
			containers.TotalSize += sum.SizeRw
			if running(r) {
				containers.ActiveCount++
			} else {
				containers.Reclaimable += sum.SizeRw
			}
		}
	}
	if wants("volume") {
		for _, v := range s.volumes.List() {
			doc := s.volumeDoc(v)
			n := int64(len(s.volumeUsers(v.Name)))
			doc.UsageData = &dv.UsageData{RefCount: n, Size: s.volumes.Size(v.Name)}
			volumes.Items = append(volumes.Items, doc)
			volumes.TotalCount++
			volumes.TotalSize += doc.UsageData.Size
			if n > 0 {
				volumes.ActiveCount++
			} else {
				volumes.Reclaimable += doc.UsageData.Size
			}
		}
	}
	if !c.atLeast("1.52") {
		return c.json(http.StatusOK, map[string]any{"LayersSize": images.TotalSize, "Images": images.Items, "Containers": containers.Items, "Volumes": volumes.Items, "BuildCache": []any{}, "BuilderSize": 0})
	}
	if !c.flag("verbose") {
		images.Items, containers.Items, volumes.Items = nil, nil, nil
	}
	doc := ds.DiskUsage{}
	if wants("image") {
		doc.ImageUsage = images
	}
	if wants("container") {
		doc.ContainerUsage = containers
	}
	if wants("volume") {
		doc.VolumeUsage = volumes
	}
	if wants("build-cache") {
		doc.BuildCacheUsage = &db.DiskUsage{}
	}
	return c.json(http.StatusOK, doc)
}
