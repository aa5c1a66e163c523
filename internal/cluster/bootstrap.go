package cluster

import (
	"context"
	"errors"
	"fmt"

	"golang.org/x/sync/errgroup"
	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	networkingv1 "k8s.io/api/networking/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/intstr"
	"k8s.io/client-go/kubernetes"
	"k8s.io/utils/ptr"

	"nau/internal/apiserver/admission"
)

// systemNamespaces exist in every cluster.
var systemNamespaces = []string{metav1.NamespaceSystem, metav1.NamespaceDefault, metav1.NamespacePublic, corev1.NamespaceNodeLease}

// bootstrapNamespaces makes the namespaces, side by side: before they are there,
// nobody can write an event or a lease.
func (p *controlPlane) bootstrapNamespaces(ctx context.Context) error {
	var all errgroup.Group
	for _, name := range systemNamespaces {
		all.Go(func() error {
			_, err := p.admin.Kubernetes.CoreV1().Namespaces().Create(ctx, &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: name}}, metav1.CreateOptions{})
			if err != nil && !apierrors.IsAlreadyExists(err) {
				return fmt.Errorf("create namespace %s: %w", name, err)
			}
			return nil
		})
	}
	return all.Wait()
}

// bootstrapObjects writes what every cluster has from the start, and what is
// true of this start: the addresses behind the service default/kubernetes.
func (p *controlPlane) bootstrapObjects(ctx context.Context) error {
	kube := p.admin.Kubernetes
	return errors.Join(
		p.publishAPI(ctx, kube),
		p.publishDNS(ctx, kube),
		p.publishServiceRange(ctx, kube),
		p.publishAuthentication(ctx, kube),
		admission.EnsureSystemPriorityClasses(ctx, kube),
	)
}

// publishAPI makes the service default/kubernetes and points it here. Its
// endpoints are written by hand, since no pod stands behind it.
func (p *controlPlane) publishAPI(ctx context.Context, kube kubernetes.Interface) error {
	c := p.config
	service := &corev1.Service{
		ObjectMeta: metav1.ObjectMeta{Name: "kubernetes", Namespace: metav1.NamespaceDefault, Labels: map[string]string{"component": "apiserver", "provider": "kubernetes"}},
		Spec: corev1.ServiceSpec{
			Type: corev1.ServiceTypeClusterIP, ClusterIP: nth(c.ServiceCIDRs[0], 1).String(), ClusterIPs: []string{nth(c.ServiceCIDRs[0], 1).String()},
			IPFamilyPolicy: ptr.To(corev1.IPFamilyPolicySingleStack),
			Ports:          []corev1.ServicePort{{Name: "https", Protocol: corev1.ProtocolTCP, Port: 443, TargetPort: intstr.FromInt(c.APIPort)}},
		},
	}
	if err := ensureService(ctx, kube, service); err != nil {
		return err
	}
	address := c.NodeIPs[0].String()
	want := []corev1.EndpointSubset{{
		Addresses: []corev1.EndpointAddress{{IP: address}},
		Ports:     []corev1.EndpointPort{{Name: "https", Port: int32(c.APIPort), Protocol: corev1.ProtocolTCP}},
	}}
	endpoints := kube.CoreV1().Endpoints(metav1.NamespaceDefault)
	labels := map[string]string{discoveryv1.LabelSkipMirror: "true"}
	have, err := endpoints.Get(ctx, "kubernetes", metav1.GetOptions{})
	switch {
	case apierrors.IsNotFound(err):
		_, err = endpoints.Create(ctx, &corev1.Endpoints{ObjectMeta: metav1.ObjectMeta{Name: "kubernetes", Labels: labels}, Subsets: want}, metav1.CreateOptions{})
	case err == nil && !equality.Semantic.DeepEqual(have.Subsets, want):
		changed := have.DeepCopy()
		changed.Subsets, changed.Labels = want, labels
		_, err = endpoints.Update(ctx, changed, metav1.UpdateOptions{})
	}
	if err != nil {
		return fmt.Errorf("write endpoints default/kubernetes: %w", err)
	}
	family := discoveryv1.AddressTypeIPv4
	if c.NodeIPs[0].To4() == nil {
		family = discoveryv1.AddressTypeIPv6
	}
	slice := &discoveryv1.EndpointSlice{
		ObjectMeta:  metav1.ObjectMeta{Name: "kubernetes", Labels: map[string]string{discoveryv1.LabelServiceName: "kubernetes"}},
		AddressType: family,
		Endpoints:   []discoveryv1.Endpoint{{Addresses: []string{address}, Conditions: discoveryv1.EndpointConditions{Ready: ptr.To(true)}}},
		Ports:       []discoveryv1.EndpointPort{{Name: ptr.To("https"), Port: ptr.To(int32(c.APIPort)), Protocol: ptr.To(corev1.ProtocolTCP)}},
	}
	slices := kube.DiscoveryV1().EndpointSlices(metav1.NamespaceDefault)
	old, err := slices.Get(ctx, "kubernetes", metav1.GetOptions{})
	switch {
	case apierrors.IsNotFound(err):
		_, err = slices.Create(ctx, slice, metav1.CreateOptions{})
	case err == nil && (!equality.Semantic.DeepEqual(old.Endpoints, slice.Endpoints) || !equality.Semantic.DeepEqual(old.Ports, slice.Ports)):
		changed := old.DeepCopy()
		changed.Endpoints, changed.Ports = slice.Endpoints, slice.Ports
		_, err = slices.Update(ctx, changed, metav1.UpdateOptions{})
	}
	if err != nil {
		return fmt.Errorf("write endpoint slice default/kubernetes: %w", err)
	}
	return nil
}

