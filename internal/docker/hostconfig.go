package docker

import (
	"encoding/json"
	"maps"
	"net/netip"
	"path"
	"strconv"
	"strings"
	"time"

	dc "github.com/moby/moby/api/types/container"
	dn "github.com/moby/moby/api/types/network"

	"nau/internal/engine/container"
	"nau/internal/engine/sandbox"
	"nau/internal/engine/spec"
	"nau/internal/kernel/idmap"
)

// security maps capabilities, security options and hidden paths.
func security(h *dc.HostConfig, host spec.Host) (spec.Security, error) {
	out := spec.Security{Privileged: h.Privileged, ReadOnlyRoot: h.ReadonlyRootfs, CapAdd: h.CapAdd, CapDrop: h.CapDrop,
		MaskedPaths: h.MaskedPaths, ReadonlyPaths: h.ReadonlyPaths}
	if h.Privileged { // unless an option below says otherwise
		out.Seccomp.Kind, out.AppArmor.Kind = spec.ProfileUnconfined, spec.ProfileUnconfined
	}
	for _, opt := range h.SecurityOpt {
		key, value, ok := strings.Cut(opt, "=")
		if !ok {
			key, value, ok = strings.Cut(opt, ":")
		}
		if opt == "no-new-privileges" {
			out.NoNewPrivs = true
			continue
		}
		if opt == "writable-cgroups" {
			out.WritableCgroups = true
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
			if value != "disable" {
				return out, badRequest("--security-opt %s: SELinux labels cannot be set by this engine; leave the option away, or use label=disable", opt)
			}
		case "apparmor":
			if value == "unconfined" {
				out.AppArmor = spec.Profile{Kind: spec.ProfileUnconfined}
				continue
			}
			if !host.AppArmor {
				return out, badRequest("--security-opt %s: AppArmor is not enabled on this host", opt)
			}
			out.AppArmor = spec.Profile{Kind: spec.ProfileLocal, Value: value}
		case "seccomp":
			switch value {
			case "unconfined":
				out.Seccomp.Kind = spec.ProfileUnconfined
			case "builtin":
				out.Seccomp = spec.Profile{}
			default:
				if !json.Valid([]byte(value)) {
					return out, badRequest("Decoding seccomp profile failed: not a JSON document")
				}
				out.Seccomp = spec.Profile{Kind: spec.ProfileInline, Value: value}
			}
		case "systempaths":
			if value != "unconfined" {
				return out, badRequest("invalid --security-opt 2: %q", opt)
			}
			out.MaskedPaths, out.ReadonlyPaths = []string{}, []string{}
		case "writable-cgroups":
			if value != "true" && value != "false" {
				return out, badRequest("invalid --security-opt 2: %q", opt)
			}
			out.WritableCgroups = value == "true"
		default:
			return out, badRequest("invalid --security-opt 2: %q", opt)
		}
	}
	if _, err := spec.Capabilities(spec.Security{CapAdd: h.CapAdd, CapDrop: h.CapDrop}, nil); err != nil {
		return out, badRequest("invalid capabilities: %v", err)
	}
	return out, nil
}

