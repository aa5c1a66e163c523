package cri

import (
	"context"
	"fmt"
	"path/filepath"
	"strings"

	"google.golang.org/protobuf/proto"
	runtimeapi "k8s.io/cri-api/pkg/apis/runtime/v1"

	"nau/internal/engine/cdi"
	"nau/internal/engine/container"
	"nau/internal/engine/sandbox"
	"nau/internal/engine/spec"
	"nau/internal/kernel/idmap"
	"nau/internal/oci/monitor"
)

// CreateContainer makes a container in a sandbox and starts nothing.
func (s *Server) CreateContainer(ctx context.Context, req *runtimeapi.CreateContainerRequest) (*runtimeapi.CreateContainerResponse, error) {
	sb, err := s.findSandbox(req.GetPodSandboxId())
	if err != nil {
		return nil, fault(err)
	}
	c, err := s.containerConfig(sb, req.GetConfig(), req.GetSandboxConfig())
	if err != nil {
		return nil, err
	}
	r, err := s.e.Containers.Create(ctx, c)
	if err != nil {
		return nil, fault(err)
	}
	return &runtimeapi.CreateContainerResponse{ContainerId: r.ID}, nil
}

// containerConfig translates the request into the engine's words.
func (s *Server) containerConfig(sb *sandbox.Record, p *runtimeapi.ContainerConfig, podNow *runtimeapi.PodSandboxConfig) (container.Config, error) {
	meta, pod := p.GetMetadata(), s.configs.sandbox(sb)
	if meta == nil {
		return container.Config{}, invalid("create container: the configuration has no metadata")
	}
	if p.GetImage().GetImage() == "" {
		return container.Config{}, invalid("create container %s: no image", meta.GetName())
	}
	extra, err := proto.Marshal(p)
	if err != nil {
		return container.Config{}, internalError(err)
	}
	podMeta := pod.GetMetadata()
	lx := p.GetLinux()
	sec := lx.GetSecurityContext()
	c := container.Config{
		Name:    fmt.Sprintf("k8s_%s_%s_%s_%s_%d", meta.GetName(), podMeta.GetName(), podMeta.GetNamespace(), podMeta.GetUid(), meta.GetAttempt()),
		Sandbox: sb.ID, Origin: Origin, Labels: p.GetLabels(), Annotations: p.GetAnnotations(), Extra: extra, Image: p.GetImage().GetImage(),
		OpenStdin: p.GetStdin(), StdinOnce: p.GetStdinOnce(), StopSignal: signalName(p.GetStopSignal()), Ephemeral: true,
		Log: logOf(sb, p, podNow), Resources: limitsOf(lx.GetResources()),
		Process: spec.Process{Dir: p.GetWorkingDir(), Terminal: p.GetTty()},
	}
	// Empty lists are CRI's "not set": the wire does not tell them from missing ones.
	if len(p.GetCommand()) > 0 {
		c.Process.Entrypoint = p.GetCommand()
	}
	if len(p.GetArgs()) > 0 {
		c.Process.Args = p.GetArgs()
	}
	for _, kv := range p.GetEnvs() {
		c.Process.Env = append(c.Process.Env, kv.GetKey()+"="+string(kv.GetValue()))
	}
	if l := lx.GetResources(); l != nil {
		adj := int(l.GetOomScoreAdj())
		c.Process.OOMScore = &adj
	}
	if c.Process.User, err = userOf(sec); err != nil {
		return c, err
	}
	if c.Security, err = securityOf(sec); err != nil {
		return c, err
	}
	for _, m := range p.GetMounts() {
		mount, err := mountOf(m)
		if err != nil {
			return c, err
		}
		c.Mounts = append(c.Mounts, mount)
	}
	for _, d := range p.GetDevices() {
		c.Devices = append(c.Devices, spec.Device{Host: d.GetHostPath(), Container: d.GetContainerPath(), Permissions: d.GetPermissions()})
	}
	for _, d := range p.GetCDIDevices() {
		if !cdi.IsName(d.GetName()) {
			return c, invalid("create container %s: CDI device %q is not of the form vendor/class=name", meta.GetName(), d.GetName())
		}
		c.CDI = append(c.CDI, d.GetName())
	}
	return c, s.pidOf(&c, sec.GetNamespaceOptions())
}

// pidOf decides whose PID namespace the container joins; the sandbox's own choice rules the rest.
func (s *Server) pidOf(c *container.Config, ns *runtimeapi.NamespaceOption) error {
	switch ns.GetPid() {
	case runtimeapi.NamespaceMode_CONTAINER:
		c.PID = container.PIDOwn
	case runtimeapi.NamespaceMode_NODE:
		c.PID = container.PIDHost
	case runtimeapi.NamespaceMode_TARGET:
		target, err := s.e.Containers.Find(ns.GetTargetId())
		if err != nil {
			return fault(fmt.Errorf("target of PID namespace: %w", err))
		}
		if target.Config.Sandbox != c.Sandbox {
			return invalid("target of PID namespace: container %s is in another sandbox", ns.GetTargetId())
		}
		c.PIDOf = target.ID
	}
	return nil
}

// The kubelet's defaults for containerLogMaxSize and containerLogMaxFiles: the
// monitor rotates while it writes, so that no burst can fill the disk.
const (
	logSize  = 10 << 20
	logFiles = 5
)

func logOf(sb *sandbox.Record, p *runtimeapi.ContainerConfig, podNow *runtimeapi.PodSandboxConfig) monitor.LogConfig {
	dir := sb.Config.LogDir
	if d := podNow.GetLogDirectory(); d != "" {
		dir = d
	}
	if dir == "" || p.GetLogPath() == "" {
		return monitor.LogConfig{Format: "none"}
	}
	return monitor.LogConfig{Path: filepath.Join(dir, p.GetLogPath()), Format: "cri", MaxSize: logSize, MaxFiles: logFiles}
}

