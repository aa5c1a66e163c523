package core

import (
	"slices"
	"testing"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/util/intstr"
	"k8s.io/utils/ptr"
)

func TestDefaultService(t *testing.T) {
	s := &corev1.Service{Spec: corev1.ServiceSpec{Type: corev1.ServiceTypeLoadBalancer, SessionAffinity: corev1.ServiceAffinityClientIP,
		Ports: []corev1.ServicePort{{Port: 80}, {Port: 81, TargetPort: intstr.FromString("web")}}}}
	DefaultService(s)
	for name, ok := range map[string]bool{
		"protocol":    s.Spec.Ports[0].Protocol == "TCP",
		"target":      s.Spec.Ports[0].TargetPort == intstr.FromInt32(80) && s.Spec.Ports[1].TargetPort.StrVal == "web",
		"affinity":    *s.Spec.SessionAffinityConfig.ClientIP.TimeoutSeconds == 10800,
		"external":    s.Spec.ExternalTrafficPolicy == corev1.ServiceExternalTrafficPolicyCluster,
		"internal":    *s.Spec.InternalTrafficPolicy == corev1.ServiceInternalTrafficPolicyCluster,
		"allocate":    *s.Spec.AllocateLoadBalancerNodePorts,
		"no families": s.Spec.IPFamilyPolicy == nil && s.Spec.IPFamilies == nil,
	} {
		if !ok {
			t.Errorf("%s is not as it should be: %+v", name, s.Spec)
		}
	}
	external := &corev1.Service{Spec: corev1.ServiceSpec{Type: corev1.ServiceTypeExternalName, ExternalName: "a"}}
	DefaultService(external)
	if external.Spec.InternalTrafficPolicy != nil || external.Spec.ExternalTrafficPolicy != "" {
		t.Errorf("external name has traffic policies: %+v", external.Spec)
	}
}

func TestServiceUpdateKeepsWhatWasAllocated(t *testing.T) {
	old := &corev1.Service{Spec: corev1.ServiceSpec{Type: corev1.ServiceTypeNodePort, ClusterIP: "10.43.0.7", ClusterIPs: []string{"10.43.0.7"},
		IPFamilies: []corev1.IPFamily{corev1.IPv4Protocol}, IPFamilyPolicy: ptr.To(corev1.IPFamilyPolicySingleStack),
		Ports: []corev1.ServicePort{{Name: "a", Port: 80, NodePort: 30001}, {Name: "b", Port: 81, NodePort: 30002}}}}
	DefaultService(old)
	for name, c := range map[string]struct {
		change func(*corev1.ServiceSpec)
		ips    []string
		ports  []int32
	}{
		"nothing said": {func(s *corev1.ServiceSpec) {
			s.ClusterIP, s.ClusterIPs = "", nil
			s.Ports[0].NodePort, s.Ports[1].NodePort = 0, 0
		}, []string{"10.43.0.7"}, []int32{30001, 30002}},
		"another port takes it": {func(s *corev1.ServiceSpec) { s.Ports[0].NodePort, s.Ports[1].NodePort = 30002, 0 }, []string{"10.43.0.7"}, []int32{30002, 0}},
		"to cluster only":       {func(s *corev1.ServiceSpec) { s.Type = corev1.ServiceTypeClusterIP }, []string{"10.43.0.7"}, []int32{0, 0}},
		"to external name":      {func(s *corev1.ServiceSpec) { s.Type, s.ExternalName = corev1.ServiceTypeExternalName, "x" }, nil, []int32{0, 0}},
	} {
		n := old.DeepCopy()
		c.change(&n.Spec)
		DefaultService(n)
		prepareServiceUpdate(n, old)
		ports := []int32{n.Spec.Ports[0].NodePort, n.Spec.Ports[1].NodePort}
		if !slices.Equal(n.Spec.ClusterIPs, c.ips) || !slices.Equal(ports, c.ports) {
			t.Errorf("%s: %v %v, want %v %v", name, n.Spec.ClusterIPs, ports, c.ips, c.ports)
		}
		if errs := validateServiceUpdate(n, old); len(errs) > 0 {
			t.Errorf("%s: %v", name, errs)
		}
	}
}
