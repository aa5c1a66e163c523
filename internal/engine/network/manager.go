package network

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"

	"golang.org/x/sys/unix"
)

// Config of a Manager.
type Config struct {
	Dir      string // state that survives a reboot: one NAME.json a network, sysctl.json
	Instance string // name of the nftables table; default "nau"
	// Unreachable are ranges that must never be routed to a gateway: all pods of the cluster and all services.
	Unreachable []netip.Prefix
	// Services are the service ranges: routed to Home's bridge so that the host itself can reach services, and refused there when no
	// translation took place.
	Services []netip.Prefix
	Home     string // the network whose bridge takes Services; default: the first bridge
	Log      *slog.Logger
}

// Manager holds all networks of one instance.
type Manager struct {
	cfg Config
	v6  bool
	nl  *rtnl
	nft *filter
	sys *sysctls

	mu    sync.Mutex
	nets  map[string]*network
	ports map[Port]string // published port → sandbox; Container is 0 in keys
}

// network is one Spec at work. Its pools are guarded by Manager.mu.
type network struct {
	spec    Spec
	index   int // of the bridge
	mac     net.HardwareAddr
	pools   []*pool
	parts   int // endpoints
	granted int // leases until the cursor is written again
}

// stored is the file of one network: the spec, and where the round of addresses goes on after a restart, never behind the truth.
type stored struct {
	Spec
	Next []netip.Addr `json:",omitempty"`
}

// cursorStep is how many leases one write of the cursor covers.
const cursorStep = 64

// HasIPv6 reports whether this host's network namespace can carry IPv6.
func HasIPv6() bool {
	b, err := os.ReadFile("/proc/sys/net/ipv6/conf/all/disable_ipv6")
	return err == nil && len(b) > 0 && b[0] == '0'
}

// HostMTU is the MTU of the link that the default route leads through; 0 when there is none.
func HostMTU() int {
	b, err := os.ReadFile("/proc/thread-self/net/route")
	if err != nil {
		return 0
	}
	for line := range strings.Lines(string(b)) {
		f := strings.Fields(line)
		if len(f) < 8 || f[1] != "00000000" || f[7] != "00000000" {
			continue
		}
		if link, err := net.InterfaceByName(f[0]); err == nil {
			return link.MTU
		}
	}
	return 0
}

// Open installs the unreachable routes, before anything else, and loads the stored networks. Nothing is attached until Start.
func Open(cfg Config) (*Manager, error) {
	if cfg.Instance == "" {
		cfg.Instance = "nau"
	}
	if cfg.Log == nil {
		cfg.Log = slog.Default()
	}
	m := &Manager{cfg: cfg, v6: HasIPv6(), nets: map[string]*network{}, ports: map[Port]string{}}
	var err error
	if m.nl, err = openRtnl(); err != nil {
		return nil, err
	}
	if err := m.nl.do(m.unreachable(false)...); err != nil {
		return nil, err
	}
	if err := os.MkdirAll(cfg.Dir, 0o700); err != nil {
		return nil, err
	}
	if m.sys, err = openSysctls(filepath.Join(cfg.Dir, "sysctl.json")); err != nil {
		return nil, err
	}
	if m.nft, err = openFilter(cfg.Instance, m.v6); err != nil {
		return nil, err
	}
	return m, m.load()
}

func (m *Manager) unreachable(del bool) []request {
	var reqs []request
	for _, p := range m.cfg.Unreachable {
		if p.Addr().Is6() && !m.v6 {
			continue
		}
		reqs = append(reqs, route{to: p.Masked(), kind: unix.RTN_UNREACHABLE, metric: 4278198272}.request(del))
	}
	return reqs
}

func (m *Manager) load() error {
	files, err := filepath.Glob(filepath.Join(m.cfg.Dir, "net-*.json"))
	if err != nil {
		return err
	}
	for _, file := range files {
		b, err := os.ReadFile(file)
		if err != nil {
			return err
		}
		var s stored
		if err := json.Unmarshal(b, &s); err != nil {
			m.cfg.Log.Warn("drop unreadable network", "file", file, "error", err)
			_ = os.Remove(file)
			continue
		}
		if err := m.add(s); err != nil {
			return err
		}
	}
	return nil
}

