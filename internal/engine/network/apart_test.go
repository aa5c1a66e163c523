package network

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"testing"
	"time"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"nau/internal/engine/testbed"
)

// outside makes a neighbour of this host: a namespace at 198.51.100.2 that sends everything here.
func outside(t *testing.T, m *Manager) *os.File {
	t.Helper()
	ns := newNetns(t)
	if err := m.nl.do(newVeth(linkAttrs{name: "out0"}, 0, linkAttrs{name: "eth0"}, int(ns.Fd()))); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = m.nl.do(delLink("out0")) })
	index, _, err := m.nl.link("out0")
	if err != nil {
		t.Fatal(err)
	}
	if err := m.nl.do(linkUp(index), addAddr(index, netip.MustParsePrefix("198.51.100.1/24"))); err != nil {
		t.Fatal(err)
	}
	var in *rtnl
	if err := Inside(ns, func() (err error) { in, err = openRtnl(); return err }); err != nil {
		t.Fatal(err)
	}
	defer in.close()
	if index, _, err = in.link("eth0"); err != nil {
		t.Fatal(err)
	}
	via := route{to: everywhere(false), kind: unix.RTN_UNICAST, dev: index, via: netip.MustParseAddr("198.51.100.1")}
	if err := in.do(linkUp(1), linkUp(index), addAddr(index, netip.MustParsePrefix("198.51.100.2/24")), via.request(false)); err != nil {
		t.Fatal(err)
	}
	return ns
}

// dial says within half a second whether a connection is made.
func dial(ns *os.File, to string) error {
	try := func() error {
		c, err := net.DialTimeout("tcp", to, 500*time.Millisecond)
		if err == nil {
			c.Close()
		}
		return err
	}
	if ns == nil {
		return try()
	}
	return Inside(ns, try)
}

func TestNetworksApart(t *testing.T) {
	testbed.Need(t)
	m := start(t, t.TempDir())
	defer m.Close()
	bridge := func(name, subnet string, change func(*Spec)) {
		t.Helper()
		s := Spec{Name: name, ID: name, Driver: Bridge, Link: "nau-" + name, Subnets: prefixes(subnet), Apart: true}
		if change != nil {
			change(&s)
		}
		if err := m.Ensure(s); err != nil {
			t.Fatal(err)
		}
	}
	bridge("one", "172.30.1.0/24", nil)
	bridge("two", "172.30.2.0/24", nil)
	bridge("mute", "172.30.3.0/24", func(s *Spec) { s.NoPeers = true })
	bridge("inner", "172.30.4.0/24", func(s *Spec) { s.Internal = true })
	bridge("routed", "172.30.5.0/24", func(s *Spec) { s.Reach[0] = RoutedReach })
	bridge("open", "172.30.6.0/24", func(s *Spec) { s.Reach[0] = NATUnprotected })
	bridge("alone", "172.30.7.0/24", func(s *Spec) { s.Internal, s.Reach[0] = true, Isolated })
	if err := m.Rebuild(); err != nil {
		t.Fatal(err)
	}
	out := outside(t, m)
	echo(t, out, 80)
	spaces, ends := map[string]*os.File{"outside": out, "host": nil}, []Endpoint{}
	join := func(name, network string, ports ...Port) {
		t.Helper()
		ns := newNetns(t)
		e, err := m.Attach(context.Background(), AttachRequest{Network: network, Sandbox: fmt.Sprintf("%010d", len(ends)), Netns: ns, Ports: ports})
		if err != nil {
			t.Fatal(err)
		}
		echo(t, ns, 80)
		echo(t, ns, 81)
		spaces[name], ends = ns, append(ends, e)
	}
	join("pod", "pods")
	join("one1", "one", Port{Protocol: TCP, Container: 80, Host: 9001})
	join("one2", "one")
	join("two1", "two")
	join("mute1", "mute", Port{Protocol: TCP, Container: 80, Host: 9003})
	join("mute2", "mute")
	join("inner1", "inner")
	join("inner2", "inner")
	join("routed1", "routed", Port{Protocol: TCP, Container: 80, Host: 9005})
	join("open1", "open")
	join("alone1", "alone")
	join("alone2", "alone")
	for _, c := range []struct {
		from, to string
		want     bool
	}{
		{"one1", "172.30.1.3:80", true},
		{"one1", "172.30.2.2:80", false},
		{"one1", "198.51.100.2:80", true},
		{"one2", "198.51.100.1:9001", true},
		{"one1", "198.51.100.1:9001", true},
		{"two1", "198.51.100.1:9001", true},
		{"host", "172.30.1.2:80", true},
		{"host", "127.0.0.1:9001", true},
		{"outside", "198.51.100.1:9001", true},
		{"outside", "172.30.1.2:80", false},
		{"pod", "172.30.1.2:80", true},
		{"mute1", "172.30.3.3:80", false},
		{"mute2", "198.51.100.1:9003", true},
		{"mute1", "198.51.100.2:80", true},
		{"outside", "198.51.100.1:9003", true},
		{"inner1", "172.30.4.3:80", true},
		{"inner1", "198.51.100.2:80", false},
		{"inner1", "172.30.1.2:80", false},
		{"outside", "172.30.4.2:80", false},
		{"host", "172.30.4.2:80", true},
		{"outside", "172.30.5.2:80", true},
		{"outside", "172.30.5.2:81", false},
		{"outside", "198.51.100.1:9005", false},
		{"outside", "172.30.6.2:81", true},
		{"alone1", "172.30.7.2:80", true},
		{"alone1", "172.30.7.1:80", false},
		{"host", "172.30.7.2:80", false},
	} {
		if err := dial(spaces[c.from], c.to); (err == nil) != c.want {
			t.Errorf("from %s to %s: %v, want %v", c.from, c.to, err, c.want)
		}
	}
	if got, err := ask(out, "198.51.100.1:9001"); err != nil || got != "198.51.100.2" {
		t.Errorf("a published port sees %q, %v; want the client's own address", got, err)
	}
	if got, err := ask(spaces["routed1"], "198.51.100.2:80"); err != nil || got != "172.30.5.2" {
		t.Errorf("from a routed network comes %q, %v", got, err)
	}
	for _, e := range ends {
		if err := m.Detach(e); err != nil {
			t.Error(err)
		}
	}
	if err := m.Purge(); err != nil {
		t.Error(err)
	}
}

