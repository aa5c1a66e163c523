package endpoints

import (
	"cmp"
	"fmt"
	"maps"
	"net/netip"
	"slices"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"nau/internal/controller/backing"
)

const (
	// managedBy and its value mark the objects of this controller.
	managedBy = "endpoints.kubernetes.io/managed-by"
	name      = "endpoint-controller"
	// capacity is what one object holds; the rest is only in slices.
	capacity = 1000
)

// decide returns the object that a service should have, nil if the one it has
// (nil for none) is as it should be.
func decide(service *corev1.Service, pods []*corev1.Pod, have *corev1.Endpoints) *corev1.Endpoints {
	subsets, over := subsetsOf(service, pods)
	want := &corev1.Endpoints{ObjectMeta: metav1.ObjectMeta{Namespace: service.Namespace, Name: service.Name}}
	if have != nil {
		want = have.DeepCopy()
	}
	want.Subsets = subsets
	want.Labels = maps.Clone(service.Labels)
	if want.Labels == nil {
		want.Labels = map[string]string{}
	}
	want.Labels[managedBy] = name
	delete(want.Labels, corev1.IsHeadlessService)
	if service.Spec.ClusterIP == corev1.ClusterIPNone {
		want.Labels[corev1.IsHeadlessService] = ""
	}
	if over {
		if want.Annotations == nil {
			want.Annotations = map[string]string{}
		}
		want.Annotations[corev1.EndpointsOverCapacity] = "truncated"
	} else {
		delete(want.Annotations, corev1.EndpointsOverCapacity)
	}
	if have != nil && equality.Semantic.DeepEqual(have.Subsets, want.Subsets) && maps.Equal(have.Labels, want.Labels) && maps.Equal(have.Annotations, want.Annotations) {
		return nil
	}
	if want.Annotations == nil {
		want.Annotations = map[string]string{}
	}
	want.Annotations[corev1.EndpointsLastChangeTriggerTime] = trigger(service, pods).UTC().Format(time.RFC3339Nano)
	return want
}

// trigger is when what the object shows changed last: the service was made, or a
// pod became ready or ceased to be. Latency of the network's programming is
// measured from it.
func trigger(service *corev1.Service, pods []*corev1.Pod) time.Time {
	newest := service.CreationTimestamp.Time
	for _, pod := range pods {
		for _, c := range pod.Status.Conditions {
			if c.Type == corev1.PodReady && c.LastTransitionTime.After(newest) {
				newest = c.LastTransitionTime.Time
			}
		}
	}
	return newest
}

// subsetsOf groups the pods' addresses by their ports, and orders everything, so
// that the same pods always give the same object.
func subsetsOf(service *corev1.Service, pods []*corev1.Pod) (subsets []corev1.EndpointSubset, over bool) {
	groups := map[string]*corev1.EndpointSubset{}
	pods = slices.Clone(pods)
	slices.SortFunc(pods, func(a, b *corev1.Pod) int { return cmp.Compare(a.Name, b.Name) })
	n := 0
	for _, pod := range pods {
		ip := addressOf(service, pod)
		if ip == "" || !backing.Serves(pod, false) {
			continue
		}
		ports := portsOf(service, pod)
		if len(ports) == 0 && service.Spec.ClusterIP != corev1.ClusterIPNone {
			continue
		}
		if n == capacity {
			over = true
			break
		}
		n++
		address := corev1.EndpointAddress{
			IP:        ip,
			Hostname:  backing.Hostname(pod, service),
			TargetRef: &corev1.ObjectReference{Kind: "Pod", Namespace: pod.Namespace, Name: pod.Name, UID: pod.UID},
		}
		if node := pod.Spec.NodeName; node != "" {
			address.NodeName = &node
		}
		key := fmt.Sprint(ports)
		g := groups[key]
		if g == nil {
			g = &corev1.EndpointSubset{Ports: ports}
			groups[key] = g
		}
		if service.Spec.PublishNotReadyAddresses || backing.Ready(pod) {
			g.Addresses = append(g.Addresses, address)
		} else {
			g.NotReadyAddresses = append(g.NotReadyAddresses, address)
		}
	}
	for _, key := range slices.Sorted(maps.Keys(groups)) {
		g := groups[key]
		byIP := func(a, b corev1.EndpointAddress) int { return strings.Compare(a.IP, b.IP) }
		slices.SortStableFunc(g.Addresses, byIP)
		slices.SortStableFunc(g.NotReadyAddresses, byIP)
		subsets = append(subsets, *g)
	}
	return subsets, over
}

// addressOf is the pod's address of the service's first family.
func addressOf(service *corev1.Service, pod *corev1.Pod) string {
	if len(service.Spec.IPFamilies) == 0 {
		return pod.Status.PodIP
	}
	ips := pod.Status.PodIPs
	if len(ips) == 0 {
		ips = []corev1.PodIP{{IP: pod.Status.PodIP}}
	}
	for _, ip := range ips {
		if a, err := netip.ParseAddr(ip.IP); err == nil && a.Is6() == (service.Spec.IPFamilies[0] == corev1.IPv6Protocol) {
			return ip.IP
		}
	}
	return ""
}

func portsOf(service *corev1.Service, pod *corev1.Pod) []corev1.EndpointPort {
	var ports []corev1.EndpointPort
	for i := range service.Spec.Ports {
		sp := &service.Spec.Ports[i]
		if n, ok := backing.Port(pod, sp); ok {
			ports = append(ports, corev1.EndpointPort{Name: sp.Name, Port: n, Protocol: sp.Protocol, AppProtocol: sp.AppProtocol})
		}
	}
	slices.SortFunc(ports, func(a, b corev1.EndpointPort) int {
		return cmp.Or(cmp.Compare(a.Name, b.Name), cmp.Compare(a.Port, b.Port), cmp.Compare(a.Protocol, b.Protocol))
	})
	return ports
}