func (m *Manager) add(s stored) error {
	n := &network{spec: s.Spec}
	for i, subnet := range s.Subnets {
		if subnet.Addr().Is6() && !m.v6 {
			continue
		}
		p, err := newPool(subnet)
		if err != nil {
			return fmt.Errorf("add network %s: %w", s.Name, err)
		}
		if i < len(s.Next) {
			p.seek(s.Next[i])
		}
		n.pools = append(n.pools, p)
	}
	m.nets[s.Name] = n
	return nil
}

func (m *Manager) path(name string) string { return filepath.Join(m.cfg.Dir, "net-"+name+".json") }

// save writes a network's file, with the cursor a step ahead. The caller holds mu.
func (m *Manager) save(n *network) error {
	s := stored{Spec: n.spec}
	for _, p := range n.pools {
		s.Next = append(s.Next, p.ahead(cursorStep))
	}
	n.granted = cursorStep
	b, err := json.Marshal(s)
	if err != nil {
		return err
	}
	return writeFile(m.path(n.spec.Name), b)
}

// Ensure makes the network, or keeps the one that stands when its subnets are the same. A network without endpoints may change its subnets.
func (m *Manager) Ensure(spec Spec) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	old, ok := m.nets[spec.Name]
	if ok && slices.Equal(old.spec.Subnets, spec.Subnets) && old.spec.Link == spec.Link {
		old.spec = spec
		return m.raise(old)
	}
	if ok && old.parts > 0 {
		return fmt.Errorf("change network %s: %w", spec.Name, ErrInUse)
	}
	if ok && old.spec.Driver == Bridge {
		if err := m.nl.do(delLink(old.spec.Link)); err != nil {
			return err
		}
	}
	if err := m.add(stored{Spec: spec}); err != nil {
		return err
	}
	n := m.nets[spec.Name]
	if err := m.save(n); err != nil {
		return err
	}
	return m.raise(n)
}

// raise makes the bridge with its addresses and routes, all idempotent.
func (m *Manager) raise(n *network) error {
	if n.spec.Driver != Bridge {
		return nil
	}
	if len(n.pools) == 0 {
		return fmt.Errorf("make network %s: no subnet that this host can carry", n.spec.Name)
	}
	n.mac = macOf(n.pools[0].gateway)
	attrs := linkAttrs{name: n.spec.Link, mac: n.mac, mtu: n.spec.MTU}
	if err := m.nl.do(append([]request{newBridge(attrs)}, quietUp(attrs.name, m.v6)...)...); err != nil {
		return err
	}
	index, _, err := m.nl.link(n.spec.Link)
	if err != nil {
		return err
	}
	n.index = index
	conf4, conf6 := "net/ipv4/conf/"+n.spec.Link+"/", "net/ipv6/conf/"+n.spec.Link+"/"
	var reqs []request
	for _, p := range n.pools {
		reqs = append(reqs, addAddr(index, netip.PrefixFrom(p.gateway, p.prefix.Bits())))
	}
	home := m.cfg.Home == n.spec.Name || m.cfg.Home == ""
	for _, s := range m.cfg.Services {
		for _, p := range n.pools {
			if home && p.prefix.Addr().Is4() == s.Addr().Is4() {
				reqs = append(reqs, route{to: s.Masked(), kind: unix.RTN_UNICAST, dev: index, src: p.gateway, metric: 512}.request(false))
			}
		}
	}
	if err := m.nl.do(reqs...); err != nil {
		return fmt.Errorf("make network %s: %w", n.spec.Name, err)
	}
	// The bridge's own settings vanish with it: written past the memory of sysctls.
	for name, value := range map[string]string{
		conf4 + "route_localnet": "1", // published ports are reachable at 127.0.0.1
		conf4 + "rp_filter":      "2",
		conf4 + "send_redirects": "0",
		conf6 + "accept_ra":      "0",
	} {
		if err := os.WriteFile(filepath.Join("/proc/sys", name), []byte(value), 0o644); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return fmt.Errorf("write sysctl %s: %w", name, err)
		}
	}
	return nil
}

