package network

import (
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

	"nau/internal/engine/record"
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
	// Own are addresses of the service ranges, with ports, that this program itself listens on (its DNS). A port that is published on all
	// addresses is not published on these.
	Own  []netip.AddrPort
	Home string // the network whose bridge takes Services; default: the first bridge
	Log  *slog.Logger
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
	holds map[Port]*held
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
	m := &Manager{cfg: cfg, v6: HasIPv6(), nets: map[string]*network{}, ports: map[Port]string{}, holds: map[Port]*held{}}
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
		p, err := newPool(subnet, s.plan(i))
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

// save writes a network's file, with the cursor a step ahead, by write: a new network has to survive a loss of power, a cursor need not. The caller holds
// mu.
func (m *Manager) save(n *network, write func(path string, b []byte) error) error {
	s := stored{Spec: n.spec}
	for _, p := range n.pools {
		s.Next = append(s.Next, p.ahead(cursorStep))
	}
	n.granted = cursorStep
	b, err := json.Marshal(s)
	if err != nil {
		return err
	}
	return write(m.path(n.spec.Name), b)
}

// Ensure makes the network, or keeps the one that stands when its subnets are the same. A network without endpoints may change its subnets.
func (m *Manager) Ensure(spec Spec) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	old, ok := m.nets[spec.Name]
	if ok && slices.Equal(old.spec.Subnets, spec.Subnets) && old.spec.Link == spec.Link && old.spec.Driver == spec.Driver {
		old.spec = spec
		return m.raise(old)
	}
	if ok && old.parts > 0 {
		return fmt.Errorf("change network %s: %w", spec.Name, ErrInUse)
	}
	if ok {
		if err := m.lower(old); err != nil {
			return err
		}
	}
	if err := m.prepare(&spec); err != nil {
		return fmt.Errorf("make network %s: %w", spec.Name, err)
	}
	if err := m.add(stored{Spec: spec}); err != nil {
		return err
	}
	n := m.nets[spec.Name]
	if err := m.save(n, record.Replace); err != nil {
		return err
	}
	if err := m.raise(n); err != nil {
		if !ok { // nothing is left of a network that cannot be
			err = errors.Join(err, m.lower(n), os.Remove(m.path(spec.Name)))
			delete(m.nets, spec.Name)
		}
		return err
	}
	return nil
}

// prepare finds out what a new network's links are to be. The caller holds mu.
func (m *Manager) prepare(s *Spec) error {
	switch s.Driver {
	case Bridge:
		_, _, err := m.nl.link(s.Link)
		s.Foreign = err == nil && s.Apart
	case Macvlan, Ipvlan:
		return m.prepareParent(s)
	}
	return nil
}

// lower removes a network's links.
func (m *Manager) lower(n *network) error {
	switch {
	case n.spec.Driver == Bridge && !n.spec.Foreign:
		return m.nl.do(delLink(n.spec.Link))
	case n.spec.Made:
		return m.nl.do(delLink(n.spec.Parent))
	}
	return nil
}

// raise makes the bridge with its addresses and routes, all idempotent.
func (m *Manager) raise(n *network) error {
	switch n.spec.Driver {
	case Macvlan, Ipvlan:
		return m.raiseParent(n)
	case Bridge:
	default:
		return nil
	}
	if len(n.pools) == 0 {
		return fmt.Errorf("make network %s: no subnet that this host can carry", n.spec.Name)
	}
	n.mac = macOf(firstGateway(n.pools))
	attrs := linkAttrs{name: n.spec.Link, mac: n.mac, mtu: n.spec.MTU}
	if err := m.nl.do(append([]request{newBridge(attrs)}, quietUp(attrs.name, m.v6)...)...); err != nil {
		return err
	}
	link, err := m.nl.find(n.spec.Link)
	if err != nil {
		return err
	}
	if link.kind != "bridge" {
		return fmt.Errorf("make network %s: link %s is there already and is no bridge", n.spec.Name, n.spec.Link)
	}
	index := link.index
	n.index, n.mac = index, link.mac
	conf4, conf6 := "net/ipv4/conf/"+n.spec.Link+"/", "net/ipv6/conf/"+n.spec.Link+"/"
	var reqs []request
	for _, p := range n.pools {
		if n.spec.reach(p.prefix.Addr().Is6()) != Isolated {
			reqs = append(reqs, addAddr(index, netip.PrefixFrom(p.gateway, p.prefix.Bits())))
		}
	}
	home := m.cfg.Home == n.spec.Name || m.cfg.Home == "" && !n.spec.Apart
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
			err := m.hold(p)
			if err == nil {
				err = m.relay(p, &e)
			}
			if err != nil {
				m.cfg.Log.Warn("a published port is somebody else's too", "port", p, "sandbox", e.Sandbox, "error", err)
			}
		}
	}
	m.nft.know(eps)
	return m.nft.rebuild(m.world())
}

