// Package admit decides whether a pod that is bound to the node may run on it, whatever the scheduler thought: resources,
// ports, labels, taints, sysctls, operating system. It is pure.
//
// It does not choose among nodes: that is the scheduler's work. Only nodeagent imports it.
package admit

import (
	"fmt"
	"runtime"
	"slices"

	corev1 "k8s.io/api/core/v1"
	v1helper "k8s.io/component-helpers/scheduling/corev1"
	"k8s.io/component-helpers/scheduling/corev1/nodeaffinity"

	"nau/internal/nodeagent/runspec"
)

// Refusal is why a pod may not run here, as its status says it.
type Refusal struct{ Reason, Message string }

// Node is what the decision depends on beside pods.
type Node struct {
	Object         *corev1.Node // labels and taints
	Allocatable    corev1.ResourceList
	AllowedSysctls []string // unsafe ones that the operator allows
}

// safeSysctls may be set in a pod without leave. Source: "Using sysctls in a Kubernetes Cluster".
var safeSysctls = []string{"kernel.shm_rmid_forced", "net.ipv4.ip_local_port_range", "net.ipv4.tcp_syncookies", "net.ipv4.ping_group_range",
	"net.ipv4.ip_unprivileged_port_start", "net.ipv4.ip_local_reserved_ports", "net.ipv4.tcp_keepalive_time", "net.ipv4.tcp_fin_timeout",
	"net.ipv4.tcp_keepalive_intvl", "net.ipv4.tcp_keepalive_probes", "net.ipv4.tcp_rmem", "net.ipv4.tcp_wmem"}

// rules are tried in order; the first refusal counts.
var rules = []struct {
	name string
	ask  func(pod *corev1.Pod, n *Node, others []*corev1.Pod) *Refusal
}{
	{"operating system", system},
	{"sysctls", sysctls},
	{"resources", resources},
	{"affinity", affinity},
	{"host ports", ports},
	{"taints", taints},
}

// Admit returns nil if pod may run beside others on n.
func Admit(pod *corev1.Pod, n *Node, others []*corev1.Pod) *Refusal {
	for _, r := range rules {
		if no := r.ask(pod, n, others); no != nil {
			return no
		}
	}
	return nil
}

// Resize returns nil if a pod that runs on n may have the resources that it asks for now, beside others. Source: KEP-1287.
func Resize(pod *corev1.Pod, n *Node, others []*corev1.Pod) *Refusal {
	if no := resources(pod, n, nil); no != nil {
		return &Refusal{corev1.PodReasonInfeasible, no.Message}
	}
	if no := resources(pod, n, others); no != nil {
		return &Refusal{corev1.PodReasonDeferred, no.Message}
	}
	return nil
}

func system(pod *corev1.Pod, _ *Node, _ []*corev1.Pod) *Refusal {
	if pod.Spec.OS != nil && string(pod.Spec.OS.Name) != runtime.GOOS {
		return &Refusal{"PodOSNotSupported", "Failed to admit pod as the OS field doesn't match node OS"}
	}
	if v, ok := pod.Spec.NodeSelector[corev1.LabelOSStable]; ok && v != runtime.GOOS {
		return &Refusal{"PodOSSelectorNodeLabelDoesNotMatch", "Failed to admit pod as the `kubernetes.io/os` label doesn't match node label"}
	}
	return nil
}

func sysctls(pod *corev1.Pod, n *Node, _ []*corev1.Pod) *Refusal {
	if pod.Spec.SecurityContext == nil {
		return nil
	}
	for _, s := range pod.Spec.SecurityContext.Sysctls {
		if !slices.Contains(safeSysctls, s.Name) && !slices.Contains(n.AllowedSysctls, s.Name) {
			return &Refusal{"SysctlForbidden", fmt.Sprintf("forbidden sysctl: %q not allowlisted", s.Name)}
		}
	}
	return nil
}

