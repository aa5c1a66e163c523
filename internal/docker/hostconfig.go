package docker

import (
	"encoding/json"
	"maps"
	"net/netip"
	"os"
	"path"
	"path/filepath"
	"runtime"
	"slices"
	"strconv"
	"strings"

	"github.com/docker/go-units"
	dc "github.com/moby/moby/api/types/container"
	specs "github.com/opencontainers/runtime-spec/specs-go"

	"nau/internal/engine/container"
	"nau/internal/engine/sandbox"
	"nau/internal/engine/spec"
	"nau/internal/oci/monitor"
)

// Defaults of a container's log: rotation is on, so that no container fills the disk.
const (
	logSize  = 64 << 20
	logFiles = 2
)

// cpuPeriod is the period, in µs, that --cpus is a share of.
const cpuPeriod = 100_000

// limits are the resources of a host configuration, checked.
func limits(r dc.Resources) (spec.Resources, error) {
	var out spec.Resources
	if r.Memory > 0 && r.Memory < 6<<20 {
		return out, badRequest("Minimum memory limit allowed is 6MB")
	}
	if r.Memory > 0 && r.MemorySwap > 0 && r.MemorySwap < r.Memory {
		return out, badRequest("Minimum memoryswap limit should be larger than memory limit, see usage")
	}
	if r.Memory == 0 && r.MemorySwap > 0 {
		return out, badRequest("You should always set the Memory limit when using Memoryswap limit, see usage")
	}
	if r.Memory > 0 && r.MemoryReservation > 0 && r.Memory < r.MemoryReservation {
		return out, badRequest("Minimum memory limit can not be less than memory reservation limit, see usage")
	}
	if r.NanoCPUs > 0 && (r.CPUPeriod > 0 || r.CPUQuota > 0) {
		return out, badRequest("Conflicting options: Nano CPUs and CPU Period or Quota cannot both be set")
	}
	if n := runtime.NumCPU(); r.NanoCPUs < 0 || r.NanoCPUs > int64(n)*1e9 {
		return out, badRequest("range of CPUs is from 0.01 to %d.00, as there are only %d CPUs available", n, n)
	}
	if r.Memory > 0 {
		out.Memory = &r.Memory
		swap := r.MemorySwap
		if swap == 0 {
			swap = 2 * r.Memory
		}
		out.Swap = &swap
	}
	if r.MemoryReservation > 0 {
		out.Reserve = &r.MemoryReservation
	}
	if r.OomKillDisable != nil && *r.OomKillDisable {
		out.OOMDisable = r.OomKillDisable
	}
	if r.CPUShares > 0 {
		v := uint64(r.CPUShares)
		out.CPUShares = &v
	}
	period, quota := r.CPUPeriod, r.CPUQuota
	if r.NanoCPUs > 0 {
		period, quota = cpuPeriod, r.NanoCPUs*cpuPeriod/1e9
	}
	if period > 0 {
		v := uint64(period)
		out.CPUPeriod = &v
	}
	if quota != 0 {
		out.CPUQuota = &quota
	}
	out.Cpus, out.Mems = r.CpusetCpus, r.CpusetMems
	if r.PidsLimit != nil && *r.PidsLimit > 0 {
		out.Pids = r.PidsLimit
	}
	if r.BlkioWeight != 0 {
		if r.BlkioWeight < 10 || r.BlkioWeight > 1000 {
			return out, badRequest("Range of blkio weight is from 10 to 1000")
		}
		out.BlkioWeight = &r.BlkioWeight
	}
	for _, rule := range r.DeviceCgroupRules {
		d, err := parseDeviceRule(rule)
		if err != nil {
			return out, err
		}
		out.Devices = append(out.Devices, d)
	}
	return out, nil
}

