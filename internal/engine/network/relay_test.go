package network

import (
	"context"
	"errors"
	"io"
	"net"
	"net/netip"
	"os"
	"testing"
	"time"

	"nau/internal/engine/testbed"
)

// What no translation can do is carried: the host's IPv6 loopback, and all its IPv6 addresses for a sandbox that has none.
func TestRelay(t *testing.T) {
	testbed.Need(t)
	m := start(t, t.TempDir())
	defer m.Close()
	if err := m.Ensure(Spec{Name: "four", Link: "nautest4", Driver: Bridge, MTU: 1500, Subnets: prefixes("10.44.0.0/24"), Plans: []Plan{{Gateway: netip.MustParseAddr("10.44.0.1")}}}); err != nil {
		t.Fatal(err)
	}
	if err := m.Rebuild(); err != nil {
		t.Fatal(err)
	}
	ctx := context.Background()
	ports := func(host uint16) []Port {
		return []Port{{Protocol: TCP, Container: 80, Host: host}, {Protocol: UDP, Container: 80, Host: host}, {Protocol: TCP, Container: 80, Host: host + 1, HostIP: netip.MustParseAddr("127.0.0.1")}}
	}
	a, b := newNetns(t), newNetns(t)
	both, err := m.Attach(ctx, AttachRequest{Network: "pods", Sandbox: "aaaaaaaaaaaa", Netns: a, Ports: ports(8100)})
	if err != nil {
		t.Fatal(err)
	}
	four, err := m.Attach(ctx, AttachRequest{Network: "four", Sandbox: "bbbbbbbbbbbb", Netns: b, Ports: ports(8200)})
	if err != nil {
		t.Fatal(err)
	}
	echo(t, a, 80)
	echo(t, b, 80)
	for to, want := range map[string]string{
		"[::1]:8100": "fd42::1", "127.0.0.1:8100": "10.42.0.1",
		"[::1]:8200": "10.44.0.1", "127.0.0.1:8200": "10.44.0.1", "[fd42::1]:8200": "10.44.0.1",
	} {
		if got, err := ask(nil, to); err != nil || got != want {
			t.Errorf("%s answered %q, %v; want %q", to, got, err, want)
		}
	}
	for _, to := range []string{"[::1]:8101", "[::1]:8201"} {
		if got, err := ask(nil, to); err == nil {
			t.Errorf("%s, published at 127.0.0.1 only, answered %q", to, got)
		}
	}
	for _, e := range []struct {
		of   *Endpoint
		port int
		want []string
	}{{&both, 0, []string{"0.0.0.0", "::"}}, {&four, 0, []string{"0.0.0.0", "::"}}, {&four, 1, []string{"0.0.0.0", "::"}}, {&four, 2, []string{"127.0.0.1"}}} {
		var got []string
		for _, at := range m.ReachedAt(e.of.Ports[e.port], e.of) {
			got = append(got, at.String())
		}
		if len(got) != len(e.want) || got[0] != e.want[0] || got[len(got)-1] != e.want[len(e.want)-1] {
			t.Errorf("%s of %s is reached at %q, want %q", e.of.Ports[e.port], e.of.Network, got, e.want)
		}
	}
	datagrams(t, b, "[::1]:8200", "[fd42::1]:8200")

	// A relay ends with its port, and takes what it carries along.
	silent(t, b)
	if err := m.Withdraw(&four); err != nil {
		t.Fatal(err)
	}
	if _, err := ask(nil, "[::1]:8200"); err == nil {
		t.Error("a withdrawn port is answered still")
	}
	if err := m.Publish(&four, []Port{{Protocol: TCP, Container: 81, Host: 8200}}); err != nil {
		t.Fatal(err)
	}
	c, err := net.Dial("tcp", "[::1]:8200")
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	if _, err := io.ReadFull(c, make([]byte, 2)); err != nil {
		t.Fatalf("nothing came through: %v", err)
	}
	if err := m.Withdraw(&four); err != nil {
		t.Fatal(err)
	}
	_ = c.SetReadDeadline(time.Now().Add(10 * time.Second))
	if _, err := c.Read(make([]byte, 1)); err == nil || errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("a connection outlived its port: %v", err)
	}
	if err := errors.Join(m.Detach(both), m.Detach(four), m.Purge()); err != nil {
		t.Error(err)
	}
}

// silent listens inside ns, says "hi" to everybody and hangs on.
func silent(t *testing.T, ns *os.File) {
	t.Helper()
	err := Inside(ns, func() error {
		l, err := net.Listen("tcp", net.JoinHostPort("", "81"))
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
				t.Cleanup(func() { c.Close() })
				_, _ = io.WriteString(c, "hi")
			}
		}()
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
}

// datagrams asks a server of datagrams in ns at addresses of the host, and wants the answers from there.
func datagrams(t *testing.T, ns *os.File, at ...string) {
	t.Helper()
	err := Inside(ns, func() error {
		l, err := net.ListenPacket("udp", ":80")
		if err != nil {
			return err
		}
		t.Cleanup(func() { l.Close() })
		go func() {
			buf := make([]byte, 100)
			for {
				n, from, err := l.ReadFrom(buf)
				if err != nil {
					return
				}
				_, _ = l.WriteTo(append([]byte("re: "), buf[:n]...), from)
			}
		}()
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	for _, to := range at {
		c, err := net.Dial("udp", to) // connected: an answer from elsewhere does not come
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
		_ = c.SetDeadline(time.Now().Add(5 * time.Second))
		for _, word := range []string{"one", "two"} {
			buf := make([]byte, 100)
			_, err := io.WriteString(c, word)
			n := 0
			if err == nil {
				n, err = c.Read(buf)
			}
			if err != nil || string(buf[:n]) != "re: "+word {
				t.Errorf("%s answered %q, %v", to, buf[:n], err)
			}
		}
	}
}