func TestPublishedPortsAreHeld(t *testing.T) {
	testbed.Need(t)
	m := start(t, t.TempDir())
	defer m.Close()
	l, err := net.Listen("tcp", "127.0.0.1:9100")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	ns := newNetns(t)
	req := AttachRequest{Network: "pods", Sandbox: "ffffffffffff", Netns: ns, Ports: []Port{{Protocol: TCP, Container: 80, Host: 9101}, {Protocol: TCP, Container: 80, Host: 9100}}}
	if _, err := m.Attach(context.Background(), req); !errors.Is(err, ErrPortBusy) {
		t.Fatalf("a port that a program has: %v", err)
	}
	req.Ports = req.Ports[:1]
	e, err := m.Attach(context.Background(), req)
	if err != nil {
		t.Fatalf("after a refusal: %v", err)
	}
	if l, err := net.Listen("tcp", "127.0.0.1:9101"); err == nil {
		l.Close()
		t.Error("a program got a port that is published")
	}
	for _, p := range []Port{{Protocol: TCP, Host: 9101}, {Protocol: TCP, Host: 9101, HostIP: netip.MustParseAddr("10.42.0.1")}, {Protocol: TCP, Host: 9100}} {
		if m.Free(p) {
			t.Errorf("%s is said to be free", p)
		}
	}
	if !m.Free(Port{Protocol: UDP, Host: 9101}) {
		t.Error("the same number of another protocol is said to be taken")
	}
	if err := m.Withdraw(&e); err != nil || !m.Free(Port{Protocol: TCP, Host: 9101}) {
		t.Errorf("after the withdrawal: %v, free: %v", err, m.Free(Port{Protocol: TCP, Host: 9101}))
	}
	if err := errors.Join(m.Detach(e), m.Purge()); err != nil {
		t.Error(err)
	}
}