// parseDeviceRule reads "c 1:3 rwm", "a *:* r".
func parseDeviceRule(rule string) (specs.LinuxDeviceCgroup, error) {
	d := specs.LinuxDeviceCgroup{Allow: true}
	bad := badRequest("invalid device cgroup rule format: '%s'", rule)
	f := strings.Fields(rule)
	if len(f) != 3 || !slices.Contains([]string{"a", "b", "c"}, f[0]) || strings.Trim(f[2], "rwm") != "" {
		return d, bad
	}
	d.Type, d.Access = f[0], f[2]
	major, minor, ok := strings.Cut(f[1], ":")
	if !ok {
		return d, bad
	}
	for text, to := range map[string]**int64{major: &d.Major, minor: &d.Minor} {
		if text == "*" {
			continue
		}
		n, err := strconv.ParseInt(text, 10, 64)
		if err != nil {
			return d, bad
		}
		*to = &n
	}
	if major == minor && major != "*" {
		n := *d.Minor
		d.Major = &n
	}
	return d, nil
}

// security maps capabilities, security options and hidden paths.
func security(h *dc.HostConfig) (spec.Security, error) {
	out := spec.Security{Privileged: h.Privileged, ReadOnlyRoot: h.ReadonlyRootfs, CapAdd: h.CapAdd, CapDrop: h.CapDrop,
		MaskedPaths: h.MaskedPaths, ReadonlyPaths: h.ReadonlyPaths}
	for _, opt := range h.SecurityOpt {
		key, value, ok := strings.Cut(opt, "=")
		if !ok {
			key, value, ok = strings.Cut(opt, ":")
		}
		if opt == "no-new-privileges" {
			out.NoNewPrivs = true
			continue
		}
		if !ok {
			return out, badRequest("invalid --security-opt 1: %q", opt)
		}
		switch key {
		case "no-new-privileges":
			on, err := strconv.ParseBool(value)
			if err != nil {
				return out, badRequest("invalid --security-opt 2: %q", opt)
			}
			out.NoNewPrivs = on
		case "label":
		case "apparmor":
			out.AppArmor = spec.Profile{Kind: spec.ProfileLocal, Value: value}
			if value == "unconfined" {
				out.AppArmor = spec.Profile{Kind: spec.ProfileUnconfined}
			}
		case "seccomp":
			switch value {
			case "unconfined":
				out.Seccomp.Kind = spec.ProfileUnconfined
			case "builtin":
			default:
				if !json.Valid([]byte(value)) {
					return out, badRequest("decode seccomp profile: not a JSON document")
				}
				out.Seccomp = spec.Profile{Kind: spec.ProfileInline, Value: value}
			}
		case "systempaths":
			if value != "unconfined" {
				return out, badRequest("invalid --security-opt 2: %q", opt)
			}
			out.MaskedPaths, out.ReadonlyPaths = []string{}, []string{}
		case "writable-cgroups":
		default:
			return out, badRequest("invalid --security-opt 2: %q", opt)
		}
	}
	return out, nil
}

// process maps what runs. c is merged with the image.
func process(c *dc.Config, h *dc.HostConfig) (spec.Process, error) {
	p := spec.Process{Entrypoint: append([]string{}, c.Entrypoint...), Args: append([]string{}, c.Cmd...), Env: c.Env, Dir: c.WorkingDir,
		User: spec.User{Name: c.User, GroupNames: h.GroupAdd}, Terminal: c.Tty, Umask: h.Umask}
	if c.WorkingDir != "" && !path.IsAbs(c.WorkingDir) {
		return p, badRequest("the working directory '%s' is invalid, it needs to be an absolute path", c.WorkingDir)
	}
	for _, kv := range c.Env {
		if kv == "" || strings.HasPrefix(kv, "=") {
			return p, badRequest("invalid environment variable: %s", kv)
		}
	}
	if h.OomScoreAdj < -1000 || h.OomScoreAdj > 1000 {
		return p, badRequest("Invalid value %d, range for oom score adj is [-1000, 1000]", h.OomScoreAdj)
	}
	if h.OomScoreAdj != 0 {
		p.OOMScore = &h.OomScoreAdj
	}
	p.Init = h.Init != nil && *h.Init
	for _, u := range h.Ulimits {
		if u.Soft > u.Hard && u.Hard != -1 {
			return p, badRequest("ulimit soft limit must be less than or equal to hard limit: %d > %d", u.Soft, u.Hard)
		}
		p.Rlimits = append(p.Rlimits, specs.POSIXRlimit{Type: "RLIMIT_" + strings.ToUpper(u.Name), Hard: uint64(u.Hard), Soft: uint64(u.Soft)})
	}
	return p, nil
}

