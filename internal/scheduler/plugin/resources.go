package plugin

import (
	"maps"

	corev1 "k8s.io/api/core/v1"
)

// Requests assumed for scoring where a container states none; the figures are
// kube-scheduler's.
const (
	assumedMilliCPU = 100
	assumedMemory   = 200 << 20
)

// Resources is an amount of every resource: thousandths of a core, bytes, and
// counts of extended resources.
type Resources struct {
	MilliCPU, Memory, Ephemeral int64
	Extended                    map[corev1.ResourceName]int64 // nil when none
}

// Add adds sign times other.
func (r *Resources) Add(other *Resources, sign int64) {
	r.MilliCPU += sign * other.MilliCPU
	r.Memory += sign * other.Memory
	r.Ephemeral += sign * other.Ephemeral
	for name, v := range other.Extended {
		if r.Extended == nil {
			r.Extended = map[corev1.ResourceName]int64{}
		}
		r.Extended[name] += sign * v
	}
}

func (r *Resources) max(other *Resources) {
	r.MilliCPU = max(r.MilliCPU, other.MilliCPU)
	r.Memory = max(r.Memory, other.Memory)
	r.Ephemeral = max(r.Ephemeral, other.Ephemeral)
	for name, v := range other.Extended {
		if r.Extended == nil {
			r.Extended = map[corev1.ResourceName]int64{}
		}
		r.Extended[name] = max(r.Extended[name], v)
	}
}

// Clone is a copy that shares nothing.
func (r *Resources) Clone() Resources {
	c := *r
	c.Extended = maps.Clone(r.Extended)
	return c
}

// FromList reads a resource list; the "pods" entry is returned apart.
func FromList(list corev1.ResourceList) (r Resources, pods int64) {
	for name, q := range list {
		switch name {
		case corev1.ResourceCPU:
			r.MilliCPU = q.MilliValue()
		case corev1.ResourceMemory:
			r.Memory = q.Value()
		case corev1.ResourceEphemeralStorage:
			r.Ephemeral = q.Value()
		case corev1.ResourcePods:
			pods = q.Value()
		default:
			if r.Extended == nil {
				r.Extended = map[corev1.ResourceName]int64{}
			}
			r.Extended[name] = q.Value()
		}
	}
	return r, pods
}

// PodRequests adds up what a pod needs at its peak: its containers and
// sidecars together, or an init container beside the sidecars started before
// it, whichever is more; pod-level requests override; overhead is added
// (KEP-753, KEP-688, KEP-2837). With assumed set, containers that state no CPU
// or memory count as kube-scheduler assumes for scoring.
func PodRequests(pod *corev1.Pod, assumed bool) Resources {
	var sum, peak, sidecars Resources
	allocated := allocatedResources(pod)
	one := func(c *corev1.Container) Resources {
		list := c.Resources.Requests
		if a, ok := allocated[c.Name]; ok {
			list = a
		}
		r, _ := FromList(list)
		if assumed {
			if _, ok := list[corev1.ResourceCPU]; !ok {
				r.MilliCPU = assumedMilliCPU
			}
			if _, ok := list[corev1.ResourceMemory]; !ok {
				r.Memory = assumedMemory
			}
		}
		return r
	}
	for i := range pod.Spec.Containers {
		r := one(&pod.Spec.Containers[i])
		sum.Add(&r, 1)
	}
	for i := range pod.Spec.InitContainers {
		c := &pod.Spec.InitContainers[i]
		r := one(c)
		if c.RestartPolicy != nil && *c.RestartPolicy == corev1.ContainerRestartPolicyAlways {
			sum.Add(&r, 1)
			sidecars.Add(&r, 1)
			peak.max(&sidecars)
			continue
		}
		during := sidecars.Clone()
		during.Add(&r, 1)
		peak.max(&during)
	}
	sum.max(&peak)
	if pod.Spec.Resources != nil {
		for name, q := range pod.Spec.Resources.Requests {
			switch name {
			case corev1.ResourceCPU:
				sum.MilliCPU = q.MilliValue()
			case corev1.ResourceMemory:
				sum.Memory = q.Value()
			}
		}
	}
	overhead, _ := FromList(pod.Spec.Overhead)
	sum.Add(&overhead, 1)
	return sum
}

// allocatedResources has, for a running pod that is being resized, the greater
// of what it asks for and what it still holds (KEP-1287).
func allocatedResources(pod *corev1.Pod) map[string]corev1.ResourceList {
	var out map[string]corev1.ResourceList
	for i := range pod.Status.ContainerStatuses {
		status := &pod.Status.ContainerStatuses[i]
		if len(status.AllocatedResources) == 0 {
			continue
		}
		for j := range pod.Spec.Containers {
			c := &pod.Spec.Containers[j]
			if c.Name != status.Name {
				continue
			}
			merged := corev1.ResourceList{}
			maps.Copy(merged, c.Resources.Requests)
			for name, q := range status.AllocatedResources {
				if have, ok := merged[name]; ok && q.Cmp(have) > 0 {
					merged[name] = q
				}
			}
			if out == nil {
				out = map[string]corev1.ResourceList{}
			}
			out[c.Name] = merged
		}
	}
	return out
}