func userOf(sec *runtimeapi.LinuxContainerSecurityContext) (spec.User, error) {
	u := spec.User{Name: sec.GetRunAsUsername(), Groups: sec.GetSupplementalGroups(), StrictGroup: sec.GetSupplementalGroupsPolicy() == runtimeapi.SupplementalGroupsPolicy_Strict}
	if v := sec.GetRunAsUser(); v != nil {
		id := v.GetValue()
		u.UID = &id
	}
	if v := sec.GetRunAsGroup(); v != nil {
		if u.UID == nil && u.Name == "" {
			return u, invalid("create container: a group to run as without a user")
		}
		id := v.GetValue()
		u.GID = &id
	}
	return u, nil
}

func securityOf(sec *runtimeapi.LinuxContainerSecurityContext) (spec.Security, error) {
	o := spec.Security{
		Privileged: sec.GetPrivileged(), ReadOnlyRoot: sec.GetReadonlyRootfs(), NoNewPrivs: sec.GetNoNewPrivs(),
		CapAdd: sec.GetCapabilities().GetAddCapabilities(), CapDrop: sec.GetCapabilities().GetDropCapabilities(), CapAmbient: sec.GetCapabilities().GetAddAmbientCapabilities(),
		// CRI names all paths itself; none is none.
		MaskedPaths: append([]string{}, sec.GetMaskedPaths()...), ReadonlyPaths: append([]string{}, sec.GetReadonlyPaths()...),
	}
	if l := sec.GetSelinuxOptions(); l != nil && l.GetType() != "" {
		o.ProcessLabel = strings.Join([]string{l.GetUser(), l.GetRole(), l.GetType(), l.GetLevel()}, ":")
	}
	var err error
	if o.Privileged { // implies no restrictions by either, whatever is named; source: the comment of this field in the CRI definition
		o.Seccomp.Kind, o.AppArmor.Kind = spec.ProfileUnconfined, spec.ProfileUnconfined
		return o, nil
	}
	if o.Seccomp, err = profileOf(sec.GetSeccomp(), "seccomp"); err != nil {
		return o, err
	}
	if sec.GetSeccomp() == nil { // source: the comment of this field in the CRI definition, and critest
		o.Seccomp.Kind = spec.ProfileUnconfined
	}
	o.AppArmor, err = profileOf(sec.GetApparmor(), "AppArmor")
	return o, err
}

func profileOf(p *runtimeapi.SecurityProfile, what string) (spec.Profile, error) {
	switch p.GetProfileType() {
	case runtimeapi.SecurityProfile_Unconfined:
		return spec.Profile{Kind: spec.ProfileUnconfined}, nil
	case runtimeapi.SecurityProfile_Localhost:
		ref := strings.TrimPrefix(p.GetLocalhostRef(), "localhost/")
		if ref == "" {
			return spec.Profile{}, invalid("create container: a local %s profile without a name", what)
		}
		return spec.Profile{Kind: spec.ProfileLocal, Value: ref}, nil
	}
	return spec.Profile{}, nil
}

func mountOf(m *runtimeapi.Mount) (spec.Mount, error) {
	o := spec.Mount{Source: m.GetHostPath(), Target: m.GetContainerPath(), ReadOnly: m.GetReadonly(), RecursiveReadOnly: m.GetRecursiveReadOnly(), MakeSource: true}
	if !filepath.IsAbs(o.Target) {
		o.Target = "/" + o.Target
	}
	switch m.GetPropagation() {
	case runtimeapi.MountPropagation_PROPAGATION_BIDIRECTIONAL:
		o.Propagation = spec.PropagateShared
	case runtimeapi.MountPropagation_PROPAGATION_HOST_TO_CONTAINER:
		o.Propagation = spec.PropagateSlave
	}
	owners := idmap.Map{UIDs: mappings(m.GetUidMappings()), GIDs: mappings(m.GetGidMappings())}
	if err := owners.Check(); err != nil {
		return o, invalid("mount at %s: %v", m.GetContainerPath(), err)
	}
	o.UIDs, o.GIDs = owners.UIDs, owners.GIDs
	if img := m.GetImage(); img.GetImage() != "" {
		o.Type, o.Source, o.ReadOnly, o.MakeSource = spec.MountImage, img.GetImage(), true, false
		o.SubPath = m.GetImageSubPath()
		return o, nil
	}
	if o.RecursiveReadOnly && !o.ReadOnly {
		return o, invalid("mount at %s: recursively read-only needs read-only", m.GetContainerPath())
	}
	if o.RecursiveReadOnly && o.Propagation != "" {
		return o, invalid("mount at %s: recursively read-only needs private propagation", m.GetContainerPath())
	}
	if o.Source == "" {
		return o, invalid("mount at %s: neither a host path nor an image", m.GetContainerPath())
	}
	return o, nil
}

// signalName turns the enumeration's word into the engine's: SIGRTMINPLUS3 is SIGRTMIN+3. The default is "".
func signalName(s runtimeapi.Signal) string {
	if s == runtimeapi.Signal_RUNTIME_DEFAULT {
		return ""
	}
	name := strings.Replace(s.String(), "PLUS", "+", 1)
	return strings.Replace(name, "MINUS", "-", 1)
}

// signalOf is signalName backwards.
func signalOf(name string) runtimeapi.Signal {
	name = strings.ToUpper(name)
	if !strings.HasPrefix(name, "SIG") {
		name = "SIG" + name
	}
	name = strings.Replace(strings.Replace(name, "+", "PLUS", 1), "-", "MINUS", 1)
	return runtimeapi.Signal(runtimeapi.Signal_value[name])
}
