package nft

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netns"
	"golang.org/x/sys/unix"

	"nau/internal/proxy"
)

// place is a network namespace of its own.
type place struct {
	t  testing.TB
	ns netns.NsHandle
	nl *netlink.Handle
}

func newPlace(t testing.TB) *place {
	if os.Geteuid() != 0 {
		t.Skip("needs root: makes network namespaces")
	}
	p := &place{t: t}
	done := make(chan error)
	go func() { // the thread is never unlocked, so it dies with the goroutine
		runtime.LockOSThread()
		var err error
		if p.ns, err = netns.New(); err == nil {
			p.nl, err = netlink.NewHandleAt(p.ns)
		}
		done <- err
	}()
	if err := <-done; err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { p.nl.Close(); p.ns.Close() })
	p.up("lo")
	p.sysctl("ipv6/conf/default/accept_dad", "0") // nobody else is here: addresses are good at once
	return p
}

// in runs f on a thread inside the namespace.
func (p *place) in(f func() error) error {
	done := make(chan error)
	go func() {
		runtime.LockOSThread()
		if err := netns.Set(p.ns); err != nil {
			done <- err
			return
		}
		done <- f()
	}()
	return <-done
}

func (p *place) must(err error) {
	p.t.Helper()
	if err != nil {
		p.t.Fatal(err)
	}
}

func (p *place) up(link string) netlink.Link {
	p.t.Helper()
	l, err := p.nl.LinkByName(link)
	p.must(err)
	p.must(p.nl.LinkSetUp(l))
	return l
}

func (p *place) address(link string, cidrs ...string) {
	p.t.Helper()
	l := p.up(link)
	for _, c := range cidrs {
		a, err := netlink.ParseAddr(c)
		p.must(err)
		a.Flags = unix.IFA_F_NODAD
		p.must(p.nl.AddrAdd(l, a))
	}
}

func (p *place) gateway(v4, v6 string) {
	p.t.Helper()
	p.must(p.nl.RouteAdd(&netlink.Route{Gw: net.ParseIP(v4)}))
	p.must(p.nl.RouteAdd(&netlink.Route{Gw: net.ParseIP(v6), Family: netlink.FAMILY_V6}))
}

func (p *place) sysctl(path, value string) {
	p.t.Helper()
	p.must(p.in(func() error { return os.WriteFile("/proc/sys/net/"+path, []byte(value), 0) }))
}

// wire joins two places by a veth pair.
func wire(a *place, nameA string, b *place, nameB string) {
	a.t.Helper()
	a.must(a.nl.LinkAdd(&netlink.Veth{LinkAttrs: netlink.LinkAttrs{Name: nameA}, PeerName: nameB, PeerNamespace: netlink.NsFd(b.ns)}))
	a.up(nameA)
	b.up(nameB)
}

// settled waits until the kernel has noticed that links' other ends are up; what is sent before is lost.
func (p *place) settled(links ...string) {
	p.t.Helper()
	updates, done := make(chan netlink.LinkUpdate), make(chan struct{})
	err := netlink.LinkSubscribeWithOptions(updates, done, netlink.LinkSubscribeOptions{Namespace: &p.ns, ListExisting: true})
	p.must(err)
	defer func() {
		close(done)
		for range updates { // until the subscription has ended
		}
	}()
	waiting := map[string]bool{}
	for _, name := range links {
		waiting[name] = true
	}
	limit := time.After(20 * time.Second)
	for len(waiting) > 0 {
		select {
		case u := <-updates:
			if a := u.Attrs(); a.OperState == netlink.OperUp {
				delete(waiting, a.Name)
			}
		case <-limit:
			p.t.Fatalf("links %v do not come up", waiting)
		}
	}
}

// lab is a node with a bridge, two pods on it, and a client outside.
type lab struct {
	*testing.T
	node, pod1, pod2, outside *place
	table                     *Table
}

var (
	podNets     = []netip.Prefix{netip.MustParsePrefix("10.42.0.0/16"), netip.MustParsePrefix("fd42::/48")}
	serviceNets = []netip.Prefix{netip.MustParsePrefix("10.43.0.0/16"), netip.MustParsePrefix("fd43::/112")}
)

