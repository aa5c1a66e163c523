package anatomy

import (
	"cmp"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"strings"

	"github.com/google/nftables"
	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"nau/internal/kernel"
)

// place is what one network namespace has.
type place struct {
	links      []Link
	routes     []Route
	neighbours []string
	tables     []table
}

// look reads the network namespace at path; with rules, its nftables too.
func look(path string, rules bool) (p place, err error) {
	err = kernel.Enter(path, kernel.Net, func() error {
		var err error
		if p.links, err = links(); err != nil {
			return err
		}
		if p.routes, err = routes(p.links); err != nil {
			return err
		}
		if p.neighbours, err = neighbours(p.links); err != nil || !rules {
			return err
		}
		p.tables, err = readTables()
		return err
	})
	return p, err
}

// whole drops the kernel's remark that something changed during a dump.
func whole(err error) error {
	if errors.Is(err, netlink.ErrDumpInterrupted) {
		return nil
	}
	return err
}

func links() ([]Link, error) {
	all, err := netlink.LinkList()
	if whole(err) != nil {
		return nil, fmt.Errorf("list links: %w", err)
	}
	addrs, err := netlink.AddrList(nil, netlink.FAMILY_ALL)
	if whole(err) != nil {
		return nil, fmt.Errorf("list addresses: %w", err)
	}
	var out []Link
	for _, l := range all {
		a := l.Attrs()
		// Up says what was asked for; the operational state also asks the other end.
		link := Link{Name: a.Name, Index: a.Index, Kind: l.Type(), MAC: a.HardwareAddr.String(), MTU: a.MTU, State: a.OperState.String(), owner: a.MasterIndex}
		if link.State == "unknown" && a.Flags&net.FlagUp != 0 {
			link.State = "up"
		}
		if l.Type() == "veth" {
			link.Peer = a.ParentIndex
		}
		for _, addr := range addrs {
			if addr.LinkIndex == a.Index {
				link.Addrs = append(link.Addrs, addr.IPNet.String())
				link.Broadcast = link.Broadcast || addr.Broadcast != nil
				link.NoDAD = link.NoDAD || addr.Flags&unix.IFA_F_NODAD != 0
			}
		}
		out = append(out, link)
	}
	slices.SortFunc(out, func(a, b Link) int { return cmp.Compare(a.Index, b.Index) })
	return out, nil
}

func nameOf(links []Link, index int) string {
	for _, l := range links {
		if l.Index == index {
			return l.Name
		}
	}
	return ""
}

func routes(links []Link) ([]Route, error) {
	all, err := netlink.RouteList(nil, netlink.FAMILY_ALL)
	if whole(err) != nil {
		return nil, fmt.Errorf("list routes: %w", err)
	}
	var out []Route
	for _, r := range all {
		// The kernel makes link-local and multicast routes by itself.
		if r.Dst != nil && (r.Dst.IP.IsMulticast() || r.Dst.IP.IsLinkLocalUnicast()) {
			continue
		}
		route := Route{To: "default", Dev: nameOf(links, r.LinkIndex), Auto: r.Protocol == unix.RTPROT_KERNEL, Onlink: r.Flags&unix.RTNH_F_ONLINK != 0}
		if r.Protocol > unix.RTPROT_STATIC { // those below have names: boot is what ip(8) says of its own
			route.Proto = int(r.Protocol)
		}
		if r.Dst != nil && !(r.Dst.IP.IsUnspecified() && r.Dst.Mask != nil && zero(r.Dst.Mask)) {
			route.To = r.Dst.String()
		}
		switch r.Type {
		case unix.RTN_UNREACHABLE:
			route.To, route.Dev = "unreachable "+route.To, ""
		case unix.RTN_BLACKHOLE:
			route.To, route.Dev = "blackhole "+route.To, ""
		}
		if r.Gw != nil {
			route.Via = r.Gw.String()
		}
		if r.Src != nil {
			route.Src = r.Src.String()
		}
		if r.Scope == netlink.SCOPE_LINK {
			route.Scope = "link"
		}
		out = append(out, route)
	}
	return out, nil
}

func zero(b []byte) bool { return len(strings.Trim(string(b), "\x00")) == 0 }

func neighbours(links []Link) ([]string, error) {
	all, err := netlink.NeighList(0, netlink.FAMILY_ALL)
	if whole(err) != nil {
		return nil, fmt.Errorf("list neighbours: %w", err)
	}
	var out []string
	for _, n := range all {
		if n.State&unix.NUD_PERMANENT == 0 || n.IP == nil || n.HardwareAddr == nil {
			continue
		}
		out = append(out, fmt.Sprintf("%s lladdr %s dev %s", n.IP, n.HardwareAddr, nameOf(links, n.LinkIndex)))
	}
	slices.Sort(out)
	return out, nil
}

