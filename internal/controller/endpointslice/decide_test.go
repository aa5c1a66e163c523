package endpointslice

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/intstr"
	"k8s.io/utils/ptr"

	"nau/internal/controller/slicing"
)

func service(edits ...func(*corev1.Service)) *corev1.Service {
	s := &corev1.Service{
		ObjectMeta: metav1.ObjectMeta{Namespace: "a", Name: "web", UID: "svc", Labels: map[string]string{"team": "x"}},
		Spec: corev1.ServiceSpec{
			Selector:   map[string]string{"app": "web"},
			ClusterIP:  "10.43.0.9",
			IPFamilies: []corev1.IPFamily{corev1.IPv4Protocol},
			Ports:      []corev1.ServicePort{{Name: "http", Protocol: corev1.ProtocolTCP, Port: 80, TargetPort: intstr.FromString("web")}},
		},
	}
	for _, f := range edits {
		f(s)
	}
	return s
}

func pod(i int, edits ...func(*corev1.Pod)) *corev1.Pod {
	p := &corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{Namespace: "a", Name: fmt.Sprintf("p%d", i), UID: types.UID(fmt.Sprintf("p%d", i)), Labels: map[string]string{"app": "web"}},
		Spec:       corev1.PodSpec{NodeName: "n1", Containers: []corev1.Container{{Ports: []corev1.ContainerPort{{Name: "web", ContainerPort: 8080, Protocol: corev1.ProtocolTCP}}}}},
		Status: corev1.PodStatus{
			Phase: corev1.PodRunning, PodIP: fmt.Sprintf("10.42.%d.%d", i/250, i%250+1),
			PodIPs:     []corev1.PodIP{{IP: fmt.Sprintf("10.42.%d.%d", i/250, i%250+1)}, {IP: fmt.Sprintf("fd42::%x", i+1)}},
			Conditions: []corev1.PodCondition{{Type: corev1.PodReady, Status: corev1.ConditionTrue}},
		},
	}
	for _, f := range edits {
		f(p)
	}
	return p
}

func pods(n int) (out []*corev1.Pod) {
	for i := range n {
		out = append(out, pod(i))
	}
	return out
}

// apply carries a plan out on the slices.
func apply(have []*discoveryv1.EndpointSlice, p slicing.Plan, n *int) []*discoveryv1.EndpointSlice {
	var out []*discoveryv1.EndpointSlice
	for _, s := range have {
		for _, u := range p.Update {
			if u.Name == s.Name {
				s = u
			}
		}
		if !slices.ContainsFunc(p.Remove, func(r *discoveryv1.EndpointSlice) bool { return r.Name == s.Name }) {
			out = append(out, s)
		}
	}
	for _, s := range p.Create {
		*n++
		s.Name = fmt.Sprintf("%s%d", s.GenerateName, *n)
		s.UID = types.UID(s.Name)
		out = append(out, s)
	}
	return out
}

func decideOver(svc *corev1.Service, pods []*corev1.Pod, have []*discoveryv1.EndpointSlice) slicing.Plan {
	return decide(state{service: svc, pods: pods, slices: have, zone: func(string) string { return "z1" }})
}

func TestLayout(t *testing.T) {
	var have []*discoveryv1.EndpointSlice
	n := 0
	all := pods(250)
	for _, c := range []struct {
		name string
		svc  *corev1.Service
		pods []*corev1.Pod
		want string // created, updated, removed: sizes
	}{
		{"first", service(), all, "3 0 0: 100 100 50"},
		{"nothing changed", service(), all, "0 0 0: 100 100 50"},
		{"one goes", service(), all[1:], "0 1 0: 99 100 50"},
		{"one comes back", service(), all, "0 1 0: 100 100 50"},
		{"a third family of changes", service(), all[100:], "0 0 1: 100 50"},
		{"none left", service(), nil, "0 1 1: 0"},
		{"still none", service(), nil, "0 0 0: 0"},
		{"some again", service(), all[:3], "1 0 1: 3"},
		{"both families", service(func(s *corev1.Service) {
			s.Spec.IPFamilies = append(s.Spec.IPFamilies, corev1.IPv6Protocol)
		}), all[:3], "1 0 0: 3 3"},
		{"one family", service(), all[:3], "0 0 1: 3"},
		{"labels", service(func(s *corev1.Service) { s.Labels["team"] = "y" }), all[:3], "0 1 0: 3"},
	} {
		p := decideOver(c.svc, c.pods, have)
		have = apply(have, p, &n)
		var sizes []string
		for _, s := range have {
			sizes = append(sizes, fmt.Sprint(len(s.Endpoints)))
		}
		if got := fmt.Sprintf("%d %d %d: %s", len(p.Create), len(p.Update), len(p.Remove), strings.Join(sizes, " ")); got != c.want {
			t.Errorf("%s: %s, want %s", c.name, got, c.want)
		}
	}
}

