package proxy

import (
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

func serviceWith(change ...func(*corev1.Service)) *corev1.Service {
	s := &corev1.Service{ObjectMeta: metav1.ObjectMeta{Namespace: "ns", Name: "web"}, Spec: corev1.ServiceSpec{
		ClusterIP: "10.43.0.10", ClusterIPs: []string{"10.43.0.10"}, Ports: []corev1.ServicePort{{Name: "http", Port: 80, Protocol: corev1.ProtocolTCP}}}}
	for _, f := range change {
		f(s)
	}
	return s
}

// slice reads endpoints as "ADDRESS [NODE] [notready|terminating|gone] [zone=Z] [node=N]".
func slice(name string, t discoveryv1.AddressType, port int32, endpoints ...string) *discoveryv1.EndpointSlice {
	portName, tcp, yes, no := "http", corev1.ProtocolTCP, true, false
	sl := &discoveryv1.EndpointSlice{ObjectMeta: metav1.ObjectMeta{Namespace: "ns", Name: name, Labels: map[string]string{discoveryv1.LabelServiceName: "web"}},
		AddressType: t, Ports: []discoveryv1.EndpointPort{{Name: &portName, Protocol: &tcp, Port: &port}}}
	for _, text := range endpoints {
		f := strings.Fields(text)
		e := discoveryv1.Endpoint{Addresses: f[:1], Conditions: discoveryv1.EndpointConditions{Ready: &yes}}
		for _, w := range f[1:] {
			switch key, value, _ := strings.Cut(w, "="); key {
			case "notready":
				e.Conditions.Ready = &no
			case "terminating":
				e.Conditions = discoveryv1.EndpointConditions{Ready: &no, Serving: &yes, Terminating: &yes}
			case "gone":
				e.Conditions = discoveryv1.EndpointConditions{Ready: &no, Serving: &no, Terminating: &yes}
			case "zone":
				e.Hints = &discoveryv1.EndpointHints{ForZones: []discoveryv1.ForZone{{Name: value}}}
			case "node":
				e.Hints = &discoveryv1.EndpointHints{ForNodes: []discoveryv1.ForNode{{Name: value}}}
			default:
				e.NodeName = &w
			}
		}
		sl.Endpoints = append(sl.Endpoints, e)
	}
	return sl
}

func list(texts string) (out []netip.AddrPort) {
	for t := range strings.FieldsSeq(texts) {
		out = append(out, netip.MustParseAddrPort(t))
	}
	return out
}

func TestDecideEndpoints(t *testing.T) {
	local := corev1.ServiceInternalTrafficPolicyLocal
	internalLocal := func(s *corev1.Service) { s.Spec.InternalTrafficPolicy = &local }
	externalLocal := func(s *corev1.Service) {
		s.Spec.ExternalTrafficPolicy = corev1.ServiceExternalTrafficPolicyLocal
	}
	const v4, v6 = discoveryv1.AddressTypeIPv4, discoveryv1.AddressTypeIPv6
	for _, tc := range []struct {
		name                     string
		change                   func(*corev1.Service)
		slices                   []*discoveryv1.EndpointSlice
		internal, cluster, local string
		drop                     bool
	}{
		{"none", nil, nil, "", "", "", false},
		{"ready, sorted", nil, []*discoveryv1.EndpointSlice{slice("a", v4, 8080, "10.42.0.3", "10.42.0.2", "10.42.0.4 notready")}, "10.42.0.2:8080 10.42.0.3:8080", "10.42.0.2:8080 10.42.0.3:8080", "", false},
		{"several slices, one endpoint twice", nil, []*discoveryv1.EndpointSlice{slice("a", v4, 8080, "10.42.0.2"), slice("b", v4, 8080, "10.42.0.2 terminating", "10.42.0.3")}, "10.42.0.2:8080 10.42.0.3:8080", "10.42.0.2:8080 10.42.0.3:8080", "", false},
		{"other family", nil, []*discoveryv1.EndpointSlice{slice("a", v6, 8080, "fd42::2")}, "", "", "", false},
		{"terminating beside ready", nil, []*discoveryv1.EndpointSlice{slice("a", v4, 8080, "10.42.0.2 terminating", "10.42.0.3")}, "10.42.0.3:8080", "10.42.0.3:8080", "", false},
		{"only terminating", nil, []*discoveryv1.EndpointSlice{slice("a", v4, 8080, "10.42.0.2 terminating", "10.42.0.3 gone")}, "10.42.0.2:8080", "10.42.0.2:8080", "", false},
		{"internal local", internalLocal, []*discoveryv1.EndpointSlice{slice("a", v4, 8080, "10.42.0.2 n1", "10.42.1.2 n2")}, "10.42.0.2:8080", "10.42.0.2:8080 10.42.1.2:8080", "", false},
		{"internal local, none here", internalLocal, []*discoveryv1.EndpointSlice{slice("a", v4, 8080, "10.42.1.2 n2")}, "", "10.42.1.2:8080", "", true},
		{"internal local, none at all", internalLocal, nil, "", "", "", false},
		{"external local", externalLocal, []*discoveryv1.EndpointSlice{slice("a", v4, 8080, "10.42.0.2 n1", "10.42.1.2 n2")}, "10.42.0.2:8080 10.42.1.2:8080", "10.42.0.2:8080 10.42.1.2:8080", "10.42.0.2:8080", false},
		{"external local, only a terminating one here", externalLocal, []*discoveryv1.EndpointSlice{slice("a", v4, 8080, "10.42.0.2 n1 terminating", "10.42.1.2 n2")}, "10.42.1.2:8080", "10.42.1.2:8080", "10.42.0.2:8080", false},
		{"zone hints", nil, []*discoveryv1.EndpointSlice{slice("a", v4, 8080, "10.42.0.2 zone=z1", "10.42.1.2 zone=z2")}, "10.42.0.2:8080", "10.42.0.2:8080", "", false},
		{"zone hints, none for us", nil, []*discoveryv1.EndpointSlice{slice("a", v4, 8080, "10.42.0.2 zone=z3", "10.42.1.2 zone=z2")}, "10.42.0.2:8080 10.42.1.2:8080", "10.42.0.2:8080 10.42.1.2:8080", "", false},
		{"zone hints, one without", nil, []*discoveryv1.EndpointSlice{slice("a", v4, 8080, "10.42.0.2 zone=z1", "10.42.1.2")}, "10.42.0.2:8080 10.42.1.2:8080", "10.42.0.2:8080 10.42.1.2:8080", "", false},
		{"node hints", nil, []*discoveryv1.EndpointSlice{slice("a", v4, 8080, "10.42.0.2 node=n1", "10.42.1.2 node=n2")}, "10.42.0.2:8080", "10.42.0.2:8080", "", false},
	} {
		t.Run(tc.name, func(t *testing.T) {
			change := tc.change
			if change == nil {
				change = func(*corev1.Service) {}
			}
			ports := Decide(Node{Name: "n1", Zone: "z1"}, serviceWith(change), tc.slices)
			if len(ports) != 1 {
				t.Fatal(ports)
			}
			p := ports[0]
			if !slices.Equal(p.Internal, list(tc.internal)) || !slices.Equal(p.Cluster, list(tc.cluster)) || !slices.Equal(p.Local, list(tc.local)) || p.InternalDrop != tc.drop {
				t.Errorf("%+v", p)
			}
		})
	}
}

func TestDecideShape(t *testing.T) {
	proxyMode := corev1.LoadBalancerIPModeProxy
	seconds := int32(60)
	s := serviceWith(func(s *corev1.Service) {
		s.Spec.ClusterIPs = []string{"10.43.0.10", "fd43::10"}
		s.Spec.Type = corev1.ServiceTypeLoadBalancer
		s.Spec.Ports = []corev1.ServicePort{{Name: "http", Port: 80, NodePort: 30080}, {Name: "dns", Port: 53, NodePort: 30053, Protocol: corev1.ProtocolUDP}}
		s.Spec.ExternalIPs = []string{"198.51.100.1", "2001:db8::1"}
		s.Spec.SessionAffinity = corev1.ServiceAffinityClientIP
		s.Spec.SessionAffinityConfig = &corev1.SessionAffinityConfig{ClientIP: &corev1.ClientIPConfig{TimeoutSeconds: &seconds}}
		s.Status.LoadBalancer.Ingress = []corev1.LoadBalancerIngress{{IP: "203.0.113.1"}, {IP: "203.0.113.2", IPMode: &proxyMode}, {Hostname: "x"}}
	})
	ports := Decide(Node{Name: "n1"}, s, []*discoveryv1.EndpointSlice{slice("a", discoveryv1.AddressTypeIPv4, 8080, "10.42.0.2 n1")})
	if len(ports) != 4 {
		t.Fatalf("%d ports", len(ports))
	}
	addr := netip.MustParseAddr
	want := &Port{Key: Key{"ns", "web", "http", TCP, false}, ClusterIP: addr("10.43.0.10"), Number: 80, NodePort: 30080,
		External: []netip.Addr{addr("198.51.100.1"), addr("203.0.113.1")}, Affinity: time.Minute,
		Internal: list("10.42.0.2:8080"), Cluster: list("10.42.0.2:8080"), OnNode: []netip.Addr{addr("10.42.0.2")}}
	compare := cmp.Comparer(func(a, b netip.Addr) bool { return a == b })
	compare2 := cmp.Comparer(func(a, b netip.AddrPort) bool { return a == b })
	if diff := cmp.Diff(want, ports[0], compare, compare2, cmp.Comparer(func(a, b netip.Prefix) bool { return a == b })); diff != "" {
		t.Error(diff)
	}
	if p := ports[1]; p.Protocol != UDP || len(p.Cluster) != 0 || p.NodePort != 30053 {
		t.Errorf("%+v", p)
	}
	if p := ports[2]; !p.V6 || p.ClusterIP != addr("fd43::10") || !slices.Equal(p.External, []netip.Addr{addr("2001:db8::1")}) {
		t.Errorf("%+v", p)
	}

	s.Spec.LoadBalancerSourceRanges = []string{"192.0.2.0/24", "2001:db8::/32", "junk"}
	p := Decide(Node{}, s, nil)[0]
	if !slices.Equal(p.Balanced, []netip.Addr{addr("203.0.113.1")}) || !slices.Equal(p.External, []netip.Addr{addr("198.51.100.1")}) ||
		!slices.Equal(p.Sources, []netip.Prefix{netip.MustParsePrefix("192.0.2.0/24")}) {
		t.Errorf("%+v", p)
	}

	for name, change := range map[string]func(*corev1.Service){
		"headless":   func(s *corev1.Service) { s.Spec.ClusterIP, s.Spec.ClusterIPs = "None", []string{"None"} },
		"external":   func(s *corev1.Service) { s.Spec.Type = corev1.ServiceTypeExternalName },
		"no address": func(s *corev1.Service) { s.Spec.ClusterIP, s.Spec.ClusterIPs = "", nil },
		"another's":  func(s *corev1.Service) { s.Labels = map[string]string{"service.kubernetes.io/service-proxy-name": "x"} },
	} {
		if got := Decide(Node{}, serviceWith(change), nil); got != nil {
			t.Errorf("%s: %+v", name, got)
		}
	}
}

func TestDiffAndStaleFlows(t *testing.T) {
	udp := func(endpoints string, change ...func(*Port)) *Port {
		p := &Port{Key: Key{"ns", "dns", "", UDP, false}, ClusterIP: netip.MustParseAddr("10.43.0.53"), Number: 53, NodePort: 30053, Internal: list(endpoints), Cluster: list(endpoints)}
		for _, f := range change {
			f(p)
		}
		return p
	}
	one, two := udp("10.42.0.2:53"), udp("10.42.0.2:53 10.42.0.3:53")
	tcp := &Port{Key: Key{"ns", "web", "", TCP, false}}
	if d := Diff([]*Port{one, tcp}, []*Port{udp("10.42.0.2:53"), tcp}); len(d) != 0 {
		t.Errorf("%+v", d)
	}
	if d := Diff([]*Port{tcp, one}, []*Port{two}); len(d) != 2 || d[0].New != nil || d[1].Old != one || d[1].New != two {
		t.Errorf("%+v", d)
	}
	ip, none, addr := netip.MustParseAddr, netip.Addr{}, netip.MustParseAddr("10.43.0.53")
	for _, tc := range []struct {
		name string
		c    Change
		want []Stale
	}{
		{"more endpoints", Change{one, two}, nil},
		{"one less", Change{two, one}, []Stale{{addr, 53, false, ip("10.42.0.3")}, {none, 30053, false, ip("10.42.0.3")}}},
		{"gone", Change{one, nil}, []Stale{{addr, 53, false, ip("10.42.0.2")}, {none, 30053, false, ip("10.42.0.2")}}},
		{"first endpoint", Change{udp(""), one}, []Stale{{addr, 53, false, none}, {none, 30053, false, none}}},
		{"new", Change{nil, one}, []Stale{{addr, 53, false, none}, {none, 30053, false, none}}},
		{"tcp", Change{tcp, nil}, nil},
	} {
		if got := StaleFlows([]Change{tc.c}); !slices.Equal(got, tc.want) {
			t.Errorf("%s: %v, want %v", tc.name, got, tc.want)
		}
	}
}