// What this program listens on keeps a port from nobody, and is not published.
func TestAPortOfOurOwnCanBePublished(t *testing.T) {
	testbed.Need(t)
	own := netip.MustParseAddrPort("10.43.0.10:53")
	m := startWith(t, Config{Dir: t.TempDir(), Own: []netip.AddrPort{own}})
	defer m.Close()
	lo, err := netlink.LinkByName("lo")
	if err != nil {
		t.Fatal(err)
	}
	if err := netlink.AddrAdd(lo, &netlink.Addr{IPNet: &net.IPNet{IP: own.Addr().AsSlice(), Mask: net.CIDRMask(32, 32)}}); err != nil {
		t.Fatal(err)
	}
	dns := echoAt(t, own.String())
	ns := newNetns(t)
	e, err := m.Attach(context.Background(), AttachRequest{Network: "pods", Sandbox: "ffffffffffff", Netns: ns, Ports: []Port{{Protocol: TCP, Container: 5353, Host: 53}}})
	if err != nil {
		t.Fatalf("publish a port that we listen on at one address: %v", err)
	}
	echo(t, ns, 5353)
	for to, from := range map[string]string{
		own.String():   "10.43.0.10", // not translated
		"127.0.0.1:53": "10.42.0.1",  // from the bridge, as all that comes from loopback
		"10.42.0.1:53": "10.42.0.1",
	} {
		if got, err := ask(nil, to); err != nil || got != from {
			t.Errorf("%s is asked by %q, %v; want %q", to, got, err, from)
		}
	}
	if l, err := net.Listen("tcp", "127.0.0.1:53"); err == nil {
		l.Close()
		t.Error("another program got the published port")
	}
	dns.Close()
	if l, err := net.Listen("tcp", own.String()); err != nil {
		t.Errorf("our own address is taken from us: %v", err)
	} else {
		l.Close()
	}
	if m.Free(Port{Protocol: TCP, Host: 53}) {
		t.Error("the port is said to be free")
	}
	if err := errors.Join(m.Withdraw(&e), m.Detach(e), m.Purge()); err != nil {
		t.Error(err)
	}
}

func TestLeadingEndpoint(t *testing.T) {
	all := func(Endpoint) bool { return true }
	for _, c := range []struct {
		eps  []Endpoint
		want int
	}{
		{nil, -1},
		{[]Endpoint{{Rank: "b"}, {Rank: "a"}}, 1},
		{[]Endpoint{{Rank: "a"}, {Rank: "b", Priority: 1}}, 1},
		{[]Endpoint{{Rank: "a", Priority: -1}, {Rank: "b"}}, 1},
		{[]Endpoint{{Rank: "a"}, {Rank: "b"}}, 0},
	} {
		if got := leading(c.eps, all); got != c.want {
			t.Errorf("%v: %d leads, want %d", c.eps, got, c.want)
		}
	}
	if got := leading([]Endpoint{{Rank: "a"}}, func(Endpoint) bool { return false }); got != -1 {
		t.Errorf("%d leads where nothing leads out", got)
	}
}

func TestOverlap(t *testing.T) {
	a := func(s string) netip.Addr {
		if s == "" {
			return netip.Addr{}
		}
		return netip.MustParseAddr(s)
	}
	for _, c := range []struct {
		a, b string
		want bool
	}{{"", "", true}, {"", "::1", true}, {"0.0.0.0", "127.0.0.1", true}, {"0.0.0.0", "::", false}, {"::", "fd00::1", true}, {"127.0.0.1", "127.0.0.2", false}, {"::", "127.0.0.1", false}} {
		if got := overlap(a(c.a), a(c.b)); got != c.want || overlap(a(c.b), a(c.a)) != got {
			t.Errorf("%q and %q: %v", c.a, c.b, got)
		}
	}
}

func TestVlanNames(t *testing.T) {
	if base, id, err := vlanOf("eth0.50"); err != nil || base != "eth0" || id != 50 {
		t.Errorf("eth0.50: %s, %d, %v", base, id, err)
	}
	for _, bad := range []string{"eth0", "eth0.", ".5", "eth0.0", "eth0.4095", "eth0.x"} {
		if _, _, err := vlanOf(bad); err == nil {
			t.Errorf("%s was taken for a VLAN", bad)
		}
	}
}
