package network

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"runtime"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"nau/internal/engine/testbed"
)

func TestMain(m *testing.M) { testbed.Main(m) }

func prefixes(s ...string) []netip.Prefix {
	var out []netip.Prefix
	for _, p := range s {
		out = append(out, netip.MustParsePrefix(p))
	}
	return out
}

// newNetns returns a namespace that lives as long as the file.
func newNetns(t testing.TB) *os.File {
	t.Helper()
	type result struct {
		f   *os.File
		err error
	}
	ch := make(chan result)
	go func() {
		runtime.LockOSThread() // and never unlocked: the thread ends with the goroutine
		if err := unix.Unshare(unix.CLONE_NEWNET); err != nil {
			ch <- result{nil, err}
			return
		}
		f, err := os.Open("/proc/thread-self/ns/net")
		ch <- result{f, err}
	}()
	r := <-ch
	if r.err != nil {
		t.Fatal(r.err)
	}
	t.Cleanup(func() { r.f.Close() })
	return r.f
}

func podSpec() Spec {
	return Spec{Name: "pods", Driver: Bridge, Link: "nau0", Subnets: prefixes("10.42.0.0/24", "fd42::/64"), Routed: true, MTU: 1500,
		NoMasquerade: prefixes("10.42.0.0/16", "fd42::/48")}
}

func start(t testing.TB, dir string, eps ...Endpoint) *Manager {
	t.Helper()
	return startWith(t, Config{Dir: dir}, eps...)
}

func startWith(t testing.TB, c Config, eps ...Endpoint) *Manager {
	t.Helper()
	c.Instance, c.Unreachable = "nautest", prefixes("10.42.0.0/16", "10.43.0.0/16", "fd42::/48", "fd43::/112")
	c.Services = prefixes("10.43.0.0/16", "fd43::/112")
	m, err := Open(c)
	if err != nil {
		t.Fatal(err)
	}
	if err := m.nl.do(linkUp(1)); err != nil {
		t.Fatal(err)
	}
	if err := m.Ensure(podSpec()); err != nil {
		t.Fatal(err)
	}
	if err := m.Start(eps); err != nil {
		t.Fatal(err)
	}
	return m
}

// echo listens inside ns and answers every connection with the caller's address.
func echo(t testing.TB, ns *os.File, port int) {
	t.Helper()
	err := Inside(ns, func() error {
		echoAt(t, fmt.Sprintf(":%d", port))
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
}

// echoAt is echo here, on an address.
func echoAt(t testing.TB, addr string) net.Listener {
	t.Helper()
	l, err := net.Listen("tcp", addr)
	if err != nil {
		t.Error(err)
		return nil
	}
	t.Cleanup(func() { l.Close() })
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			host, _, _ := net.SplitHostPort(c.RemoteAddr().String())
			fmt.Fprint(c, host)
			c.Close()
		}
	}()
	return l
}

// ask connects from ns (nil = here) and returns what echo says.
func ask(ns *os.File, addr string) (string, error) {
	var answer string
	dial := func() error {
		c, err := (&net.Dialer{Timeout: 3 * time.Second}).Dial("tcp", addr)
		if err != nil {
			return err
		}
		defer c.Close()
		_ = c.SetDeadline(time.Now().Add(3 * time.Second))
		var b bytes.Buffer
		_, err = b.ReadFrom(c)
		answer = b.String()
		return err
	}
	var err error
	if ns == nil {
		err = dial()
	} else {
		err = Inside(ns, dial)
	}
	return answer, err
}

func TestSandboxesReachEachOtherTheHostAndPublishedPorts(t *testing.T) {
	testbed.Need(t)
	for _, bridged := range []string{"0", "1"} { // netfilter for bridged frames off and on
		t.Run("bridge-nf "+bridged, func(t *testing.T) {
			reachAll(t, bridged)
		})
	}
}

