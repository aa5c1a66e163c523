package endpointslicemirroring

import (
	"fmt"
	"testing"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"nau/internal/controller/controllertest"
)

func service() *corev1.Service {
	return &corev1.Service{ObjectMeta: metav1.ObjectMeta{Namespace: "a", Name: "db"}}
}

func endpoints(ips ...string) *corev1.Endpoints {
	e := &corev1.Endpoints{
		ObjectMeta: metav1.ObjectMeta{Namespace: "a", Name: "db", UID: "e", Labels: map[string]string{"team": "x"}, Annotations: map[string]string{triggerTime: "now", "k": "v"}},
		Subsets:    []corev1.EndpointSubset{{Ports: []corev1.EndpointPort{{Name: "sql", Port: 5432, Protocol: corev1.ProtocolTCP}}, NotReadyAddresses: []corev1.EndpointAddress{{IP: "10.0.0.99"}}}},
	}
	for _, ip := range ips {
		e.Subsets[0].Addresses = append(e.Subsets[0].Addresses, corev1.EndpointAddress{IP: ip, Hostname: "h"})
	}
	return e
}

func TestDecide(t *testing.T) {
	p := decide(endpoints("10.0.0.1", "fd00::1", "no address"), nil)
	if len(p.Create) != 2 {
		t.Fatalf("%+v", p)
	}
	s := p.Create[0]
	if s.AddressType != discoveryv1.AddressTypeIPv4 || len(s.Endpoints) != 2 || !*s.Endpoints[0].Conditions.Ready || *s.Endpoints[1].Conditions.Ready ||
		*s.Ports[0].Port != 5432 || s.Labels["team"] != "x" || s.Labels[discoveryv1.LabelManagedBy] != ManagedBy || s.Annotations["k"] != "v" || s.Annotations[triggerTime] != "" {
		t.Errorf("%+v", s)
	}
	s.Name = "db-1"
	p = decide(endpoints("10.0.0.1", "10.0.0.2"), []*discoveryv1.EndpointSlice{s})
	if len(p.Create) != 0 || len(p.Update) != 1 || len(p.Update[0].Endpoints) != 3 {
		t.Errorf("%+v", p)
	}
	empty := endpoints()
	empty.Subsets = nil
	if p = decide(empty, []*discoveryv1.EndpointSlice{s}); len(p.Remove) != 1 || len(p.Create) != 0 {
		t.Errorf("%+v", p)
	}
}

func TestMirrored(t *testing.T) {
	selecting, skipped, leading := service(), endpoints(), endpoints()
	selecting.Spec.Selector = map[string]string{"a": "b"}
	skipped.Labels[discoveryv1.LabelSkipMirror] = "true"
	leading.Annotations[leaderElection] = "{}"
	if !mirrored(service(), endpoints()) || mirrored(nil, endpoints()) || mirrored(selecting, endpoints()) || mirrored(service(), skipped) || mirrored(service(), leading) {
		t.Error("the wrong endpoints are mirrored")
	}
}

func TestController(t *testing.T) {
	e := controllertest.New(t, service(), endpoints("10.0.0.1"))
	e.Run(New(Config{Client: e.Client, Informers: e.Informers}))
	slices := func(n, addresses int) func() error {
		return func() error {
			l, err := e.Client.DiscoveryV1().EndpointSlices("a").List(e.Ctx, metav1.ListOptions{})
			if err != nil || len(l.Items) != n || n > 0 && len(l.Items[0].Endpoints) != addresses {
				return fmt.Errorf("%+v %v", l.Items, err)
			}
			return nil
		}
	}
	e.Until(slices(1, 2))
	if _, err := e.Client.CoreV1().Endpoints("a").Update(e.Ctx, endpoints("10.0.0.1", "10.0.0.2"), metav1.UpdateOptions{}); err != nil {
		t.Fatal(err)
	}
	e.Until(slices(1, 3))
	e.Client.CoreV1().Endpoints("a").Delete(e.Ctx, "db", metav1.DeleteOptions{})
	e.Until(slices(0, 0))
}
