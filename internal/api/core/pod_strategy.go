package core

import (
	"slices"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/fields"
	"k8s.io/utils/ptr"

	"nau/internal/api/meta"
)

func preparePod(pod *corev1.Pod) {
	pod.Generation = 1
	pod.Status = corev1.PodStatus{Phase: corev1.PodPending, QOSClass: QOSClass(&pod.Spec)}
	if len(pod.Spec.SchedulingGates) > 0 {
		pod.Status.Conditions = []corev1.PodCondition{{
			Type: corev1.PodScheduled, Status: corev1.ConditionFalse, Reason: corev1.PodReasonSchedulingGated,
			Message: "Scheduling is blocked due to non-empty scheduling gates",
		}}
	}
	mergeMatchKeys(pod)
}

// mergeMatchKeys writes matchLabelKeys and mismatchLabelKeys into the selectors that they extend, with
// the pod's own values (KEP-3633, KEP-3243).
func mergeMatchKeys(pod *corev1.Pod) {
	for i := range pod.Spec.TopologySpreadConstraints {
		c := &pod.Spec.TopologySpreadConstraints[i]
		c.LabelSelector = mergeKeys(c.LabelSelector, c.MatchLabelKeys, pod.Labels, metav1.LabelSelectorOpIn)
	}
	if pod.Spec.Affinity == nil {
		return
	}
	merge := func(t *corev1.PodAffinityTerm) {
		t.LabelSelector = mergeKeys(t.LabelSelector, t.MatchLabelKeys, pod.Labels, metav1.LabelSelectorOpIn)
		t.LabelSelector = mergeKeys(t.LabelSelector, t.MismatchLabelKeys, pod.Labels, metav1.LabelSelectorOpNotIn)
	}
	if a := pod.Spec.Affinity.PodAffinity; a != nil {
		for i := range a.RequiredDuringSchedulingIgnoredDuringExecution {
			merge(&a.RequiredDuringSchedulingIgnoredDuringExecution[i])
		}
		for i := range a.PreferredDuringSchedulingIgnoredDuringExecution {
			merge(&a.PreferredDuringSchedulingIgnoredDuringExecution[i].PodAffinityTerm)
		}
	}
	if a := pod.Spec.Affinity.PodAntiAffinity; a != nil {
		for i := range a.RequiredDuringSchedulingIgnoredDuringExecution {
			merge(&a.RequiredDuringSchedulingIgnoredDuringExecution[i])
		}
		for i := range a.PreferredDuringSchedulingIgnoredDuringExecution {
			merge(&a.PreferredDuringSchedulingIgnoredDuringExecution[i].PodAffinityTerm)
		}
	}
}

func mergeKeys(s *metav1.LabelSelector, keys []string, labels map[string]string, op metav1.LabelSelectorOperator) *metav1.LabelSelector {
	if s == nil {
		return nil
	}
	for _, k := range keys {
		if v, ok := labels[k]; ok {
			s.MatchExpressions = append(s.MatchExpressions, metav1.LabelSelectorRequirement{Key: k, Operator: op, Values: []string{v}})
		}
	}
	return s
}

func preparePodUpdate(new, old *corev1.Pod) {
	new.Status = old.Status
	meta.BumpGeneration(new, old, &new.Spec, &old.Spec)
	if new.Generation == old.Generation {
		new.Spec = old.Spec // one copy in memory, and what compares them later sees it at a glance
	}
}

func preparePodStatus(new, old *corev1.Pod) {
	new.Spec = old.Spec
	new.DeletionTimestamp = old.DeletionTimestamp
	new.DeletionGracePeriodSeconds = old.DeletionGracePeriodSeconds
	new.OwnerReferences = old.OwnerReferences
	new.Generation = old.Generation
	if new.Status.QOSClass == "" {
		new.Status.QOSClass = old.Status.QOSClass
	}
	syncPodIPs(&new.Status, &old.Status)
}

// syncPodIPs keeps podIP and podIPs, hostIP and hostIPs telling the same, whichever the client wrote.
func syncPodIPs(new, old *corev1.PodStatus) {
	switch {
	case new.PodIP != old.PodIP && slices.Equal(new.PodIPs, old.PodIPs), len(new.PodIPs) == 0 && new.PodIP != "":
		new.PodIPs = nil
		if new.PodIP != "" {
			new.PodIPs = []corev1.PodIP{{IP: new.PodIP}}
		}
	case len(new.PodIPs) > 0:
		new.PodIP = new.PodIPs[0].IP
	}
}

func prepareEphemeral(new, old *corev1.Pod) {
	added := new.Spec.EphemeralContainers
	version, managed := new.ResourceVersion, new.ManagedFields
	*new = *old.DeepCopy()
	new.ResourceVersion, new.ManagedFields = version, managed
	new.Spec.EphemeralContainers = added
	meta.BumpGeneration(new, old, &new.Spec, &old.Spec)
}

func prepareResize(new, old *corev1.Pod) {
	asked := new.Spec.DeepCopy()
	version, managed := new.ResourceVersion, new.ManagedFields
	*new = *old.DeepCopy()
	new.ResourceVersion, new.ManagedFields = version, managed
	if len(asked.Containers) == len(new.Spec.Containers) {
		for i := range new.Spec.Containers {
			if asked.Containers[i].Name == new.Spec.Containers[i].Name {
				new.Spec.Containers[i].Resources = asked.Containers[i].Resources
				new.Spec.Containers[i].ResizePolicy = asked.Containers[i].ResizePolicy
			}
		}
	}
	if len(asked.InitContainers) == len(new.Spec.InitContainers) {
		for i := range new.Spec.InitContainers {
			if asked.InitContainers[i].Name == new.Spec.InitContainers[i].Name {
				new.Spec.InitContainers[i].Resources = asked.InitContainers[i].Resources
				new.Spec.InitContainers[i].ResizePolicy = asked.InitContainers[i].ResizePolicy
			}
		}
	}
	new.Spec.Resources = asked.Resources
	meta.BumpGeneration(new, old, &new.Spec, &old.Spec)
}

// podGrace: a pod that runs nowhere or has ended goes at once; else the client's period, or the pod's.
func podGrace(pod *corev1.Pod, requested *int64) (int64, bool) {
	seconds := ptr.Deref(pod.Spec.TerminationGracePeriodSeconds, 0)
	if requested != nil {
		seconds = *requested
	}
	if pod.Spec.NodeName == "" || pod.Status.Phase == corev1.PodFailed || pod.Status.Phase == corev1.PodSucceeded {
		seconds = 0
	}
	if seconds < 0 {
		seconds = 1
	}
	return seconds, seconds > 0
}

func podFields(pod *corev1.Pod) fields.Set {
	ip := pod.Status.PodIP
	if len(pod.Status.PodIPs) > 0 {
		ip = pod.Status.PodIPs[0].IP
	}
	host := "false"
	if pod.Spec.HostNetwork {
		host = "true"
	}
	return fields.Set{
		"spec.nodeName":            pod.Spec.NodeName,
		"spec.restartPolicy":       string(pod.Spec.RestartPolicy),
		"spec.schedulerName":       pod.Spec.SchedulerName,
		"spec.serviceAccountName":  pod.Spec.ServiceAccountName,
		"spec.hostNetwork":         host,
		"status.phase":             string(pod.Status.Phase),
		"status.podIP":             ip,
		"status.podIPs":            ip,
		"status.nominatedNodeName": pod.Status.NominatedNodeName,
	}
}