// Start takes back the leases of the endpoints that exist, and writes the packet rules in one transaction.
func (m *Manager) Start(eps []Endpoint) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	// Translation belongs to the IP layer: with netfilter on bridged frames too, a sandbox cannot reach itself through a published port.
	settings := [][2]string{{"net/ipv4/ip_forward", "1"}, {"net/bridge/bridge-nf-call-iptables", "0"}, {"net/bridge/bridge-nf-call-ip6tables", "0"}}
	// Traffic between pods comes and goes by the bridge. A redirect would use up the kernel's right to send the pod the next ICMP error
	// for a second; it takes this setting and the bridge's own to be off.
	settings = append(settings, [2]string{"net/ipv4/conf/all/send_redirects", "0"})
	if m.v6 {
		// Forwarding switches router advertisements off unless an interface says 2.
		if ras, err := filepath.Glob("/proc/sys/net/ipv6/conf/*/accept_ra"); err == nil {
			for _, file := range ras {
				if b, err := os.ReadFile(file); err == nil && len(b) > 0 && b[0] == '1' {
					name, _ := filepath.Rel("/proc/sys", file)
					settings = append(settings, [2]string{name, "2"})
				}
			}
		}
		settings = append(settings, [2]string{"net/ipv6/conf/all/forwarding", "1"})
	}
	for _, s := range settings {
		if err := m.sys.set(s[0], s[1]); err != nil {
			return err
		}
	}
	for _, n := range m.nets {
		if err := m.raise(n); err != nil {
			return err
		}
	}
	for _, e := range eps {
		n, ok := m.nets[e.Network]
		if !ok {
			m.cfg.Log.Warn("endpoint of an unknown network", "network", e.Network, "sandbox", e.Sandbox)
			continue
		}
		n.parts++
		for _, a := range e.Addrs {
			for _, p := range n.pools {
				if p.prefix.Contains(a.Addr()) {
					if err := p.take(a.Addr(), e.Sandbox); err != nil {
						m.cfg.Log.Warn("restore lease", "sandbox", e.Sandbox, "error", err)
					}
				}
			}
		}
		for _, p := range e.Ports {
			m.ports[portKey(p)] = e.Sandbox
		}
	}
	return m.nft.rebuild(m.world(), eps)
}

// Rebuild writes the packet rules anew, after somebody else flushed them.
func (m *Manager) Rebuild(eps []Endpoint) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.nft.rebuild(m.world(), eps)
}

// world says what the packet rules hold. The caller holds mu.
func (m *Manager) world() world {
	w := world{service: m.cfg.Services}
	w.nomasq = append(w.nomasq, netip.MustParsePrefix("224.0.0.0/4"), netip.MustParsePrefix("ff00::/8"))
	for _, n := range m.nets {
		if n.spec.Driver != Bridge {
			continue
		}
		w.bridges = append(w.bridges, n.spec.Link)
		w.nomasq = append(append(w.nomasq, n.spec.Subnets...), n.spec.NoMasquerade...)
		if !n.spec.Internal {
			w.masq = append(w.masq, n.spec.Subnets...)
		}
	}
	return w
}

// Networks lists the networks.
func (m *Manager) Networks() []Spec {
	m.mu.Lock()
	defer m.mu.Unlock()
	var out []Spec
	for _, n := range m.nets {
		out = append(out, n.spec)
	}
	slices.SortFunc(out, func(a, b Spec) int { return compare(a.Name, b.Name) })
	return out
}

func compare(a, b string) int {
	switch {
	case a < b:
		return -1
	case a > b:
		return 1
	}
	return 0
}