func reachAll(t *testing.T, bridged string) {
	m := start(t, t.TempDir())
	for _, f := range []string{"iptables", "ip6tables"} { // as another program might
		_ = os.WriteFile("/proc/sys/net/bridge/bridge-nf-call-"+f, []byte(bridged), 0o644)
	}
	defer m.Close()
	a, b := newNetns(t), newNetns(t)
	ctx := context.Background()
	ea, err := m.Attach(ctx, AttachRequest{Network: "pods", Sandbox: "aaaaaaaaaaaa", Netns: a})
	if err != nil {
		t.Fatal(err)
	}
	eb, err := m.Attach(ctx, AttachRequest{Network: "pods", Sandbox: "bbbbbbbbbbbb", Netns: b, Ports: []Port{{Protocol: TCP, Container: 80, Host: 8080}, {Protocol: TCP, Container: 80, Host: 8081, HostIP: netip.MustParseAddr("10.42.0.1")}}})
	if err != nil {
		t.Fatal(err)
	}
	echo(t, b, 80)
	for _, c := range []struct {
		name string
		from *os.File
		to   string
		want string
	}{
		{"pod to pod", a, "10.42.0.3:80", "10.42.0.2"},
		{"pod to pod, IPv6", a, "[fd42::3]:80", "fd42::2"},
		{"host to pod", nil, "10.42.0.3:80", "10.42.0.1"},
		{"host to pod, IPv6", nil, "[fd42::3]:80", "fd42::1"},
		{"published at loopback", nil, "127.0.0.1:8080", "10.42.0.1"},
		{"published at the bridge's address", nil, "10.42.0.1:8080", "10.42.0.1"},
		{"published at one address", nil, "10.42.0.1:8081", "10.42.0.1"},
		{"published, IPv6", nil, "[fd42::1]:8080", "fd42::1"},
		{"published, from a pod", a, "10.42.0.1:8080", "10.42.0.2"},
		{"published, from itself", b, "10.42.0.1:8080", "10.42.0.1"},
	} {
		if c.from == b && bridged == "1" {
			continue // the one thing that needs the setting off
		}
		got, err := ask(c.from, c.to)
		if err != nil || got != c.want {
			t.Errorf("%s: %s answered %q, %v; want %q", c.name, c.to, got, err, c.want)
		}
	}
	if _, err := ask(nil, "127.0.0.1:8081"); err == nil {
		t.Error("a port published at one address answers at another")
	}
	for _, to := range []string{"10.43.0.99:80", "[fd43::99]:80"} {
		for _, from := range []*os.File{nil, a} {
			began := time.Now()
			if _, err := ask(from, to); err == nil || time.Since(began) > time.Second {
				t.Errorf("service without endpoints at %s: %v after %v; want a refusal at once", to, err, time.Since(began))
			}
		}
	}
	// A service address that the host itself holds is not refused.
	lo, _, err := m.nl.link("lo")
	if err != nil {
		t.Fatal(err)
	}
	own := netip.MustParsePrefix("10.43.0.10/32")
	if err := m.nl.do(addAddr(lo, own)); err != nil {
		t.Fatal(err)
	}
	l, err := net.Listen("tcp", "10.43.0.10:5353")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	for _, from := range []*os.File{nil, a} {
		dial := func() error {
			c, err := (&net.Dialer{Timeout: time.Second}).Dial("tcp", l.Addr().String())
			if err == nil {
				c.Close()
			}
			return err
		}
		if from == nil {
			err = dial()
		} else {
			err = Inside(from, dial)
		}
		if err != nil {
			t.Errorf("the host's own service address: %v", err)
		}
	}
	if s, err := m.Stats(eb, ""); err != nil || s.RxBytes == 0 || s.TxBytes == 0 {
		t.Errorf("stats %+v, %v", s, err)
	}
	if err := m.Detach(eb); err != nil {
		t.Fatal(err)
	}
	if _, err := ask(nil, "10.42.0.1:8080"); err == nil {
		t.Error("a withdrawn port answers")
	}
	if err := m.Detach(ea); err != nil {
		t.Fatal(err)
	}
	for _, e := range []Endpoint{ea, eb} {
		if err := m.Unlink(e, nil); err != nil {
			t.Fatal(err)
		}
	}
	if err := m.Purge(); err != nil {
		t.Fatal(err)
	}
}

