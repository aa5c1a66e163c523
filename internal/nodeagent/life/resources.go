package life

import (
	"slices"

	corev1 "k8s.io/api/core/v1"
)

// sizes are the resources that a running pod may have more or less of. Source: KEP-1287.
var sizes = []corev1.ResourceName{corev1.ResourceCPU, corev1.ResourceMemory}

// SameSizes tells whether a and b have the same cpu and memory.
func SameSizes(a, b *corev1.ResourceRequirements) bool {
	return sameList(a.Requests, b.Requests) && sameList(a.Limits, b.Limits)
}

func sameList(a, b corev1.ResourceList) bool {
	for _, n := range sizes {
		x, ok := a[n]
		y, both := b[n]
		if ok != both || x.Cmp(y) != 0 {
			return false
		}
	}
	return true
}

// SameResources tells whether two versions of a pod ask for the same cpu and memory.
func SameResources(a, b *corev1.Pod) bool {
	if len(a.Spec.Containers) != len(b.Spec.Containers) || len(a.Spec.InitContainers) != len(b.Spec.InitContainers) {
		return false
	}
	var x, y corev1.ResourceRequirements
	if a.Spec.Resources != nil {
		x = *a.Spec.Resources
	}
	if b.Spec.Resources != nil {
		y = *b.Spec.Resources
	}
	same := func(a, b corev1.Container) bool { return SameSizes(&a.Resources, &b.Resources) }
	return SameSizes(&x, &y) && slices.EqualFunc(a.Spec.Containers, b.Spec.Containers, same) &&
		slices.EqualFunc(a.Spec.InitContainers, b.Spec.InitContainers, same)
}

// WithResources returns pod with the resources that granted, another version of it, asks for.
func WithResources(pod, granted *corev1.Pod) *corev1.Pod {
	out := *pod
	out.Spec.Resources = granted.Spec.Resources
	out.Spec.Containers = resourcesOf(pod.Spec.Containers, granted.Spec.Containers)
	out.Spec.InitContainers = resourcesOf(pod.Spec.InitContainers, granted.Spec.InitContainers)
	return &out
}

func resourcesOf(list, from []corev1.Container) []corev1.Container {
	out := slices.Clone(list)
	for i := range out {
		if j := slices.IndexFunc(from, func(c corev1.Container) bool { return c.Name == out[i].Name }); j >= 0 {
			out[i].Resources = from[j].Resources
		}
	}
	return out
}

// Granted is the pod with the resources that its status says it was granted; nil if its spec says the same.
func Granted(pod *corev1.Pod) *corev1.Pod {
	out := WithResources(pod, pod)
	for _, list := range [][]corev1.Container{out.Spec.InitContainers, out.Spec.Containers} {
		for i := range list {
			s := apiStatus(pod, list[i].Name)
			if s == nil || s.Resources == nil || s.ContainerID == "" {
				continue
			}
			list[i].Resources.Requests = merge(list[i].Resources.Requests, s.AllocatedResources)
			list[i].Resources.Limits = merge(list[i].Resources.Limits, s.Resources.Limits)
		}
	}
	if SameResources(out, pod) {
		return nil
	}
	return out
}

// merge is l with the cpu and memory of from.
func merge(l, from corev1.ResourceList) corev1.ResourceList {
	if sameList(l, from) {
		return l
	}
	out := corev1.ResourceList{}
	for n, q := range l {
		if !slices.Contains(sizes, n) {
			out[n] = q
		}
	}
	for _, n := range sizes {
		if q, ok := from[n]; ok {
			out[n] = q
		}
	}
	return out
}

// Recorded is what the pod's status says a running container has; what it is granted if the status does not say it.
func Recorded(pod *corev1.Pod, c *corev1.Container, id string) corev1.ResourceRequirements {
	if s := apiStatus(pod, c.Name); s != nil && s.ContainerID == id && s.Resources != nil {
		return *s.Resources
	}
	return c.Resources
}

// Widest returns pod with the greater of what each container is granted and what had says it had; no limit is the
// greatest.
func Widest(pod *corev1.Pod, had func(name string) corev1.ResourceRequirements) *corev1.Pod {
	out := WithResources(pod, pod)
	for _, list := range [][]corev1.Container{out.Spec.InitContainers, out.Spec.Containers} {
		for i := range list {
			r, was := &list[i].Resources, had(list[i].Name)
			r.Requests, r.Limits = larger(r.Requests, was.Requests), larger(r.Limits, was.Limits)
		}
	}
	return out
}

func larger(a, b corev1.ResourceList) corev1.ResourceList {
	out := a
	for _, n := range sizes {
		x, ok := a[n]
		if y, both := b[n]; ok && both && y.Cmp(x) > 0 {
			if len(out) == len(a) {
				out = a.DeepCopy()
			}
			out[n] = y
		}
	}
	return out
}