func newLab(t *testing.T) *lab {
	l := &lab{t, newPlace(t), newPlace(t), newPlace(t), newPlace(t), nil}
	for _, c := range []string{"all", "default"} { // a redirect uses up the right to send the next ICMP error
		l.node.sysctl("ipv4/conf/"+c+"/send_redirects", "0")
	}
	l.node.must(l.node.nl.LinkAdd(&netlink.Bridge{LinkAttrs: netlink.LinkAttrs{Name: "br0"}}))
	l.node.address("br0", "10.42.0.1/24", "fd42::1/64")
	br, err := l.node.nl.LinkByName("br0")
	l.node.must(err)
	for i, pod := range []*place{l.pod1, l.pod2} {
		port := fmt.Sprint("pod", i+1)
		wire(l.node, port, pod, "eth0")
		v, err := l.node.nl.LinkByName(port)
		l.node.must(err)
		l.node.must(l.node.nl.LinkSetMaster(v, br))
		l.node.must(l.node.nl.LinkSetHairpin(v, true))
		pod.address("eth0", fmt.Sprintf("10.42.0.%d/32", i+2), fmt.Sprintf("fd42::%d/128", i+2))
		eth, err := pod.nl.LinkByName("eth0")
		pod.must(err)
		for _, gw := range []string{"10.42.0.1/32", "fd42::1/128"} { // as the engine does: all pod traffic passes the host
			_, dst, _ := net.ParseCIDR(gw)
			pod.must(pod.nl.RouteAdd(&netlink.Route{Dst: dst, LinkIndex: eth.Attrs().Index, Scope: netlink.SCOPE_LINK}))
		}
		pod.gateway("10.42.0.1", "fd42::1")
	}
	wire(l.node, "up", l.outside, "eth0")
	l.node.address("up", "192.0.2.1/24", "2001:db8::1/64")
	l.outside.address("eth0", "192.0.2.9/24", "2001:db8::9/64")
	l.outside.gateway("192.0.2.1", "2001:db8::1")
	l.node.settled("br0", "pod1", "pod2", "up")
	for _, p := range []*place{l.pod1, l.pod2, l.outside} {
		p.settled("eth0")
	}
	l.node.sysctl("ipv4/ip_forward", "1")
	l.node.sysctl("ipv6/conf/all/forwarding", "1")
	l.node.must(l.node.in(func() error {
		if err := InstallRoutes(serviceNets, "br0"); err != nil {
			return err
		}
		if err := InstallRoutes(serviceNets, "br0"); err != nil { // idempotent
			return err
		}
		if err := RouteLoopback("br0"); err != nil {
			return err
		}
		l.table, err = Open(Config{ServiceCIDRs: serviceNets, PodCIDRs: podNets, Loopback: true})
		return err
	}))
	t.Cleanup(func() { l.table.Close() })
	return l
}

// serve answers every connection with its name and the client's address.
func (p *place) serve(name, addr string) {
	p.t.Helper()
	var l net.Listener
	var u net.PacketConn
	p.must(p.in(func() (err error) {
		if l, err = net.Listen("tcp", addr); err != nil {
			return err
		}
		u, err = net.ListenPacket("udp", addr)
		return err
	}))
	p.t.Cleanup(func() { l.Close(); u.Close() })
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			host, _, _ := net.SplitHostPort(c.RemoteAddr().String())
			fmt.Fprintf(c, "%s %s\n", name, host)
			c.Close()
		}
	}()
	go func() {
		buf := make([]byte, 100)
		for {
			_, from, err := u.ReadFrom(buf)
			if err != nil {
				return
			}
			u.WriteTo([]byte(name+"\n"), from)
		}
	}()
}

// ask connects and reads the answer: "NAME CLIENT", or an error in a word.
func (p *place) ask(network, addr string, patience time.Duration) string {
	var line string
	err := p.in(func() error {
		c, err := (&net.Dialer{Timeout: patience}).Dial(network, addr)
		if err != nil {
			return err
		}
		defer c.Close()
		c.SetDeadline(time.Now().Add(patience))
		if network == "udp" {
			c.Write([]byte("x"))
		}
		line, err = bufio.NewReader(c).ReadString('\n')
		return err
	})
	var timeout net.Error
	switch {
	case errors.Is(err, unix.ECONNREFUSED):
		return "refused"
	case errors.As(err, &timeout) && timeout.Timeout():
		return "timeout"
	case err != nil && err != io.EOF:
		return err.Error()
	}
	return strings.TrimSpace(line)
}

func (l *lab) name(p *place) string {
	return map[*place]string{l.node: "node", l.pod1: "pod1", l.pod2: "pod2", l.outside: "outside"}[p]
}