// Remove deletes a network without endpoints.
func (m *Manager) Remove(name string, eps []Endpoint) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	n, ok := m.nets[name]
	if !ok {
		return fmt.Errorf("remove network %s: %w", name, ErrNotFound)
	}
	if n.parts > 0 {
		return fmt.Errorf("remove network %s: %w", name, ErrInUse)
	}
	if n.spec.Driver == Bridge {
		if err := m.nl.do(delLink(n.spec.Link)); err != nil {
			return err
		}
	}
	delete(m.nets, name)
	if err := os.Remove(m.path(name)); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	return m.nft.rebuild(m.world(), eps)
}

// AttachRequest asks for one endpoint.
type AttachRequest struct {
	Network string
	Sandbox string           // ID; owner of the leases
	Netns   *os.File         // the sandbox's network namespace
	Link    string           // name inside; default "eth0"
	Addrs   []netip.Addr     // wished for; empty = any
	MAC     net.HardwareAddr // wished for; nil = made of the address
	Ports   []Port
}

// Attach makes an endpoint. On an error nothing of it is left. Ports are not published yet: see Publish.
func (m *Manager) Attach(ctx context.Context, r AttachRequest) (Endpoint, error) {
	if r.Link == "" {
		r.Link = "eth0"
	}
	e := Endpoint{Network: r.Network, Sandbox: r.Sandbox, Link: r.Link, MAC: r.MAC}
	n, err := m.reserve(&e, r.Addrs)
	if err != nil {
		return Endpoint{}, fmt.Errorf("attach sandbox %s to network %s: %w", r.Sandbox, r.Network, err)
	}
	if n.spec.Driver == Bridge {
		if err := m.connect(n, e, r.Netns); err != nil {
			err = errors.Join(err, m.Detach(e), m.Unlink(e))
			return Endpoint{}, fmt.Errorf("attach sandbox %s to network %s: %w", r.Sandbox, r.Network, err)
		}
	}
	if err := m.Publish(&e, r.Ports); err != nil {
		return Endpoint{}, errors.Join(err, m.Detach(e), m.Unlink(e))
	}
	return e, ctx.Err()
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
		e.Gateways = append(e.Gateways, p.gateway)
	}
	if n.spec.Driver == Bridge {
		if e.MAC == nil {
			e.MAC = macOf(e.Addrs[0].Addr())
		}
		e.HostLink = hostLink(e.Sandbox, e.Link)
	}
	n.parts++
	if n.granted--; n.granted < 0 {
		if err := m.save(n); err != nil {
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
		if m.ports[portKey(p)] == e.Sandbox {
			delete(m.ports, portKey(p))
		}
	}
}

