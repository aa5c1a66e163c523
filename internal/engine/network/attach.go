package network

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"slices"

	"golang.org/x/sys/unix"
)

// AttachRequest asks for one endpoint.
type AttachRequest struct {
	Network string
	Sandbox string           // ID; owner of the leases
	Netns   *os.File         // the sandbox's network namespace
	Link    string           // name inside; default "eth0"
	Addrs   []netip.Addr     // wished for; empty = any
	Further []netip.Prefix   // addresses that the link gets beside: nobody leases them
	MAC     net.HardwareAddr // wished for; nil = made of the address
	Ports   []Port

	Priority  int               // of its gateways among the sandbox's
	Rank      string            // the smaller goes first among equal priorities
	NoDefault bool              // the caller makes the default routes, with Gateways
	Sysctls   map[string]string // of the link, written when it stands: names with slashes, IFNAME for the link's
}

// Attach makes an endpoint. On an error nothing of it is left. Ports are not published yet: see Publish.
func (m *Manager) Attach(ctx context.Context, r AttachRequest) (Endpoint, error) {
	if r.Link == "" {
		r.Link = "eth0"
	}
	e := Endpoint{Network: r.Network, Sandbox: r.Sandbox, Link: r.Link, MAC: r.MAC, Priority: r.Priority, Rank: r.Rank}
	n, err := m.reserve(&e, r.Addrs)
	if err != nil {
		return Endpoint{}, fmt.Errorf("attach sandbox %s to network %s: %w", r.Sandbox, r.Network, err)
	}
	if n.spec.linked() {
		if err := m.connect(n, e, r); err != nil {
			err = errors.Join(err, m.Detach(e), m.Unlink(e, r.Netns))
			return Endpoint{}, fmt.Errorf("attach sandbox %s to network %s: %w", r.Sandbox, r.Network, err)
		}
	}
	if !leadsOut(n.spec) { // and nothing leads in
		return e, ctx.Err()
	}
	if err := m.Publish(&e, r.Ports); err != nil {
		return Endpoint{}, errors.Join(err, m.Detach(e), m.Unlink(e, r.Netns))
	}
	if err := ctx.Err(); err != nil { // whoever asked has gone and gives nothing back
		return Endpoint{}, errors.Join(err, m.Detach(e), m.Unlink(e, r.Netns))
	}
	return e, nil
}

// reserve leases addresses.
func (m *Manager) reserve(e *Endpoint, wished []netip.Addr) (*network, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	n, ok := m.nets[e.Network]
	if !ok {
		return nil, ErrNotFound
	}
	for _, p := range n.pools {
		var a netip.Addr
		var err error
		for _, w := range wished {
			if p.prefix.Contains(w) {
				a, err = w, p.take(w, e.Sandbox)
			}
		}
		if !a.IsValid() {
			a, err = p.lease(e.Sandbox)
		}
		if err != nil {
			m.unlease(n, *e)
			return nil, err
		}
		bits := p.prefix.Bits()
		if n.spec.Routed {
			bits = a.BitLen()
		}
		e.Addrs = append(e.Addrs, netip.PrefixFrom(a, bits))
		if gw := n.spec.Gateway(p.prefix.Addr().Is6()); gw.IsValid() && p.prefix.Contains(gw) {
			e.Gateways = append(e.Gateways, gw)
		}
	}
	if n.spec.linked() && n.spec.Driver != Ipvlan && e.MAC == nil && len(e.Addrs) > 0 {
		e.MAC = macOf(e.Addrs[0].Addr())
	}
	if n.spec.Driver == Bridge {
		e.HostLink = hostLink(e.Sandbox, n.spec.ID, e.Link)
	}
	n.parts++
	if n.granted--; n.granted < 0 {
		if err := m.save(n, writeFile); err != nil {
			m.unlease(n, *e)
			n.parts--
			return nil, err
		}
	}
	return n, nil
}

// unlease gives an endpoint's addresses back. The caller holds mu.
func (m *Manager) unlease(n *network, e Endpoint) {
	for _, a := range e.Addrs {
		for _, p := range n.pools {
			p.free(a.Addr(), e.Sandbox)
		}
	}
}