func TestEndpoint(t *testing.T) {
	publish := func(s *corev1.Service) { s.Spec.PublishNotReadyAddresses = true }
	unready := func(p *corev1.Pod) { p.Status.Conditions = nil }
	going := func(p *corev1.Pod) { p.DeletionTimestamp = &metav1.Time{} }
	for _, c := range []struct {
		name string
		svc  *corev1.Service
		pod  *corev1.Pod
		want string
	}{
		{"ready", service(), pod(0), "10.42.0.1 true/true/false n1 z1 - 8080"},
		{"not ready", service(), pod(0, unready), "10.42.0.1 false/false/false n1 z1 - 8080"},
		{"not ready, published", service(publish), pod(0, unready), "10.42.0.1 true/false/false n1 z1 - 8080"},
		{"terminating", service(), pod(0, going), "10.42.0.1 false/true/true n1 z1 - 8080"},
		{"ended", service(), pod(0, func(p *corev1.Pod) { p.Status.Phase = corev1.PodFailed }), ""},
		{"no address", service(), pod(0, func(p *corev1.Pod) { p.Status.PodIP, p.Status.PodIPs = "", nil }), ""},
		{"hostname", service(), pod(0, func(p *corev1.Pod) { p.Spec.Hostname, p.Spec.Subdomain = "h", "web" }), "10.42.0.1 true/true/false n1 z1 h 8080"},
		{"other subdomain", service(), pod(0, func(p *corev1.Pod) { p.Spec.Hostname, p.Spec.Subdomain = "h", "db" }), "10.42.0.1 true/true/false n1 z1 - 8080"},
		{"no such port", service(), pod(0, func(p *corev1.Pod) { p.Spec.Containers = nil }), "10.42.0.1 true/true/false n1 z1 -"},
		{"number", service(func(s *corev1.Service) { s.Spec.Ports[0].TargetPort = intstr.FromInt32(9) }), pod(0), "10.42.0.1 true/true/false n1 z1 - 9"},
	} {
		p := decideOver(c.svc, []*corev1.Pod{c.pod}, nil)
		got := ""
		for _, e := range p.Create[0].Endpoints {
			h := ptr.Deref(e.Hostname, "")
			if h == "" {
				h = "-"
			}
			got = fmt.Sprintf("%s %v/%v/%v %s %s %s", e.Addresses[0], *e.Conditions.Ready, *e.Conditions.Serving, *e.Conditions.Terminating, *e.NodeName, *e.Zone, h)
		}
		for _, port := range p.Create[0].Ports {
			got += fmt.Sprintf(" %d", *port.Port)
		}
		if got != c.want {
			t.Errorf("%s: %q, want %q", c.name, got, c.want)
		}
	}
}

func TestPortsPartSlices(t *testing.T) {
	other := pod(1, func(p *corev1.Pod) { p.Spec.Containers[0].Ports[0].ContainerPort = 9090 })
	p := decideOver(service(), []*corev1.Pod{pod(0), other}, nil)
	if len(p.Create) != 2 || len(p.Create[0].Endpoints) != 1 {
		t.Fatalf("%+v", p.Create)
	}
	s := p.Create[0]
	if s.GenerateName != "web-" || s.Labels["team"] != "x" || s.Labels[discoveryv1.LabelServiceName] != "web" || s.Labels[discoveryv1.LabelManagedBy] != ManagedBy || !metav1.IsControlledBy(s, service()) {
		t.Errorf("%+v", s.ObjectMeta)
	}
	headless := decideOver(service(func(s *corev1.Service) { s.Spec.ClusterIP = "None"; s.Spec.Ports = nil }), pods(1), nil)
	if _, ok := headless.Create[0].Labels[corev1.IsHeadlessService]; !ok || len(headless.Create[0].Ports) != 0 || len(headless.Create[0].Endpoints) != 1 {
		t.Errorf("%+v", headless.Create[0])
	}
	if g := slicing.GenerateName(strings.Repeat("a", 63)); len(g) != 58 {
		t.Error(g)
	}
}
