package dns

import (
	"fmt"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/miekg/dns"
	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/utils/ptr"

	"nau/internal/house/spent"
)

func testServer(t testing.TB, upstreams ...string) *Server {
	t.Helper()
	conf := filepath.Join(t.TempDir(), "resolv.conf")
	if err := os.WriteFile(conf, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	s, err := New(Config{Upstreams: upstreams, ResolvConf: conf})
	if err != nil {
		t.Fatal(err)
	}
	close(s.ready)
	meta := func(name string) metav1.ObjectMeta { return metav1.ObjectMeta{Namespace: "default", Name: name} }
	put := func(service *corev1.Service, slices ...*discoveryv1.EndpointSlice) {
		s.zone.replace(service.Namespace+"/"+service.Name, names(s.zone.origin, service, slices))
	}
	s.zone.setNamespace("default", true)
	put(&corev1.Service{ObjectMeta: meta("web"), Spec: corev1.ServiceSpec{
		ClusterIP: "10.43.1.2", ClusterIPs: []string{"10.43.1.2", "fd43::12"},
		Ports: []corev1.ServicePort{{Name: "http", Protocol: "TCP", Port: 80}, {Name: "dns", Protocol: "UDP", Port: 53}},
	}})
	put(&corev1.Service{ObjectMeta: meta("ext"), Spec: corev1.ServiceSpec{Type: corev1.ServiceTypeExternalName, ExternalName: "web.default.svc.cluster.local"}})
	put(&corev1.Service{ObjectMeta: meta("db"), Spec: corev1.ServiceSpec{ClusterIP: "None"}}, &discoveryv1.EndpointSlice{
		AddressType: discoveryv1.AddressTypeIPv4,
		Ports:       []discoveryv1.EndpointPort{{Name: ptr.To("sql"), Protocol: ptr.To(corev1.ProtocolTCP), Port: ptr.To(int32(5432))}},
		Endpoints: []discoveryv1.Endpoint{
			{Addresses: []string{"10.42.0.5"}, Hostname: ptr.To("db-0")},
			{Addresses: []string{"10.42.0.6"}},
			{Addresses: []string{"10.42.0.7"}, Conditions: discoveryv1.EndpointConditions{Ready: ptr.To(false)}},
		},
	})
	return s
}

// ask gives the answer as "RCODE rr; rr" in a fixed order.
func ask(s *Server, name, kind string) string {
	q := new(dns.Msg)
	q.SetQuestion(name, dns.StringToType[kind])
	m := s.Answer(q)
	var rrs []string
	for _, rr := range m.Answer {
		rrs = append(rrs, strings.Join(strings.Fields(strings.TrimPrefix(rr.String(), rr.Header().String())), " "))
	}
	slices.Sort(rrs)
	return strings.TrimSpace(dns.RcodeToString[m.Rcode] + " " + strings.Join(rrs, "; "))
}

func TestSpecification(t *testing.T) {
	s := testServer(t)
	tests := []struct{ name, kind, want string }{
		{"dns-version.cluster.local.", "TXT", `NOERROR "1.1.0"`},
		{"web.default.svc.cluster.local.", "A", "NOERROR 10.43.1.2"},
		{"WEB.Default.svc.cluster.LOCAL.", "A", "NOERROR 10.43.1.2"},
		{"web.default.svc.cluster.local.", "AAAA", "NOERROR fd43::12"},
		{"web.default.svc.cluster.local.", "MX", "NOERROR"},
		{"_http._tcp.web.default.svc.cluster.local.", "SRV", "NOERROR 0 100 80 web.default.svc.cluster.local."},
		{"_dns._udp.web.default.svc.cluster.local.", "SRV", "NOERROR 0 100 53 web.default.svc.cluster.local."},
		{"_nope._tcp.web.default.svc.cluster.local.", "SRV", "NXDOMAIN"},
		{"_tcp.web.default.svc.cluster.local.", "A", "NOERROR"},
		{"2.1.43.10.in-addr.arpa.", "PTR", "NOERROR web.default.svc.cluster.local."},
		{"nothing.default.svc.cluster.local.", "A", "NXDOMAIN"},
		{"web.elsewhere.svc.cluster.local.", "A", "NXDOMAIN"},
		{"default.svc.cluster.local.", "A", "NOERROR"},
		{"svc.cluster.local.", "A", "NOERROR"},
		{"cluster.local.", "A", "NOERROR"},
		{"db.default.svc.cluster.local.", "A", "NOERROR 10.42.0.5; 10.42.0.6"},
		{"db-0.db.default.svc.cluster.local.", "A", "NOERROR 10.42.0.5"},
		{"10-42-0-6.db.default.svc.cluster.local.", "A", "NOERROR 10.42.0.6"},
		{"10-42-0-7.db.default.svc.cluster.local.", "A", "NXDOMAIN"},
		{"_sql._tcp.db.default.svc.cluster.local.", "SRV", "NOERROR 0 50 5432 10-42-0-6.db.default.svc.cluster.local.; 0 50 5432 db-0.db.default.svc.cluster.local."},
		{"5.0.42.10.in-addr.arpa.", "PTR", "NOERROR db-0.db.default.svc.cluster.local."},
		{"ext.default.svc.cluster.local.", "A", "NOERROR 10.43.1.2; web.default.svc.cluster.local."},
		{"ext.default.svc.cluster.local.", "CNAME", "NOERROR web.default.svc.cluster.local."},
		{"10-42-0-9.default.pod.cluster.local.", "A", "NOERROR 10.42.0.9"},
		{"10-42-0-9.elsewhere.pod.cluster.local.", "A", "NXDOMAIN"},
		{"nonsense.default.pod.cluster.local.", "A", "NXDOMAIN"},
		{"example.com.", "A", "SERVFAIL"}, // nobody to forward to
		{"notcluster.local.", "A", "SERVFAIL"},
	}
	for _, tt := range tests {
		if got := ask(s, tt.name, tt.kind); got != tt.want {
			t.Errorf("%s %s: %s, want %s", tt.kind, tt.name, got, tt.want)
		}
	}
}

func TestWhatIsRemovedIsGone(t *testing.T) {
	s := testServer(t)
	before := len(s.zone.names)
	for _, owner := range []string{"default/web", "default/db", "default/ext"} {
		s.zone.replace(owner, nil)
	}
	for _, name := range []string{"web.default.svc.cluster.local.", "_http._tcp.web.default.svc.cluster.local.", "db-0.db.default.svc.cluster.local."} {
		if got := ask(s, name, "A"); got != "NXDOMAIN" {
			t.Errorf("%s: %s", name, got)
		}
	}
	if got := ask(s, "default.svc.cluster.local.", "A"); got != "NOERROR" {
		t.Errorf("the namespace's name went with its services: %s", got)
	}
	s.zone.setNamespace("default", false)
	if after := len(s.zone.names); after != 4 || len(s.zone.reverses) != 0 || before <= 4 {
		t.Errorf("%d names and %d reverse names left of %d", after, len(s.zone.reverses), before)
	}
}

func TestQuestionsWaitForTheFirstLists(t *testing.T) {
	const name = "web.default.svc.cluster.local."
	synctest.Test(t, func(t *testing.T) {
		s := testServer(t)
		s.ready = make(chan struct{})
		begin := time.Now()
		if got := ask(s, name, "A"); got != "SERVFAIL" || time.Since(begin) != patience {
			t.Errorf("lists that do not come: %s after %v", got, time.Since(begin))
		}
		answers := make(chan string, 2*crowd)
		for range crowd + 1 {
			go func() { answers <- ask(s, name, "A") }()
		}
		synctest.Wait()
		if len(answers) != 1 || <-answers != "SERVFAIL" {
			t.Errorf("%d of %d questions do not wait, want one", len(answers), crowd+1)
		}
		close(s.ready)
		want := ask(s, name, "A")
		for range crowd {
			if got := <-answers; got != want || got == "SERVFAIL" {
				t.Fatalf("after the lists have come: %s", got)
			}
		}
	})
}

func TestAnswersRotate(t *testing.T) {
	s := testServer(t)
	first := map[string]bool{}
	for range 4 {
		q := new(dns.Msg)
		q.SetQuestion("db.default.svc.cluster.local.", dns.TypeA)
		first[s.Answer(q).Answer[0].(*dns.A).A.String()] = true
	}
	if len(first) != 2 {
		t.Fatalf("always the same first: %v", first)
	}
}

// upstream is a resolver on loopback that counts questions.
func upstream(t testing.TB) (address string, asked *atomic.Int32) {
	t.Helper()
	asked = &atomic.Int32{}
	packets, err := net.ListenPacket("udp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	started := make(chan struct{})
	server := &dns.Server{PacketConn: packets, NotifyStartedFunc: func() { close(started) }, Handler: dns.HandlerFunc(func(w dns.ResponseWriter, q *dns.Msg) {
		asked.Add(1)
		m := new(dns.Msg)
		m.SetReply(q)
		if strings.HasPrefix(q.Question[0].Name, "no.") {
			m.Rcode = dns.RcodeNameError
			m.Ns = []dns.RR{&dns.SOA{Hdr: dns.RR_Header{Name: "example.", Rrtype: dns.TypeSOA, Class: dns.ClassINET, Ttl: 60}, Minttl: 60, Ns: "a.", Mbox: "b."}}
		} else {
			m.Answer = []dns.RR{&dns.A{Hdr: dns.RR_Header{Name: q.Question[0].Name, Rrtype: dns.TypeA, Class: dns.ClassINET, Ttl: 60}, A: net.IPv4(192, 0, 2, 1)}}
		}
		w.WriteMsg(m)
	})}
	done := make(chan error, 1)
	go func() { done <- server.ActivateAndServe() }()
	<-started
	t.Cleanup(func() { server.Shutdown(); <-done })
	return packets.LocalAddr().String(), asked
}

func TestForwardsAndRemembers(t *testing.T) {
	address, asked := upstream(t)
	s := testServer(t, address)
	now := time.Unix(1000, 0)
	s.forward.now = func() time.Time { return now }
	for _, name := range []string{"example.com.", "EXAMPLE.com."} {
		if got := ask(s, name, "A"); got != "NOERROR 192.0.2.1" {
			t.Fatal(got)
		}
	}
	for range 2 {
		if got := ask(s, "no.example.", "A"); got != "NXDOMAIN" {
			t.Fatal(got)
		}
	}
	if asked.Load() != 2 {
		t.Fatalf("%d questions upstream, want one for each name", asked.Load())
	}
	now = now.Add(time.Minute)
	ask(s, "example.com.", "A")
	if asked.Load() != 3 {
		t.Fatal("an answer outlived its time")
	}
}

func TestTheCacheIsBounded(t *testing.T) {
	f := newForwarder([]string{"x"}, "", nil)
	reply := &dns.Msg{Answer: []dns.RR{record("a.", netip.MustParseAddr("192.0.2.1"))}}
	for i := range mostAnswers + 100 {
		f.remember(key{fmt.Sprint(i), dns.TypeA}, reply)
	}
	if len(f.answers) != mostAnswers || f.recent.Len() != mostAnswers {
		t.Fatalf("%d answers kept", len(f.answers))
	}
}

func FuzzAnswer(f *testing.F) {
	q := new(dns.Msg)
	q.SetQuestion("web.default.svc.cluster.local.", dns.TypeA)
	packed, _ := q.Pack()
	f.Add(packed)
	q.SetEdns0(512, true)
	packed, _ = q.Pack()
	f.Add(packed)
	s := testServer(f)
	f.Fuzz(func(t *testing.T, packet []byte) {
		spent.On(t, len(packet), func() {
			var q dns.Msg
			if q.Unpack(packet) != nil {
				return
			}
			m := s.Answer(&q)
			m.Truncate(dns.MinMsgSize)
			if _, err := m.Pack(); err != nil && len(q.Question) == 1 {
				t.Fatalf("an answer that cannot be packed: %v", err)
			}
		})
	})
}

func BenchmarkAnswer(b *testing.B) {
	s := testServer(b)
	q := new(dns.Msg)
	q.SetQuestion("web.default.svc.cluster.local.", dns.TypeA)
	b.RunParallel(func(pb *testing.PB) {
		for pb.Next() {
			if _, err := s.Answer(q).Pack(); err != nil {
				b.Fatal(err)
			}
		}
	})
}
