package core

import (
	"strings"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
)

// podLevelResource tells what spec.resources may name (KEP-2837).
func podLevelResource(name corev1.ResourceName) bool {
	return name == corev1.ResourceCPU || name == corev1.ResourceMemory || hugePages(name)
}

func hugePages(name corev1.ResourceName) bool {
	return strings.HasPrefix(string(name), corev1.ResourceHugePagesPrefix)
}

// nativeResource: no domain, or one of kubernetes.io's.
func nativeResource(name corev1.ResourceName) bool {
	return !strings.Contains(string(name), "/") || strings.Contains(string(name), corev1.ResourceDefaultNamespacePrefix)
}

// extendedResource: a domain that is not Kubernetes' and not quota's requests prefix.
func extendedResource(name corev1.ResourceName) bool {
	return !nativeResource(name) && !strings.HasPrefix(string(name), corev1.DefaultResourceRequestsPrefix)
}

// overcommitAllowed: request and limit may differ.
func overcommitAllowed(name corev1.ResourceName) bool {
	return nativeResource(name) && !hugePages(name)
}

// containerRequests sums what a pod's containers ask for (KEP-753): the larger of the running sum and
// the peak while an init container runs on top of the sidecars that started before it.
func containerRequests(spec *corev1.PodSpec) corev1.ResourceList {
	sum := corev1.ResourceList{}
	for i := range spec.Containers {
		add(sum, spec.Containers[i].Resources.Requests)
	}
	sidecars, peak := corev1.ResourceList{}, corev1.ResourceList{}
	for i := range spec.InitContainers {
		c := &spec.InitContainers[i]
		if sidecar(c) {
			add(sum, c.Resources.Requests)
			add(sidecars, c.Resources.Requests)
			raise(peak, sidecars)
			continue
		}
		now := sidecars.DeepCopy()
		if now == nil {
			now = corev1.ResourceList{}
		}
		add(now, c.Resources.Requests)
		raise(peak, now)
	}
	raise(sum, peak)
	return sum
}

func add(sum, more corev1.ResourceList) {
	for name, q := range more {
		total, ok := sum[name]
		if !ok {
			total = resource.Quantity{Format: q.Format}
		}
		total.Add(q)
		sum[name] = total
	}
}

func raise(peak, candidate corev1.ResourceList) {
	for name, q := range candidate {
		if have, ok := peak[name]; !ok || q.Cmp(have) > 0 {
			peak[name] = q.DeepCopy()
		}
	}
}

// sidecar: an init container that keeps running (KEP-753).
func sidecar(c *corev1.Container) bool {
	return c.RestartPolicy != nil && *c.RestartPolicy == corev1.ContainerRestartPolicyAlways
}
