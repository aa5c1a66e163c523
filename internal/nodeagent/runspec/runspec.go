package runspec

import (
	"encoding/json"
	"fmt"
	"hash/fnv"
	"strconv"

	corev1 "k8s.io/api/core/v1"
	runtimeapi "k8s.io/cri-api/pkg/apis/runtime/v1"

	"nau/internal/nodeagent/environ"
	"nau/internal/nodeagent/life"
)

// Labels and annotations that tie a runtime's records to their pod; the same as upstream's, so that crictl and others
// can read them.
const (
	LabelPod       = "io.kubernetes.pod.name"
	LabelNamespace = "io.kubernetes.pod.namespace"
	LabelUID       = "io.kubernetes.pod.uid"
	LabelContainer = "io.kubernetes.container.name"

	AnnotationHash          = "io.kubernetes.container.hash"
	AnnotationRestartCount  = "io.kubernetes.container.restartCount"
	AnnotationMessagePath   = "io.kubernetes.container.terminationMessagePath"
	AnnotationMessagePolicy = "io.kubernetes.container.terminationMessagePolicy"
	AnnotationPreStop       = "io.kubernetes.container.preStopHandler"
	AnnotationPorts         = "io.kubernetes.container.ports"
	AnnotationGrace         = "io.kubernetes.pod.terminationGracePeriod"
)

// Host is what the translation has to know of the node.
type Host struct {
	LogDir      string
	SeccompRoot string
	Memory      int64 // capacity in bytes
	Unified     bool  // memory is governed by cgroup v2
}

// Hash names the fields of a container whose change demands a new container.
func Hash(c *corev1.Container) string {
	h := fnv.New32a()
	_, _ = h.Write([]byte(c.Name + "\x00" + c.Image))
	return strconv.FormatUint(uint64(h.Sum32()), 16)
}

// SandboxInput is what a sandbox needs beside the pod's spec.
type SandboxInput struct {
	Attempt      uint32
	Hostname     string
	DNS          *runtimeapi.DNSConfig
	CgroupParent string
	UserNS       *runtimeapi.UserNamespace
}

// Sandbox is the pod's sandbox configuration.
func Sandbox(pod *corev1.Pod, h *Host, in SandboxInput) *runtimeapi.PodSandboxConfig {
	p := podSC(pod)
	labels := map[string]string{}
	for k, v := range pod.Labels {
		labels[k] = v
	}
	labels[LabelPod], labels[LabelNamespace], labels[LabelUID] = pod.Name, pod.Namespace, string(pod.UID)
	cfg := &runtimeapi.PodSandboxConfig{
		Metadata:     &runtimeapi.PodSandboxMetadata{Name: pod.Name, Namespace: pod.Namespace, Uid: string(pod.UID), Attempt: in.Attempt},
		LogDirectory: LogDirectory(h.LogDir, pod), DnsConfig: in.DNS, Labels: labels, Annotations: pod.Annotations,
		Linux: &runtimeapi.LinuxPodSandboxConfig{CgroupParent: in.CgroupParent, SecurityContext: &runtimeapi.LinuxSandboxSecurityContext{
			NamespaceOptions: Namespaces(pod),
			RunAsUser:        int64Value(p.RunAsUser), RunAsGroup: int64Value(p.RunAsGroup), SelinuxOptions: selinux(p.SELinuxOptions),
			Seccomp: seccomp(p.SeccompProfile, h, false), Apparmor: apparmor(p.AppArmorProfile),
		}},
	}
	if !pod.Spec.HostNetwork {
		cfg.Hostname = in.Hostname
	}
	sc := cfg.Linux.SecurityContext
	sc.NamespaceOptions.UsernsOptions = in.UserNS
	sc.SupplementalGroups, sc.SupplementalGroupsPolicy = groups(pod, h)
	if len(p.Sysctls) > 0 {
		cfg.Linux.Sysctls = map[string]string{}
		for _, s := range p.Sysctls {
			cfg.Linux.Sysctls[s.Name] = s.Value
		}
	}
	for _, list := range [][]corev1.Container{pod.Spec.InitContainers, pod.Spec.Containers} {
		for i := range list {
			if Privileged(&list[i]) {
				sc.Privileged = true
			}
			if pod.Spec.HostNetwork || len(list[i].Ports) == 0 {
				continue
			}
			for _, port := range list[i].Ports {
				cfg.PortMappings = append(cfg.PortMappings, &runtimeapi.PortMapping{Protocol: protocol(port.Protocol),
					ContainerPort: port.ContainerPort, HostPort: port.HostPort, HostIp: port.HostIP})
			}
		}
	}
	if sc.Privileged {
		sc.Seccomp = &runtimeapi.SecurityProfile{ProfileType: runtimeapi.SecurityProfile_Unconfined}
	}
	cfg.Linux.Overhead = list(pod.Spec.Overhead, pod.Spec.Overhead)
	cfg.Linux.Resources = podResources(pod)
	return cfg
}

