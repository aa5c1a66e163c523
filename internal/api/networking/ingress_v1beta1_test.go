package networking

import (
	"testing"

	"github.com/google/go-cmp/cmp"
	networkingv1 "k8s.io/api/networking/v1"
	networkingv1beta1 "k8s.io/api/networking/v1beta1"
	"k8s.io/apimachinery/pkg/util/intstr"
	"k8s.io/utils/ptr"
)

func TestIngressGoesBothWays(t *testing.T) {
	in := &networkingv1beta1.Ingress{Spec: networkingv1beta1.IngressSpec{
		IngressClassName: ptr.To("c"),
		Backend:          &networkingv1beta1.IngressBackend{ServiceName: "a", ServicePort: intstr.FromString("http")},
		TLS:              []networkingv1beta1.IngressTLS{{Hosts: []string{"h"}, SecretName: "s"}},
		Rules: []networkingv1beta1.IngressRule{{Host: "h", IngressRuleValue: networkingv1beta1.IngressRuleValue{HTTP: &networkingv1beta1.HTTPIngressRuleValue{
			Paths: []networkingv1beta1.HTTPIngressPath{{Path: "/", Backend: networkingv1beta1.IngressBackend{ServiceName: "b", ServicePort: intstr.FromInt32(80)}}}}}}},
	}}
	in.SetGroupVersionKind(networkingv1beta1.SchemeGroupVersion.WithKind("Ingress"))
	defaultIngressV1beta1(in)
	v1 := ingressToV1(in)
	if got := v1.Spec.DefaultBackend.Service.Port; got != (networkingv1.ServiceBackendPort{Name: "http"}) {
		t.Errorf("default backend's port %+v", got)
	}
	if got := *v1.Spec.Rules[0].HTTP.Paths[0].PathType; got != networkingv1.PathTypeImplementationSpecific {
		t.Errorf("path type %s", got)
	}
	if back := ingressFromV1(v1); !cmp.Equal(in, back) {
		t.Error(cmp.Diff(in, back))
	}
}