func (l *lab) expect(from *place, network, addr, want string) {
	l.Helper()
	begin := time.Now()
	patience := 10 * time.Second // an answer comes on a busy machine too
	if want == "timeout" {
		patience = 700 * time.Millisecond
	}
	got := from.ask(network, addr, patience)
	if got != want && strings.Fields(got)[0] != want {
		l.Errorf("from %s: %s %s: %q, want %q", l.name(from), network, addr, got, want)
	}
	if want == "refused" && time.Since(begin) > 300*time.Millisecond {
		l.Errorf("%s %s: refused after %v, not at once", network, addr, time.Since(begin))
	}
}

func eps(list ...string) (out []netip.AddrPort) {
	for _, s := range list {
		out = append(out, netip.MustParseAddrPort(s))
	}
	return out
}

func web(ip string, endpoints ...string) *proxy.Port {
	p := &proxy.Port{Key: proxy.Key{Namespace: "default", Service: "web", Port: "http", Protocol: proxy.TCP}, ClusterIP: netip.MustParseAddr(ip), Number: 80}
	p.V6 = p.ClusterIP.Is6()
	p.Internal = eps(endpoints...)
	p.Cluster = p.Internal
	for _, e := range p.Internal {
		p.OnNode = append(p.OnNode, e.Addr())
	}
	return p
}

func TestClusterIP(t *testing.T) {
	l := newLab(t)
	l.pod1.serve("one", ":8080")
	l.pod2.serve("two", ":8080")
	v4, v6 := web("10.43.0.10", "10.42.0.2:8080"), web("fd43::10", "[fd42::2]:8080")
	udp := web("10.43.0.10", "10.42.0.2:8080")
	udp.Protocol = proxy.UDP
	empty := web("10.43.0.11")
	empty.Service = "empty"
	if err := l.table.Replace([]*proxy.Port{v4, v6, udp, empty}); err != nil {
		t.Fatal(err)
	}
	l.expect(l.pod2, "tcp", "10.43.0.10:80", "one 10.42.0.3") // the source is kept
	l.expect(l.pod2, "tcp", "[fd43::10]:80", "one fd42::3")
	l.expect(l.pod2, "udp", "10.43.0.10:80", "one")
	l.expect(l.pod1, "tcp", "10.43.0.10:80", "one 10.42.0.1") // hairpin
	l.expect(l.pod1, "tcp", "[fd43::10]:80", "one fd42::1")
	l.expect(l.node, "tcp", "10.43.0.10:80", "one")
	l.expect(l.node, "tcp", "[fd43::10]:80", "one")
	l.expect(l.outside, "tcp", "10.43.0.10:80", "one 10.42.0.1") // from outside the cluster: masqueraded
	for _, from := range []*place{l.pod1, l.node, l.outside} {
		l.expect(from, "tcp", "10.43.0.11:80", "refused") // no endpoints
		l.expect(from, "tcp", "10.43.0.10:81", "refused") // no such port
		l.expect(from, "udp", "10.43.0.10:81", "refused")
		l.expect(from, "tcp", "10.43.99.99:80", "refused") // no such service
	}
	l.expect(l.node, "tcp", "[fd43::99]:80", "refused")

	// One transaction: the endpoints change, a service goes, another comes.
	both := web("10.43.0.10", "10.42.0.2:8080", "10.42.0.3:8080")
	fresh := web("10.43.0.12", "10.42.0.3:8080")
	fresh.Service = "fresh"
	if err := l.table.Apply([]proxy.Change{{Old: empty}, {Old: v4, New: both}, {New: fresh}}); err != nil {
		t.Fatal(err)
	}
	seen := map[string]int{}
	for range 60 {
		seen[strings.Fields(l.pod1.ask("tcp", "10.43.0.10:80", 10*time.Second))[0]]++
	}
	if seen["one"] < 10 || seen["two"] < 10 {
		t.Errorf("spread %v", seen)
	}
	l.expect(l.pod1, "tcp", "10.43.0.12:80", "two")
	if err := l.table.Apply([]proxy.Change{{Old: both, New: web("10.43.0.10")}, {Old: fresh}, {Old: v6}, {Old: udp}}); err != nil {
		t.Fatal(err)
	}
	l.expect(l.pod1, "tcp", "10.43.0.10:80", "refused")
	l.expect(l.pod1, "tcp", "10.43.0.12:80", "refused")
	if err := l.table.Apply([]proxy.Change{{Old: web("10.43.0.10")}}); err != nil {
		t.Fatal(err)
	}
	if len(l.table.chains)+len(l.table.slots) != 0 {
		t.Errorf("left in the books: %v %v", l.table.chains, l.table.slots)
	}
}

