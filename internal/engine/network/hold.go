package network

import (
	"errors"
	"fmt"
	"net/netip"
	"os"

	"golang.org/x/sys/unix"
)

// hold binds a published port's address on the host, without listening: a program that has the port already is found out, and one that
// comes later is refused by the kernel instead of waiting for connections that translation leads away. The caller holds mu.
func (m *Manager) hold(p Port) error {
	key := portKey(p)
	if m.holds[key] != nil {
		return nil
	}
	f, err := bindPort(p, m.v6)
	if errors.Is(err, unix.EADDRINUSE) {
		return fmt.Errorf("publish port %s: %w", p, ErrPortBusy)
	}
	if err != nil {
		if errors.Is(err, unix.EADDRNOTAVAIL) {
			return fmt.Errorf("publish port %s: %w: this host does not have the address", p, err)
		}
		return fmt.Errorf("publish port %s: %w", p, err)
	}
	m.holds[key] = f
	return nil
}

// letGo forgets a port that a sandbox had. The caller holds mu.
func (m *Manager) letGo(p Port, sandbox string) {
	key := portKey(p)
	if m.ports[key] != sandbox {
		return
	}
	delete(m.ports, key)
	if f := m.holds[key]; f != nil {
		f.Close()
		delete(m.holds, key)
	}
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
