package network

import (
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"os"
	"slices"
	"sync"
	"time"

	"golang.org/x/sys/unix"
)

// A relay carries what the kernel cannot lead on to a sandbox: connections to a published port at the host's IPv6 loopback, whose address leaves
// the host under no translation, and at all its IPv6 addresses where the sandbox has none. It listens on the socket that holds the port, and the
// sandbox sees the bridge's address. It ends with the port, and its connections with it.
type relay struct {
	to     netip.AddrPort
	barred func(netip.Addr) bool // addresses of the host at which the port is not published

	serving sync.WaitGroup // by its sockets

	mu   sync.Mutex
	open map[io.Closer]struct{} // the listener and the connections; nil = closed
}

const (
	relayDial    = 10 * time.Second
	relayQuiet   = 90 * time.Second // a client's datagrams and their answers belong together as long as this lies between them
	relayClients = 1024             // senders of datagrams at once, of one port
)

var loopback6 = netip.IPv6Loopback()

// relayed tells whether a port needs a relay, and where that leads.
func (m *Manager) relayed(p Port, e *Endpoint) (to netip.AddrPort, ok bool) {
	if !m.v6 || p.Protocol == SCTP || p.HostIP.IsValid() && !p.HostIP.Is6() {
		return netip.AddrPort{}, false
	}
	var four, six netip.Addr
	for _, a := range e.Addrs {
		if a.Addr().Is4() {
			four = a.Addr()
		} else {
			six = a.Addr()
		}
	}
	kept := [2]bool{}
	if n, ok := m.nets[e.Network]; ok {
		kept = n.spec.kept()
	}
	switch {
	case six.IsValid() && !kept[1]:
		return netip.AddrPortFrom(six, p.Container), !p.HostIP.IsValid() || p.HostIP.IsUnspecified() || p.HostIP.IsLoopback()
	case six.IsValid() || kept[0]: // reached at its own addresses, and not through the host's
		return netip.AddrPort{}, false
	}
	return netip.AddrPortFrom(four, p.Container), four.IsValid()
}

// ReachedAt lists the host's addresses at which a port of an endpoint is published: one for each family where it is all of the host's.
func (m *Manager) ReachedAt(p Port, e *Endpoint) []netip.Addr {
	if p.HostIP.IsValid() {
		return []netip.Addr{p.HostIP}
	}
	m.mu.Lock()
	_, relayed := m.relayed(p, e)
	m.mu.Unlock()
	has := func(v6 bool) bool {
		return slices.ContainsFunc(e.Addrs, func(a netip.Prefix) bool { return a.Addr().Is6() == v6 })
	}
	var out []netip.Addr
	if has(false) {
		out = append(out, netip.IPv4Unspecified())
	}
	if relayed || m.v6 && has(true) {
		out = append(out, netip.IPv6Unspecified())
	}
	return out
}

// relay starts what carries a held port. The caller holds mu.
func (m *Manager) relay(p Port, e *Endpoint) error {
	to, ok := m.relayed(p, e)
	h := m.holds[portKey(p)]
	if !ok || h == nil || h.relay != nil {
		return nil
	}
	services := m.cfg.Services
	r := &relay{to: to, open: map[io.Closer]struct{}{}, barred: func(a netip.Addr) bool {
		return slices.ContainsFunc(services, func(s netip.Prefix) bool { return s.Contains(a) })
	}}
	for _, f := range h.files {
		if err := r.listen(f, p.Protocol); err != nil {
			r.Close()
			return fmt.Errorf("publish port %s at the host's IPv6 addresses: %w", p, err)
		}
	}
	h.relay = r
	return nil
}

// listen serves one of the sockets that hold the port, if it is one of IPv6.
func (r *relay) listen(f *os.File, kind Protocol) error {
	fd := int(f.Fd())
	if family, err := unix.GetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_DOMAIN); err != nil || family != unix.AF_INET6 {
		return err
	}
	if kind == UDP {
		if err := unix.SetsockoptInt(fd, unix.IPPROTO_IPV6, unix.IPV6_RECVPKTINFO, 1); err != nil {
			return err
		}
		c, err := net.FilePacketConn(f)
		if err != nil {
			return err
		}
		r.keep(c)
		r.serving.Go(func() { r.datagrams(c.(*net.UDPConn)) })
		return nil
	}
	// Set after the binding, which has to find out others: so the connections, who inherit it, keep the port from nobody when the relay is gone.
	if err := unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_REUSEADDR, 1); err != nil {
		return err
	}
	if err := unix.Listen(fd, unix.SOMAXCONN); err != nil {
		return err
	}
	l, err := net.FileListener(f)
	if err != nil {
		return err
	}
	r.keep(l)
	r.serving.Go(func() { r.connections(l) })
	return nil
}