// release forgets an endpoint: addresses and ports.
func (m *Manager) release(e Endpoint) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if n, ok := m.nets[e.Network]; ok {
		m.unlease(n, e)
		n.parts--
	}
	for _, p := range e.Ports {
		m.letGo(p, e.Sandbox)
	}
}

// connect makes the links: one batch on the host's side and one inside.
func (m *Manager) connect(n *network, e Endpoint, r AttachRequest) error {
	var reqs []request
	if n.spec.Driver == Bridge {
		host := linkAttrs{name: e.HostLink, mtu: n.spec.MTU}
		peer := linkAttrs{name: e.Link, mac: e.MAC, mtu: n.spec.MTU}
		reqs = append([]request{newVeth(host, n.index, peer, int(r.Netns.Fd()))}, quietUp(host.name, m.v6)...)
		if n.spec.NoPeers {
			reqs = append(reqs, mutePort(host.name))
		}
		for _, a := range e.Addrs {
			reqs = append(reqs, neigh(n.index, a.Addr(), e.MAC, false))
		}
	} else {
		reqs = append(reqs, newChild(n.spec, linkAttrs{name: e.Link, mac: e.MAC, mtu: n.spec.MTU}, n.index, int(r.Netns.Fd())))
	}
	err := m.nl.do(reqs...)
	if errors.Is(err, unix.EEXIST) && e.HostLink != "" {
		// The sandbox's last life: its namespace is gone for everybody but the kernel, which takes the links down in its own time.
		err = m.nl.do(append([]request{delLink(e.HostLink)}, reqs...)...)
	}
	if err != nil {
		return err
	}
	var in *rtnl
	err = Inside(r.Netns, func() (err error) {
		in, err = openRtnl()
		return err
	})
	if err != nil {
		return err
	}
	defer in.close()
	index, _, err := in.link(e.Link)
	if err != nil {
		return err
	}
	reqs = append([]request{linkUp(1)}, quietUp(e.Link, m.v6)...)
	for _, a := range e.Addrs {
		reqs = append(reqs, addAddr(index, a))
	}
	for _, a := range r.Further {
		reqs = append(reqs, addAddr(index, a))
	}
	if !n.spec.Routed && len(e.MAC) == 6 && slices.ContainsFunc(e.Addrs, func(a netip.Prefix) bool { return a.Addr().Is6() }) {
		reqs = append(reqs, addAddr(index, linkLocal(e.MAC)))
	}
	if n.spec.Driver == Bridge {
		for _, gw := range e.Gateways {
			reqs = append(reqs, neigh(index, gw, n.mac, false))
		}
	}
	if !r.NoDefault {
		reqs = append(reqs, m.defaults(n.spec, e, index)...)
	}
	if err := in.do(reqs...); err != nil || len(r.Sysctls) == 0 {
		return err
	}
	return Inside(r.Netns, func() error { return writeSysctls(e.Link, r.Sysctls) })
}

// linkLocal is the address that neighbours on one link know a hardware address by, as the kernel would make it (RFC 4291, appendix A).
// It is given, not generated: so nothing is asked of the neighbours first.
func linkLocal(mac net.HardwareAddr) netip.Prefix {
	a := [16]byte{0: 0xfe, 1: 0x80, 8: mac[0] ^ 2, 9: mac[1], 10: mac[2], 11: 0xff, 12: 0xfe, 13: mac[3], 14: mac[4], 15: mac[5]}
	return netip.PrefixFrom(netip.AddrFrom16(a), 64)
}

// Loopback sets the loopback device of a namespace up, for sandboxes without a network.
func (m *Manager) Loopback(netns *os.File) error {
	var in *rtnl
	err := Inside(netns, func() (err error) {
		in, err = openRtnl()
		return err
	})
	if err != nil {
		return err
	}
	defer in.close()
	return in.do(linkUp(1))
}