func TestNodePortAndExternal(t *testing.T) {
	l := newLab(t)
	l.pod1.serve("one", ":8080")
	p := web("10.43.0.10", "10.42.0.2:8080")
	p.NodePort, p.External = 30080, []netip.Addr{netip.MustParseAddr("198.51.100.7")}
	dead := web("10.43.0.11")
	dead.Service, dead.NodePort, dead.External = "dead", 30081, []netip.Addr{netip.MustParseAddr("198.51.100.8")}
	v6 := web("fd43::10", "[fd42::2]:8080")
	v6.NodePort = 30080
	rival := web("10.43.0.12", "10.42.0.3:8080") // claims the same external address: the first keeps it
	rival.Service, rival.External = "zzz", p.External
	ranged := web("10.43.0.13", "10.42.0.2:8080")
	ranged.Service, ranged.Balanced, ranged.Sources = "ranged", []netip.Addr{netip.MustParseAddr("198.51.100.9")}, []netip.Prefix{netip.MustParsePrefix("203.0.113.0/24")}
	if err := l.table.Replace([]*proxy.Port{p, dead, v6, rival, ranged}); err != nil {
		t.Fatal(err)
	}
	l.expect(l.outside, "tcp", "192.0.2.1:30080", "one 10.42.0.1")
	l.expect(l.outside, "tcp", "[2001:db8::1]:30080", "one fd42::1")
	l.expect(l.outside, "tcp", "198.51.100.7:80", "one")
	l.expect(l.pod2, "tcp", "192.0.2.1:30080", "one")
	l.expect(l.node, "tcp", "192.0.2.1:30080", "one")
	l.expect(l.node, "tcp", "127.0.0.1:30080", "one")
	l.expect(l.outside, "tcp", "192.0.2.1:30081", "refused")
	l.expect(l.outside, "tcp", "198.51.100.8:80", "refused")
	l.expect(l.node, "tcp", "127.0.0.1:30081", "refused")
	l.expect(l.outside, "tcp", "198.51.100.9:80", "timeout")
	wide := *ranged
	wide.Sources = append(wide.Sources, netip.MustParsePrefix("192.0.2.0/24"))
	if err := l.table.Apply([]proxy.Change{{Old: ranged, New: &wide}, {Old: p}}); err != nil {
		t.Fatal(err)
	}
	l.expect(l.outside, "tcp", "198.51.100.9:80", "one")
	l.expect(l.outside, "tcp", "192.0.2.1:30080", "refused") // nobody listens
	l.pod2.serve("two", ":8080")
	l.expect(l.outside, "tcp", "198.51.100.7:80", "two") // the rival inherits the address
}

func TestNeighboursCannotReachLoopback(t *testing.T) {
	l := newLab(t)
	if err := l.table.Replace(nil); err != nil {
		t.Fatal(err)
	}
	l.node.serve("secret", "127.0.0.1:9000")
	l.expect(l.node, "tcp", "127.0.0.1:9000", "secret")
	eth, err := l.pod1.nl.LinkByName("eth0")
	l.pod1.must(err)
	l.pod1.sysctl("ipv4/conf/all/route_localnet", "1")
	l.pod1.must(l.pod1.nl.LinkSetDown(mustLink(l.pod1, "lo"))) // so that 127/8 leaves by the wire
	_ = l.pod1.nl.RouteAdd(&netlink.Route{Dst: &net.IPNet{IP: net.IPv4(127, 0, 0, 1), Mask: net.CIDRMask(32, 32)}, Gw: net.IPv4(10, 42, 0, 1), LinkIndex: eth.Attrs().Index})
	if got := l.pod1.ask("tcp", "127.0.0.1:9000", 700*time.Millisecond); strings.HasPrefix(got, "secret") {
		t.Errorf("a pod reached the node's loopback: %s", got)
	}
}

func mustLink(p *place, name string) netlink.Link {
	l, err := p.nl.LinkByName(name)
	p.must(err)
	return l
}