func podResources(pod *corev1.Pod) *runtimeapi.LinuxContainerResources {
	req, lim := PodTotals(pod)
	return list(req, lim)
}

func list(req, lim corev1.ResourceList) *runtimeapi.LinuxContainerResources {
	r := &runtimeapi.LinuxContainerResources{CpuShares: Shares(req.Cpu().MilliValue()), MemoryLimitInBytes: lim.Memory().Value()}
	r.CpuQuota, r.CpuPeriod = Quota(lim.Cpu().MilliValue())
	return r
}

func protocol(p corev1.Protocol) runtimeapi.Protocol {
	switch p {
	case corev1.ProtocolUDP:
		return runtimeapi.Protocol_UDP
	case corev1.ProtocolSCTP:
		return runtimeapi.Protocol_SCTP
	}
	return runtimeapi.Protocol_TCP
}

// ContainerInput is what a container needs beside its spec.
type ContainerInput struct {
	Attempt       uint32
	Image         *runtimeapi.ImageSpec
	ImageUID      *int64 // the image's user, as a number or as a name
	ImageUser     string
	Env           []environ.Var
	Vars          map[string]string // for expansion in command and args: Env and the services' variables
	Mounts        []*runtimeapi.Mount
	Devices       []*runtimeapi.Device
	TargetID      string // container whose PID namespace to join
	UserNS        *runtimeapi.UserNamespace
	TerminationOK bool
}

// Container is a container's configuration.
func Container(pod *corev1.Pod, c *corev1.Container, h *Host, in ContainerInput) *runtimeapi.ContainerConfig {
	annotations := map[string]string{
		AnnotationHash:          Hash(c),
		AnnotationRestartCount:  strconv.Itoa(int(in.Attempt)),
		AnnotationMessagePath:   c.TerminationMessagePath,
		AnnotationMessagePolicy: string(c.TerminationMessagePolicy),
	}
	if pod.Spec.TerminationGracePeriodSeconds != nil {
		annotations[AnnotationGrace] = strconv.FormatInt(*pod.Spec.TerminationGracePeriodSeconds, 10)
	}
	if c.Lifecycle != nil && c.Lifecycle.PreStop != nil {
		if b, err := json.Marshal(c.Lifecycle.PreStop); err == nil {
			annotations[AnnotationPreStop] = string(b)
		}
	}
	if len(c.Ports) > 0 {
		if b, err := json.Marshal(c.Ports); err == nil {
			annotations[AnnotationPorts] = string(b)
		}
	}
	cfg := &runtimeapi.ContainerConfig{
		Metadata: &runtimeapi.ContainerMetadata{Name: c.Name, Attempt: in.Attempt}, Image: in.Image,
		Command: environ.ExpandAll(c.Command, in.Vars), Args: environ.ExpandAll(c.Args, in.Vars), WorkingDir: c.WorkingDir,
		Mounts: in.Mounts, Devices: in.Devices, LogPath: LogPath(c.Name, in.Attempt), Stdin: c.Stdin, StdinOnce: c.StdinOnce, Tty: c.TTY,
		Labels:      map[string]string{LabelContainer: c.Name, LabelPod: pod.Name, LabelNamespace: pod.Namespace, LabelUID: string(pod.UID)},
		Annotations: annotations, StopSignal: stopSignal(c),
		Linux: &runtimeapi.LinuxContainerConfig{Resources: Resources(pod, c, h.Memory, h.Unified), SecurityContext: Security(pod, c, h, in.ImageUID, in.ImageUser)},
	}
	for _, v := range in.Env {
		cfg.Envs = append(cfg.Envs, &runtimeapi.KeyValue{Key: v.Name, Value: []byte(v.Value)})
	}
	ns := cfg.Linux.SecurityContext.NamespaceOptions
	ns.UsernsOptions = in.UserNS
	if in.TargetID != "" {
		ns.Pid, ns.TargetId = runtimeapi.NamespaceMode_TARGET, in.TargetID
	}
	return cfg
}