// connect puts both sides together: the pairs, the bridge, the host's routes to the container's addresses.
func connect(inside, host place) Network {
	n := Network{Links: inside.links, Routes: inside.routes, Neighbours: inside.neighbours}
	for _, l := range inside.links {
		if l.Kind != "veth" {
			continue
		}
		for _, h := range host.links {
			// Indexes are each namespace's own: both ends have to point at each other.
			if h.Kind != "veth" || h.Index != l.Peer || h.Peer != l.Index {
				continue
			}
			v := Veth{Inside: l, Host: h}
			for _, b := range host.links {
				if h.owner != 0 && b.Index == h.owner {
					v.Bridge = &b
				}
			}
			n.Veths = append(n.Veths, v)
		}
	}
	own := n.addrs()
	for _, r := range host.routes {
		if p, err := netip.ParsePrefix(r.To); err == nil && slices.ContainsFunc(own, p.Contains) {
			n.HostRoutes = append(n.HostRoutes, r)
		}
	}
	return n
}

// addrs are the container's addresses that others can reach it at.
func (n *Network) addrs() []netip.Addr {
	var out []netip.Addr
	for _, l := range n.Links {
		for _, a := range l.Addrs {
			if p, err := netip.ParsePrefix(a); err == nil && !p.Addr().IsLoopback() && !p.Addr().IsLinkLocalUnicast() {
				out = append(out, p.Addr())
			}
		}
	}
	return out
}

// bridges are the bridges that the pairs end at.
func (n *Network) bridges() []string {
	var out []string
	for _, v := range n.Veths {
		if v.Bridge != nil {
			out = append(out, v.Bridge.Name)
		}
	}
	return out
}

// readTables reads all of the namespace's nftables.
func readTables() ([]table, error) {
	conn, err := nftables.New()
	if err != nil {
		return nil, fmt.Errorf("open nftables: %w", err)
	}
	all, err := conn.ListTables()
	if err != nil {
		return nil, fmt.Errorf("list nftables: %w", err)
	}
	var out []table
	for _, t := range all {
		read := table{name: t.Name, family: familyName(t.Family)}
		if err := readSets(conn, t, &read); err != nil {
			return nil, err
		}
		if err := readRules(conn, t, &read); err != nil {
			return nil, err
		}
		out = append(out, read)
	}
	return out, nil
}

func familyName(f nftables.TableFamily) string {
	return map[nftables.TableFamily]string{nftables.TableFamilyINet: "inet", nftables.TableFamilyIPv4: "ip", nftables.TableFamilyIPv6: "ip6",
		nftables.TableFamilyBridge: "bridge", nftables.TableFamilyARP: "arp", nftables.TableFamilyNetdev: "netdev"}[f]
}

func readSets(conn *nftables.Conn, t *nftables.Table, into *table) error {
	sets, err := conn.GetSets(t)
	if err != nil {
		return fmt.Errorf("list sets of table %s: %w", t.Name, err)
	}
	for _, s := range sets {
		s.Table = t
		read := set{name: s.Name, interval: s.Interval, key: typeNames(s.KeyType), val: typeNames(s.DataType)}
		if s.Constant {
			read.flags = append(read.flags, "constant")
		}
		if s.Dynamic {
			read.flags = append(read.flags, "dynamic")
		}
		if s.HasTimeout {
			read.flags = append(read.flags, "timeout")
		}
		if s.Timeout > 0 {
			read.timeout = s.Timeout.String()
		}
		if read.verdicts = s.KeyType.Name == nftables.TypeVerdict.Name; read.verdicts {
			read.key, read.val = nil, nil // the library takes the value's type for the key's
		}
		elements, err := conn.GetSetElements(s)
		if err != nil {
			return fmt.Errorf("list elements of set %s: %w", s.Name, err)
		}
		for _, e := range elements {
			got := element{key: e.Key, val: e.Val, end: e.IntervalEnd}
			if read.verdicts {
				got.val = nil
				if v := parseVerdict(e.Val); v != nil {
					got.chain, got.verdict = v.Chain, verdictText(v)
				}
			}
			read.elements = append(read.elements, got)
		}
		into.sets = append(into.sets, read)
	}
	return nil
}

func typeNames(t nftables.SetDatatype) []string {
	if t.Name == "" {
		return nil
	}
	return strings.Split(t.Name, " . ")
}

func readRules(conn *nftables.Conn, t *nftables.Table, into *table) error {
	chains, err := conn.ListChainsOfTableFamily(t.Family)
	if err != nil {
		return fmt.Errorf("list chains of table %s: %w", t.Name, err)
	}
	for _, c := range chains {
		if c.Table.Name != t.Name {
			continue
		}
		hook := ""
		if c.Hooknum != nil && c.Priority != nil {
			hook = fmt.Sprintf("%s %s %d", c.Type, hookName(*c.Hooknum), *c.Priority)
		}
		rules, err := conn.GetRules(t, c)
		if err != nil {
			return fmt.Errorf("list rules of chain %s: %w", c.Name, err)
		}
		into.chains = append(into.chains, PacketChain{Name: c.Name, Hook: hook})
		for _, r := range rules {
			into.rules = append(into.rules, rule{chain: c.Name, hook: hook, exprs: r.Exprs})
		}
	}
	return nil
}

func hookName(h nftables.ChainHook) string {
	return cmp.Or(map[nftables.ChainHook]string{0: "prerouting", 1: "input", 2: "forward", 3: "output", 4: "postrouting"}[h], fmt.Sprintf("hook %d", h))
}