func resources(pod *corev1.Pod, n *Node, others []*corev1.Pod) *Refusal {
	if max, ok := n.Allocatable[corev1.ResourcePods]; ok && int64(len(others))+1 > max.Value() {
		return &Refusal{"OutOfpods", fmt.Sprintf("Node didn't have enough resource: pods, requested: 1, used: %d, capacity: %d", len(others), max.Value())}
	}
	want, _ := runspec.PodTotals(pod)
	if len(want) == 0 {
		return nil
	}
	used := corev1.ResourceList{}
	for _, o := range others {
		req, _ := runspec.PodTotals(o)
		for name := range want {
			q := used[name]
			q.Add(req[name])
			used[name] = q
		}
	}
	names := make([]string, 0, len(want))
	for name := range want {
		names = append(names, string(name))
	}
	slices.Sort(names)
	for _, s := range names {
		name := corev1.ResourceName(s)
		asked := want[name]
		if asked.IsZero() {
			continue
		}
		have, taken := n.Allocatable[name], used[name]
		sum := asked.DeepCopy()
		sum.Add(taken)
		if sum.Cmp(have) > 0 {
			val := func(l corev1.ResourceList) int64 {
				q := l[name]
				if name == corev1.ResourceCPU {
					return q.MilliValue()
				}
				return q.Value()
			}
			return &Refusal{"OutOf" + s, fmt.Sprintf("Node didn't have enough resource: %s, requested: %d, used: %d, capacity: %d", s, val(want), val(used), val(n.Allocatable))}
		}
	}
	return nil
}

func affinity(pod *corev1.Pod, n *Node, _ []*corev1.Pod) *Refusal {
	if n.Object == nil || len(pod.Spec.NodeSelector) == 0 && (pod.Spec.Affinity == nil || pod.Spec.Affinity.NodeAffinity == nil) {
		return nil
	}
	if ok, err := nodeaffinity.GetRequiredNodeAffinity(pod).Match(n.Object); err != nil || !ok {
		return &Refusal{"NodeAffinity", "Predicate NodeAffinity failed: node(s) didn't match Pod's node affinity/selector"}
	}
	return nil
}

func ports(pod *corev1.Pod, _ *Node, others []*corev1.Pod) *Refusal {
	want := hostPorts(pod)
	if len(want) == 0 {
		return nil
	}
	for _, o := range others {
		for _, have := range hostPorts(o) {
			for _, w := range want {
				if w.port == have.port && w.proto == have.proto && (w.ip == have.ip || w.ip == "" || have.ip == "") {
					return &Refusal{"NodePorts", "Predicate NodePorts failed: node(s) didn't have free ports for the requested pod ports"}
				}
			}
		}
	}
	return nil
}

type hostPort struct {
	ip    string
	port  int32
	proto corev1.Protocol
}

func hostPorts(pod *corev1.Pod) (out []hostPort) {
	for _, list := range [][]corev1.Container{pod.Spec.InitContainers, pod.Spec.Containers} {
		for i := range list {
			for _, p := range list[i].Ports {
				if p.HostPort <= 0 {
					continue
				}
				h := hostPort{p.HostIP, p.HostPort, p.Protocol}
				if h.proto == "" {
					h.proto = corev1.ProtocolTCP
				}
				if h.ip == "0.0.0.0" || h.ip == "::" {
					h.ip = ""
				}
				out = append(out, h)
			}
		}
	}
	return out
}

func taints(pod *corev1.Pod, n *Node, _ []*corev1.Pod) *Refusal {
	if n.Object == nil || pod.Annotations[corev1.MirrorPodAnnotationKey] != "" {
		return nil
	}
	for i := range n.Object.Spec.Taints {
		t := &n.Object.Spec.Taints[i]
		if t.Effect != corev1.TaintEffectNoExecute {
			continue
		}
		tolerated := false
		for j := range pod.Spec.Tolerations {
			tolerated = tolerated || tolerates(&pod.Spec.Tolerations[j], t)
		}
		if !tolerated {
			return &Refusal{"TaintToleration", "Predicate TaintToleration failed: node(s) had taints that the pod didn't tolerate"}
		}
	}
	return nil
}

func tolerates(tol *corev1.Toleration, t *corev1.Taint) bool {
	if tol.Effect != "" && tol.Effect != t.Effect || tol.Key != "" && tol.Key != t.Key {
		return false
	}
	switch tol.Operator {
	case corev1.TolerationOpExists:
		return true
	case "", corev1.TolerationOpEqual:
		return tol.Value == t.Value
	}
	return false
}

// Priority is the pod's priority, for those that need an order.
func Priority(pod *corev1.Pod) int32 { return v1helper.PodPriority(pod) }
