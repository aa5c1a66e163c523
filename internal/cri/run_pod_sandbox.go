package cri

import (
	"context"
	"fmt"
	"net/netip"

	specs "github.com/opencontainers/runtime-spec/specs-go"
	"google.golang.org/protobuf/proto"
	runtimeapi "k8s.io/cri-api/pkg/apis/runtime/v1"

	"nau/internal/engine"
	"nau/internal/engine/network"
	"nau/internal/engine/sandbox"
	"nau/internal/engine/spec"
	"nau/internal/kernel/idmap"
)

// RunPodSandbox makes a sandbox and returns when containers can join it.
func (s *Server) RunPodSandbox(ctx context.Context, req *runtimeapi.RunPodSandboxRequest) (*runtimeapi.RunPodSandboxResponse, error) {
	c, err := s.sandboxConfig(req.GetConfig(), req.GetRuntimeHandler())
	if err != nil {
		return nil, err
	}
	r, err := s.e.Sandboxes.Run(ctx, c)
	if err != nil {
		return nil, fault(err)
	}
	return &runtimeapi.RunPodSandboxResponse{PodSandboxId: r.ID}, nil
}

// sandboxConfig translates the request into the engine's words.
func (s *Server) sandboxConfig(p *runtimeapi.PodSandboxConfig, handler string) (sandbox.Config, error) {
	meta := p.GetMetadata()
	if meta == nil {
		return sandbox.Config{}, invalid("run sandbox: the configuration has no metadata")
	}
	if _, ok := s.e.Config().Runtimes[handler]; handler != "" && !ok {
		return sandbox.Config{}, invalid("run sandbox: no runtime is configured for handler %q", handler)
	}
	extra, err := proto.Marshal(p)
	if err != nil {
		return sandbox.Config{}, internalError(err)
	}
	sec := p.GetLinux().GetSecurityContext()
	ns := sec.GetNamespaceOptions()
	c := sandbox.Config{
		Name:   fmt.Sprintf("k8s_POD_%s_%s_%s_%d", meta.GetName(), meta.GetNamespace(), meta.GetUid(), meta.GetAttempt()),
		Origin: Origin, Labels: p.GetLabels(), Annotations: p.GetAnnotations(), Extra: extra,
		Hostname: p.GetHostname(), Sysctls: p.GetLinux().GetSysctls(), Cgroup: p.GetLinux().GetCgroupParent(), Privileged: sec.GetPrivileged(),
		Runtime: handler, LogDir: p.GetLogDirectory(),
		DNS: sandbox.DNS{Servers: p.GetDnsConfig().GetServers(), Searches: p.GetDnsConfig().GetSearches(), Options: p.GetDnsConfig().GetOptions()},
	}
	if c.Owners, err = ownersOf(ns.GetUsernsOptions()); err != nil {
		return c, err
	}
	if !c.Owners.IsZero() {
		if err := s.e.Layers.CanMapOwners(); err != nil {
			return c, fault(fmt.Errorf("run sandbox: %w", err))
		}
	}
	switch ns.GetNetwork() {
	case runtimeapi.NamespaceMode_NODE:
		c.HostNet = true
	default:
		if !s.e.NetworkReady() {
			return c, fault(fmt.Errorf("run sandbox: %w", network.ErrNotFound))
		}
		c.Networks = []sandbox.Attachment{{Network: engine.PodNetwork}}
	}
	switch ns.GetPid() {
	case runtimeapi.NamespaceMode_POD:
		c.PID = sandbox.Shared
	case runtimeapi.NamespaceMode_NODE:
		c.PID = sandbox.Host
	}
	if ns.GetIpc() == runtimeapi.NamespaceMode_NODE {
		c.IPC = sandbox.Host
	}
	if !c.HostNet {
		for _, m := range p.GetPortMappings() {
			port, err := portOf(m)
			if err != nil {
				return c, err
			}
			if port.Host != 0 {
				c.Ports = append(c.Ports, port)
			}
		}
	}
	return c, nil
}

// ownersOf is the mapping of a pod's user namespace; none is the host's.
func ownersOf(u *runtimeapi.UserNamespace) (m idmap.Map, err error) {
	switch {
	case u == nil, u.Mode == runtimeapi.NamespaceMode_NODE:
		return m, nil
	case u.Mode != runtimeapi.NamespaceMode_POD:
		return m, invalid("run sandbox: user namespace mode %s: a pod has the node's or one of its own", u.Mode)
	}
	m = idmap.Map{UIDs: mappings(u.Uids), GIDs: mappings(u.Gids)}
	if m.IsZero() {
		return m, invalid("run sandbox: a user namespace without mappings")
	}
	if err := m.Check(); err != nil {
		return m, invalid("run sandbox: %v", err)
	}
	return m, nil
}

func mappings(list []*runtimeapi.IDMapping) (out []specs.LinuxIDMapping) {
	for _, m := range list {
		out = append(out, specs.LinuxIDMapping{ContainerID: m.GetContainerId(), HostID: m.GetHostId(), Size: m.GetLength()})
	}
	return out
}

func portOf(m *runtimeapi.PortMapping) (network.Port, error) {
	p := network.Port{Container: uint16(m.GetContainerPort()), Host: uint16(m.GetHostPort())}
	if m.GetHostPort() < 0 || m.GetHostPort() > 65535 || m.GetContainerPort() < 0 || m.GetContainerPort() > 65535 {
		return p, invalid("publish port: %d to %d is out of range", m.GetHostPort(), m.GetContainerPort())
	}
	switch m.GetProtocol() {
	case runtimeapi.Protocol_UDP:
		p.Protocol = network.UDP
	case runtimeapi.Protocol_SCTP:
		p.Protocol = network.SCTP
	default:
		p.Protocol = network.TCP
	}
	if m.GetHostIp() != "" {
		a, err := netip.ParseAddr(m.GetHostIp())
		if err != nil {
			return p, invalid("publish port %d: %v", m.GetHostPort(), err)
		}
		p.HostIP = a.Unmap()
	}
	return p, nil
}

// limitsOf translates limits; zero is CRI's "not set".
func limitsOf(l *runtimeapi.LinuxContainerResources) spec.Resources {
	var r spec.Resources
	if l == nil {
		return r
	}
	if v := uint64(l.GetCpuShares()); v > 0 {
		r.CPUShares = &v
	}
	if v := uint64(l.GetCpuPeriod()); v > 0 {
		r.CPUPeriod = &v
	}
	if v := l.GetCpuQuota(); v != 0 {
		r.CPUQuota = &v
	}
	if v := l.GetMemoryLimitInBytes(); v != 0 {
		r.Memory = &v
	}
	if v := l.GetMemorySwapLimitInBytes(); v != 0 {
		r.Swap = &v
	}
	r.Cpus, r.Mems, r.Unified = l.GetCpusetCpus(), l.GetCpusetMems(), l.GetUnified()
	for _, h := range l.GetHugepageLimits() {
		if r.Huge == nil {
			r.Huge = map[string]uint64{}
		}
		r.Huge[h.GetPageSize()] = h.GetLimit()
	}
	return r
}
