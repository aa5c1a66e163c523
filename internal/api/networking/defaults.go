package networking

import (
	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"
	networkingv1beta1 "k8s.io/api/networking/v1beta1"
	"k8s.io/utils/ptr"
)

// DefaultNetworkPolicy: TCP unless said otherwise; it applies to ingress, and to egress if it has rules
// for it.
func DefaultNetworkPolicy(n *networkingv1.NetworkPolicy) {
	ports := func(list []networkingv1.NetworkPolicyPort) {
		for i := range list {
			if list[i].Protocol == nil {
				list[i].Protocol = ptr.To(corev1.ProtocolTCP)
			}
		}
	}
	for i := range n.Spec.Ingress {
		ports(n.Spec.Ingress[i].Ports)
	}
	for i := range n.Spec.Egress {
		ports(n.Spec.Egress[i].Ports)
	}
	if len(n.Spec.PolicyTypes) == 0 {
		n.Spec.PolicyTypes = []networkingv1.PolicyType{networkingv1.PolicyTypeIngress}
		if len(n.Spec.Egress) > 0 {
			n.Spec.PolicyTypes = append(n.Spec.PolicyTypes, networkingv1.PolicyTypeEgress)
		}
	}
}

// DefaultIngressClass: parameters are cluster-wide unless said otherwise.
func DefaultIngressClass(c *networkingv1.IngressClass) {
	if r := c.Spec.Parameters; r != nil && r.Scope == nil {
		r.Scope = ptr.To(networkingv1.IngressClassParametersReferenceScopeCluster)
	}
}

func defaultIngressClassV1beta1(c *networkingv1beta1.IngressClass) {
	if r := c.Spec.Parameters; r != nil && r.Scope == nil {
		r.Scope = ptr.To(networkingv1beta1.IngressClassParametersReferenceScopeCluster)
	}
}

// defaultIngressV1beta1: the beta did not ask for a path's type.
func defaultIngressV1beta1(in *networkingv1beta1.Ingress) {
	for _, r := range in.Spec.Rules {
		if r.HTTP == nil {
			continue
		}
		for i := range r.HTTP.Paths {
			if r.HTTP.Paths[i].PathType == nil {
				r.HTTP.Paths[i].PathType = ptr.To(networkingv1beta1.PathTypeImplementationSpecific)
			}
		}
	}
}