// PodTotals are the requests and limits of a pod's cgroup: the larger of what all app containers and sidecars need
// together and what any init container needs while it runs. A limit is there only if every container has one.
func PodTotals(pod *corev1.Pod) (req, lim corev1.ResourceList) {
	sum := func(dst corev1.ResourceList, src corev1.ResourceList) {
		for n, q := range src {
			have := dst[n]
			have.Add(q)
			dst[n] = have
		}
	}
	largest := func(dst corev1.ResourceList, src corev1.ResourceList) {
		for n, q := range src {
			if have, ok := dst[n]; !ok || q.Cmp(have) > 0 {
				dst[n] = q.DeepCopy()
			}
		}
	}
	req, lim = corev1.ResourceList{}, corev1.ResourceList{}
	unlimited := map[corev1.ResourceName]bool{}
	note := func(c *corev1.Container) {
		for _, n := range []corev1.ResourceName{corev1.ResourceCPU, corev1.ResourceMemory} {
			if q, ok := c.Resources.Limits[n]; !ok || q.IsZero() {
				unlimited[n] = true
			}
		}
	}
	for i := range pod.Spec.Containers {
		c := &pod.Spec.Containers[i]
		sum(req, c.Resources.Requests)
		sum(lim, c.Resources.Limits)
		note(c)
	}
	sideReq, sideLim := corev1.ResourceList{}, corev1.ResourceList{}
	initReq, initLim := corev1.ResourceList{}, corev1.ResourceList{}
	for i := range pod.Spec.InitContainers {
		c := &pod.Spec.InitContainers[i]
		note(c)
		if life.Sidecar(c) {
			sum(req, c.Resources.Requests)
			sum(lim, c.Resources.Limits)
			sum(sideReq, c.Resources.Requests)
			sum(sideLim, c.Resources.Limits)
			largest(initReq, sideReq)
			largest(initLim, sideLim)
			continue
		}
		r, l := sideReq.DeepCopy(), sideLim.DeepCopy()
		sum(r, c.Resources.Requests)
		sum(l, c.Resources.Limits)
		largest(initReq, r)
		largest(initLim, l)
	}
	largest(req, initReq)
	largest(lim, initLim)
	for n := range unlimited {
		delete(lim, n)
	}
	if r := pod.Spec.Resources; r != nil {
		for n, q := range r.Requests {
			req[n] = q.DeepCopy()
		}
		for n, q := range r.Limits {
			lim[n] = q.DeepCopy()
		}
	}
	sum(req, pod.Spec.Overhead)
	for n, q := range pod.Spec.Overhead {
		if have, ok := lim[n]; ok {
			have.Add(q)
			lim[n] = have
		}
	}
	return req, lim
}

// Name is how messages name a pod: name_namespace(uid).
func Name(pod *corev1.Pod) string { return fmt.Sprintf("%s_%s(%s)", pod.Name, pod.Namespace, pod.UID) }