// process maps what runs. c is merged with the image.
func process(c *dc.Config, h *dc.HostConfig) (spec.Process, error) {
	p := spec.Process{Entrypoint: append([]string{}, c.Entrypoint...), Args: append([]string{}, c.Cmd...), Env: c.Env, Dir: c.WorkingDir,
		User: spec.User{Name: c.User, GroupAlone: true, GroupNames: h.GroupAdd}, Terminal: c.Tty, Umask: h.Umask}
	if c.WorkingDir != "" && !path.IsAbs(c.WorkingDir) {
		return p, badRequest("the working directory '%s' is invalid, it needs to be an absolute path", c.WorkingDir)
	}
	if _, empty := h.Annotations[""]; empty {
		return p, badRequest("invalid Annotations: the empty string is not permitted as an annotation key")
	}
	if c.WorkingDir != "" {
		c.WorkingDir = path.Clean(c.WorkingDir)
		p.Dir = c.WorkingDir
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
	var err error
	p.Rlimits, err = ulimits(h.Ulimits)
	return p, err
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

// gatewayOf is what host-gateway means: the address at which a container reaches this machine.
func (s *Server) gatewayOf(mode dc.NetworkMode) netip.Addr {
	if mode.IsHost() {
		return netip.MustParseAddr("127.0.0.1")
	}
	if n := s.defaultNetwork(); n != nil {
		return n.gateway(false)
	}
	return netip.Addr{}
}

// sandboxConfig maps what belongs to the container's place. gateway is the host's address in the default network.
func sandboxConfig(c *dc.Config, h *dc.HostConfig, nets []attachment, gateway netip.Addr) (sandbox.Config, error) {
	out := sandbox.Config{Origin: Origin, Hostname: c.Hostname, Domainname: c.Domainname, HostNet: h.NetworkMode.IsHost(),
		Sysctls: maps.Clone(h.Sysctls), ShmSize: h.ShmSize, OwnShm: h.IpcMode.IsPrivate(), Privileged: h.Privileged}
	out.HostUTS = h.UTSMode.IsHost()
	out.OwnUTS = out.HostNet && !out.HostUTS
	if h.IpcMode.IsHost() {
		out.IPC = sandbox.Host
	}
	if h.CgroupParent != "" {
		out.Cgroup = path.Join("/", h.CgroupParent)
	}
	for _, n := range nets {
		out.Networks = append(out.Networks, n.engine())
	}
	out.DNS = dnsOf(h, nets)
	var err error
	out.Hosts, err = extraHosts(h.ExtraHosts, gateway)
	return out, err
}

// checkRemap refuses what a container in a user namespace cannot be: its root has no power over the host's namespaces. The texts are dockerd's.
func checkRemap(remap idmap.Map, h *dc.HostConfig) error {
	if remap.IsZero() || h.UsernsMode.IsHost() {
		return nil
	}
	switch {
	case h.Privileged:
		return badRequest("privileged mode is incompatible with user namespaces.  You must run the container in the host namespace when running privileged mode")
	case h.NetworkMode.IsHost():
		return badRequest("cannot share the host's network namespace when user namespaces are enabled")
	case h.PidMode.IsHost():
		return badRequest("cannot share the host PID namespace when user namespaces are enabled")
	case h.IpcMode.IsHost():
		return badRequest("cannot share the host's IPC namespace when user namespaces are enabled: use --userns=host")
	case h.UTSMode.IsHost():
		return badRequest("cannot share the host's UTS namespace when user namespaces are enabled: use --userns=host")
	}
	return nil
}

// checkModes refuses what cannot be, of the request as it came: what the image has is not merged in yet.
func checkModes(c *dc.Config, h *dc.HostConfig) error {
	if err := dc.ValidateRestartPolicy(h.RestartPolicy); err != nil {
		return badRequest("%v", err)
	}
	if h.AutoRemove && !h.RestartPolicy.IsNone() {
		return badRequest("can't create 'AutoRemove' container with restart policy")
	}
	mode := h.NetworkMode
	for _, rule := range []struct {
		broken bool
		text   string
	}{
		{string(mode) == "container" || mode.IsContainer() && mode.ConnectedContainer() == "", "invalid network mode: invalid container format container:<name|id>"},
		{mode.IsContainer() && c.Hostname != "", "conflicting options: hostname and the network mode"},
		{h.UTSMode.IsHost() && c.Hostname != "", "conflicting options: hostname and the UTS mode"},
		{mode.IsContainer() && len(h.Links) > 0, "conflicting options: container type network can't be used with links. This would result in undefined behavior"},
		{mode.IsHost() && len(h.Links) > 0, "conflicting options: host type networking can't be used with links. This would result in undefined behavior"},
		{mode.IsContainer() && (len(h.DNS) > 0 || len(h.DNSSearch) > 0 || len(h.DNSOptions) > 0), "conflicting options: dns and the network mode"},
		{mode.IsContainer() && len(h.ExtraHosts) > 0, "conflicting options: custom host-to-IP mapping and the network mode"},
		{mode.IsContainer() && (len(h.PortBindings) > 0 || h.PublishAllPorts), "conflicting options: port publishing and the container type network mode"},
		{mode.IsContainer() && len(c.ExposedPorts) > 0, "conflicting options: port exposing and the container type network mode"},
		{!h.UsernsMode.Valid(), "invalid user namespace mode: " + string(h.UsernsMode)},
		{!h.PidMode.Valid(), "invalid PID mode: " + string(h.PidMode)},
		{!h.UTSMode.Valid(), "invalid UTS mode: " + string(h.UTSMode)},
		{!h.IpcMode.Valid(), "invalid IPC mode: " + string(h.IpcMode)},
		{!h.CgroupnsMode.Valid(), "invalid cgroup namespace mode: " + string(h.CgroupnsMode)},
		{h.Cgroup != "", "HostConfig.Cgroup " + string(h.Cgroup) + ": a container cannot join the cgroup of another; CgroupParent puts both below one"},
		{h.ShmSize < 0, "SHM size can not be less than 0"},
		{h.Isolation != "" && !h.Isolation.IsDefault(), "invalid isolation '" + string(h.Isolation) + "' on linux"},
		{len(h.StorageOpt) > 0, "--storage-opt is supported only for overlay over xfs with 'pquota' mount option"},
	} {
		if rule.broken {
			return badRequest("%s", rule.text)
		}
	}
	if hc := c.Healthcheck; hc != nil {
		for _, d := range []struct {
			what string
			d    time.Duration
		}{{"Interval", hc.Interval}, {"Timeout", hc.Timeout}, {"StartPeriod", hc.StartPeriod}, {"StartInterval", hc.StartInterval}} {
			if d.d != 0 && d.d < dc.MinimumDuration {
				return badRequest("%s in Healthcheck cannot be less than %s", d.what, dc.MinimumDuration)
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
	return nil
}

// adapt fills in what Docker fills in and shows at inspect.
func adapt(h *dc.HostConfig, host spec.Host) {
	if h.Memory > 0 && h.MemorySwap == 0 {
		h.MemorySwap = 2 * h.Memory
	}
	if h.MemorySwappiness != nil && *h.MemorySwappiness == -1 {
		h.MemorySwappiness = nil
	}
	if h.PidsLimit != nil && *h.PidsLimit <= 0 { // both ask for none
		h.PidsLimit = nil
	}
	if h.OomKillDisable == nil && !host.CgroupV2 {
		h.OomKillDisable = new(bool)
	}
	if h.ShmSize == 0 {
		h.ShmSize = shmSize
	}
	if h.IpcMode == "" {
		h.IpcMode = dc.IPCModePrivate
	}
	if h.CgroupnsMode == "" {
		h.CgroupnsMode = dc.CgroupnsModeHost
		if host.CgroupV2 {
			h.CgroupnsMode = dc.CgroupnsModePrivate
		}
	}
	if h.NetworkMode == "" || h.NetworkMode.IsDefault() {
		h.NetworkMode = dn.NetworkBridge
	}
	if !h.Privileged {
		if h.MaskedPaths == nil {
			h.MaskedPaths = spec.DefaultMasked
		}
		if h.ReadonlyPaths == nil {
			h.ReadonlyPaths = spec.DefaultReadonly
		}
	}
}

// shmSize is the size of /dev/shm where nobody asks for another.
const shmSize = 64 << 20

// runtimeName checks --runtime; the built-in one goes by several names unless one of them is registered.
func runtimeName(name string, registered map[string]string) (string, error) {
	if _, ok := registered[name]; ok {
		return name, nil
	}
	switch name {
	case "":
		return "", nil
	case container.BuiltIn, "runc", "io.containerd.runc.v2":
		return container.BuiltIn, nil
	}
	return "", badRequest("unknown or invalid runtime name: %s", name)
}