// logging maps the log driver. Both of Docker's file drivers are one here: the monitor's json-file.
func (s *Server) logging(h *dc.HostConfig, id string) (monitor.LogConfig, error) {
	if h.LogConfig.Type == "" {
		h.LogConfig.Type = "json-file"
	}
	if h.LogConfig.Config == nil {
		h.LogConfig.Config = map[string]string{}
	}
	switch h.LogConfig.Type {
	case "none":
		return monitor.LogConfig{Format: "none"}, nil
	case "json-file", "local":
	default:
		return monitor.LogConfig{}, badRequest("logger: no log driver named '%s' is registered", h.LogConfig.Type)
	}
	l := monitor.LogConfig{Format: "docker", Path: filepath.Join(s.e.Containers.Folder(id), id+"-json.log"), MaxSize: logSize, MaxFiles: logFiles}
	for k, v := range h.LogConfig.Config {
		switch k {
		case "max-size":
			n, err := units.RAMInBytes(v)
			if err != nil && v != "-1" {
				return l, badRequest("invalid max-size: %s", v)
			}
			l.MaxSize = max(n, 0)
		case "max-file":
			n, err := strconv.Atoi(v)
			if err != nil || n < 1 {
				return l, badRequest("max-file cannot be less than 1")
			}
			l.MaxFiles = n
		case "labels", "labels-regex", "env", "env-regex", "tag", "compress", "mode", "max-buffer-size":
		default:
			return l, badRequest("unknown log opt '%s' for %s log driver", k, h.LogConfig.Type)
		}
	}
	return l, nil
}

// extraHosts reads "name:address"; host-gateway is the address at which the container reaches this machine.
func extraHosts(list []string, gateway netip.Addr) ([]sandbox.HostAlias, error) {
	var out []sandbox.HostAlias
	for _, h := range list {
		name, addr, ok := strings.Cut(h, ":")
		if !ok {
			if name, addr, ok = strings.Cut(h, "="); !ok {
				return nil, badRequest("bad format for add-host: %q", h)
			}
		}
		a := gateway
		if addr != "host-gateway" {
			var err error
			if a, err = netip.ParseAddr(strings.Trim(addr, "[]")); err != nil {
				return nil, badRequest("invalid IP address in add-host: %q", addr)
			}
		}
		if !a.IsValid() {
			continue
		}
		out = append(out, sandbox.HostAlias{Addr: a, Names: []string{name}})
	}
	return out, nil
}

// sandboxConfig maps what belongs to the container's place.
func (s *Server) sandboxConfig(c *dc.Config, h *dc.HostConfig, nets []attachment) (sandbox.Config, error) {
	out := sandbox.Config{Origin: Origin, Hostname: c.Hostname, Domainname: c.Domainname, HostNet: h.NetworkMode.IsHost(),
		Sysctls: maps.Clone(h.Sysctls), ShmSize: h.ShmSize, Privileged: h.Privileged}
	out.HostUTS = h.UTSMode.IsHost()
	if h.IpcMode.IsHost() {
		out.IPC = sandbox.Host
	}
	if h.CgroupParent != "" {
		out.Cgroup = path.Join("/", h.CgroupParent)
	}
	for _, n := range nets {
		out.Networks = append(out.Networks, n.engine())
	}
	out.DNS = s.dnsOf(h, nets)
	gateway := netip.Addr{}
	if n := s.defaultNetwork(); n != nil {
		gateway = n.gateway(false)
	}
	if h.NetworkMode.IsHost() {
		gateway = netip.MustParseAddr("127.0.0.1")
	}
	var err error
	out.Hosts, err = extraHosts(h.ExtraHosts, gateway)
	return out, err
}