// keep notes what is to be closed with the relay; what comes too late is closed at once.
func (r *relay) keep(c io.Closer) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.open == nil {
		c.Close()
		return false
	}
	r.open[c] = struct{}{}
	return true
}

func (r *relay) drop(c io.Closer) {
	r.mu.Lock()
	delete(r.open, c)
	r.mu.Unlock()
	c.Close()
}

// Close ends the relay and all that it carries. Its sockets are closed when it returns.
func (r *relay) Close() error {
	r.mu.Lock()
	open := r.open
	r.open = nil
	r.mu.Unlock()
	for c := range open {
		c.Close()
	}
	r.serving.Wait()
	return nil
}

func (r *relay) connections(l net.Listener) {
	for {
		c, err := l.Accept()
		if errors.Is(err, net.ErrClosed) {
			return
		}
		if err != nil { // too many files: the client is refused or waits, and the next one is tried
			time.Sleep(time.Millisecond)
			continue
		}
		go r.carry(c.(*net.TCPConn))
	}
}

// carry joins a client's connection with one to the sandbox. One that is refused there is reset here.
func (r *relay) carry(client *net.TCPConn) {
	if !r.keep(client) {
		return
	}
	defer r.drop(client)
	_ = client.SetLinger(0)
	if r.barred(local(client.LocalAddr())) {
		return
	}
	c, err := net.DialTimeout("tcp", r.to.String(), relayDial)
	if err != nil || !r.keep(c) {
		return
	}
	defer r.drop(c)
	inner := c.(*net.TCPConn)
	_ = client.SetLinger(-1)
	done := make(chan struct{})
	go func() {
		defer close(done)
		_, _ = io.Copy(inner, client)
		_ = inner.CloseWrite()
	}()
	_, _ = io.Copy(client, inner)
	_ = client.CloseWrite()
	<-done
}

func local(a net.Addr) netip.Addr {
	ap, _ := netip.ParseAddrPort(a.String())
	return ap.Addr().WithZone("").Unmap()
}

// datagrams carries each client's over a socket of its own, whose answers go back from the address that the client wrote to.
func (r *relay) datagrams(c *net.UDPConn) {
	clients := map[netip.AddrPort]*net.UDPConn{}
	var mu sync.Mutex
	buf, oob := make([]byte, 64<<10), make([]byte, 128)
	for {
		n, on, _, from, err := c.ReadMsgUDPAddrPort(buf, oob)
		if errors.Is(err, net.ErrClosed) {
			return
		}
		if err != nil {
			continue // an ICMP error of an answer
		}
		if to, ok := writtenTo(oob[:on]); ok && r.barred(to) {
			continue
		}
		mu.Lock()
		inner, known := clients[from]
		if !known && len(clients) < relayClients {
			if inner, err = net.DialUDP("udp", nil, net.UDPAddrFromAddrPort(r.to)); err != nil || !r.keep(inner) {
				inner = nil
			} else {
				clients[from] = inner
			}
		}
		mu.Unlock()
		if inner == nil {
			continue
		}
		_ = inner.SetReadDeadline(time.Now().Add(relayQuiet))
		_, _ = inner.Write(buf[:n])
		if known {
			continue
		}
		go func(info []byte) {
			defer func() {
				mu.Lock()
				delete(clients, from)
				mu.Unlock()
				r.drop(inner)
			}()
			answer := make([]byte, 64<<10)
			for {
				n, err := inner.Read(answer)
				if errors.Is(err, net.ErrClosed) || errors.Is(err, os.ErrDeadlineExceeded) {
					return
				}
				if err != nil {
					continue // nobody listens there yet
				}
				_ = inner.SetReadDeadline(time.Now().Add(relayQuiet))
				if _, _, err := c.WriteMsgUDPAddrPort(answer[:n], info, from); errors.Is(err, net.ErrClosed) {
					return
				}
			}
		}(slices.Clone(oob[:on]))
	}
}

// writtenTo finds the host's address in a datagram's control messages. Source: ipv6(7), IPV6_PKTINFO.
func writtenTo(oob []byte) (netip.Addr, bool) {
	all, err := unix.ParseSocketControlMessage(oob)
	if err != nil {
		return netip.Addr{}, false
	}
	for _, m := range all {
		if m.Header.Level == unix.IPPROTO_IPV6 && m.Header.Type == unix.IPV6_PKTINFO && len(m.Data) >= 16 {
			return netip.AddrFrom16([16]byte(m.Data[:16])), true
		}
	}
	return netip.Addr{}, false
}