// Detach withdraws an endpoint's ports, forgets its neighbours and frees its addresses. The links go with the namespace, which the caller
// drops next. Detaching twice does nothing.
func (m *Manager) Detach(e Endpoint) error {
	m.mu.Lock()
	n, ok := m.nets[e.Network]
	held := false
	if ok {
		for _, a := range e.Addrs {
			for _, p := range n.pools {
				held = held || p.used[a.Addr()] == e.Sandbox
			}
		}
	}
	m.mu.Unlock()
	if !held {
		return nil
	}
	var reqs []request
	if n.spec.Driver == Bridge {
		for _, a := range e.Addrs {
			reqs = append(reqs, neigh(n.index, a.Addr(), nil, true))
		}
	}
	err := m.nft.withdraw(e, m.kept(e.Network))
	if len(reqs) > 0 {
		err = errors.Join(err, m.nl.do(reqs...))
	}
	m.release(e)
	return err
}

// Unlink deletes an endpoint's links now, instead of with the namespace; netns is where the inner one is.
func (m *Manager) Unlink(e Endpoint, netns *os.File) error {
	if e.HostLink != "" {
		return m.nl.do(delLink(e.HostLink))
	}
	m.mu.Lock()
	n, ok := m.nets[e.Network]
	m.mu.Unlock()
	if !ok || !n.spec.linked() || netns == nil {
		return nil
	}
	var in *rtnl
	if err := Inside(netns, func() (err error) { in, err = openRtnl(); return err }); err != nil {
		return err
	}
	defer in.close()
	return in.do(delLink(e.Link))
}

// Stats reads an endpoint's counters, turned round: what the host's end sends, the sandbox receives. Where the host has no end, they are read
// in the namespace at the path netns.
func (m *Manager) Stats(e Endpoint, netns string) (Stats, error) {
	if e.HostLink == "" {
		return statsInside(e.Link, netns)
	}
	_, s, err := m.nl.link(e.HostLink)
	if err != nil {
		return Stats{}, err
	}
	return Stats{Link: e.Link,
		RxBytes: s.TxBytes, RxPackets: s.TxPackets, RxErrors: s.TxErrors, RxDropped: s.TxDropped,
		TxBytes: s.RxBytes, TxPackets: s.RxPackets, TxErrors: s.RxErrors, TxDropped: s.RxDropped}, nil
}

func statsInside(link, netns string) (s Stats, err error) {
	ns, err := os.Open(netns)
	if err != nil {
		return Stats{}, err
	}
	defer ns.Close()
	err = Inside(ns, func() error {
		in, err := openRtnl()
		if err != nil {
			return err
		}
		defer in.close()
		_, s, err = in.link(link)
		return err
	})
	return s, err
}

// macOf derives a locally administered hardware address, so that neighbour entries can be written before a link exists.
func macOf(a netip.Addr) net.HardwareAddr {
	b := a.AsSlice()
	return append(net.HardwareAddr{0x0a, 0x6e}, b[len(b)-4:]...)
}

// hostLink names the host's end: "nau" and ten digits of the sandbox's ID, or, of all but the first link, twelve of a digest of whose it is: a few
// digits of the network's ID are those of another network of the same sandbox now and then, and its link would be taken for this one's.
func hostLink(sandbox, network, link string) string {
	if link == "eth0" || link == "" {
		return "nau" + sandbox[:min(10, len(sandbox))]
	}
	sum := sha256.Sum256([]byte(sandbox + " " + network + " " + link))
	return "nau" + hex.EncodeToString(sum[:6])
}

// linked reports whether endpoints have a link of their own.
func (s *Spec) linked() bool { return s.Driver == Bridge || s.Driver == Macvlan || s.Driver == Ipvlan }

func firstGateway(pools []*pool) netip.Addr {
	for _, p := range pools {
		if p.gateway.IsValid() {
			return p.gateway
		}
	}
	return pools[0].low
}

// kept says for each family whether a network's endpoints are reached at their own addresses. m.mu must not be held.
func (m *Manager) kept(name string) [2]bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	if n, ok := m.nets[name]; ok {
		return n.spec.kept()
	}
	return [2]bool{}
}

func (s *Spec) kept() [2]bool { return [2]bool{s.Reach[0] == RoutedReach, s.Reach[1] == RoutedReach} }
