package plugin

import (
	"crypto/sha256"
	"encoding/json"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/component-helpers/scheduling/corev1/nodeaffinity"
)

// NewPod works out what the rules need to know of a pod.
func NewPod(pod *corev1.Pod) *Pod {
	p := &Pod{
		Object:   pod,
		Requests: PodRequests(pod, false),
		Scoring:  PodRequests(pod, true),
		Ports:    hostPorts(pod),
		Affinity: nodeaffinity.GetRequiredNodeAffinity(pod),
	}
	if a := pod.Spec.Affinity; a != nil && a.PodAntiAffinity != nil {
		for i := range a.PodAntiAffinity.RequiredDuringSchedulingIgnoredDuringExecution {
			p.Repels = append(p.Repels, NewTerm(pod, &a.PodAntiAffinity.RequiredDuringSchedulingIgnoredDuringExecution[i]))
		}
	}
	if pod.Spec.Priority != nil {
		p.Priority = *pod.Spec.Priority
	}
	p.Class = class(p)
	return p
}

func hostPorts(pod *corev1.Pod) []Port {
	var ports []Port
	add := func(containers []corev1.Container) {
		for i := range containers {
			for _, p := range containers[i].Ports {
				if p.HostPort > 0 {
					protocol := p.Protocol
					if protocol == "" {
						protocol = corev1.ProtocolTCP
					}
					ports = append(ports, Port{p.HostIP, protocol, p.HostPort})
				}
			}
		}
	}
	add(pod.Spec.Containers)
	for i := range pod.Spec.InitContainers {
		c := &pod.Spec.InitContainers[i]
		if c.RestartPolicy != nil && *c.RestartPolicy == corev1.ContainerRestartPolicyAlways {
			add(pod.Spec.InitContainers[i : i+1])
		}
	}
	return ports
}

// class digests everything of a pod that any rule looks at, of this pod or of
// another that looks at this one.
func class(p *Pod) string {
	spec := &p.Object.Spec
	var images []string
	for i := range spec.Containers {
		images = append(images, spec.Containers[i].Image)
	}
	text, err := json.Marshal([]any{
		p.Requests, p.Scoring, p.Ports, spec.NodeName, spec.NodeSelector, spec.Affinity, spec.Tolerations, images,
		spec.TopologySpreadConstraints, p.Object.Namespace, p.Object.Labels,
	})
	if err != nil {
		return string(p.Object.UID) // a class of its own
	}
	sum := sha256.Sum256(text)
	return string(sum[:16])
}