// publishDNS makes the service kube-system/kube-dns. It has no endpoints: each
// node answers on the service's address itself.
func (p *controlPlane) publishDNS(ctx context.Context, kube kubernetes.Interface) error {
	service := &corev1.Service{
		ObjectMeta: metav1.ObjectMeta{Name: "kube-dns", Namespace: metav1.NamespaceSystem, Labels: map[string]string{
			"k8s-app": "kube-dns", "kubernetes.io/name": "CoreDNS", "kubernetes.io/cluster-service": "true"}},
		Spec: corev1.ServiceSpec{
			Type:           corev1.ServiceTypeClusterIP,
			IPFamilyPolicy: ptr.To(corev1.IPFamilyPolicyPreferDualStack),
			Ports: []corev1.ServicePort{
				{Name: "dns", Protocol: corev1.ProtocolUDP, Port: 53, TargetPort: intstr.FromInt(53)},
				{Name: "dns-tcp", Protocol: corev1.ProtocolTCP, Port: 53, TargetPort: intstr.FromInt(53)},
			},
		},
	}
	for _, dns := range p.config.ClusterDNS {
		service.Spec.ClusterIPs = append(service.Spec.ClusterIPs, dns.String())
	}
	service.Spec.ClusterIP = service.Spec.ClusterIPs[0]
	return ensureService(ctx, kube, service)
}

// ensureService creates a service that asks for addresses of its own; one that
// is there already has them.
func ensureService(ctx context.Context, kube kubernetes.Interface, service *corev1.Service) error {
	services := kube.CoreV1().Services(service.Namespace)
	_, err := services.Get(ctx, service.Name, metav1.GetOptions{})
	if apierrors.IsNotFound(err) {
		_, err = services.Create(ctx, service, metav1.CreateOptions{})
	}
	if err != nil {
		return fmt.Errorf("create service %s/%s: %w", service.Namespace, service.Name, err)
	}
	return nil
}

// publishServiceRange makes the ServiceCIDR "kubernetes", which says from where
// services get their addresses.
func (p *controlPlane) publishServiceRange(ctx context.Context, kube kubernetes.Interface) error {
	ranges := kube.NetworkingV1().ServiceCIDRs()
	have, err := ranges.Get(ctx, "kubernetes", metav1.GetOptions{})
	if apierrors.IsNotFound(err) {
		have, err = ranges.Create(ctx, &networkingv1.ServiceCIDR{
			ObjectMeta: metav1.ObjectMeta{Name: "kubernetes"}, Spec: networkingv1.ServiceCIDRSpec{CIDRs: texts(p.config.ServiceCIDRs)},
		}, metav1.CreateOptions{})
	}
	if err == nil && !meta.IsStatusConditionTrue(have.Status.Conditions, networkingv1.ServiceCIDRConditionReady) {
		have = have.DeepCopy()
		meta.SetStatusCondition(&have.Status.Conditions, metav1.Condition{
			Type: networkingv1.ServiceCIDRConditionReady, Status: metav1.ConditionTrue, Message: "Kubernetes Service CIDR is ready"})
		_, err = ranges.UpdateStatus(ctx, have, metav1.UpdateOptions{})
	}
	if err != nil {
		return fmt.Errorf("write ServiceCIDR kubernetes: %w", err)
	}
	return nil
}

// publishAuthentication tells extension API servers whom to trust.
func (p *controlPlane) publishAuthentication(ctx context.Context, kube kubernetes.Interface) error {
	name := "extension-apiserver-authentication"
	data := map[string]string{
		"client-ca-file":                     string(p.keys.Cluster.Bundle),
		"requestheader-client-ca-file":       string(p.keys.FrontProxy.Bundle),
		"requestheader-allowed-names":        `["front-proxy-client"]`,
		"requestheader-username-headers":     `["X-Remote-User"]`,
		"requestheader-group-headers":        `["X-Remote-Group"]`,
		"requestheader-extra-headers-prefix": `["X-Remote-Extra-"]`,
		"requestheader-uid-headers":          `["X-Remote-Uid"]`,
	}
	maps := kube.CoreV1().ConfigMaps(metav1.NamespaceSystem)
	have, err := maps.Get(ctx, name, metav1.GetOptions{})
	switch {
	case apierrors.IsNotFound(err):
		_, err = maps.Create(ctx, &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Name: name}, Data: data}, metav1.CreateOptions{})
	case err == nil && !equality.Semantic.DeepEqual(have.Data, data):
		changed := have.DeepCopy()
		changed.Data = data
		_, err = maps.Update(ctx, changed, metav1.UpdateOptions{})
	}
	if err != nil {
		return fmt.Errorf("write configmap kube-system/%s: %w", name, err)
	}
	return nil
}
