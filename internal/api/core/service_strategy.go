package core

import (
	"slices"

	corev1 "k8s.io/api/core/v1"
	apiequality "k8s.io/apimachinery/pkg/api/equality"
)

func prepareService(s *corev1.Service) {
	s.Status = corev1.ServiceStatus{}
	normalizeIPs(&s.Spec, nil)
}

// prepareServiceUpdate keeps what was allocated where the client left it out, and drops what the new
// type has no use for.
func prepareServiceUpdate(new, old *corev1.Service) {
	new.Status = old.Status
	keepAllocated(&new.Spec, &old.Spec)
	normalizeIPs(&new.Spec, &old.Spec)
	dropUnused(&new.Spec, &old.Spec)
}

func keepAllocated(new, old *corev1.ServiceSpec) {
	if hasClusterIP(new) && hasClusterIP(old) {
		if new.ClusterIP == "" {
			new.ClusterIP = old.ClusterIP
		}
		if len(new.ClusterIPs) == 0 && new.ClusterIP == old.ClusterIP {
			new.ClusterIPs = old.ClusterIPs
		}
		if len(new.IPFamilies) == 0 && new.IPFamilyPolicy == nil {
			new.IPFamilies, new.IPFamilyPolicy = old.IPFamilies, old.IPFamilyPolicy
		}
	}
	if hasNodePorts(new) && hasNodePorts(old) {
		type key struct {
			protocol corev1.Protocol
			port     int32
		}
		was, taken := map[key]int32{}, map[int32]bool{}
		for _, p := range old.Ports {
			was[key{p.Protocol, p.Port}] = p.NodePort
		}
		for _, p := range new.Ports {
			taken[p.NodePort] = true
		}
		for i := range new.Ports {
			p := &new.Ports[i]
			if n := was[key{p.Protocol, p.Port}]; p.NodePort == 0 && n != 0 && !taken[n] {
				p.NodePort = n
				taken[n] = true
			}
		}
	}
	if hasHealthPort(new) && hasHealthPort(old) && new.HealthCheckNodePort == 0 {
		new.HealthCheckNodePort = old.HealthCheckNodePort
	}
}

// normalizeIPs keeps clusterIP and the first of clusterIPs telling the same, whichever the client wrote.
func normalizeIPs(new, old *corev1.ServiceSpec) {
	if old == nil {
		if new.ClusterIP != "" && len(new.ClusterIPs) == 0 {
			new.ClusterIPs = []string{new.ClusterIP}
		}
		return
	}
	same := slices.Equal(new.ClusterIPs, old.ClusterIPs)
	switch {
	case new.ClusterIP != "" && len(new.ClusterIPs) == 0:
		new.ClusterIPs = []string{new.ClusterIP}
	case old.ClusterIP != "" && new.ClusterIP == "" && same:
		new.ClusterIPs = nil
	case new.ClusterIP != old.ClusterIP && same && new.ClusterIP != "":
		new.ClusterIPs = []string{new.ClusterIP}
	}
}

// dropUnused clears what belonged to the old type, if the client did not touch it.
func dropUnused(new, old *corev1.ServiceSpec) {
	if hasClusterIP(old) && !hasClusterIP(new) && new.ClusterIP == old.ClusterIP && slices.Equal(new.ClusterIPs, old.ClusterIPs) {
		new.ClusterIP, new.ClusterIPs = "", nil
		if apiequality.Semantic.DeepEqual(new.IPFamilyPolicy, old.IPFamilyPolicy) && slices.Equal(new.IPFamilies, old.IPFamilies) {
			new.IPFamilyPolicy, new.IPFamilies = nil, nil
		}
	}
	if hasNodePorts(old) && !hasNodePorts(new) {
		for i := range new.Ports {
			for _, p := range old.Ports {
				if p.Port == new.Ports[i].Port && p.NodePort == new.Ports[i].NodePort {
					new.Ports[i].NodePort = 0
				}
			}
		}
	}
	if hasHealthPort(old) && !hasHealthPort(new) && new.HealthCheckNodePort == old.HealthCheckNodePort {
		new.HealthCheckNodePort = 0
	}
	if old.Type == corev1.ServiceTypeLoadBalancer && new.Type != corev1.ServiceTypeLoadBalancer {
		if apiequality.Semantic.DeepEqual(new.AllocateLoadBalancerNodePorts, old.AllocateLoadBalancerNodePorts) {
			new.AllocateLoadBalancerNodePorts = nil
		}
		if apiequality.Semantic.DeepEqual(new.LoadBalancerClass, old.LoadBalancerClass) {
			new.LoadBalancerClass = nil
		}
	}
	if externallyAccessible(old) && !externallyAccessible(new) && new.ExternalTrafficPolicy == old.ExternalTrafficPolicy {
		new.ExternalTrafficPolicy = ""
	}
	if hasClusterIP(old) && !hasClusterIP(new) && apiequality.Semantic.DeepEqual(new.InternalTrafficPolicy, old.InternalTrafficPolicy) {
		new.InternalTrafficPolicy = nil
	}
}
