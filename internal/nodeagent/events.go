package nodeagent

import (
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"
)

// nodeUID is the UID that events about the node carry: upstream's agents use the node's name, and readers rely on it.
func nodeUID(name string) types.UID { return types.UID(name) }

// event records something about the pod, or about one of its containers.
func (w *worker) event(pod *corev1.Pod, container, kind, reason, message string) {
	w.agent.containerEvent(pod, container, kind, reason, message)
}

func (a *Agent) containerEvent(pod *corev1.Pod, container, kind, reason, message string) {
	if a.events == nil {
		return
	}
	ref := &corev1.ObjectReference{Kind: "Pod", APIVersion: "v1", Namespace: pod.Namespace, Name: pod.Name, UID: pod.UID, ResourceVersion: pod.ResourceVersion}
	if container != "" {
		ref.FieldPath = fieldPath(pod, container)
	}
	a.events.Event(ref, kind, reason, message)
}

func fieldPath(pod *corev1.Pod, container string) string {
	for i := range pod.Spec.Containers {
		if pod.Spec.Containers[i].Name == container {
			return "spec.containers{" + container + "}"
		}
	}
	for i := range pod.Spec.InitContainers {
		if pod.Spec.InitContainers[i].Name == container {
			return "spec.initContainers{" + container + "}"
		}
	}
	return "spec.ephemeralContainers{" + container + "}"
}