// connect makes the links: one batch on the host's side and one inside.
func (m *Manager) connect(n *network, e Endpoint, netns *os.File) error {
	host := linkAttrs{name: e.HostLink, mtu: n.spec.MTU}
	peer := linkAttrs{name: e.Link, mac: e.MAC, mtu: n.spec.MTU}
	reqs := append([]request{newVeth(host, n.index, peer, int(netns.Fd()))}, quietUp(host.name, m.v6)...)
	reqs = append(reqs, hairpin(host.name))
	for _, a := range e.Addrs {
		reqs = append(reqs, neigh(n.index, a.Addr(), e.MAC, false))
	}
	err := m.nl.do(reqs...)
	if errors.Is(err, unix.EEXIST) {
		// The sandbox's last life: its namespace is gone for everybody but the kernel, which takes the links down in its own time.
		err = m.nl.do(append([]request{delLink(host.name)}, reqs...)...)
	}
	if err != nil {
		return err
	}
	var in *rtnl
	err = Inside(netns, func() (err error) {
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
	for _, gw := range e.Gateways {
		reqs = append(reqs, neigh(index, gw, n.mac, false))
		if !n.spec.Internal || n.spec.Routed {
			all := netip.PrefixFrom(netip.IPv4Unspecified(), 0)
			if gw.Is6() {
				all = netip.PrefixFrom(netip.IPv6Unspecified(), 0)
			}
			reqs = append(reqs, route{to: all, kind: unix.RTN_UNICAST, dev: index, via: gw}.request(false))
		}
	}
	return in.do(reqs...)
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

// Publish adds ports to an endpoint, all or none.
func (m *Manager) Publish(e *Endpoint, ports []Port) error {
	if len(ports) == 0 {
		return nil
	}
	m.mu.Lock()
	for i, p := range ports {
		if owner, taken := m.portOwner(p); taken {
			for _, q := range ports[:i] {
				delete(m.ports, portKey(q))
			}
			m.mu.Unlock()
			return fmt.Errorf("publish port %s of %s: %w by %s", p, e.Sandbox, ErrPortTaken, owner)
		}
		m.ports[portKey(p)] = e.Sandbox
	}
	m.mu.Unlock()
	e.Ports = append(e.Ports, ports...)
	return m.nft.publish(*e)
}

// portOwner finds who has a port, on the same address or on all of them. The caller holds mu.
func (m *Manager) portOwner(p Port) (string, bool) {
	key := portKey(p)
	if owner, ok := m.ports[key]; ok {
		return owner, true
	}
	for q, owner := range m.ports {
		if q.Protocol == key.Protocol && q.Host == key.Host && (!q.HostIP.IsValid() || !key.HostIP.IsValid()) {
			return owner, true
		}
	}
	return "", false
}

func portKey(p Port) Port {
	p.Container = 0
	if p.HostIP.IsValid() && p.HostIP.IsUnspecified() {
		p.HostIP = netip.Addr{}
	}
	return p
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
	err := m.nft.withdraw(e)
	if len(reqs) > 0 {
		err = errors.Join(err, m.nl.do(reqs...))
	}
	m.release(e)
	return err
}

// Unlink deletes an endpoint's links now, instead of with the namespace.
func (m *Manager) Unlink(e Endpoint) error {
	if e.HostLink == "" {
		return nil
	}
	return m.nl.do(delLink(e.HostLink))
}

// Stats reads an endpoint's counters, turned round: what the host's end sends, the sandbox receives.
func (m *Manager) Stats(e Endpoint) (Stats, error) {
	_, s, err := m.nl.link(e.HostLink)
	if err != nil {
		return Stats{}, err
	}
	return Stats{Link: e.Link,
		RxBytes: s.TxBytes, RxPackets: s.TxPackets, RxErrors: s.TxErrors, RxDropped: s.TxDropped,
		TxBytes: s.RxBytes, TxPackets: s.RxPackets, TxErrors: s.RxErrors, TxDropped: s.RxDropped}, nil
}

// Close lets go of the sockets; networks stay.
func (m *Manager) Close() {
	m.nl.close()
	m.nft.close()
}

// Purge removes every trace: links, rules, routes, settings, files. The sandboxes must be gone.
func (m *Manager) Purge() error {
	m.mu.Lock()
	defer m.mu.Unlock()
	var errs []error
	for _, n := range m.nets {
		if n.spec.Driver == Bridge {
			errs = append(errs, m.nl.do(delLink(n.spec.Link)))
		}
	}
	errs = append(errs, m.nft.purge(), m.nl.do(m.unreachable(true)...), m.sys.restore(), os.RemoveAll(m.cfg.Dir))
	return errors.Join(errs...)
}

// macOf derives a locally administered hardware address, so that neighbour entries can be written before a link exists.
func macOf(a netip.Addr) net.HardwareAddr {
	b := a.AsSlice()
	return append(net.HardwareAddr{0x0a, 0x6e}, b[len(b)-4:]...)
}

// hostLink names the host's end: "nau", ten digits of the sandbox's ID, the inner link's number.
func hostLink(sandbox, link string) string {
	name := "nau" + sandbox[:min(10, len(sandbox))]
	if n := len(link); n > 0 && link != "eth0" {
		name += link[max(0, n-2):]
	}
	return name[:min(len(name), unix.IFNAMSIZ-1)]
}