func TestTrafficPolicyLocal(t *testing.T) {
	l := newLab(t)
	l.pod1.serve("one", ":8080")
	l.pod2.serve("two", ":8080")
	p := web("10.43.0.10", "10.42.0.2:8080", "10.42.0.3:8080")
	p.NodePort, p.ExternalLocal, p.Local = 30080, true, eps("10.42.0.3:8080")
	none := web("10.43.0.11", "10.42.0.2:8080")
	none.Service, none.NodePort, none.ExternalLocal = "none", 30081, true
	inside := web("10.43.0.12")
	inside.Service, inside.InternalDrop, inside.Cluster = "inside", true, eps("10.42.0.2:8080")
	if err := l.table.Replace([]*proxy.Port{p, none, inside}); err != nil {
		t.Fatal(err)
	}
	for range 5 {
		l.expect(l.outside, "tcp", "192.0.2.1:30080", "two 192.0.2.9") // only the local one, and it sees the client
	}
	l.expect(l.outside, "tcp", "192.0.2.1:30081", "timeout") // dropped: another node may have it
	l.expect(l.pod2, "tcp", "192.0.2.1:30081", "one")        // from inside every endpoint will do
	l.expect(l.node, "tcp", "192.0.2.1:30081", "one")
	l.expect(l.pod2, "tcp", "10.43.0.12:80", "timeout")
}

func TestAffinity(t *testing.T) {
	l := newLab(t)
	l.pod1.serve("one", ":8080")
	l.pod2.serve("two", ":8080")
	for _, p := range []*proxy.Port{web("10.43.0.10", "10.42.0.2:8080", "10.42.0.3:8080"), web("fd43::10", "[fd42::2]:8080", "[fd42::3]:8080")} {
		p.Affinity = time.Minute
		addr := netip.AddrPortFrom(p.ClusterIP, 80).String()
		if err := l.table.Replace([]*proxy.Port{p}); err != nil {
			t.Fatal(err)
		}
		first := strings.Fields(l.node.ask("tcp", addr, 10*time.Second))[0]
		for range 20 {
			l.expect(l.node, "tcp", addr, first)
		}
		// Its endpoint goes: the client moves on, without a flush.
		rest := map[string]netip.AddrPort{"one": p.Internal[1], "two": p.Internal[0]}[first]
		other := map[string]string{"one": "two", "two": "one"}[first]
		less := *p
		less.Internal = []netip.AddrPort{rest}
		less.Cluster = less.Internal
		if err := l.table.Apply([]proxy.Change{{Old: p, New: &less}}); err != nil {
			t.Fatal(err)
		}
		l.expect(l.node, "tcp", addr, other)
		// It comes back: the client stays where it is now.
		if err := l.table.Apply([]proxy.Change{{Old: &less, New: p}}); err != nil {
			t.Fatal(err)
		}
		for range 10 {
			l.expect(l.node, "tcp", addr, other)
		}
		free := *p
		free.Affinity = 0
		if err := l.table.Apply([]proxy.Change{{Old: p, New: &free}}); err != nil {
			t.Fatal(err)
		}
		if got := l.node.ask("tcp", addr, 10*time.Second); !strings.HasPrefix(got, "one") && !strings.HasPrefix(got, "two") {
			t.Error(got)
		}
	}
}

func TestAnothersFlushIsNoticed(t *testing.T) {
	l := newLab(t)
	l.pod1.serve("one", ":8080")
	all := []*proxy.Port{web("10.43.0.10", "10.42.0.2:8080")}
	if err := l.table.Replace(all); err != nil {
		t.Fatal(err)
	}
	select {
	case <-l.table.Disturbed():
		t.Fatal("our own doing counts as a disturbance")
	case <-time.After(50 * time.Millisecond):
	}
	l.node.must(l.node.in(func() error { return Delete("nau-services") }))
	select {
	case <-l.table.Disturbed():
	case <-time.After(5 * time.Second):
		t.Fatal("nobody noticed")
	}
	if err := l.table.Replace(all); err != nil {
		t.Fatal(err)
	}
	l.expect(l.pod2, "tcp", "10.43.0.10:80", "one")
}