// Rules are written anew whenever a network comes or goes, while others publish and withdraw ports.
func TestRulesWrittenAnewHoldWhatIsPublished(t *testing.T) {
	testbed.Need(t)
	m := start(t, t.TempDir())
	defer m.Close()
	ctx := context.Background()
	a, b := newNetns(t), newNetns(t)
	port := []Port{{Protocol: TCP, Container: 80, Host: 8080}}
	ea, err := m.Attach(ctx, AttachRequest{Network: "pods", Sandbox: "aaaaaaaaaaaa", Netns: a, Ports: port})
	if err != nil {
		t.Fatal(err)
	}
	eb, err := m.Attach(ctx, AttachRequest{Network: "pods", Sandbox: "bbbbbbbbbbbb", Netns: b})
	if err != nil {
		t.Fatal(err)
	}
	listen := func(ns *os.File, says string) {
		t.Helper()
		err := Inside(ns, func() error {
			l, err := net.Listen("tcp", ":80")
			if err != nil {
				return err
			}
			t.Cleanup(func() { l.Close() })
			go func() {
				for {
					c, err := l.Accept()
					if err != nil {
						return
					}
					fmt.Fprint(c, says)
					c.Close()
				}
			}()
			return nil
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	listen(a, "a")
	listen(b, "b")
	expect := func(when, want string) {
		t.Helper()
		if err := m.Rebuild(); err != nil {
			t.Fatalf("%s: %v", when, err)
		}
		if got, err := ask(nil, "10.42.0.1:8080"); got != want || (err != nil) != (want == "") {
			t.Errorf("%s: answered %q, %v; want %q", when, got, err, want)
		}
	}
	expect("published", "a")
	if err := m.Withdraw(&ea); err != nil {
		t.Fatal(err)
	}
	expect("withdrawn", "")
	if err := m.Publish(&eb, port); err != nil {
		t.Fatal(err)
	}
	expect("published by another", "b")
	if err := m.Detach(eb); err != nil {
		t.Fatal(err)
	}
	expect("detached", "")
	if err := errors.Join(m.Detach(ea), m.Unlink(ea, nil), m.Unlink(eb, nil), m.Purge()); err != nil {
		t.Fatal(err)
	}
}

// Who asked for an endpoint and left before it stood gives nothing back: nothing of it stays.
func TestAbandonedEndpointIsGone(t *testing.T) {
	testbed.Need(t)
	m := start(t, t.TempDir())
	defer m.Close()
	gone, cancel := context.WithCancel(context.Background())
	cancel()
	port := Port{Protocol: TCP, Container: 80, Host: 8080}
	if e, err := m.Attach(gone, AttachRequest{Network: "pods", Sandbox: "aaaaaaaaaaaa", Netns: newNetns(t), Ports: []Port{port}}); !errors.Is(err, context.Canceled) {
		t.Fatalf("%+v, %v", e, err)
	}
	if !m.Free(port) {
		t.Error("its port is taken")
	}
	if err := m.Remove("pods"); err != nil {
		t.Errorf("the network still has an endpoint: %v", err)
	}
	if err := m.Purge(); err != nil {
		t.Fatal(err)
	}
}

// A publication that the kernel refuses leaves no port taken.
func TestRefusedPublicationTakesNoPort(t *testing.T) {
	testbed.Need(t)
	m := start(t, t.TempDir())
	defer m.Close()
	e, err := m.Attach(context.Background(), AttachRequest{Network: "pods", Sandbox: "aaaaaaaaaaaa", Netns: newNetns(t)})
	if err != nil {
		t.Fatal(err)
	}
	if err := m.nft.purge(); err != nil { // so that there is no set for it
		t.Fatal(err)
	}
	port := Port{Protocol: TCP, Container: 80, Host: 8080}
	if err := m.Publish(&e, []Port{port}); err == nil || len(e.Ports) > 0 {
		t.Errorf("published %v without rules: %v", e.Ports, err)
	}
	if !m.Free(port) {
		t.Error("the port is taken")
	}
	if err := errors.Join(m.Rebuild(), m.Publish(&e, []Port{port})); err != nil {
		t.Error(err)
	}
	if err := errors.Join(m.Detach(e), m.Unlink(e, nil), m.Purge()); err != nil {
		t.Fatal(err)
	}
}

func TestPodsCannotReachLoopbackOfTheHost(t *testing.T) {
	testbed.Need(t)
	m := start(t, t.TempDir())
	defer m.Close()
	l, err := net.Listen("tcp", "127.0.0.1:7777")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	a := newNetns(t)
	ea, err := m.Attach(context.Background(), AttachRequest{Network: "pods", Sandbox: "cccccccccccc", Netns: a})
	if err != nil {
		t.Fatal(err)
	}
	// A hostile pod routes 127.0.0.0/8 to the bridge.
	_ = Inside(a, func() error { return os.WriteFile("/proc/sys/net/ipv4/conf/eth0/route_localnet", []byte("1"), 0o644) })
	var in *rtnl
	if err := Inside(a, func() (err error) { in, err = openRtnl(); return err }); err != nil {
		t.Fatal(err)
	}
	index, _, err := in.link("eth0")
	if err != nil {
		t.Fatal(err)
	}
	err = in.do(delLink("none"), route{to: netip.MustParsePrefix("127.0.0.1/32"), kind: unix.RTN_UNICAST, dev: index, via: ea.Gateways[0], src: ea.Addrs[0].Addr()}.request(false))
	in.close()
	if err != nil {
		t.Logf("route: %v", err)
	}
	if err := Inside(a, func() error {
		c, err := (&net.Dialer{Timeout: 300 * time.Millisecond, LocalAddr: &net.TCPAddr{IP: ea.Addrs[0].Addr().AsSlice()}}).Dial("tcp", "127.0.0.1:7777")
		if err == nil {
			c.Close()
		}
		return err
	}); err == nil {
		t.Error("a pod reached the host's loopback")
	}
	_ = m.Detach(ea)
	_ = m.Purge()
}

func TestLeasesAndPortsSurviveARestart(t *testing.T) {
	testbed.Need(t)
	dir := t.TempDir()
	m := start(t, dir)
	ns := newNetns(t)
	e, err := m.Attach(context.Background(), AttachRequest{Network: "pods", Sandbox: "dddddddddddd", Netns: ns, Ports: []Port{{Protocol: UDP, Container: 53, Host: 5353}}})
	if err != nil {
		t.Fatal(err)
	}
	m.Close()
	m = start(t, dir, e)
	defer m.Close()
	e2, err := m.Attach(context.Background(), AttachRequest{Network: "pods", Sandbox: "eeeeeeeeeeee", Netns: newNetns(t), Ports: []Port{{Protocol: UDP, Container: 53, Host: 5353}}})
	if err == nil {
		t.Fatal("one port for two sandboxes")
	}
	e2, err = m.Attach(context.Background(), AttachRequest{Network: "pods", Sandbox: "eeeeeeeeeeee", Netns: newNetns(t)})
	if err != nil || e2.Addrs[0] == e.Addrs[0] {
		t.Fatalf("got %v, %v", e2.Addrs, err)
	}
	for _, ep := range []Endpoint{e, e2} {
		if err := m.Detach(ep); err != nil {
			t.Fatal(err)
		}
	}
	if err := m.Purge(); err != nil {
		t.Fatal(err)
	}
	for _, l := range []string{"nau0", e.HostLink} {
		_ = m.nl.do(delLink(e.HostLink))
		if _, _, err := m.nl.link(l); err == nil {
			t.Errorf("link %s is left", l)
		}
	}
}

// A sandbox starts again although the kernel has not yet taken down the links of its last life.
func TestASandboxStartsWhileItsLastNamespaceDies(t *testing.T) {
	testbed.Need(t)
	m := start(t, t.TempDir())
	defer m.Close()
	for life := range 2 {
		ns := newNetns(t) // held open: its links stay
		e, err := m.Attach(context.Background(), AttachRequest{Network: "pods", Sandbox: "cccccccccccc", Netns: ns})
		if err != nil {
			t.Fatalf("life %d: %v", life, err)
		}
		echo(t, ns, 80)
		if from, err := ask(nil, net.JoinHostPort(e.Addrs[0].Addr().String(), "80")); err != nil || from != "10.42.0.1" {
			t.Errorf("life %d: answered %q, %v", life, from, err)
		}
		if err := m.Detach(e); err != nil {
			t.Fatal(err)
		}
	}
}

func BenchmarkAttach(b *testing.B) {
	testbed.Need(b)
	m := start(b, b.TempDir())
	b.Cleanup(m.Close)
	var spaces []*os.File
	for range b.N {
		spaces = append(spaces, newNetns(b))
	}
	b.ResetTimer()
	for i := range b.N {
		e, err := m.Attach(context.Background(), AttachRequest{Network: "pods", Sandbox: fmt.Sprintf("%06x%06x", i, i), Netns: spaces[i]})
		if err != nil {
			b.Fatal(err)
		}
		b.Cleanup(func() { _, _ = m.Detach(e), m.Unlink(e, nil) })
	}
}

func BenchmarkNewNetns(b *testing.B) {
	testbed.Need(b)
	for range b.N {
		newNetns(b)
	}
}