// checkModes refuses what cannot be.
func checkModes(c *dc.Config, h *dc.HostConfig) error {
	if err := dc.ValidateRestartPolicy(h.RestartPolicy); err != nil {
		return badRequest("%v", err)
	}
	if h.AutoRemove && !h.RestartPolicy.IsNone() {
		return badRequest("can't create 'AutoRemove' container with restart policy")
	}
	mode := h.NetworkMode
	if (mode.IsHost() || mode.IsContainer()) && c.Hostname != "" && mode.IsContainer() {
		return badRequest("conflicting options: hostname and the network mode")
	}
	if mode.IsContainer() {
		switch {
		case len(h.PortBindings) > 0 || h.PublishAllPorts:
			return badRequest("conflicting options: port publishing and the container type network mode")
		case len(h.DNS) > 0:
			return badRequest("conflicting options: dns and the network mode")
		case len(h.ExtraHosts) > 0:
			return badRequest("conflicting options: custom host-to-IP mapping and the network mode")
		case len(c.ExposedPorts) > 0 && false:
		}
	}
	if !h.UsernsMode.Valid() || !h.PidMode.Valid() || !h.UTSMode.Valid() || !h.IpcMode.Valid() || !h.CgroupnsMode.Valid() {
		return badRequest("invalid namespace mode")
	}
	if h.UTSMode.IsHost() && c.Hostname != "" {
		return badRequest("conflicting options: hostname and the UTS mode")
	}
	if h.ShmSize < 0 {
		return badRequest("SHM size can not be less than 0")
	}
	if hc := c.Healthcheck; hc != nil {
		for what, d := range map[string]int64{"Interval": int64(hc.Interval), "Timeout": int64(hc.Timeout), "StartPeriod": int64(hc.StartPeriod), "StartInterval": int64(hc.StartInterval)} {
			if d != 0 && d < int64(dc.MinimumDuration) {
				return badRequest("%s in Healthcheck cannot be less than %s", what, dc.MinimumDuration)
			}
		}
		if hc.Retries < 0 {
			return badRequest("Retries in Healthcheck cannot be negative")
		}
	}
	if c.StopSignal != "" {
		if _, err := container.ParseSignal(c.StopSignal); err != nil {
			return badRequest("invalid signal: %s", c.StopSignal)
		}
	}
	for _, req := range h.DeviceRequests {
		return badRequest("could not select device driver %q with capabilities: %v", req.Driver, req.Capabilities)
	}
	return nil
}

// devices maps --device; a missing node is refused.
func devices(h *dc.HostConfig) ([]spec.Device, error) {
	var out []spec.Device
	for _, d := range h.Devices {
		if _, err := os.Stat(d.PathOnHost); err != nil {
			return nil, fail(500, "error gathering device information while adding custom device %q: no such file or directory", d.PathOnHost)
		}
		inside := d.PathInContainer
		if inside == "" {
			inside = d.PathOnHost
		}
		out = append(out, spec.Device{Host: d.PathOnHost, Container: inside, Permissions: d.CgroupPermissions})
	}
	return out, nil
}

// runtimeName checks --runtime; the built-in one goes by several names.
func (s *Server) runtimeName(name string) (string, error) {
	switch name {
	case "", "runc", "nau-oci", "io.containerd.runc.v2":
		return "", nil
	}
	if _, ok := s.e.Config().Runtimes[name]; !ok {
		return "", badRequest("unknown or invalid runtime name: %s", name)
	}
	return name, nil
}
