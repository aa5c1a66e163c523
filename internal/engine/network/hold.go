package network

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"slices"

	"golang.org/x/sys/unix"
)

// held is the sockets that keep one published port from other programs, and what carries connections to it that the kernel does not.
type held struct {
	files []*os.File
	relay *relay
}

func (h *held) close() {
	if h == nil {
		return
	}
	if h.relay != nil {
		h.relay.Close()
	}
	for _, f := range h.files {
		f.Close()
	}
}

// hold binds a published port's address on the host, without listening unless a relay does: a program that has the port already is found out, and one that
// comes later is refused by the kernel instead of waiting for connections that translation leads away. The caller holds mu.
func (m *Manager) hold(p Port) error {
	key := portKey(p)
	if m.holds[key] != nil {
		return nil
	}
	h, err := m.bind(p)
	if err != nil {
		return fmt.Errorf("publish port %s: %w", p, err)
	}
	m.holds[key] = h
	return nil
}

// bind takes a port on its address, or on all of the host's: by one socket, or by one an address where this program itself has the port on
// some of them.
func (m *Manager) bind(p Port) (*held, error) {
	h := &held{}
	add := func(ip netip.Addr) error {
		one := p
		one.HostIP = ip
		f, err := bindPort(one, m.v6)
		if err != nil {
			h.close()
			return busy(err)
		}
		if f != nil {
			h.files = append(h.files, f)
		}
		return nil
	}
	if !m.ownPort(p) {
		all := []netip.Addr{p.HostIP}
		if !p.HostIP.IsValid() {
			if all = []netip.Addr{netip.IPv4Unspecified()}; m.v6 {
				all = append(all, netip.IPv6Unspecified())
			}
		}
		for _, ip := range all {
			if err := add(ip); err != nil {
				return nil, err
			}
		}
		return h, nil
	}
	addrs, err := net.InterfaceAddrs()
	if err != nil {
		return nil, fmt.Errorf("list the host's addresses: %w", err)
	}
	for _, a := range addrs {
		prefix, err := netip.ParsePrefix(a.String())
		ip := prefix.Addr()
		if err != nil || ip.IsLinkLocalUnicast() || ip.Is6() && !m.v6 || !overlap(ip, p.HostIP) || slices.Contains(m.cfg.Own, netip.AddrPortFrom(ip, p.Host)) {
			continue
		}
		if err := add(ip); err != nil {
			return nil, err
		}
	}
	return h, nil
}

// ownPort tells whether a port is wanted on all addresses, of which some are this program's own for that port.
func (m *Manager) ownPort(p Port) bool {
	return (!p.HostIP.IsValid() || p.HostIP.IsUnspecified()) && slices.ContainsFunc(m.cfg.Own, func(own netip.AddrPort) bool {
		return own.Port() == p.Host && overlap(own.Addr(), p.HostIP)
	})
}

func busy(err error) error {
	switch {
	case errors.Is(err, unix.EADDRINUSE):
		return ErrPortBusy
	case errors.Is(err, unix.EADDRNOTAVAIL):
		return fmt.Errorf("%w: this host does not have the address", err)
	}
	return err
}

// letGo forgets a port that a sandbox had. The caller holds mu.
func (m *Manager) letGo(p Port, sandbox string) {
	key := portKey(p)
	if m.ports[key] != sandbox {
		return
	}
	delete(m.ports, key)
	m.holds[key].close()
	delete(m.holds, key)
}

// bindPort makes the socket. A protocol that this kernel lacks (SCTP is a module) can be nobody else's.
func bindPort(p Port, v6 bool) (*os.File, error) {
	kind := map[Protocol]int{TCP: unix.SOCK_STREAM, UDP: unix.SOCK_DGRAM, SCTP: unix.SOCK_STREAM}[p.Protocol]
	family := unix.AF_INET
	addr := p.HostIP
	if v6 && (!addr.IsValid() || addr.Is6()) {
		family = unix.AF_INET6
	}
	fd, err := unix.Socket(family, kind|unix.SOCK_CLOEXEC, int(p.Protocol))
	if err != nil {
		if errors.Is(err, unix.EPROTONOSUPPORT) || errors.Is(err, unix.ESOCKTNOSUPPORT) {
			return nil, nil
		}
		return nil, err
	}
	f := os.NewFile(uintptr(fd), p.String())
	if family == unix.AF_INET6 && addr.IsValid() {
		_ = unix.SetsockoptInt(fd, unix.IPPROTO_IPV6, unix.IPV6_V6ONLY, 1)
	}
	err = unix.Bind(fd, sockaddr(family, addr, p.Host))
	if errors.Is(err, unix.EADDRINUSE) && p.Protocol == TCP {
		// Connections that linger in TIME_WAIT are nobody's; who listens is in the way still.
		_ = unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_REUSEADDR, 1)
		err = unix.Bind(fd, sockaddr(family, addr, p.Host))
	}
	if err != nil {
		f.Close()
		return nil, err
	}
	return f, nil
}

func sockaddr(family int, addr netip.Addr, port uint16) unix.Sockaddr {
	if family == unix.AF_INET6 {
		sa := &unix.SockaddrInet6{Port: int(port)}
		if addr.IsValid() {
			sa.Addr = addr.As16()
		}
		return sa
	}
	sa := &unix.SockaddrInet4{Port: int(port)}
	if addr.IsValid() {
		sa.Addr = addr.As4()
	}
	return sa
}