func TestStaleUDPFlowsAreForgotten(t *testing.T) {
	l := newLab(t)
	l.pod1.serve("one", ":8080")
	l.pod2.serve("two", ":8080")
	was, is := web("10.43.0.10", "10.42.0.2:8080"), web("10.43.0.10", "10.42.0.3:8080")
	was.Protocol, is.Protocol = proxy.UDP, proxy.UDP
	if err := l.table.Replace([]*proxy.Port{was}); err != nil {
		t.Fatal(err)
	}
	var c net.Conn // one flow, kept
	l.node.must(l.node.in(func() (err error) { c, err = net.Dial("udp", "10.43.0.10:80"); return err }))
	defer c.Close()
	ask := func() string {
		buf := make([]byte, 100)
		c.SetDeadline(time.Now().Add(10 * time.Second))
		c.Write([]byte("x"))
		n, err := c.Read(buf)
		if err != nil {
			return err.Error()
		}
		return strings.TrimSpace(string(buf[:n]))
	}
	if got := ask(); got != "one" {
		t.Fatal(got)
	}
	changes := proxy.Diff([]*proxy.Port{was}, []*proxy.Port{is})
	if err := l.table.Apply(changes); err != nil {
		t.Fatal(err)
	}
	if got := ask(); got != "one" {
		t.Logf("the flow moved by itself: %s", got)
	}
	l.node.must(l.node.in(func() error { return (Conntrack{}).Forget(proxy.StaleFlows(changes)) }))
	if got := ask(); got != "two" {
		t.Errorf("after forgetting: %s", got)
	}
}

// TestOthersCanReadTheTable: nft, and firewalls built on its library, read every table of a host. What they cannot read may end them.
func TestOthersCanReadTheTable(t *testing.T) {
	program, err := exec.LookPath("nft")
	if err != nil {
		t.Skip("needs the nft program")
	}
	p := newPlace(t)
	var table *Table
	p.must(p.in(func() (err error) {
		table, err = Open(Config{ServiceCIDRs: serviceNets, PodCIDRs: podNets, Loopback: true})
		return err
	}))
	defer table.Close()
	plain, sticky, v6, dead := web("10.43.0.9", "10.42.0.2:8080"), web("10.43.0.10", "10.42.0.2:8080", "10.42.0.3:8080"), web("fd43::10", "[fd42::2]:8080"), web("10.43.0.11")
	plain.Service, plain.NodePort = "plain", 30079
	sticky.Affinity, sticky.NodePort, sticky.ExternalLocal, sticky.Local = time.Hour, 30080, true, sticky.Cluster[:1]
	sticky.Balanced, sticky.Sources = []netip.Addr{netip.MustParseAddr("198.51.100.9")}, []netip.Prefix{netip.MustParsePrefix("203.0.113.0/24")}
	v6.Affinity, v6.NodePort = time.Hour, 30080
	dead.Service, dead.NodePort = "dead", 30081
	p.must(table.Replace([]*proxy.Port{plain, sticky, v6, dead}))
	for _, args := range [][]string{{"list", "ruleset"}, {"-j", "list", "ruleset"}} {
		p.must(p.in(func() error {
			out, err := exec.Command(program, args...).CombinedOutput()
			if err != nil {
				return fmt.Errorf("nft %v: %w: %s", args, err, out)
			}
			if args[0] == "list" && !strings.Contains(string(out), "dnat ip to 10.42.0.3:8080") {
				t.Errorf("nft shows\n%s", out)
			}
			return nil
		}))
	}
}

func TestPurgeLeavesNothing(t *testing.T) {
	l := newLab(t)
	if err := l.table.Replace([]*proxy.Port{web("10.43.0.10", "10.42.0.2:8080")}); err != nil {
		t.Fatal(err)
	}
	other := []netip.Prefix{netip.MustParsePrefix("10.99.0.0/16")}
	left := func() (names []string) {
		l.node.must(l.node.in(func() error {
			for _, family := range []int{netlink.FAMILY_V4, netlink.FAMILY_V6} {
				routes, err := netlink.RouteListFiltered(family, &netlink.Route{Protocol: routeProtocol}, netlink.RT_FILTER_PROTOCOL)
				if err != nil {
					return err
				}
				for _, r := range routes {
					names = append(names, r.Dst.String())
				}
			}
			return nil
		}))
		return names
	}
	l.node.must(l.node.in(func() error { return InstallRoutes(other, "") }))
	if n := len(left()); n != 5 {
		t.Errorf("%d routes before: %v", n, left())
	}
	for range 2 {
		l.node.must(l.node.in(func() error { return Purge("nau-services", serviceNets...) }))
	}
	if got := left(); len(got) != 1 || got[0] != "10.99.0.0/16" {
		t.Errorf("routes after: %v", got)
	}
	l.node.must(l.node.in(func() error {
		s, err := dial()
		if err != nil {
			return err
		}
		defer s.Close()
		b := newBatch(s.seq)
		b.deleteTable("nau-services")
		if err := s.commit(b); !errGone(err) {
			t.Errorf("the table is still there: %v", err)
		}
		return nil
	}))
}