// Rebuild writes the packet rules anew: networks have changed, or somebody else flushed them.
func (m *Manager) Rebuild() error {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.nft.rebuild(m.world())
}

// world says what the packet rules hold. The caller holds mu.
func (m *Manager) world() world {
	w := world{service: m.cfg.Services, kept: map[string][2]bool{}}
	w.nomasq = append(w.nomasq, netip.MustParsePrefix("224.0.0.0/4"), netip.MustParsePrefix("ff00::/8"))
	for _, n := range m.nets {
		if n.spec.Driver != Bridge {
			continue
		}
		w.bridges = append(w.bridges, n.spec.Link)
		w.nomasq = append(append(w.nomasq, n.spec.Subnets...), n.spec.NoMasquerade...)
		for _, p := range n.spec.Subnets {
			if !n.spec.Internal && !n.spec.NoMasq && n.spec.reach(p.Addr().Is6()) != RoutedReach {
				w.masq = append(w.masq, p)
			}
		}
		if !n.spec.Apart {
			continue
		}
		w.apart = append(w.apart, n.spec.Link)
		w.kept[n.spec.Name] = n.spec.kept()
		if n.spec.NoPeers {
			w.mute = append(w.mute, n.spec.Link)
		}
		for i, reach := range n.spec.Reach {
			switch {
			case n.spec.Internal || reach == Isolated:
				w.internal[i] = append(w.internal[i], n.spec.Link)
			case reach == NAT:
				w.shut[i] = append(w.shut[i], n.spec.Link)
			case reach == RoutedReach:
				w.routed[i] = append(w.routed[i], n.spec.Link)
			}
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
func (m *Manager) Remove(name string) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	n, ok := m.nets[name]
	if !ok {
		return fmt.Errorf("remove network %s: %w", name, ErrNotFound)
	}
	if n.parts > 0 {
		return fmt.Errorf("remove network %s: %w", name, ErrInUse)
	}
	if err := m.lower(n); err != nil {
		return err
	}
	delete(m.nets, name)
	if err := os.Remove(m.path(name)); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	return m.nft.rebuild(m.world())
}

// Close lets go of the sockets; networks stay.
func (m *Manager) Close() {
	m.mu.Lock()
	for _, h := range m.holds {
		h.close()
	}
	m.holds = map[Port]*held{}
	m.mu.Unlock()
	m.nl.close()
	m.nft.close()
}

// Purge removes every trace: links, rules, routes, settings, files. The sandboxes must be gone.
func (m *Manager) Purge() error {
	m.mu.Lock()
	defer m.mu.Unlock()
	var errs []error
	for _, n := range m.nets {
		errs = append(errs, m.lower(n))
	}
	for _, h := range m.holds {
		h.close()
	}
	errs = append(errs, m.nft.purge(), m.nl.do(m.unreachable(true)...), m.sys.restore(), os.RemoveAll(m.cfg.Dir))
	return errors.Join(errs...)
}

// SubnetUse counts one subnet's addresses. Counts that pass 64 bits stay at the highest number.
type SubnetUse struct {
	Subnet     netip.Prefix
	Used, Free uint64
}

// Use counts a network's addresses.
func (m *Manager) Use(name string) []SubnetUse {
	m.mu.Lock()
	defer m.mu.Unlock()
	n, ok := m.nets[name]
	if !ok {
		return nil
	}
	var out []SubnetUse
	for _, p := range n.pools {
		out = append(out, p.use())
	}
	return out
}
